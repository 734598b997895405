"""Which statements are slow right now?"""

import time
from typing import Any

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, UsageError
from runbook.model.text import to_run
from runbook.model.units import as_bytes, counted
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.query_text import masked
from runbook.postgres.statements import (
    CALLS,
    MEAN_MS,
    Recorded,
    apart,
    planned,
    shortened,
    statements,
    subject,
    with_texts,
)

SAMPLE = read_sql(__package__, "statements_sample")
RUNNING = read_sql(__package__, "running_statements")
MOST = 10
SHOWN_ROWS = 50
_COUNTERS = ["calls", "total_ms", "rows", "blocks_read", "temp_blocks"]
_KEY = ["dbid", "queryid"]


def probe(asking: Asking, *, seconds: float = 3.0, running_seconds: float = 60.0) -> pd.DataFrame:
    """Return the statements that took the most time between two samples, ``seconds`` apart, at most 50.

    Columns: queryid, calls, total_ms, rows, blocks_read, temp_blocks (read and written), mean_ms, share (% of the time
    of all statements in the interval), busy (% of the interval: 100 is one session that does nothing else), running (s,
    of a statement that has not ended after ``running_seconds``, which no statistics hold yet; else null), pid (of that
    one), database, role, query (shortened, without literals). The frame's attrs hold ``seconds`` (as they really were),
    ``forgotten`` (how often statements had to make room meanwhile), ``database`` (this one), ``block_size`` (bytes),
    ``running`` (how many have not ended after ``running_seconds``) and ``waiting`` (how many more of them wait for a
    lock, which are not among the rows). The runbook's own statements are not among them.
    Raises `CouldNotFindOut` where the counters were reset in between.
    """
    if not 0.1 <= seconds <= 60:
        raise UsageError(f"two samples are taken 0.1 to 60 s apart, not {seconds:g} s")
    connection = asking.connection(PostgresConnection)
    own = {"apart": apart(asking)}
    with statements(connection) as (rows, before):
        first = rows(SAMPLE, own)
    time.sleep(seconds)
    with statements(connection) as (rows, after):
        last = rows(SAMPLE, own)
        _same_counters(before, after)
        span = float((after.now - before.now).total_seconds())
        frame = with_texts(rows, _between(first, last, span)).head(SHOWN_ROWS)
        running = masked(rows(RUNNING, {"seconds": running_seconds, **own})).rename(columns={"session_role": "role"})
    waiting, found = (int(running[name].max()) if len(running) else 0 for name in ("waiting", "found"))
    running = running[~running["waits_for_lock"].astype(bool)].reset_index(drop=True)
    frame["running"], frame["pid"] = None, None
    if len(running):
        still = pd.DataFrame({**_nothing(len(running)), "running": running["seconds"]})
        for column in ("pid", "queryid", "database", "role", "query"):
            still[column] = running[column]
        frame = pd.concat([still.astype(object), frame.astype(object)], ignore_index=True).infer_objects()
    frame.attrs = {"seconds": span, "forgotten": after.forgotten - before.forgotten, "database": after.database}
    frame.attrs |= {"block_size": after.block_size, "waiting": waiting, "running": found - waiting}
    return frame


def _same_counters(before: Recorded, after: Recorded) -> None:
    if after.since != before.since or after.forgotten < before.forgotten:
        raise CouldNotFindOut("the counters of statements were reset between the two samples: ask once more")


def _nothing(count: int) -> dict[str, list[float]]:
    return {column: [0] * count for column in [*_COUNTERS, "mean_ms", "share", "busy"]}


def _between(first: pd.DataFrame, last: pd.DataFrame, span: float) -> pd.DataFrame:
    """Return what each statement cost between two samples, the most time first.

    One that is new, or whose counters are lower than before (it was forgotten, or reset, and came again), has all that
    it counts now from the time in between.
    """
    both = last.merge(first, on=_KEY, how="left", suffixes=("", "_before"))
    again = both["calls_before"].isna() | (both["calls"] < both["calls_before"])
    for column in _COUNTERS:
        both[column] = both[column] - both[f"{column}_before"].where(~again, 0)
    both = both[both["calls"] > 0][[*_KEY, *_COUNTERS]]
    both["mean_ms"] = both["total_ms"] / both["calls"]
    both["share"] = 100 * both["total_ms"] / max(both["total_ms"].sum(), 1e-9)
    both["busy"] = both["total_ms"] / (10 * span)
    both = both.astype({"calls": "int64", "rows": "int64", "blocks_read": "int64", "temp_blocks": "int64"})
    return both.sort_values("total_ms", ascending=False).reset_index(drop=True)


def check(frame: pd.DataFrame, *, mean_ms: float = MEAN_MS, calls: float = CALLS, busy: float = 50) -> list[Finding]:
    """Judge each statement: WARNING where it takes ``mean_ms`` on average and was called ``calls`` times in the
    interval, or kept a session busy for ``busy`` % of it, or has not ended after a minute.

    The first two limits, and the minute, are pghero's; but a statement of two seconds is not called a hundred times in
    three, so that one on which half a session's time goes counts as well.
    """
    attrs = frame.attrs
    # A statement that still runs is told by its pid: it has no calls yet.
    ended, running = frame[frame["running"].isna()], frame[frame["running"].notna()]
    slow = ended[(ended["mean_ms"] >= mean_ms) & ((ended["calls"] >= calls) | (ended["busy"] >= busy))]
    findings = [
        Finding(
            object=f"pid {row['pid']:.0f}",
            status=Status.WARNING,
            message=f"its statement has been running for {row['running']:.0f} s: {shortened(row['query'])}",
            value=float(row["running"]),
            unit="s",
            next=f"ask its owner; then: {to_run('database-issues', pid=int(row['pid']))}, whose plan cancels it",
        )
        for row in running.head(MOST).to_dict("records")
    ]
    findings += _not_named(attrs["running"] - min(MOST, len(running)), attrs["waiting"])
    findings += [
        Finding(
            object=subject(row, attrs["database"]),
            status=Status.WARNING,
            message=_told(row, attrs["seconds"], attrs["block_size"]),
            value=float(row["mean_ms"]),
            threshold=mean_ms,
            unit="ms",
            next=planned(row, attrs["database"]),
        )
        for row in slow.head(MOST).to_dict("records")
    ]
    if len(slow) > MOST:
        message = f"{counted(len(slow) - MOST, 'more takes', 'more take')} {mean_ms:g} ms or more on average"
        findings.append(Finding(object="other statements", status=Status.WARNING, message=message))
    if attrs["forgotten"] > 0:
        message = "statements were forgotten between the two samples: the figures are the least that it can be"
        findings.append(
            Finding(object="the record", status=Status.OK, message=message, next="raise pg_stat_statements.max")
        )
    message = f"none of {mean_ms:g} ms on average takes much of {attrs['seconds']:.0f} s"
    nothing = Finding(object="statements", status=Status.OK, message=message, value=0, unit="statements")
    return findings if any(finding.bad for finding in findings) else [*findings, nothing]


def _not_named(more: int, waiting: int) -> list[Finding]:
    """Return what is told of the statements that run for long and are not named: they are too many, or victims."""
    findings = []
    if more > 0:
        message = f"{counted(more, 'more statement has', 'more statements have')} been running for as long"
        findings.append(Finding(object="other running statements", status=Status.WARNING, message=message))
    if waiting:
        message = f"{counted(waiting, 'statement waits', 'statements wait')} for locks of other sessions"
        after = "see postgres.blocking (database-issues): who holds them is to be ended, not who waits"
        findings.append(Finding(object="lock waits", status=Status.WARNING, message=message, value=waiting, next=after))
    return findings


def _told(row: dict[Any, Any], seconds: float, block: int) -> str:
    told = f"{row['mean_ms']:,.1f} ms on average, {counted(int(row['calls']), 'call')} in {seconds:.1f} s, "
    told += f"{row['share']:.0f}% of the time of all, {row['busy']:.0f}% of one session's"
    if row["blocks_read"]:
        told += f", {as_bytes(row['blocks_read'] * block)} read"
    if row["temp_blocks"]:
        told += f", {as_bytes(row['temp_blocks'] * block)} of temporary files"
    return f"{told}: {shortened(row['query'])}"


slow_queries_now = Question(
    name="postgres.slow_queries_now",
    title="Which statements are slow right now?",
    probe=probe,
    check=check,
    source=SAMPLE,
    needs=(PostgresConnection,),
    deadline=75,
    next=f"see its plan, and whether an index is missing: {to_run('query-performance')}",
    explained_by=EXPLAINED_BY,
)

"""Which statements have cost the most since the counters began?"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.connections.postgres import Rows
from runbook.model import Asking, Finding, Question, Status, UsageError
from runbook.model.text import to_run
from runbook.model.units import as_bytes, counted, length
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.statements import CALLS, MEAN_MS, apart, planned, shortened, statements, subject, with_texts

NAME = "postgres.slow_queries"
SQL = read_sql(__package__, "slow_queries")
BY = ("total", "mean", "variance", "io", "temp")
MOST = 10
# Of so many the texts are read: the first by what they are ranked by, and the first that are slow.
_SHOWN = 50
NOT_READ = "(its text was not read)"


def probe(asking: Asking, *, by: str = "total") -> pd.DataFrame:
    """Return the statements by what they cost, by ``by``, which is one of `BY`: total or mean time, its standard
    deviation, blocks read from outside of the buffers, blocks of temporary files. Those are the 50 first ones, all with
    the mean time and the calls that the check judges by, and the 1000 of the most total time, which a later run
    compares with; none of the runbook itself.

    Columns: queryid, calls, total_ms, mean_ms, stddev_ms (the largest, where several roles execute it), share (% of the
    time of all statements), rows, blocks_read, read_ms (0 where track_io_timing is off), temp_blocks (read and
    written), database, role, query (shortened, without literals; of the 50 first and the 50 first slow ones), since
    (UTC, when the counters began). The frame's attrs hold ``by``, ``minutes`` (for how long they have counted),
    ``forgotten`` (how often statements had to make room), ``whole`` (they began with the server itself), ``database``
    (this one), ``block_size`` (bytes).
    """
    if by not in BY:
        raise UsageError(f"slow queries are ranked by one of {', '.join(BY)}, not by {by!r}")
    # Those that the check judges by, where the profile has others: what is slow must be among the rows.
    own = asking.target.thresholds.get(NAME, {})
    limits = {"mean_ms": own.get("mean_ms", MEAN_MS), "calls": own.get("calls", CALLS)}
    connection = asking.connection(PostgresConnection)
    with statements(connection) as (rows, recorded):
        frame = rows(SQL, {"by": by, "apart": apart(asking), **limits})
        frame = _with_some_texts(rows, frame, limits)
    frame["since"] = recorded.since
    frame.attrs = {
        "by": by,
        "minutes": recorded.minutes,
        "forgotten": recorded.forgotten,
        "whole": _of_the_same_age(connection, recorded.since),
        "database": recorded.database,
        "block_size": recorded.block_size,
    }
    return frame


def _with_some_texts(rows: Rows, frame: pd.DataFrame, limits: Mapping[str, float]) -> pd.DataFrame:
    slow = frame[(frame["mean_ms"] >= limits["mean_ms"]) & (frame["calls"] >= limits["calls"])].head(_SHOWN)
    some = frame.loc[sorted({*frame.index[:_SHOWN], *slow.index})]
    texts = with_texts(rows, some[["dbid", "queryid"]])[["queryid", "database", "query"]]
    frame = frame.drop(columns="dbid").rename(columns={"session_role": "role"})
    return frame.merge(texts, on=["queryid", "database"], how="left").fillna({"query": NOT_READ})


def _of_the_same_age(connection: PostgresConnection, since: pd.Timestamp) -> bool:
    """Tell whether the counters began when the server itself was made, within minutes: then they hide nothing.

    The system identifier holds, in its upper half, the second in which initdb made it.
    """
    system = connection.identity["system"]
    if not system.isdigit():
        return False
    return abs(float(since.timestamp()) - (int(system) >> 32)) < 300


def check(frame: pd.DataFrame, *, mean_ms: float = MEAN_MS, calls: float = CALLS, minutes: float = 10) -> list[Finding]:
    """Judge each statement: WARNING where it takes ``mean_ms`` on average and was called ``calls`` times.

    Both limits are pghero's. What was called less often is slow by design or by accident, and matters by its share of
    the time. Counters younger than ``minutes`` say little: where nothing is slow in them it is UNKNOWN whether anything
    is, but for a server that is as young itself.
    """
    attrs = frame.attrs
    slow = frame[(frame["mean_ms"] >= mean_ms) & (frame["calls"] >= calls)]
    findings = [
        Finding(
            object=subject(row, attrs["database"]),
            status=Status.WARNING,
            message=_told(row, attrs["block_size"]),
            value=float(row["mean_ms"]),
            threshold=mean_ms,
            unit="ms",
            next=planned(row, attrs["database"]),
        )
        for row in slow.head(MOST).to_dict("records")
    ]
    if len(slow) > MOST:
        more = counted(len(slow) - MOST, "more takes", "more take")
        message = f"{more} {mean_ms:g} ms or more over {calls:g} calls or more"
        findings.append(Finding(object="other statements", status=Status.WARNING, message=message))
    since = f"since the counters began, {length(60 * attrs['minutes'])} ago"
    if attrs["forgotten"]:
        # What is called rarely is forgotten first, and may be what is slow.
        message = f"statements were forgotten {attrs['forgotten']:,} times {since}: rare ones may be missing"
        findings.append(
            Finding(object="the record", status=Status.OK, message=message, next="raise pg_stat_statements.max")
        )
    if not slow.empty:
        return findings
    if attrs["minutes"] < minutes and not attrs["whole"]:
        began = length(60 * attrs["minutes"])
        message = f"the counters began {began} ago: what is slow may not have run since; nothing slow yet"
        later = "ask again later, or ask what is slow right now"
        return [*findings, Finding(object="statements", status=Status.UNKNOWN, message=message, next=later)]
    message = f"none of {mean_ms:g} ms on average and {calls:g} calls or more {since}"
    return [*findings, Finding(object="statements", status=Status.OK, message=message, value=0, unit="statements")]


def _told(row: dict[Any, Any], block: int) -> str:
    told = f"{row['mean_ms']:,.1f} ms on average (± {row['stddev_ms']:,.1f}), {counted(row['calls'], 'call')}, "
    told += f"{row['share']:.0f}% of the time of all"
    if row["blocks_read"]:
        told += f", {as_bytes(row['blocks_read'] * block)} read"
    if row["temp_blocks"]:
        told += f", {as_bytes(row['temp_blocks'] * block)} of temporary files"
    return f"{told}: {shortened(row['query'])}"


slow_queries = Question(
    name=NAME,
    title="Which statements have been slow since the counters began?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next=f"see its plan, and whether an index is missing: {to_run('query-performance')}",
    explained_by=EXPLAINED_BY,
)

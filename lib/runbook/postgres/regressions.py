"""Has a statement become slower since the earlier runs of the notebook?"""

from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from runbook.connections import PostgresConnection
from runbook.evidence.archive import NotTrusted, archive_folder, runs
from runbook.evidence.records import frame_of, kept
from runbook.model import Asking, Finding, Question, Status
from runbook.model.units import counted
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.query_text import masked
from runbook.postgres.slow_queries import NAME as SLOW
from runbook.postgres.slow_queries import NOT_READ, SQL
from runbook.postgres.slow_queries import probe as probe_slow
from runbook.postgres.statements import TEXTS, planned, shortened, statements, subject

_NEEDED = ["queryid", "database", "calls", "total_ms", "mean_ms", "since"]
MOST = 10
ENOUGH = 5
_SHOWN = 50


def probe(
    asking: Asking, *, now: pd.DataFrame | None = None, notebook: str = "query-performance", earlier: int = 10
) -> pd.DataFrame:
    """Return a row for each of the statements that `slow_queries` keeps, and an earlier run has seen as well: queryid,
    database, role, query (shortened, without literals; of the 50 that became slowest), mean_ms and calls,
    former_ms (the median of what its mean was in those runs), runs (in how many).

    mean_ms is that between the two samples of ``now``, the frame of `slow_queries_now`, where the statement was called
    often enough in it; else that since the last of those runs.

    Looked at are the last ``earlier`` runs of the notebook on this target in the archive, as their data lie there:
    whether they are as sealed is for `evidence verify`. The frame's attrs hold ``runs`` (how many were read),
    ``archive`` (whether there is one) and ``database``.
    """
    total = probe_slow(asking)
    archive = archive_folder()
    former = _former(archive, notebook, asking.target.name, earlier)
    before = [{(row["queryid"], row["database"]): row for row in frame.to_dict("records")} for frame in former]
    present = {} if now is None else dict(list(now.groupby(["queryid", "database"])))
    rows = [_compared(row, before, present) for row in total.to_dict("records")]
    columns = ["queryid", "database", "role", "query", "mean_ms", "calls", "former_ms", "runs"]
    frame = pd.DataFrame([row for row in rows if row is not None], columns=columns)
    frame = _with_texts_of_the_slower(asking, frame)
    frame.attrs = {"runs": len(former), "archive": archive.is_dir(), "database": total.attrs["database"]}
    return frame


def _with_texts_of_the_slower(asking: Asking, frame: pd.DataFrame) -> pd.DataFrame:
    times = frame["mean_ms"].astype(float) / frame["former_ms"].astype(float).clip(lower=0.001)
    slower = times.nlargest(_SHOWN).index
    missing = frame.loc[slower][frame.loc[slower, "query"].eq(NOT_READ)]
    if missing.empty:
        return frame
    with statements(asking.connection(PostgresConnection)) as (rows, _):
        texts = masked(rows(TEXTS, {"queryids": [int(queryid) for queryid in missing["queryid"]]}))
    told = {(int(row["queryid"]), row["database"]): row["query"] for row in texts.to_dict("records")}
    keys = zip(missing["queryid"], missing["database"], strict=True)
    frame.loc[missing.index, "query"] = [told.get(key) or NOT_READ for key in keys]
    return frame


def _former(archive: Path, notebook: str, target: str, earlier: int) -> list[pd.DataFrame]:
    """Return what the last runs have kept, the newest first; what cannot be read is left out."""
    try:
        named = [place for place in runs(archive) if place.run_id[21:-7] == notebook]
    except (NotTrusted, OSError):
        return []
    found: list[pd.DataFrame] = []
    for place in reversed(named):
        record = kept(place).record
        if record is None or not record.ended or (record.target, record.notebook) != (target, notebook):
            continue
        frame = frame_of(place, SLOW)
        if frame is not None and set(_NEEDED) <= set(frame.columns):
            found.append(frame[_NEEDED])
        if len(found) >= earlier:
            break
    return found


def _compared(
    row: dict[Any, Any], former: list[dict[Any, dict[Any, Any]]], now: dict[Any, pd.DataFrame]
) -> dict[Any, Any] | None:
    """Return a statement with what it was before, or None where no run has seen it."""
    key = (row["queryid"], row["database"])
    seen = [frame[key] for frame in former if key in frame]
    if not seen:
        return None
    last, calls, total = seen[0], int(row["calls"]), float(row["total_ms"])
    if last["since"] == row["since"] and last["calls"] <= calls:
        # The same counters: what they have counted since that run tells how it is now, not on the average of all time.
        calls, total = calls - int(last["calls"]), total - float(last["total_ms"])
    same = now.get(key)
    if same is not None and same["calls"].sum() >= ENOUGH:
        # Since the last run it may have been quick for long; what counts is how it is now.
        calls, total = int(same["calls"].sum()), float(same["total_ms"].sum())
    return {
        **{name: row[name] for name in ("queryid", "database", "role", "query")},
        "mean_ms": total / calls if calls else float("nan"),
        "calls": calls,
        "former_ms": median(float(one["mean_ms"]) for one in seen),
        "runs": len(seen),
    }


def check(frame: pd.DataFrame, *, times: float = 2, mean_ms: float = 5, calls: float = ENOUGH) -> list[Finding]:
    """Judge each statement: WARNING where its mean is ``times`` what it was, at least ``mean_ms``, over ``calls``
    calls.

    Twice as slow is what users notice; below some milliseconds, or over a few calls, it is chance.
    """
    slower = frame[(frame["mean_ms"] >= times * frame["former_ms"]) & (frame["mean_ms"] >= mean_ms)]
    slower = slower[slower["calls"] >= calls]
    findings = [
        Finding(
            object=subject(row, frame.attrs["database"]),
            status=Status.WARNING,
            message=f"{row['mean_ms']:,.1f} ms on average over {row['calls']:,} calls; it was "
            f"{row['former_ms']:,.1f} ms in {counted(row['runs'], 'run')}: {shortened(row['query'])}",
            value=float(row["mean_ms"]),
            threshold=times * float(row["former_ms"]),
            unit="ms",
            next=planned(row, frame.attrs["database"]),
        )
        for row in slower.sort_values("mean_ms", ascending=False).head(MOST).to_dict("records")
    ]
    if len(slower) > MOST:
        message = f"{counted(len(slower) - MOST, 'more is', 'more are')} {times:g} times as slow as before"
        findings.append(Finding(object="other statements", status=Status.WARNING, message=message))
    if findings:
        return findings
    earlier = frame.attrs["runs"]
    message = f"none is {times:g} times as slow as in the earlier runs that are archived ({earlier})"
    if not earlier:
        message += ": nothing to compare with yet" if frame.attrs["archive"] else ": there is no archive"
    return [Finding(object="statements", status=Status.OK, message=message, value=earlier, unit="runs")]


regressions = Question(
    name="postgres.regressions",
    title="Has a statement become slower since the earlier runs?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="see its plan (postgres.explain) and what was deployed, dropped or grew since",
    explained_by=EXPLAINED_BY,
)

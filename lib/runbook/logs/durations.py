"""How long do requests, the language model and the database take?"""

from collections.abc import Mapping

import pandas as pd

from runbook.connections import LogsConnection
from runbook.logfiles.durations import percentile
from runbook.logs.window import DEADLINE, Window, one_pass, partly_recorded, require_requests
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, at_most
from runbook.model.text import to_run

# What the runbook wants to know of, and under which names the service logs it.
EXPECTED = {"candidate_generation": "candidate_generation", "language model": "llm ", "database": "database"}


def probe(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return a row for each path and operation: kind (request, operation), subject, count, p50, p95, p99, longest (ms).

    Percentiles are those of all durations, by nearest rank, to three significant digits. Raises `CouldNotFindOut` where
    the log records no durations.
    """
    reading, tally, _ = one_pass(asking, window)
    require_requests(reading, tally)
    rows = [_row("request", subject, counted) for subject, counted in tally.durations.items()]
    rows += [_row("operation", subject, counted) for subject, counted in tally.operations.items()]
    if not rows:
        raise CouldNotFindOut(f"the log records no duration of the {tally.requests:,} requests")
    columns = ["kind", "subject", "count", "p50", "p95", "p99", "longest"]
    frame = pd.DataFrame(rows, columns=columns).sort_values(["kind", "p95"], ascending=[False, False])
    frame.attrs = {"partly": partly_recorded(tally)}
    return frame


def _row(kind: str, subject: str, counted: Mapping[int, int]) -> tuple[object, ...]:
    shares = [percentile(dict(counted), share) for share in (0.5, 0.95, 0.99, 1.0)]
    return (kind, subject, sum(counted.values()), *shares)


def check(
    frame: pd.DataFrame, *, warning_ms: float = 2000, critical_ms: float = 5000, few: float = 20
) -> list[Finding]:
    """Judge the 95th percentile of each path with at least ``few`` requests: the slowest, and each that is too slow.

    Two seconds is the runbook's own limit of response time. Operations that call the language model take longer by
    nature: they are told and not judged; one that is not in the log is UNKNOWN.
    """
    requests = frame[(frame["kind"] == "request") & (frame["count"] >= few)].sort_values("p95", ascending=False)
    findings = []
    for place, row in enumerate(requests.to_dict("records")):
        message = (
            f"p50 {row['p50']:g} ms, p95 {row['p95']:g} ms, p99 {row['p99']:g} ms of {row['count']:,} requests"
            f"{frame.attrs['partly']}"
        )
        finding = at_most(row["subject"], row["p95"], warning_ms, critical_ms, unit="ms", message=message)
        if place == 0 or finding.bad:
            findings.append(finding)
    for name, prefix in EXPECTED.items():
        found = frame[(frame["kind"] == "operation") & frame["subject"].str.startswith(prefix)]
        found = found.sort_values("subject")
        if found.empty:
            told = "no duration of it is in the log of this window"
            findings.append(Finding(object=name, status=Status.UNKNOWN, message=told))
        for row in found.to_dict("records"):
            told = f"p50 {row['p50']:g} ms, p95 {row['p95']:g} ms, p99 {row['p99']:g} ms of {row['count']:,} calls"
            findings.append(Finding(object=row["subject"], status=Status.OK, message=told, value=row["p95"], unit="ms"))
    return findings


durations = Question(
    name="logs.durations",
    title="How long do requests, the language model and the database take?",
    probe=probe,
    check=check,
    source="duration_ms of the entries of the window, by path or operation",
    needs=(LogsConnection,),
    deadline=DEADLINE,
    next=f"see where the time goes, to the database, the language model or Python: {to_run('api-performance')}",
)

"""Does somebody probe the service?"""

import pandas as pd

from runbook.connections import LogsConnection
from runbook.logs.beside import beside
from runbook.logs.window import DEADLINE, Window, one_pass, partly_recorded, require_requests
from runbook.model import Asking, Finding, Question, Status, at_most
from runbook.model.units import counted


def probe(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return a row for each rule, path as logged and status: rule, path, status, count, first, last (UTC).

    Paths are URL-decoded up to three times and compared in any case; request bodies and, in the service as built, query
    strings are not logged. Raises `CouldNotFindOut` where the log records no path.
    """
    reading, tally, _ = one_pass(asking, window)
    require_requests(reading, tally)
    rows = [
        (rule, path, int(status or 0), seen.count, seen.first[:19], seen.last[:19])
        for (rule, path, status), seen in tally.suspicious.items()
    ]
    columns = ["rule", "path", "status", "count", "first", "last"]
    frame = pd.DataFrame(rows, columns=columns).sort_values(["count", "path"], ascending=[False, True])
    note = asking.connection(LogsConnection).grep(r"\(DROP\|DELETE\|INSERT\|UPDATE\).*--")
    frame.attrs = {"partly": partly_recorded(tally), "requests": tally.requests, "note": note}
    return frame


def check(frame: pd.DataFrame, *, warning: float = 0, critical: float = 200) -> list[Finding]:
    """Judge the number of suspicious requests by rule; one that was answered 5xx is CRITICAL.

    Anything public is scanned every day, and what is answered 404 did no harm; an injection that makes the server fail
    has reached something.
    """
    if frame.empty:
        message = f"none among {frame.attrs['requests']:,} requests{frame.attrs['partly']}"
        finding = at_most("requests", 0.0, warning, critical, unit="requests", message=message)
        return beside(frame.attrs["note"], [finding])
    findings = []
    for rule, rows in frame.groupby("rule"):
        count = int(rows["count"].sum())
        # What reached something first: failed, then answered, then refused.
        worst = rows.assign(rank=rows["status"].map(_rank)).sort_values(["rank", "count"], ascending=False).iloc[0]
        by_status = rows.groupby("status")["count"].sum()
        answers = ", ".join(f"{n:,} × {status or 'no status'}" for status, n in by_status.items())
        message = f"{counted(count, 'request')}, answered {answers}; such as {worst['path'][:100]} ({worst['status']})"
        finding = at_most(str(rule), float(count), warning, critical, unit="requests", message=message)
        if worst["status"] >= 500:
            finding = Finding(
                object=str(rule),
                status=Status.CRITICAL,
                message=f"made the service fail: {message}",
                value=float(count),
                unit="requests",
            )
        findings.append(finding)
    return beside(frame.attrs["note"], findings)


def _rank(status: int) -> int:
    return 2 if status >= 500 else 1 if 0 < status < 400 else 0


suspicious_requests = Question(
    name="logs.suspicious_requests",
    title="Does somebody probe the service?",
    probe=probe,
    check=check,
    source="the paths of the window, URL-decoded, by the rules of runbook.logfiles.suspicious",
    needs=(LogsConnection,),
    deadline=DEADLINE,
    next="block the sender at the proxy; what was answered 2xx or 5xx: see at once what it reached; P0 if it did",
)

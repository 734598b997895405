"""Does the service measure what its clients feel?"""

import pandas as pd

from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status
from runbook.performance.driving import NONE_ANSWERED, require_load

NAME = "performance.views"


def probe(asking: Asking, *, load: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return a row for each rate of a load (the frame of `performance.load`): rate, requests, server_requests, and p50
    and p99 as the client and as the service's log has them (ms), over the same time.
    """
    load = require_load(asking, load)
    if load.attrs.get("no_log"):
        raise CouldNotFindOut(f"the service's own view is not known: {load.attrs['no_log']}")
    columns = ["rate", "requests", "answered", "interrupted", "p50_ms", "p99_ms"]
    columns += ["server_requests", "server_p50_ms", "server_p99_ms"]
    frame = load[columns].copy()
    frame.attrs = {"path": load.attrs.get("path", "")}
    return frame


def check(frame: pd.DataFrame, *, times: float = 3, least_ms: float = 200, missing: float = 20) -> list[Finding]:
    """Judge at each rate whether the service's own median is that of its clients: a WARNING where these wait ``times``
    as long, and ``least_ms`` more. That time is spent before the service begins its clock: in its queue, in a proxy, on
    the network. So is a log that lacks more than ``missing`` % of what was answered.
    """
    known = frame[frame["server_requests"] > 0]
    if known.empty:
        message = "the service's log has none of these requests: its own view is not known"
        return [Finding(object=frame.attrs["path"], status=Status.UNKNOWN, message=message)]
    findings = []
    for row in known.to_dict("records"):
        both = (
            f"clients p50 {row['p50_ms']:,.0f} ms, p99 {row['p99_ms']:,.0f} ms; the service's log "
            f"{row['server_p50_ms']:,.0f} and {row['server_p99_ms']:,.0f} ms"
        )
        waits = row["p50_ms"] - row["server_p50_ms"]
        status, message, after = Status.OK, both, ""
        if row["p50_ms"] > times * row["server_p50_ms"] and waits > least_ms:
            status = Status.WARNING
            message = f"{waits:,.0f} ms of the median are no part of what the service measures: {both}"
            after = (
                "requests wait before it takes them up: its processes are too busy or too few, or a proxy holds them"
            )
        findings.append(
            Finding(object=f"{row['rate']:g}/s", status=status, message=message, value=round(waits, 1), unit="ms",
                    threshold=least_ms, next=after)
        )  # fmt: skip
    whole = known[~known["interrupted"]]
    answered, logged = float(whole["answered"].sum()), float(whole["server_requests"].sum())
    if logged < (1 - missing / 100) * answered:
        message = f"the service's log has {logged:,.0f} of the {answered:,.0f} requests that were answered"
        after = "see whether it logs each request, and all its processes into the files of the profile (logs.api)"
        findings.append(
            Finding(object="logged requests", status=Status.WARNING, message=message, value=logged, next=after)
        )
    return findings


views = Question(
    name=NAME,
    title="Does the service measure what its clients feel?",
    probe=probe,
    check=check,
    source="duration_ms of the service's log, of the same path in the time of the load",
    caused_by=dict.fromkeys(("performance.load", "performance.time_spent"), (NONE_ANSWERED,)),
    next="requests wait before the service begins its clock: see its processes, and what stands before it",
)

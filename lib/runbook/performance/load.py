"""How fast is the service under load, and up to which rate does it keep up?"""

from collections.abc import Sequence
from typing import Any

import msgspec
import pandas as pd

from runbook.connections import ApiConnection, LoadGenerator, PostgresConnection
from runbook.model import Asking, CouldNotFindOut, DoesNotApply, Finding, NotPlanned, Question, Status, at_most
from runbook.model.text import to_run
from runbook.model.units import counted
from runbook.performance.driving import NO_LOAD, drive, loads, needs_plan, rate_limit, url_of, within_limits

NAME = "performance.load"
COMMAND = "h2load --h1 -n COUNT -c COUNT -r 1 --rate-period PERIOD --log-file FILE {api}PATH   # one for each rate"
# Fewer are no percentile of 99 in 100: it is then the slowest of a handful.
_FEW = 100


def probe(
    asking: Asking, *, path: str = "", highest: float = 50.0, seconds: float = 1.5, slow_ms: float = 2000.0,
    failed: float = 5.0,
) -> pd.DataFrame:  # fmt: skip
    """Return a row for each rate that the service was asked at, as `runbook.performance.driving.COLUMNS` name it: of a
    practice stack now; of any other target what a confirmed plan of this run has measured.

    Requests go out by a schedule, whether or not the former ones were answered, and are measured from when they were
    due. It stops where p99 is above ``slow_ms`` or more than ``failed`` % fail. Raises `DoesNotApply` where the
    target's profile wants a plan and none was carried out.
    """
    generator = asking.connection(LoadGenerator)
    if needs_plan(asking):
        if generator.kept is None:
            raise DoesNotApply(NO_LOAD)
        kept: pd.DataFrame = generator.kept
        return kept
    steps, bounds = loads(highest, seconds, slow_ms, failed)
    url = url_of(asking, path)
    try:
        within_limits(steps, asking.target.load.most_rate, _told_limit(asking))
    except NotPlanned as reason:
        raise CouldNotFindOut(str(reason)) from reason
    return drive(asking, url, steps, bounds)


def _told_limit(asking: Asking) -> float | None:
    try:
        return rate_limit(asking)
    except CouldNotFindOut:
        return None  # a service that does not answer is what the load itself shows


def check(
    frame: pd.DataFrame,
    *,
    warning_ms: float = 2000,
    critical_ms: float = 5000,
    keeps: float = 20,
    keeps_critical: float = 5,
    late_ms: float = 250,
) -> list[Finding]:
    """Judge p99 at the lowest rate, where nothing waits for anything (2 s is the runbook's own limit), and the highest
    rate that was kept: WARNING below ``keeps`` requests/s, CRITICAL below ``keeps_critical``, if it was found.

    That one is where p99 and the failed requests are still within the bounds of the load. A load that was interrupted
    is UNKNOWN, whatever it found until then. The generator itself may be late by ``late_ms``.
    """
    rows: list[dict[Any, Any]] = frame.to_dict("records")
    told = _cut_short(rows)
    for row in rows:
        if row["refused_429"] > 0.05 * row["requests"]:
            return [*told, _limited(row)]
    if rows and rows[0]["denied"] > 0.5 * rows[0]["requests"]:
        return [*told, _denied(rows[0], frame.attrs["path"])]
    if not sum(row["answered"] for row in rows):
        return [*told, _silent(rows)]
    findings = [*told, _lowest(rows[0], warning_ms, critical_ms), _knee(rows, keeps, keeps_critical)]
    late = max(rows, key=lambda row: row["late_ms"])
    if late["late_ms"] > late_ms:
        message = (
            f"the generator itself was late by {late['late_ms']:.0f} ms at {late['rate']:g}/s, which counts as the "
            "service's time"
        )
        after = "run it from a machine that is not busy, and not the service's own"
        findings.append(
            Finding(object="generator", status=Status.WARNING, message=message, value=late["late_ms"],
                    threshold=late_ms, unit="ms", next=after)
        )  # fmt: skip
    return findings


def _cut_short(rows: Sequence[dict[Any, Any]]) -> list[Finding]:
    row = next((row for row in rows if row["interrupted"]), None)
    if row is None:
        return []
    message = (
        f"PARTIAL: {row['stopped']} at {row['rate']:g}/s, after {counted(row['answered'], 'answer')}; what is told "
        "here is of these and of the lower rates"
    )
    after = "run it again for the whole"
    return [Finding(object="load", status=Status.UNKNOWN, message=message, value="partial", next=after)]


def _limited(row: dict[Any, Any]) -> Finding:
    message = (
        f"{row['refused_429']} of {row['requests']} requests at {row['rate']:g}/s were refused by the rate limit "
        "(429): that a refusal is quick says nothing of the service"
    )
    after = "ask for a lower `highest` or fewer `seconds`, or exempt this address from the limit for the time"
    return Finding(object="rate limit", status=Status.UNKNOWN, message=message, value=row["refused_429"], next=after)


def _denied(row: dict[Any, Any], path: str) -> Finding:
    message = (
        f"{row['denied']} of {row['requests']} requests were answered 3xx or 4xx: what was measured is no work of the "
        "service. The load is sent without a token, and h2load takes headers from its command line only, where every "
        "user of the machine reads them"
    )
    after = "name a `path` that is there and needs no token (load.path of the profile)"
    return Finding(object=path, status=Status.UNKNOWN, message=message, value=row["denied"], next=after)


def _silent(rows: Sequence[dict[Any, Any]]) -> Finding:
    count, refused = sum(row["requests"] for row in rows), sum(row["unconnected"] for row in rows)
    how = f", {refused} of them found no connection" if refused else ""
    waited = max((row["longest_ms"] for row in rows if row["longest_ms"] == row["longest_ms"]), default=0.0)
    message = f"none of {counted(count, 'request')} was answered within {waited / 1000:.1f} s{how}"
    after = (
        f"performance.time_spent tells what keeps it from that; where it answers nothing at all: {to_run('api-down')}"
    )
    status = Status.UNKNOWN if any(row["interrupted"] for row in rows) else Status.CRITICAL
    return Finding(object="answers", status=status, message=message, value=0, unit="answers", next=after)


def _lowest(row: dict[Any, Any], warning_ms: float, critical_ms: float) -> Finding:
    what = "p99" if row["requests"] >= _FEW else f"the slowest of {counted(row['requests'], 'request')}"
    least = "" if row["known"] else " or more: not all were answered"
    message = f"at {row['rate']:g}/s: p50 {row['p50_ms']:,.0f} ms, {what} {row['p99_ms']:,.0f} ms{least}"
    finding = at_most("latency", round(row["p99_ms"], 1), warning_ms, critical_ms, unit="ms", message=message)
    after = "performance.time_spent tells where the time goes"
    return finding if finding.status is Status.OK else msgspec.structs.replace(finding, next=after)


def _knee(rows: Sequence[dict[Any, Any]], keeps: float, keeps_critical: float) -> Finding:
    kept = [row for row in rows if not row["stopped"]]
    best = kept[-1] if kept else None
    within = (
        f"{best['rate']:g}/s (p50 {best['p50_ms']:,.0f} ms, p99 {best['p99_ms']:,.0f} ms)" if best else "no rate at all"
    )
    rate = float(best["rate"]) if best else 0.0
    stopped = next((row for row in rows if row["stopped"] and not row["interrupted"]), None)
    if stopped is None:
        message = f"it keeps up to {within}, the highest that was asked"
        return Finding(object="rate", status=Status.OK, message=message, value=rate, threshold=keeps, unit="requests/s")
    status = Status.OK if rate >= keeps else Status.WARNING if rate >= keeps_critical else Status.CRITICAL
    message = (
        f"it keeps {'up to ' if best else ''}{within}; at {stopped['rate']:g}/s {stopped['stopped']}: stopped there"
    )
    limit = keeps if status is not Status.CRITICAL else keeps_critical
    after = f"what is busy is told by performance.time_spent; more of it: {to_run('horizontal-scaling')}"
    if best is None:
        after = "it is slow without any load: performance.time_spent tells where the time goes"
    finding = Finding(object="rate", status=status, message=message, value=rate, threshold=limit, unit="requests/s")
    return finding if status is Status.OK else msgspec.structs.replace(finding, next=after)


load = Question(
    name=NAME,
    title="How fast is the service under load, and up to which rate does it keep up?",
    probe=probe,
    check=check,
    source=COMMAND,
    needs=(LoadGenerator, ApiConnection, PostgresConnection),
    deadline=110.0,
    next="performance.time_spent tells where the time goes",
    explained_by={"api.liveness": "the service does not answer"},
    caused_by={"performance.time_spent": ("at ", "was answered within")},
)

"""Did the service hold what it is to hold over the month, and how much of its error budget is gone?"""

import msgspec
import pandas as pd

from runbook.connections import PrometheusConnection
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable, at_least, at_most
from runbook.model.text import to_run
from runbook.reports.course import (
    DEADLINE,
    EXPLAINED_BY,
    FAILED,
    P95,
    REQUESTS,
    SCRAPED,
    SHARE,
    covered,
    days_of,
    hours_of,
    reason_of,
)
from runbook.reports.course import FIGURES as COURSE
from runbook.reports.month import HOUR, expression, month

SECONDS = 20.0


def probe(asking: Asking, *, days: float = 30.0) -> pd.DataFrame:
    """Return the hours of the month as `reports.course` does; attrs ``p95_ms`` is that of all requests of the month
    together (NaN where it is not told, with the reason in ``p95_reason``).
    """
    frame = month(asking, COURSE, days, HOUR)
    frame.attrs |= {"p95_ms": float("nan"), "p95_reason": reason_of(frame, P95.name)}
    if not frame.attrs["p95_reason"]:
        query = expression(P95.query, asking.target, f"{24 * days:.0f}h")
        frame.attrs["source"] += f"\n{query}"
        try:
            connection = asking.connection(PrometheusConnection)
            result = connection.instant(query, pd.Timestamp(frame.attrs["end"]).to_pydatetime(), SECONDS)
            frame.attrs["p95_ms"] = result.series[0].values[-1] if result.series else float("nan")
        except Unreachable:
            raise
        except CouldNotFindOut as reason:
            frame.attrs["p95_reason"] = str(reason)
    return frame


def check(
    frame: pd.DataFrame,
    *,
    availability: float = 99.5,
    p95_ms: float = 2000,
    p95_ms_worst: float = 5000,
    warning_spent: float = 75,
    critical_spent: float = 100,
    least_days: float = 7,
) -> list[Finding]:
    """Judge the month by its objectives: ``availability`` % of the requests are not answered with 5xx, and 95 of 100
    within ``p95_ms``.

    99.5% is the objective that the alerts on the error budget are made with; two seconds is the runbook's own limit
    (HighResponseTime), and five are the P1 of slow answers (``p95_ms_worst``). The budget is what may fail within the
    objective: it is WARNING above ``warning_spent`` % of it, when one more bad day ends it, and CRITICAL above
    ``critical_spent`` %. Of fewer than ``least_days`` a month's budget is not told, unless it is gone already. Requests
    that never reached the service are in no count: the share of time in which it could be scraped stands beside it.
    """
    return [*_budget(frame, availability, warning_spent, critical_spent, least_days),
            _response(frame, p95_ms, p95_ms_worst), _reached(frame, availability)]  # fmt: skip


def _budget(frame: pd.DataFrame, objective: float, warning: float, critical: float, least: float) -> list[Finding]:
    reason = reason_of(frame, SHARE)
    if reason:
        return [Finding(object="error budget", status=Status.UNKNOWN, message=f"not told: {reason}", unit="%")]
    requests, failed = (float(hours_of(frame, one.name).sum()) for one in (REQUESTS, FAILED))
    share = 100 * (1 - failed / requests)
    allowed = requests * (100 - objective) / 100
    spent = 100 * failed / allowed if allowed else float("inf") if failed >= 0.5 else 0.0
    days = covered(frame)
    message = (
        f"{spent:.0f}% of the budget is spent: {share:.3f}% of {requests:,.0f} requests were not 5xx, the objective is "
        f"{objective:g}%; {failed:,.0f} failed of {allowed:,.0f} that may, in {days:.1f} days"
    )
    if failed >= 0.5:
        hours = hours_of(frame, FAILED.name)
        by_day = hours.groupby(pd.DatetimeIndex(hours.index).floor("D")).sum()
        message += f"; most on {by_day.idxmax():%Y-%m-%d}: {100 * float(by_day.max()) / failed:.0f}% of them"
    finding = at_most("error budget", round(spent, 1), warning, critical, unit="%", message=message)
    if days < least and finding.status is Status.OK:
        told = f"too early to tell: {message}, and {least:g} days are needed"
        return [Finding(object="error budget", status=Status.UNKNOWN, message=told, value=round(spent, 1), unit="%")]
    return [finding]


def _response(frame: pd.DataFrame, most: float, worst: float) -> Finding:
    value, reason = frame.attrs["p95_ms"], frame.attrs["p95_reason"]
    if reason or pd.isna(value):
        why = reason or "Prometheus has no request in it"
        return Finding(object=P95.name, status=Status.UNKNOWN, message=f"not told: {why}", unit="ms")
    days = days_of(frame, P95.name)
    over = days[days > most]
    message = f"95 of 100 requests of the month were answered within {value:,.0f} ms, the objective is {most:,.0f} ms"
    message += f"; {len(over)} of {len(days)} days were slower" + (
        f", last {over.index[-1]:%Y-%m-%d}" if len(over) else ""
    )
    return at_most(P95.name, round(float(value), 1), most, worst, unit="ms", message=message)


def _reached(frame: pd.DataFrame, objective: float) -> Finding:
    reason = reason_of(frame, SCRAPED.name)
    if reason:
        return Finding(object=SCRAPED.name, status=Status.UNKNOWN, message=f"not told: {reason}", unit="%")
    hours = hours_of(frame, SCRAPED.name)
    share = float(hours.mean())
    message = f"{share:.3f}% of the scrapes of {len(hours)} hours reached the service"
    down = hours[hours < 50]
    message += f"; in {len(down)} hours it was down for longer than half of them" if len(down) else ""
    after = f"see when and why: {to_run('api-down')}"
    finding = at_least(SCRAPED.name, round(share, 3), objective, 0, unit="%", message=message)
    return finding if finding.status is Status.OK else msgspec.structs.replace(finding, next=after)


objectives = Question(
    name="reports.objectives",
    title="Did the service hold its objectives, and how much of the error budget is gone?",
    probe=probe,
    check=check,
    source="lib/runbook/reports/promql/failed.promql, requests.promql, response_time.promql, scraped.promql",
    needs=(PrometheusConnection,),
    deadline=DEADLINE,
    next=f"put reliability before features until it recovers; see what failed most: {to_run('high-error-rate')}",
    explained_by=EXPLAINED_BY,
)

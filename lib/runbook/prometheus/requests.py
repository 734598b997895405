"""How many requests come, how fast are they answered, how many of them fail, and can people log in?"""

import msgspec
import pandas as pd

from runbook.connections import PrometheusConnection
from runbook.model import Asking, Finding, Question, Status, at_least, at_most
from runbook.model.text import to_run
from runbook.model.units import counted
from runbook.prometheus import figures
from runbook.prometheus.elsewhere import APART_SECONDS, EXPOSED, LOG_MINUTES, LOGGED
from runbook.prometheus.explanations import EXPLAINED_BY
from runbook.prometheus.reading import DEADLINE, frame_of_figures
from runbook.prometheus.seen import Seen, compared, fine, number, seen, told, unknown, with_sources
from runbook.prometheus.window import Window

NO_REQUEST = "no request, so that there is nothing to tell"
NO_LOGIN = "no log-in was tried"


def probe_rate(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return the request rate of a window (requests/min), as `frame_of_figures` does."""
    return frame_of_figures(asking, figures.REQUEST_RATE, window)


def check_rate(frame: pd.DataFrame, *, gone: float = 20, least: float = 10, times: float = 5) -> list[Finding]:
    """Judge the requests a minute against the same time a day and a week before.

    How many are usual differs by deployment, hour and weekday, so there is no limit. It is a WARNING where less than
    ``gone`` % of the lesser of the two is left, and that was ``least`` or more: users do not reach the service. So is
    ``times`` as many as both.
    """
    findings = unknown(frame, ["requests"])
    for one in filter(_known, seen(frame, "requests")):
        finding = compared(fine(one, "no request"), one, times, least)
        before = [value for value in (one.day, one.week) if not pd.isna(value)]
        if before and min(before) >= least and one.there and one.value < gone / 100 * min(before):
            left = f"only {number(100 * one.value / min(before))}% of the requests of before are left"
            after = f"see whether users reach the service at all: {to_run('api-down')}"
            finding = msgspec.structs.replace(
                finding, status=Status.WARNING, message=f"{left}: {finding.message}", next=after
            )
        findings.append(finding)
    return with_sources(frame, findings)


def probe_time(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return p50, p95 and p99 of a window (ms), the share beyond the last bucket (%) and the request rate, as
    `frame_of_figures` does.
    """
    return frame_of_figures(asking, (*figures.RESPONSE_TIME, *figures.REQUEST_RATE), window)


def check_time(
    frame: pd.DataFrame,
    *,
    warning_ms: float = 2000,
    critical_ms: float = 5000,
    few: float = 20,
    times: float = 3,
    least_ms: float = 200,
) -> list[Finding]:
    """Judge p95 (ms): two seconds is the runbook's own limit (HighResponseTime); p50 and p99 are told.

    Of fewer than ``few`` requests p95 is the slowest of a handful: then it is a WARNING at most. It is a WARNING, too,
    where it is ``times`` what it was a day and a week before, and ``least_ms`` more. Where more than 5% of the requests
    are beyond the last bucket p95 is told as its edge, and is really higher.
    """
    findings = unknown(frame, ["p50", "p95", "p99"])
    beyond = {one.source: one.value for one in seen(frame, "beyond the last bucket") if one.there}
    requests = _requests(frame)
    for share in (95, 50, 99):
        for one in filter(_known, seen(frame, f"p{share}")):
            finding = fine(one, NO_REQUEST, warning_ms if share == 95 else None)
            if share == 95 and one.there:
                finding = at_most(one.name, one.value, warning_ms, critical_ms, unit="ms", message=told(one))
                count = requests.get(one.source)
                if finding.status is Status.CRITICAL and count is not None and count < few:
                    finding = msgspec.structs.replace(
                        finding, status=Status.WARNING, message=f"of only {count:.0f} requests: {finding.message}"
                    )
                finding = compared(finding, one, times, least_ms)
            outside = beyond.get(one.source, 0.0)
            if outside > 100 - share:
                more = f"{number(outside)}% of the requests take longer than the last bucket tells: really higher"
                finding = msgspec.structs.replace(finding, message=f"{finding.message}; {more}")
            findings.append(finding)
    return with_sources(frame, findings)


def probe_errors(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return the shares of 4xx and 5xx of a window (%) and the request rate, as `frame_of_figures` does."""
    return frame_of_figures(asking, (*figures.ERRORS, *figures.REQUEST_RATE), window)


def check_errors(
    frame: pd.DataFrame,
    *,
    warning: float = 1,
    critical: float = 10,
    few: float = 5,
    warning_4xx: float = 25,
    critical_4xx: float = float("inf"),
    times: float = 3,
    least: float = 5,
) -> list[Finding]:
    """Judge the share of 5xx (%): above 10% is the runbook's own P1, 1% is where users begin to notice.

    No more than ``few`` failed requests within the window of the rate are no share: a WARNING where they are above
    ``critical`` %, else OK. A 4xx is the client's mistake; a quarter of all is a client gone wrong, an attack or a
    broken release, and so is ``times`` what it was a day and a week before, where that is ``least`` points more.
    """
    findings = unknown(frame, ["5xx", "4xx"])
    requests = _requests(frame)
    for one in filter(_known, seen(frame, "5xx")):
        if not one.there:
            findings.append(fine(one, NO_REQUEST, warning))
            continue
        finding = at_most(one.name, one.value, warning, critical, unit="%", message=told(one))
        count = requests.get(one.source)
        failed = one.value / 100 * count if count is not None else None
        if failed is not None and finding.status is not Status.OK and failed <= few:
            status = Status.WARNING if finding.status is Status.CRITICAL else Status.OK
            small = f"only {failed:.0f} of {count:.0f} requests just then, too few for a share"
            finding = msgspec.structs.replace(finding, status=status, message=f"{small}: {finding.message}")
        findings.append(finding)
    for one in filter(_known, seen(frame, "4xx")):
        finding = fine(one, NO_REQUEST, warning_4xx)
        if one.there:
            judged = at_most(one.name, one.value, warning_4xx, critical_4xx, unit="%", message=told(one))
            finding = compared(judged, one, times, least)
            after = f"see which paths and who: {to_run('daily-security-checks')}"
            finding = msgspec.structs.replace(finding, next="" if finding.status is Status.OK else after)
        findings.append(finding)
    return with_sources(frame, findings)


def probe_logins(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return the share of log-ins that succeed (%, over an hour) and their number, as `frame_of_figures` does."""
    return frame_of_figures(asking, figures.LOGINS, window)


def check_logins(
    frame: pd.DataFrame, *, least: float = 80, least_critical: float = 50, few: float = 10
) -> list[Finding]:
    """Judge how many of the log-ins succeed (%), where there were ``few`` or more in the hour.

    People mistype one password in ten or so. Where a fifth fail somebody guesses, or a client has an old password;
    where half fail the log-in itself may be broken.
    """
    findings = unknown(frame, ["log-ins that succeed"])
    counts = {one.source: one.value for one in seen(frame, "log-ins") if one.there}
    for one in filter(_known, seen(frame, "log-ins that succeed")):
        count = counts.get(one.source)
        if not one.there or count is None:
            findings.append(fine(one, NO_LOGIN, least))
            continue
        message = (
            f"{told(one)}; of {counted(round(count), 'log-in')}{' in the hour' if one.source == 'prometheus' else ''}"
        )
        finding = at_least(one.name, one.value, least, least_critical, unit="%", message=message)
        if count < few:
            small = f"{message}, too few to judge"
            finding = msgspec.structs.replace(finding, status=Status.OK, message=small)
        findings.append(finding)
    return with_sources(frame, findings)


def _known(one: Seen) -> bool:
    return one.known


def _requests(frame: pd.DataFrame) -> dict[str, float]:
    """Return how many requests the figures at the end of the window are made of, by source."""
    minutes = {"prometheus": frame.attrs["minutes"], EXPOSED: APART_SECONDS / 60, LOGGED: LOG_MINUTES}
    return {one.source: one.value * minutes[one.source] for one in seen(frame, "requests") if one.there}


request_rate = Question(
    name="prometheus.request_rate",
    title="How many requests come?",
    probe=probe_rate,
    check=check_rate,
    source="lib/runbook/prometheus/promql/request_rate.promql",
    needs=(PrometheusConnection,),
    deadline=DEADLINE,
    next="compare with releases, campaigns and batch jobs of that time; see who sends so many",
    explained_by=EXPLAINED_BY,
)

response_time = Question(
    name="prometheus.response_time",
    title="How long do requests take?",
    probe=probe_time,
    check=check_time,
    source="lib/runbook/prometheus/promql/response_time.promql",
    needs=(PrometheusConnection,),
    deadline=DEADLINE,
    next=f"see whether the database is what they wait for: {to_run('query-performance')}",
    explained_by=EXPLAINED_BY,
)

error_share = Question(
    name="prometheus.error_share",
    title="How many requests are answered with an error?",
    probe=probe_errors,
    check=check_errors,
    source="lib/runbook/prometheus/promql/share_5xx.promql",
    needs=(PrometheusConnection,),
    deadline=DEADLINE,
    next=f"see what the errors are and since when: {to_run('high-error-rate')}",
    explained_by=EXPLAINED_BY,
)

login_success = Question(
    name="prometheus.login_success",
    title="Can people log in?",
    probe=probe_logins,
    check=check_logins,
    source="lib/runbook/prometheus/promql/login_success.promql",
    needs=(PrometheusConnection,),
    deadline=DEADLINE,
    next=f"see whether somebody guesses passwords: {to_run('daily-security-checks')}; else try one yourself",
    explained_by=EXPLAINED_BY,
)

__all__ = ["error_share", "login_success", "request_rate", "response_time"]

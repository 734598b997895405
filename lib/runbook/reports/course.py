"""How did the month go: requests, errors, response time, database and queue, by the hour."""

from collections.abc import Iterator

import pandas as pd

from runbook.connections import PrometheusConnection
from runbook.model import Asking, Finding, Question, Status
from runbook.model.text import to_run
from runbook.model.units import quantity
from runbook.reports.month import HOUR, Figure, month

EXPLAINED_BY = {"prometheus.scraping": "Prometheus itself is down: there are no figures and no alerts"}
DEADLINE = 60.0
REQUESTS = Figure("requests", "requests", "requests/h")
FAILED = Figure("failed requests", "failed", "requests/h")
P95 = Figure("response time (p95)", "response_time", "ms")
SCRAPED = Figure("time scraped", "scraped", "%")
DATABASE = Figure("database time", "database_time", "ms")
QUEUE = Figure("queue", "queue", "items")
FIGURES = (REQUESTS, FAILED, P95, SCRAPED, DATABASE, QUEUE)
SHARE = "error share"
WHOLE_DAY = 20  # hours
# What is told of the month, with its unit.
TOLD = {REQUESTS.name: REQUESTS.unit, SHARE: "%", P95.name: "ms", DATABASE.name: "ms", QUEUE.name: "items"}


def probe(asking: Asking, *, days: float = 30.0) -> pd.DataFrame:
    """Return the figures of the last days by the hour, as `runbook.reports.month.month` does: requests, failed
    requests (5xx), response time (p95), time scraped, database time, queue.
    """
    return month(asking, FIGURES, days, HOUR)


def hours_of(frame: pd.DataFrame, figure: str) -> "pd.Series[float]":
    """Return the values of a figure by the hour, in the order of time; those of the error share are made of two."""
    if figure == SHARE:
        requests, failed = hours_of(frame, REQUESTS.name), hours_of(frame, FAILED.name)
        both = pd.DataFrame({"requests": requests, "failed": failed}).dropna()
        both = both[both["requests"] > 0]
        return (100 * both["failed"] / both["requests"]).clip(upper=100)
    rows = frame[(frame["figure"] == figure) & frame["time"].notna()]
    return rows.set_index("time")["value"].sort_index()


def days_of(frame: pd.DataFrame, figure: str) -> "pd.Series[float]":
    """Return a figure by the day (UTC): its median hour, and of the error share that of all requests of the day.

    A day of which many hours are missing, such as today, is none: its night or its noon would stand for all of it.
    """
    if figure == SHARE:
        requests, failed = (_by_day(hours_of(frame, one.name)) for one in (REQUESTS, FAILED))
        share = 100 * failed.sum() / requests.sum().where(lambda count: count > 0)
        return share[requests.count() >= WHOLE_DAY].dropna().clip(upper=100)
    days = _by_day(hours_of(frame, figure))
    told = days.count()
    if figure == P95.name:  # an hour without a request has no response time, and none is missing
        asked = _by_day(hours_of(frame, REQUESTS.name)).count()
        told = told.combine(asked.reindex(told.index, fill_value=0), max)
    return days.median()[told >= WHOLE_DAY]


def _by_day(hours: "pd.Series[float]") -> "pd.api.typing.SeriesGroupBy[float, pd.Timestamp]":
    return hours.groupby(pd.DatetimeIndex(hours.index).floor("D"))


def reason_of(frame: pd.DataFrame, figure: str) -> str:
    """Return why a figure is not told; "" where it is."""
    parts = (REQUESTS.name, FAILED.name) if figure == SHARE else (figure,)
    reasons = frame[frame["figure"].isin(parts) & frame["time"].isna()]["reason"]
    if len(reasons):
        return str(reasons.iloc[0])
    return "" if len(hours_of(frame, figure)) else "there was no request in all of this time"


def covered(frame: pd.DataFrame) -> float:
    """Return how many days lie between the oldest value and the end."""
    since = frame.attrs["since"]
    return (pd.Timestamp(frame.attrs["end"]) - pd.Timestamp(since)).total_seconds() / 86400 if since else 0.0


def check(frame: pd.DataFrame, *, least_days: float = 7) -> list[Finding]:
    """Tell each figure of the month: its median, its worst day, and the last week beside those before; none is judged
    here, which is what the objectives and the steps are for.

    A figure that is missing is UNKNOWN, and so is the month where there are fewer than ``least_days`` of it: a week has
    each hour of the day and each day of the week once.
    """
    findings = list(_figures(frame))
    days, asked = covered(frame), frame.attrs["days"]
    if not frame.attrs["since"]:
        return findings
    since = f"{pd.Timestamp(frame.attrs['since']):%Y-%m-%d %H:%M} UTC"
    # An hour or two may be missing at the beginning: that is no part of a month.
    whole = days > asked - 0.5
    message = f"all of the {asked:g} days are told" if whole else f"only {days:.1f} of {asked:g} days: since {since}"
    status = Status.OK if days >= least_days else Status.UNKNOWN
    after = "keep samples for longer (--storage.tsdb.retention.time); the archived runs below reach farther back"
    findings.append(
        Finding(object="history", status=status, message=message, value=round(days, 1), threshold=least_days,
                unit="days", next="" if status is Status.OK else after)
    )  # fmt: skip
    return findings


def _figures(frame: pd.DataFrame) -> Iterator[Finding]:
    for figure, unit in TOLD.items():
        reason = reason_of(frame, figure)
        if reason:
            yield Finding(object=figure, status=Status.UNKNOWN, message=reason)
            continue
        days = days_of(frame, figure)
        if days.empty:
            message = "no day is told whole yet: see the plot for its hours"
            yield Finding(object=figure, status=Status.UNKNOWN, message=message)
            continue
        middle = float(days.median())
        worst = pd.Timestamp(str(days.idxmin() if figure == REQUESTS.name else days.idxmax()))
        message = f"median day {quantity(_rounded(middle), unit)}"
        message += f"; worst day {worst:%Y-%m-%d} with {quantity(_rounded(float(days[worst])), unit)}"
        if len(days) > 10:
            week, before = float(days.iloc[-7:].median()), float(days.iloc[:-7].median())
            message += f"; last week {quantity(_rounded(week), unit)}, before {quantity(_rounded(before), unit)}"
        yield Finding(object=figure, status=Status.OK, message=message, value=_rounded(middle), unit=unit)


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


course = Question(
    name="reports.course",
    title="How did the month go?",
    probe=probe,
    check=check,
    source="lib/runbook/reports/promql: requests, failed, response_time, database_time and queue.promql",
    needs=(PrometheusConnection,),
    deadline=DEADLINE,
    next=f"see which figures Prometheus has at all, and where else they stand: {to_run('key-metrics')}",
    explained_by=EXPLAINED_BY,
)

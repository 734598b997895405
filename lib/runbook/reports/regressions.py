"""What became lastingly worse in the month, and when?"""

import pandas as pd

from runbook.connections import PrometheusConnection
from runbook.model import Asking, Finding, Question, Status
from runbook.model.text import to_run
from runbook.model.units import quantity
from runbook.reports.course import (
    DATABASE,
    DEADLINE,
    EXPLAINED_BY,
    FIGURES,
    P95,
    QUEUE,
    REQUESTS,
    SHARE,
    TOLD,
    days_of,
    hours_of,
    reason_of,
)  # fmt: skip
from runbook.reports.month import HOUR, month
from runbook.reports.steps import LEAST_DAYS, find_step

COLUMNS = ["figure", "unit", "days", "earliest", "latest", "before", "after", "percent", "days_after", "reason"]
# What of each figure matters at least: half of next to nothing more is still next to nothing.
FLOORS = {REQUESTS.name: 10.0, SHARE: 0.1, P95.name: 20.0, DATABASE.name: 0.5, QUEUE.name: 5.0}
_MISSING = f"see why it is not there, and where else it stands: {to_run('key-metrics')}"
_SHORT = "keep samples for longer (--storage.tsdb.retention.time), or wait: a week is enough"
_LESS_IS_WORSE = REQUESTS.name


def probe(asking: Asking, *, days: float = 30.0) -> pd.DataFrame:
    """Return a row for each figure: figure, unit, days (that are told), earliest and latest (UTC, between which the
    clearest lasting step was; NaT: there is none), before and after (medians), percent (by which it rose), days_after,
    reason (why the figure is not told).
    """
    told = month(asking, FIGURES, days, HOUR)
    rows = []
    for figure, unit in TOLD.items():
        row: dict[str, object] = {"figure": figure, "unit": unit, "days": 0, "reason": reason_of(told, figure)}
        if not row["reason"]:
            daily = days_of(told, figure)
            step = find_step(hours_of(told, figure), daily, FLOORS[figure])
            row["days"] = len(daily)
            if step is not None:
                row |= {"earliest": step.earliest, "latest": step.latest, "before": step.before, "after": step.after}
                floor = FLOORS[figure]
                row |= {"percent": 100 * ((step.after + floor) / (step.before + floor) - 1), "days_after": step.days[1]}
        rows.append(row)
    frame = pd.DataFrame(rows, columns=COLUMNS)
    for column in ("earliest", "latest"):
        frame[column] = pd.to_datetime(frame[column], utc=True)
    for column in ("before", "after", "percent", "days_after"):
        frame[column] = frame[column].astype("float64")
    frame.attrs = told.attrs
    return frame


def moment_of(frame: pd.DataFrame | None) -> str:
    """Return when the worst step ended (ISO, UTC), as `happened.around` takes it; "" where nothing became worse."""
    if frame is None:
        return ""
    worse = frame.assign(by=[_worse(row) for _, row in frame.iterrows()])
    worse = worse[worse["by"] > 0].sort_values("by")
    return f"{worse['latest'].iloc[-1]:%Y-%m-%dT%H:%M}" if len(worse) else ""


def _worse(row: "pd.Series[float]") -> float:
    """Return by how many percent a figure became worse; 0 where it did not. A half less is as bad as twice as much."""
    percent = float(row["percent"])
    if pd.isna(row["earliest"]) or pd.isna(percent):
        return 0.0
    if str(row["figure"]) == _LESS_IS_WORSE:
        return max(0.0, 100 * (100 / max(100 + percent, 1.0) - 1))
    return max(0.0, percent)


def check(frame: pd.DataFrame, *, percent: float = 25) -> list[Finding]:
    """Judge each figure: WARNING where it stepped to the worse by ``percent`` % or more, and stayed there.

    A quarter is more than what differs from one month to the next where nobody changed anything, and what users begin
    to notice; it is measured above what matters of a figure at all (an error share of 0.1 points, 20 ms). A step shows
    in the medians of two days and more: an incident of hours is none, and stands in the error budget. Of fewer than
    seven days nothing is told: UNKNOWN.
    """
    findings = []
    for _, row in frame.iterrows():
        figure, unit = str(row["figure"]), str(row["unit"])
        if row["reason"]:
            message = f"not told: {row['reason']}"
            findings.append(Finding(object=figure, status=Status.UNKNOWN, message=message, next=_MISSING))
        elif row["days"] < LEAST_DAYS:
            message = (
                f"{row['days']} of the {LEAST_DAYS} days that are needed are there: no step can be told from chance"
            )
            findings.append(Finding(object=figure, status=Status.UNKNOWN, message=message, next=_SHORT))
        else:
            findings.append(_judged(row, figure, unit, percent))
    return findings


def _judged(row: "pd.Series[float]", figure: str, unit: str, percent: float) -> Finding:
    if pd.isna(row["earliest"]):
        message = f"no lasting step in {row['days']} days"
        return Finding(object=figure, status=Status.OK, message=message, value=0.0, threshold=percent, unit="%")
    before, after = (quantity(float(f"{row[name]:.3g}"), unit) for name in ("before", "after"))
    earliest, latest = pd.Timestamp(row["earliest"]), pd.Timestamp(row["latest"])
    until = f"{latest:%H:%M}" if earliest.date() == latest.date() else f"{latest:%Y-%m-%d %H:%M}"
    message = f"from {before} to {after} between {earliest:%Y-%m-%d %H:%M} and {until} UTC"
    message += f", and so for the {row['days_after']:.0f} days since"
    worse = _worse(row)
    status = Status.WARNING if worse >= percent else Status.OK
    if status is Status.OK:
        message = f"no step to the worse of {percent:g}% or more; the clearest one: {message}"
    return Finding(object=figure, status=status, message=message, value=round(worse, 1), threshold=percent, unit="%")


regressions = Question(
    name="reports.regressions",
    title="What became lastingly worse, and when?",
    probe=probe,
    check=check,
    source="the medians of days of lib/runbook/reports/promql/*.promql, cut where the rest deviates least",
    needs=(PrometheusConnection,),
    deadline=DEADLINE,
    next=f"see what was changed just then (below), and compare the log of before and after: {to_run('log-analysis')}",
    explained_by=EXPLAINED_BY,
)

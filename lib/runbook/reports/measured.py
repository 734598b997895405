"""What did the archived runs themselves measure over the month? Prometheus may be silent, or have begun last week."""

import pandas as pd

from runbook.model import Asking, Finding, Question, Status, first_of
from runbook.model.text import to_run
from runbook.model.units import quantity
from runbook.reports.archived import DEADLINE, month_of, read_duckdb
from runbook.reports.steps import LEAST_DAYS, find_step

DAILY = read_duckdb("daily_measures")
SOURCE = f"runbook evidence list; the findings of all runs whose seal holds, asked with DuckDB:\n{DAILY}"
CHECKS = (
    "api.user_request", "api.error_rate", "postgres.reachable", "postgres.connection_slots", "queue.size",
    "queue.oldest_item",
)  # fmt: skip
COLUMNS = ["day", "check", "object", "unit", "value", "runs"]
# What of each unit matters at least.
FLOORS = {"ms": 20.0, "%": 0.1, "items": 5.0, "h": 1.0, "slots": 2.0}


def probe(asking: Asking, *, days: float = 30.0) -> pd.DataFrame:
    """Return a row for each day and figure that sealed runs of this target measured: day (UTC), check, object, unit,
    value (the median of that day's runs), runs.

    They are the answers of single moments, one user's request and one count of errors: no percentile of all requests.
    """
    told = month_of(days)
    frame = pd.DataFrame(columns=COLUMNS)
    if told.runs:
        frame = told.ask(DAILY, {"target": asking.target.name, "checks": list(CHECKS)})
    frame["day"] = pd.to_datetime(frame["day"], utc=True)
    frame.attrs = {"source": SOURCE, "days": float(days)}
    return frame


def check(frame: pd.DataFrame, *, percent: float = 50) -> list[Finding]:
    """Tell each figure's median day and worst day; WARNING where it rose for good by ``percent`` % or more.

    That is twice as much as for what Prometheus tells: a run a day is a sample of one. Figures of fewer than seven days
    are not told one by one: how many days there are is.
    """
    findings = []
    most = 0
    # A check may tell one object in several units: an answer in ms, or the status of one that failed.
    for (name, subject, unit), rows in frame.groupby(["check", "object", "unit"], sort=True):
        if unit not in FLOORS:
            continue
        values = rows.set_index("day")["value"].sort_index()
        most = max(most, len(values))
        if len(values) >= LEAST_DAYS:
            findings.append(_judged(f"{name}: {subject}", values, str(rows["unit"].iloc[0]), percent))
    if not findings:
        message = f"{most} of the {LEAST_DAYS} days that are needed have archived runs that measured something"
        return [Finding(object="measured", status=Status.OK, message=message, value=most, unit="days")]
    return first_of(sorted(findings, key=lambda one: one.status.severity, reverse=False), "figures", 12)


def _judged(name: str, values: "pd.Series[float]", unit: str, percent: float) -> Finding:
    floor = FLOORS.get(unit, 0.0)
    step = find_step(values, values, floor)
    middle, worst = float(values.median()), pd.Timestamp(str(values.idxmax()))
    message = f"median of {len(values)} days {quantity(_rounded(middle), unit)}"
    message += f"; worst day {worst:%Y-%m-%d} with {quantity(_rounded(float(values.max())), unit)}"
    if step is None or 100 * ((step.after + floor) / (step.before + floor) - 1) < percent:
        return Finding(object=name, status=Status.OK, message=message, value=_rounded(middle), unit=unit)
    before, after = quantity(_rounded(step.before), unit), quantity(_rounded(step.after), unit)
    message = f"from {before} to {after} between {step.earliest:%Y-%m-%d} and {step.latest:%Y-%m-%d}; {message}"
    return Finding(object=name, status=Status.WARNING, message=message, value=_rounded(step.after), unit=unit)


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


measured = Question(
    name="reports.measured",
    title="What did the archived runs measure themselves?",
    probe=probe,
    check=check,
    source=SOURCE,
    deadline=DEADLINE,
    next=f"look what was changed between these days (runbook evidence diff), and at the log: {to_run('log-analysis')}",
)

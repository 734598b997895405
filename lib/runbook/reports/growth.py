"""How fast does everything grow, when is it full, and what would more of it buy?

The practice stack's Prometheus has five weeks of samples, which serve as the history of the reference. Its archive is
as old as the stack itself: a month of runs that nobody made would be false evidence, so tables, whose sizes stand in
archived runs only, are told as not known yet there.
"""

import math
from collections.abc import Iterator
from datetime import timedelta

import msgspec
import numpy as np
import pandas as pd

from runbook.connections import PrometheusConnection
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable, at_least, first_of
from runbook.model.text import to_run
from runbook.model.units import counted, quantity
from runbook.reports.archived import month_of, read_duckdb
from runbook.reports.course import DEADLINE, EXPLAINED_BY
from runbook.reports.month import DAY, Figure, month
from runbook.reports.trend import LEAST_DAYS, Trend, trend

GIB, MIB = 1 / (1 << 30), 1 / (1 << 20)
HOST, FILES = ("instance",), ("instance", "mountpoint")
DISK = Figure("disk", "disk_used", "GiB", GIB, FILES)
MEMORY = Figure("memory", "memory_used", "GiB", GIB, HOST)
CONNECTIONS = Figure("connections", "connections", "slots")
QUEUE = Figure("queue", "queue", "items")
DATABASE = Figure("database", "database_size", "MiB", MIB)
MEASURED = (DISK, MEMORY, CONNECTIONS, QUEUE, DATABASE)
TABLES = "tables"
LIMITS = {
    DISK.name: Figure("disk", "disk_limit", "GiB", GIB, FILES),
    MEMORY.name: Figure("memory", "memory_limit", "GiB", GIB, HOST),
    CONNECTIONS.name: Figure("connections", "connection_limit", "slots"),
}
# Where archived runs tell the same: the check, and what its objects begin with.
ELSEWHERE = {
    "host.disk": (DISK.name, 100.0), "host.memory": (MEMORY.name, 100.0), "queue.size": (QUEUE.name, math.nan),
    "postgres.connection_slots": (CONNECTIONS.name, math.nan), "postgres.sizes": (DATABASE.name, math.nan),
}  # fmt: skip
DAILY = read_duckdb("daily_sizes")
COLUMNS = ["resource", "object", "day", "value", "limit", "unit", "source", "reason"]
PROMETHEUS, ARCHIVE = "Prometheus", "archived runs"
# A forecast farther ahead than this says nothing of what will be.
FAR_DAYS = 3650.0
_TABLES_SOONER = f"have {to_run('database-maintenance')} run on a schedule: {LEAST_DAYS} days are a trend"
_SOONER = f"have it scraped ({to_run('key-metrics')} says what is not), or the morning health check run each day"
_SILENT = "see why Prometheus does not answer; the morning health check, run each day, would tell most of it as well"
_FURTHER = "name the hosts that count as the job (jobs in [prometheus]), a target for each group of them"
# What is bought, in words, where the limit is doubled.
BIGGER = {
    DISK.name: "a disk twice as large", MEMORY.name: "twice the memory", CONNECTIONS.name: "twice max_connections",
    QUEUE.name: "room for twice as many items",
}  # fmt: skip


def probe(asking: Asking, *, days: float = 60.0) -> pd.DataFrame:
    """Return a row for each day and resource: resource (disk, memory, connections, queue, database, tables), object
    (which of them), day (UTC), value (the day's peak; of disks and databases its end), limit (NaN: none is known),
    unit, source, reason (why there is no value; such a resource has one row without a day).

    Prometheus is asked first; what it has fewer days of than the archived runs is taken from those.
    """
    measured, reason = _measured(asking, days)
    try:
        kept, why = _archived(asking.target.name, days), ""
    except CouldNotFindOut as error:
        kept, why = pd.DataFrame(columns=COLUMNS), str(error)
    parts = []
    for resource in [*(one.name for one in MEASURED), TABLES]:
        own = measured[(measured["resource"] == resource) & measured["day"].notna()]
        other = kept[kept["resource"] == resource]
        if len(own) or len(other):
            parts.append(own if own["day"].nunique() >= other["day"].nunique() else other)
            continue
        rows = measured[measured["resource"] == resource]
        here = str(rows["reason"].iloc[0]) if len(rows) else reason
        lacks = why or "no archived run of this target tells it either"
        lacks = (
            "no archived run of database-maintenance tells the size of a table"
            if resource == TABLES and not why
            else lacks
        )
        told = lacks if resource == TABLES else f"{here}; {lacks}"
        parts.append(pd.DataFrame([{"resource": resource, "object": "", "day": pd.NaT, "reason": told}]))
    frame = pd.concat([part for part in parts if len(part)], ignore_index=True).reindex(columns=COLUMNS)
    frame["day"] = pd.to_datetime(frame["day"], utc=True)
    for column in ("value", "limit"):
        frame[column] = frame[column].astype("float64")
    for column in ("unit", "source", "reason"):
        frame[column] = frame[column].astype("object").fillna("")
    frame.attrs = {
        "source": measured.attrs.get("source", "") or DAILY,
        "days": float(days),
        "prometheus": reason,
        "left_out": measured.attrs.get("left_out", {}),
    }
    return frame


def _measured(asking: Asking, days: float) -> tuple[pd.DataFrame, str]:
    """Return what Prometheus tells, and why it tells nothing."""
    try:
        used = month(asking, MEASURED, days, DAY)
        limits = month(asking, tuple(LIMITS.values()), days, DAY)
    except Unreachable as error:
        return pd.DataFrame(columns=COLUMNS), error.reason
    last = limits.dropna(subset=["time"]).sort_values("time").groupby(["figure", "object"])["value"].last()
    frame = used.rename(columns={"figure": "resource", "time": "day"})
    keys = zip(frame["resource"], frame["object"], strict=True)
    frame["limit"] = [float(last.get(key, math.nan)) for key in keys]
    frame["source"] = PROMETHEUS
    frame.attrs = {
        "source": f"{used.attrs['source']}\n{limits.attrs['source']}", "left_out": used.attrs["left_out"],
    }  # fmt: skip
    return frame, ""


def _archived(target: str, days: float) -> pd.DataFrame:
    told = month_of(days)
    if not told.runs:
        return pd.DataFrame(columns=COLUMNS)
    frame = told.ask(DAILY, {"target": target, "checks": list(ELSEWHERE)})
    tables = (frame["check"] == "postgres.sizes") & frame["object"].str.startswith("table ")
    names = frame["check"].map({check: name for check, (name, _) in ELSEWHERE.items()})
    frame["resource"] = names.where(~tables, TABLES)
    frame["limit"] = frame["check"].map({check: limit for check, (_, limit) in ELSEWHERE.items()})
    frame["object"] = frame["object"].where(~tables, frame["object"].str.removeprefix("table "))
    frame["day"] = pd.to_datetime(frame["day"], utc=True)
    return frame.assign(source=ARCHIVE, reason="")


def trends(frame: pd.DataFrame, least_days: int) -> Iterator[tuple[str, pd.DataFrame, Trend | None]]:
    """Yield each resource's name, its days in order, and their trend; None where they are fewer than ``least_days``."""
    for (resource, subject), rows in frame[frame["day"].notna()].groupby(["resource", "object"], sort=False):
        ordered = rows.sort_values("day")
        name = f"{resource} {subject}".strip()
        if len(ordered) < least_days:
            yield name, ordered, None
            continue
        numbers = (ordered["day"] - ordered["day"].iloc[0]) / timedelta(days=1)
        yield name, ordered, trend(numbers.to_numpy(dtype="float64"), ordered["value"].to_numpy(dtype="float64"))


def check(
    frame: pd.DataFrame,
    *,
    warning_days: float = 30,
    critical_days: float = 7,
    queue_items: float = 5000,
    least_days: float = 14,
) -> list[Finding]:
    """Judge in how many days each resource is full: WARNING below ``warning_days``, CRITICAL below ``critical_days``.

    A month is what it takes to buy and move, a week what it takes to make room. Where it may as well not grow at all,
    by the interval, it is a WARNING at most. The queue has no limit of its own: ``queue_items`` is what the question on
    its size calls critical. Of fewer than ``least_days`` no trend is told (UNKNOWN): two weeks have each weekday twice.
    """
    judged: dict[str, list[Finding]] = {}
    silent, lacking = str(frame.attrs.get("prometheus", "")), []
    for row in frame[frame["day"].isna()].to_dict("records"):
        resource = str(row["resource"])
        if silent and resource != TABLES:
            lacking.append(resource)  # one reason for all of them is told once
        else:
            judged[resource] = [_too_few(resource, 0, least_days, str(row["reason"]))]
    few: dict[str, int] = {}
    for name, rows, found in trends(frame, int(least_days)):
        resource = str(rows["resource"].iloc[0])
        of_resource = judged.setdefault(resource, [])
        if found is None and resource == TABLES:
            few[resource] = max(few.get(resource, 0), len(rows))  # one word on all of them: they are new together
        elif found is None:
            of_resource.append(_too_few(name, len(rows), least_days, str(rows["source"].iloc[0])))
        else:
            limit = limit_of(rows, queue_items)
            of_resource.append(_judged(name, rows, found, limit, (warning_days, critical_days)))
    findings = []
    if lacking:
        message = f"{', '.join(lacking)}: Prometheus does not tell, and no archived run either: {silent}"
        findings.append(Finding(object="Prometheus", status=Status.UNKNOWN, message=message, next=_SILENT))
    for resource, more in frame.attrs.get("left_out", {}).items():
        message = f"{counted(more, 'more one is', 'more are')} not looked at"
        findings.append(Finding(object=f"further {resource}", status=Status.UNKNOWN, message=message, next=_FURTHER))
    for resource in [*(one.name for one in MEASURED), TABLES]:
        several = judged.get(resource, [])
        findings += first_of(sorted(several, key=lambda one: one.status.severity), resource, 6)
        if resource in few and not several:
            findings.append(_too_few(resource, few[resource], least_days, ARCHIVE))
    return findings


def _too_few(name: str, days: int, least: float, reason: str) -> Finding:
    message = f"{days} of the {least:g} days that are needed, or a week's course is taken for a trend: {reason}"
    after = _TABLES_SOONER if name.split(" ", 1)[0] == TABLES else _SOONER
    return Finding(object=name, status=Status.UNKNOWN, message=message, value=float(days), unit="days", next=after)


def limit_of(rows: pd.DataFrame, queue_items: float) -> float:
    """Return the limit of a resource; NaN where it has none."""
    if rows["resource"].iloc[0] == QUEUE.name:
        return queue_items
    return float(rows["limit"].iloc[-1])


def _judged(name: str, rows: pd.DataFrame, found: Trend, limit: float, days: tuple[float, float]) -> Finding:
    warning, critical = days
    unit = str(rows["unit"].iloc[0])
    course = f"{_signed(found.slope, unit)} a day ({_signed(found.low, unit)} to {_signed(found.high, unit)})"
    tested = f"of {len(rows)} days ({rows['source'].iloc[0]})"
    if _rounded(found.low) == _rounded(found.high) == 0:
        course = "no growth"
    else:
        tested += (
            f"; backtest: the first two thirds told {_signed(found.told, unit)} a day, {_signed(found.came, unit)} came"
        )
    if math.isnan(limit):
        message = f"{_quantity(found.level, unit)}, {course}: {_quantity(30 * found.slope, unit)} a month; {tested}"
        return Finding(object=name, status=Status.OK, message=message, value=_rounded(found.slope), unit=f"{unit}/day")
    used = f"{_quantity(found.level, unit)} of {_quantity(limit, unit)}"
    likely, earliest, latest = found.days_until(limit)
    if earliest > FAR_DAYS:
        message = f"{used}: not full within ten years, {course}; {tested}"
        return Finding(object=name, status=Status.OK, message=message, threshold=warning, unit="days")
    full = f"full in {_days(likely)} ({_span(earliest, latest)})" if likely else "full"
    message = f"{used}: {full}, {course}{_bought(str(rows['resource'].iloc[0]), found, limit, likely)}; {tested}"
    finding = at_least(name, round(min(likely, FAR_DAYS), 1), warning, critical, unit="days", message=message)
    if finding.status is Status.CRITICAL and not found.grows and likely > 0:
        return msgspec.structs.replace(finding, status=Status.WARNING)
    return finding


def _bought(resource: str, found: Trend, limit: float, likely: float) -> str:
    """Return what doubling the limit buys, in words."""
    double, _, _ = found.days_until(2 * limit)
    if not np.isfinite(double):
        return ""
    return f"; {BIGGER.get(resource, 'twice the limit')} buys {_days(double - likely)}"


def _days(days: float) -> str:
    return (
        "more than ten years"
        if days > FAR_DAYS
        else quantity(float(f"{days:.2g}") if days < 100 else round(days), "days")
    )


def _span(earliest: float, latest: float) -> str:
    if latest > FAR_DAYS:
        return f"{_days(earliest)} at the earliest, or never"
    return f"{_days(earliest).removesuffix(' days')} to {_days(latest)}"


def _quantity(value: float, unit: str) -> str:
    return quantity(_rounded(value), unit)


def _signed(value: float, unit: str) -> str:
    return f"{'+' if value >= 0 else '−'}{quantity(abs(_rounded(value)), unit)}"


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


growth = Question(
    name="reports.growth",
    title="How fast does everything grow, and when is it full?",
    probe=probe,
    check=check,
    source="lib/runbook/reports/promql: *_used, *_limit, connections, queue and database_size.promql",
    needs=(PrometheusConnection,),
    deadline=2 * DEADLINE,
    next=f"make room first, then buy: disk {to_run('database-maintenance')}; memory {to_run('vertical-scaling')}",
    explained_by=EXPLAINED_BY,
)

"""A month of figures by the hour or the day, as Prometheus remembers it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from string import Template
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from runbook.connections import PrometheusConnection
from runbook.connections.prometheus import Result
from runbook.model import Asking, CouldNotFindOut, Unreachable
from runbook.target import Target
from runbook.target.profile import Jobs

COLUMNS = ["figure", "object", "time", "value", "unit", "reason"]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# Prometheus keeps 15 days where nobody sets another retention; no report looks back farther than this.
MOST_DAYS = 92.0
_SECONDS = 15.0
# Of more disks than these no plot is read, and each takes a tenth of a second to be judged.
_OBJECTS = 60
_kept: "WeakKeyDictionary[PrometheusConnection, dict[Any, pd.DataFrame]]" = WeakKeyDictionary()
_DURATION = re.compile(r"\d+[smhd]")


@dataclass(frozen=True)
class Figure:
    """A figure of a report: ``name`` in words, ``query`` the file of its query, ``unit``.

    ``factor`` turns what Prometheus tells into the unit; ``by`` are the labels that tell its series apart.
    """

    name: str
    query: str
    unit: str
    factor: float = 1.0
    by: tuple[str, ...] = ()


@cache
def read_promql(name: str) -> str:
    """Return the text of a file ``promql/NAME.promql`` of this package; its first line says what it answers."""
    return resources.files(__package__).joinpath("promql", f"{name}.promql").read_text(encoding="utf-8").strip()


def expression(name: str, target: Target, window: str) -> str:
    """Return the query of a file without its comments, with the profile's names of the jobs and a length of time."""
    if not _DURATION.fullmatch(window):
        raise ValueError(f"{window!r} is no length of time")
    jobs = target.prometheus.jobs if target.prometheus is not None else Jobs()
    lines = [line for line in read_promql(name).splitlines() if not line.startswith("#")]
    return Template("\n".join(lines).strip()).substitute(jobs.model_dump(), window=window)


def month(asking: Asking, figures: Sequence[Figure], days: float, step: timedelta) -> pd.DataFrame:
    """Return the figures of the last days: figure, object, time (UTC, the beginning of the hour or day that the value
    is of), value, unit, reason (why there is none; such a figure has one row without a time).

    Steps are whole hours or days (UTC); the last is the one that has ended. What was not a number (there was nothing
    to divide) is left out. Attrs: ``source`` (the queries), ``since`` (the oldest sample, ISO, "" without one),
    ``days`` (asked for), ``end``, ``left_out`` (how many series of a figure are more than are looked at). Raises
    `Unreachable` where Prometheus does not answer.
    """
    if not 1 <= days <= MOST_DAYS:
        raise CouldNotFindOut(f"a report is of 1 to {MOST_DAYS:g} days, not of {days:g}")
    target: Target = asking.target
    connection = asking.connection(PrometheusConnection)
    now = connection.now()
    end = now.replace(minute=0, second=0, microsecond=0) if step == HOUR else _midnight(now)
    key = (tuple(figures), days, step, end)
    kept = _kept.setdefault(connection, {})
    if key not in kept:
        kept.clear()  # the questions of one report ask for the same
        kept[key] = _asked(connection, target, figures, (end - timedelta(days=days), end), step)
    frame = kept[key].copy()
    frame.attrs = dict(kept[key].attrs)
    return frame


def _asked(
    connection: PrometheusConnection, target: Target, figures: Sequence[Figure], span: tuple[datetime, datetime],
    step: timedelta,
) -> pd.DataFrame:  # fmt: skip
    start, end = span
    days = (end - start) / DAY
    window = "1h" if step == HOUR else "1d"
    parts, told, left_out = [], [], dict[str, int]()
    for figure in figures:
        query = expression(figure.query, target, window)
        told.append(f"{read_promql(figure.query).splitlines()[0]}\n{query}")
        try:
            result = connection.range(query, start + step, end, step.total_seconds(), _SECONDS)
        except Unreachable:
            raise
        except CouldNotFindOut as reason:
            parts.append(_nothing(figure, str(reason)))
            continue
        more = max(0, len(result.series) - _OBJECTS) + result.left_out
        left_out |= {figure.name: more} if more else {}
        parts += _rows(figure, result, step) or [_nothing(figure, f"Prometheus has no sample of it in {days:g} days")]
    frame = pd.concat(parts, ignore_index=True)
    since = frame["time"].min()
    frame.attrs = {
        "source": "\n".join(dict.fromkeys(told)),
        "since": "" if pd.isna(since) else since.isoformat(),
        "days": float(days),
        "end": end.isoformat(),
        "left_out": left_out,
    }
    return frame


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _rows(figure: Figure, result: Result, step: timedelta) -> list[pd.DataFrame]:
    parts = []
    for series in result.series[:_OBJECTS]:
        values = np.asarray(series.values, dtype="float64") * figure.factor
        ended = pd.to_datetime(np.asarray(series.times), unit="s", utc=True).as_unit("ms")
        kept = np.isfinite(values)
        if kept.any():
            subject = " ".join(series.labels.get(label, "?") for label in figure.by)
            parts.append(_framed(figure, subject, (ended - step)[kept], values[kept]))
    return parts


def _nothing(figure: Figure, reason: str) -> pd.DataFrame:
    return _framed(figure, "", pd.DatetimeIndex([pd.NaT], tz="UTC").as_unit("ms"), np.array([np.nan]), reason)


def _framed(figure: Figure, subject: str, times: Any, values: Any, reason: str = "") -> pd.DataFrame:
    told = {"figure": figure.name, "object": subject, "time": times, "value": values, "unit": figure.unit}
    return pd.DataFrame({**told, "reason": reason}, columns=COLUMNS)

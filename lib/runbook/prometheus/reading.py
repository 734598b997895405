"""All figures of a window, asked together and once; what is missing is told apart, and taken from elsewhere."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary
from zlib import crc32

import numpy as np
import pandas as pd

from runbook.connections import PrometheusConnection
from runbook.connections.prometheus import Result, Scraped, Series
from runbook.model import Asking, CouldNotFindOut, Unreachable
from runbook.prometheus.elsewhere import LOG_MINUTES, figures_elsewhere
from runbook.prometheus.figures import ALL, Figure
from runbook.prometheus.frames import times_of
from runbook.prometheus.queries import Asked, expression, read_promql, together
from runbook.prometheus.steps import seconds_of
from runbook.prometheus.window import Span, Window
from runbook.target import Target

# All the queries of a notebook together; whoever must wait longer asks for fewer hours.
ALL_SECONDS = 15.0
# A question has that and, where figures are missing, the service's exposition or its log to read.
DEADLINE = 45.0
USUAL_INTERVAL = 15.0
NOW, DAY, WEEK = "now", "a day before", "a week before"
_MEASURED = ("time", "value", "state")
COLUMNS = ["figure", "object", "when", "time", "value", "unit", "state", "reason", "source"]
# Lengths of time that tell whether a metric was ever there.
_EVER = "8d"
MOST_OBJECTS = 50
OBJECT_CHARACTERS = 80


@dataclass
class Reading:
    """What Prometheus told of one window: for each figure the result of now, a day and a week before."""

    span: Span
    results: dict[tuple[str, str], Result | CouldNotFindOut]
    scraped: list[Scraped] = field(default_factory=list)
    missing: dict[tuple[str, ...], str] = field(default_factory=dict)


# Who asks without a window has what was asked just before, and soon afterwards asks anew.
_FRESH_SECONDS = 30
_READINGS_KEPT = 3
_kept: "WeakKeyDictionary[PrometheusConnection, dict[Window, Reading]]" = WeakKeyDictionary()
_lock = threading.Lock()


def reading(connection: PrometheusConnection, target: Target, asked: Window) -> Reading:
    """Return the figures of a window, asked all together; asked again for the same window, the same ones."""
    with _lock:
        kept = _kept.setdefault(connection, {})
        if asked not in kept:
            while len(kept) >= _READINGS_KEPT:
                del kept[next(iter(kept))]
            kept[asked] = _read(connection, target, asked)
        return kept[asked]


def present() -> Window:
    """Return the window of a question that is asked without one: the last day, the same one for half a minute."""
    return Window(called=time.monotonic() // _FRESH_SECONDS)


def _read(connection: PrometheusConnection, target: Target, asked: Window) -> Reading:
    jobs = set(target.prometheus.jobs.model_dump().values()) if target.prometheus else set()
    try:
        scraped = [one for one in connection.targets() if one.labels.get("job") in jobs]
    except Unreachable:
        raise
    except CouldNotFindOut:
        scraped = []  # others that speak Prometheus' language do not tell what they scrape
    intervals = [seconds_of(one.interval, USUAL_INTERVAL) for one in scraped]
    span = Span.of(asked, connection.now(), max(intervals, default=USUAL_INTERVAL))
    spans = {NOW: span, DAY: span.before(1), WEEK: span.before(7)}
    queries = {
        (figure.name, when): Asked(query_of(figure, target, span), one.end, one.start, one.step)
        for figure in ALL
        for when, one in spans.items()
    }
    queries["up", NOW] = Asked(expression("up", target), span.end, span.start, span.step)
    return Reading(span, together(connection, queries, ALL_SECONDS), scraped)


def query_of(figure: Figure, target: Target, span: Span) -> str:
    """Return a figure's query as it is asked."""
    return expression(figure.query, target, span.rate, **figure.given)


def frame_of_figures(asking: Asking, figures: Sequence[Figure], asked: Window | None) -> pd.DataFrame:
    """Return the rows of some figures over a window: figure, object, when (now, a day before, a week before), time
    (UTC), value, unit, state, reason, source.

    ``state`` is value; not a number (what 0/0 gives: there was nothing to divide); no sample (there were some, but not
    at the end of the window); missing (no series in all of the window). The last two say why in ``reason``. ``source``
    is prometheus, or, where that has no such figure: exposition (two samples of the service's own) or log; such a
    figure has one row. Attrs: ``source`` (the queries), ``minutes`` (of the rates), ``history`` (why there is none;
    ``history_kind``: that of the error), ``moment`` (now, or the end of the window), ``window`` (its begin and end,
    ISO), ``left_out`` (series beyond the limit, by figure), ``notes``.

    Raises `CouldNotFindOut` where none of the figures can be told at all, with the reason of the first.
    """
    target: Target = asking.target
    about = asked or present()
    try:
        connection = asking.connection(PrometheusConnection)
    except Unreachable as error:
        return _without_prometheus(asking, figures, about, error)
    try:
        read = reading(connection, target, about)
    except Unreachable as error:  # it answered when the run was opened, and does not any more
        return _without_prometheus(asking, figures, about, error)
    results = [read.results[figure.name, NOW] for figure in figures]
    gone = next((one for one in results if isinstance(one, Unreachable)), None)
    if gone is not None and not any(isinstance(one, Result) for one in results):
        return _without_prometheus(asking, figures, about, gone)
    parts = [part for figure in figures for part in _parts_of(figure, read, connection, target)]
    missing = {part.figure.name for part in parts if part.state == "missing"}
    absent = [figure for figure in figures if figure.name in missing]
    found = figures_elsewhere(asking, absent, about.hours, read.span.end, exposition=False) if absent else []
    frame = _framed(parts, found)
    frame.attrs = {
        "source": "\n".join(dict.fromkeys(_told_query(figure, target, read.span) for figure in figures)),
        "minutes": seconds_of(read.span.rate) / 60,
        "history": "",
        "moment": _moment(about),
        "window": [read.span.start.isoformat(), read.span.end.isoformat()],
        "left_out": {figure.name: count for figure in figures if (count := _left_out(read.results[figure.name, NOW]))},
        "notes": sorted({note for result in read.results.values() for note in getattr(result, "notes", ())})[:3],
    }
    return frame


def _without_prometheus(asking: Asking, figures: Sequence[Figure], about: Window, error: Unreachable) -> pd.DataFrame:
    end = about.end or datetime.now(UTC)
    found = figures_elsewhere(asking, figures, about.hours, end, exposition=about.end is None)
    if not found:
        raise error
    told = {row["figure"] for row in found}
    frame = _framed(
        [_Part(figure, state="missing", reason=error.reason) for figure in figures if figure.name not in told], found
    )
    frame.attrs = {"source": "", "minutes": LOG_MINUTES, "history": error.reason, "history_kind": error.kind}
    begin = end - timedelta(hours=about.hours)
    frame.attrs |= {"notes": [], "moment": _moment(about), "window": [begin.isoformat(), end.isoformat()]}
    return frame


@dataclass(frozen=True)
class _Part:
    """Rows of one series; without times the one row that says why there are none."""

    figure: Figure
    when: str = NOW
    object: str = ""
    times: Any = None
    values: Any = None
    state: str = ""
    reason: str = ""

    @property
    def rows(self) -> int:
        return 1 if self.times is None else len(self.times)


def _framed(parts: Sequence[_Part], found: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return the rows of parts and of what was found elsewhere.

    Texts are categories: there are few of them, and whoever goes through all texts of a frame meets each once.
    """
    rows = [part.rows for part in parts] + [1] * len(found)
    every = [{"figure": p.figure.name, "object": p.object, "when": p.when, "unit": p.figure.unit, "reason": p.reason,
              "source": "prometheus"} for p in parts] + list(found)  # fmt: skip
    columns: dict[str, Any] = {
        name: pd.Categorical([one[name] for one in every]).repeat(rows) for name in COLUMNS if name not in _MEASURED
    }
    none = pd.DatetimeIndex([pd.NaT], tz="UTC").as_unit("ms")
    times = [none if p.times is None else p.times for p in parts]
    times += [pd.DatetimeIndex([one["time"]]).tz_convert("UTC").as_unit("ms") for one in found]
    values = [np.array([np.nan]) if p.values is None else p.values for p in parts]
    values += [np.array([one["value"]], dtype="float64") for one in found]
    columns["time"] = pd.DatetimeIndex(
        np.concatenate([one.asi8 for one in times]).astype("datetime64[ms]")
    ).tz_localize("UTC")
    columns["value"] = np.concatenate(values)
    own = pd.Categorical([part.state for part in parts] + [one["state"] for one in found]).repeat(rows).astype(object)
    measured = np.where(np.isnan(columns["value"]), "not a number", "value")
    columns["state"] = pd.Categorical(np.where(np.asarray(own) == "", measured, np.asarray(own)))
    return pd.DataFrame({name: columns[name] for name in COLUMNS})


def _left_out(result: Result | CouldNotFindOut) -> int:
    return len(result.series[MOST_OBJECTS:]) + result.left_out if isinstance(result, Result) else 0


def _moment(about: Window) -> str:
    return "now" if about.end is None else f"at {about.end:%Y-%m-%d %H:%M} UTC"


def _told_query(figure: Figure, target: Target, span: Span) -> str:
    question = read_promql(figure.query).splitlines()[0]
    return f"{question}\n{query_of(figure, target, span)}"


def _parts_of(figure: Figure, read: Reading, connection: PrometheusConnection, target: Target) -> list[_Part]:
    parts = []
    for when in (NOW, DAY, WEEK):
        result = read.results[figure.name, when]
        if isinstance(result, CouldNotFindOut):
            if when == NOW:
                parts.append(_Part(figure, state="not told", reason=str(result)))
            continue
        for series in result.series[:MOST_OBJECTS]:
            parts += _series_parts(figure, series, when, read.span)
        if when == NOW and not result.series:
            parts.append(_Part(figure, state="missing", reason=_why_missing(figure, read, connection, target)))
    return parts


def _subject(labels: Mapping[str, str], by: Sequence[str]) -> str:
    """Return what tells a series apart; of a long one the beginning, and a sum by which it stays one of its own."""
    told = " ".join(labels.get(label, "?") for label in by)
    return told if len(told) <= OBJECT_CHARACTERS else f"{told[:OBJECT_CHARACTERS]}… ({crc32(told.encode()):08x})"


def _series_parts(figure: Figure, series: Series, when: str, span: Span) -> list[_Part]:
    subject = _subject(series.labels, figure.by)
    times = times_of(series)
    parts = [_Part(figure, when, subject, times, np.asarray(series.values, dtype="float64"))]
    if when == NOW and times[-1] < span.end - timedelta(seconds=span.step / 2):
        reason = f"no sample since {times[-1]:%Y-%m-%d %H:%M} UTC: it is not scraped any more, or gone"
        parts.append(_Part(figure, NOW, subject, state="no sample", reason=reason))
    return parts


def _why_missing(figure: Figure, read: Reading, connection: PrometheusConnection, target: Target) -> str:
    """Return why a figure has no series: no job of that name, a metric that does not exist, or one that has ended."""
    key = (figure.metric, figure.job, *figure.labels)
    if key not in read.missing:
        read.missing[key] = _missing(figure, read, connection, target)
    return read.missing[key]


def _missing(figure: Figure, read: Reading, connection: PrometheusConnection, target: Target) -> str:
    jobs = target.prometheus.jobs.model_dump() if target.prometheus else {}
    job = jobs.get(figure.job, figure.job)
    selector = f'{figure.metric}{{job="{job}"}}'
    end = read.span.end
    asked = {
        "now": Asked(f"count({selector})", end),
        "newest": Asked(f"max(max_over_time(timestamp({selector})[{_EVER}:10m]))", end),
        "job": Asked(f'max(up{{job="{job}"}})', end),
    }
    asked |= {label: Asked(f'count({selector[:-1]},{label}!=""}})', end) for label in figure.labels}
    found = together(connection, asked, 5.0)
    there = {name: one.series[0].values[-1] for name, one in found.items() if isinstance(one, Result) and one.series}
    unknown = [one for one in found.values() if isinstance(one, CouldNotFindOut)]
    if "now" in there:
        for label in figure.labels:
            if label not in there and isinstance(found[label], Result):
                return f"no series of {figure.metric} carries the label {label}"
        return f"{figure.metric} is there, but not with the labels that the query asks for"
    if "newest" in there:
        newest = pd.Timestamp(there["newest"], unit="s", tz="UTC")
        return f"{figure.metric} has no sample in this window; the newest is of about {newest:%Y-%m-%d %H:%M} UTC"
    if unknown:
        return f"{figure.metric} is not there now, and whether it ever was is not told: {unknown[0]}"
    if "job" not in there:
        others = sorted({one.labels.get("job", "") for one in read.scraped})
        known = f"; of the profile's jobs there are: {', '.join(others)}" if others else ""
        return f'Prometheus scrapes no job "{job}"{known}: name it in [prometheus.jobs] of the profile'
    if there["job"] == 0:
        errors = [one.last_error for one in read.scraped if one.labels.get("job") == job and one.last_error]
        return f'Prometheus cannot scrape job "{job}"{f": {errors[0][:200]}" if errors else ""}'
    return f"the metric {figure.metric} does not exist here: no alert and no dashboard on it can ever show anything"

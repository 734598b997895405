"""How many requests failed, by path and time: from Prometheus' counters, or, where it has none, from the log."""

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from runbook.connections import Connection, LogsConnection, PrometheusConnection
from runbook.connections.prometheus import Result
from runbook.logfiles.entries import as_stamp
from runbook.logfiles.tally import OTHER, Period, Tally
from runbook.model import Asking, CouldNotFindOut, Unreachable
from runbook.model.units import length
from runbook.prometheus.counts import Counts, Numbers, by_status, counts_of
from runbook.prometheus.explanations import to_be_told
from runbook.prometheus.queries import Asked, expression, read_promql, together
from runbook.prometheus.reading import USUAL_INTERVAL
from runbook.prometheus.steps import as_duration, fit_step, seconds_of
from runbook.prometheus.window import Window
from runbook.target import Target

HOURS = 6.0
# Of more paths than these nobody reads; the worst come first.
MOST_PATHS = 10
# A few hundred points of each path: what begins between two of them is looked at closely afterwards.
POINTS = 360
SECONDS = 15.0
# What is in the log is put together by this many pieces of the window, and looked at closely by seconds.
LOG_PIECES, LOG_CLOSELY, LOG_SECONDS = 120, 5.0, 20.0
LOG_MOST_PIECES = 240
# Of Prometheus' samples, in scrapes: a path that is asked once in a day is no reason to fetch days of them.
MOST_CLOSELY = 5000


@dataclass(frozen=True)
class Course:
    """One path over time. ``statuses`` are the 5xx within the window by status."""

    method: str
    path: str
    counts: Counts
    statuses: dict[str, float]

    @property
    def name(self) -> str:
        """Return how it is told: POST /candidates/generate."""
        return f"{self.method} {self.path}".strip()


@dataclass(frozen=True)
class Failing:
    """What a window holds: the paths that had failures, the worst first, and how many requests there were of all.

    ``source`` is prometheus or log, ``instead`` why it is not Prometheus, ``after`` what to do about that.
    ``interval`` is how far apart scrapes are (or how finely the log is looked at), in seconds; ``left_out`` says how
    many more paths had failures at least. ``newest`` is when the newest sample was taken (None: not told, as by a log,
    or too long ago), ``failed`` how many requests failed, of all paths. ``recorded`` is when the first sample within
    the window was taken, where that is later than the window begins: ``start`` is then that moment (None: there are
    samples from its beginning on).
    """

    courses: tuple[Course, ...]
    requests: float
    start: datetime
    end: datetime
    interval: float
    step: float
    source: str
    asked: str
    instead: str = ""
    after: str = ""
    left_out: int = 0
    newest: datetime | None = None
    failed: float = 0.0
    recorded: datetime | None = None


# Questions about the same failures follow one another; a cell that is run again later is about another present.
FRESH_SECONDS = 60.0
_kept: "WeakKeyDictionary[Connection, dict[Window, tuple[float, Failing]]]" = WeakKeyDictionary()
_lock = threading.Lock()


def failing(asking: Asking, asked: Window | None) -> Failing:
    """Return the failures of a window; asked again soon for the same window, the same ones.

    A window that ends in the present is asked anew after a minute: it ends elsewhere then.

    Raises `CouldNotFindOut` where neither Prometheus nor the log tells them, with both reasons.
    """
    about = asked or Window(HOURS)
    try:
        return _once(asking, PrometheusConnection, _from_prometheus, about)
    except CouldNotFindOut as reason:
        instead = str(reason)
        after = to_be_told(reason.kind, instead) if isinstance(reason, Unreachable) else _to_have_it(instead)
    try:
        return replace(_once(asking, LogsConnection, _from_log, about), instead=instead, after=after)
    except CouldNotFindOut as reason:
        raise CouldNotFindOut(f"{instead}; and the log cannot tell it either: {reason}") from reason


_LACKS = re.compile("^Prometheus has no|^no series")


def _to_have_it(reason: str) -> str:
    """Return what to do where Prometheus answers, and does not tell it: it refuses, or the metric is missing."""
    if not _LACKS.search(reason):
        return to_be_told("", reason)
    return "have it exported and scraped (key-metrics says what is missing): until then no alert on it can fire"


C = TypeVar("C", bound=Connection)


def _once(asking: Asking, kind: type[C], read: Callable[[C, Target, Window], Failing], about: Window) -> Failing:
    connection = asking.connection(kind)
    with _lock:
        kept = _kept.setdefault(connection, {})
        for one, (read_at, _) in list(kept.items()):
            if one.end is None and time.monotonic() - read_at > FRESH_SECONDS:
                del kept[one]
        if about not in kept:
            found = read(connection, asking.target, about)
            kept[about] = (time.monotonic(), found)
        return kept[about][1]


def closely(asking: Asking, found: Failing, course: Course, since: float, until: float) -> Counts:
    """Return the counts of one path between two moments (seconds since 1970), as finely as they are known."""
    if found.source == "log":
        pieces = min(int((until - since) // LOG_CLOSELY) or 1, LOG_MOST_PIECES)
        edges = np.linspace(since, until, pieces + 1)
        tallies = _tallies(asking.connection(LogsConnection), edges)
        return _counted(edges, tallies, course.path)
    connection = asking.connection(PrometheusConnection)
    since = max(since, until - MOST_CLOSELY * found.interval)
    # From the scrape before on, so that the first one within has something to be compared with.
    seconds = until - since + 2 * found.interval
    query = expression("requests_of_path", asking.target, method=course.method, path=course.path)
    at, whole = datetime.fromtimestamp(until, UTC), as_duration(seconds)
    asked = {"path": query, "up": expression("scrapes", asking.target)}
    raw = {name: Asked(f"{one}[{whole}]", at) for name, one in asked.items()}
    told = together(connection, raw, SECONDS)
    return counts_of(_result(told["path"]).series, _result(told["up"]).series).cut(since, until)


def _from_prometheus(connection: PrometheusConnection, target: Target, about: Window) -> Failing:
    end = about.end or connection.now()
    interval = _interval(connection, target)
    step = fit_step(about.hours * 3600, interval, POINTS)
    span = _Recorded(end - timedelta(seconds=int(about.hours * 3600 // step) * step), end, step)
    told = _asked_of_all(connection, target, span)
    newest = _moment_of(told["newest"])
    first = _first(connection, target, span, _moment_of(told["oldest"]), interval)
    if first is not None:
        # A step of the whole window holds more than there is: all is asked of the time that has samples.
        span = _since_first(first, newest, end, interval)
        told = _asked_of_all(connection, target, span)
    everything, worst, with_status, with_path, failed, up = (
        _result(told[name]) for name in ("all", "worst", "status", "path", "failed", "up")
    )
    if not everything.series:
        raise CouldNotFindOut(
            "Prometheus has no http_requests_total with the label status in this time: the service does not export it, "
            "or names it otherwise, or nothing scrapes it"
        )
    for label, carried in (("status", with_status), ("path", with_path)):
        if not carried.series:
            raise CouldNotFindOut(
                f"no series of http_requests_total carries the label {label}: which paths fail cannot be told by it"
            )
    paths = sorted(worst.series, key=lambda one: -one.values[-1])
    wanted = [(one.labels.get("method", ""), one.labels.get("path", "")) for one in paths[:MOST_PATHS]]
    asked = {one: span.samples(expression("requests_of_path", target, method=one[0], path=one[1])) for one in wanted}
    courses = []
    for (method, path), result in together(connection, asked, SECONDS).items():
        series = _result(result).series
        statuses = {
            status: n for status, n in by_status(series, up.series).items() if status.startswith("5") and n >= 0.5
        }
        courses.append(Course(method, path, counts_of(series, up.series), statuses))
    left_out = max(len(paths) - MOST_PATHS, 0)
    # What was counted from scrape to scrape is exact; the increase of all is what Prometheus calculates.
    of_courses = sum(float(course.counts.failed.sum()) for course in courses)
    of_all = max(of_courses, failed.series[0].values[-1]) if left_out and failed.series else of_courses
    return Failing(
        tuple(courses), max(everything.series[0].values[-1], of_all), span.start, span.end, interval, span.step,
        "prometheus", _told(_worst(target, span), [one.query for one in asked.values()]),
        left_out=left_out, newest=newest, failed=of_all, recorded=first,
    )  # fmt: skip


@dataclass(frozen=True)
class _Recorded:
    """A time as it is asked of Prometheus; ``raw`` where it holds so few samples that all of them are."""

    start: datetime
    end: datetime
    step: float
    raw: bool = False

    @property
    def whole(self) -> str:
        return as_duration((self.end - self.start).total_seconds())

    def samples(self, query: str) -> Asked:
        if self.raw:
            # A second more: newer servers leave out a sample at the very beginning.
            return Asked(f"{query}[{as_duration((self.end - self.start).total_seconds() + 1)}]", self.end)
        return Asked(query, self.end, self.start, self.step)


def _asked_of_all(
    connection: PrometheusConnection, target: Target, span: _Recorded
) -> dict[str, Result | CouldNotFindOut]:
    whole, step, end = span.whole, as_duration(span.step), span.end
    return together(
        connection,
        {
            "all": Asked(expression("all_requests", target, whole), end),
            "worst": Asked(_worst(target, span), end),
            "failed": Asked(expression("failed_requests", target, whole), end),
            **{
                label: Asked(expression("requests_with_label", target, whole, label=label), end)
                for label in ("status", "path")
            },
            "newest": Asked(expression("newest_sample", target, whole, step=step), end),
            "oldest": Asked(expression("oldest_sample", target, whole, step=step), end),
            "up": span.samples(expression("scrapes", target)),
        },
        SECONDS,
    )


def _worst(target: Target, span: _Recorded) -> str:
    return expression("failing_paths", target, span.whole, most=str(MOST_PATHS + 1))


def _moment_of(told: Result | CouldNotFindOut) -> datetime | None:
    series = _result(told).series
    return datetime.fromtimestamp(series[0].values[-1], UTC) if series else None


def _first(
    connection: PrometheusConnection, target: Target, span: _Recorded, oldest: datetime | None, interval: float
) -> datetime | None:
    """Return when the first sample was taken, where that is later than a time begins; None where it is not."""
    if oldest is None:
        return None
    about = oldest.timestamp()
    if about <= span.start.timestamp() + max(span.step, 2 * interval):
        return None
    # It is known to a step: by the second within that step it is exact.
    whole, at = as_duration(span.step + 2), datetime.fromtimestamp(about + 1, UTC)
    exact = Asked(expression("oldest_sample", target, whole, step="1s"), at)
    return _moment_of(together(connection, {"oldest": exact}, SECONDS)["oldest"])


def _since_first(first: datetime, newest: datetime | None, end: datetime, interval: float) -> _Recorded:
    """Return the time from the first sample on; raises `CouldNotFindOut` where there is no second one to compare."""
    there = ((newest or first) - first).total_seconds()
    if there < interval / 2:
        raise CouldNotFindOut(
            f"Prometheus has only {length((end - first).total_seconds())} of samples, none that another one can be "
            f"compared with (it scrapes each {interval:g} s): ask again in a minute"
        )
    seconds = int((end - first).total_seconds())
    step = fit_step(seconds, interval, POINTS)
    return _Recorded(first, first + timedelta(seconds=seconds), step, raw=seconds <= POINTS * interval)


def _told(worst: str, paths: list[str]) -> str:
    """Return the queries as they were asked, with the questions that they answer."""
    parts = [read_promql("failing_paths").splitlines()[0], worst]
    parts += [read_promql("requests_of_path").splitlines()[0], *paths[:3]] if paths else []
    return "\n".join(parts)


def _result(told: Result | CouldNotFindOut) -> Result:
    if isinstance(told, CouldNotFindOut):
        raise told
    return told


def _interval(connection: PrometheusConnection, target: Target) -> float:
    job = target.prometheus.jobs.api if target.prometheus is not None else ""
    try:
        scraped = [one for one in connection.targets() if one.labels.get("job") == job]
    except CouldNotFindOut:
        return USUAL_INTERVAL  # others that speak Prometheus' language do not tell what they scrape
    return max((seconds_of(one.interval, USUAL_INTERVAL) for one in scraped), default=USUAL_INTERVAL)


def _from_log(logs: LogsConnection, target: Target, about: Window) -> Failing:
    end = about.end or logs.now()
    start = end - timedelta(hours=about.hours)
    edges = np.linspace(start.timestamp(), end.timestamp(), LOG_PIECES + 1)
    tallies = _tallies(logs, edges)
    requests = sum(one.requests for one in tallies)
    if not requests or all(one.without_status == one.requests for one in tallies):
        raise CouldNotFindOut(f"the log records no request with its status in these {about.hours:g} h")
    failed: dict[str, dict[str, float]] = {}
    for tally in tallies:
        for (status, _, path, *_), seen in tally.refused.items():
            if status.startswith("5") and path != OTHER:
                of_path = failed.setdefault(path, {})
                of_path[status] = of_path.get(status, 0.0) + seen.count
    paths = sorted(failed, key=lambda path: -sum(failed[path].values()))
    courses = [Course("", path, _counted(edges, tallies, path), failed[path]) for path in paths[:MOST_PATHS]]
    of_all = sum(float(seen.count) for one in tallies for key, seen in one.refused.items() if key[0].startswith("5"))
    step = float(edges[1] - edges[0])
    return Failing(
        tuple(courses), float(requests), start, end, LOG_CLOSELY, step, "log",
        "the entries of the log with status_code 500 to 599, by path", left_out=max(len(paths) - MOST_PATHS, 0),
        failed=of_all,
    )  # fmt: skip


def _tallies(logs: LogsConnection, edges: Numbers) -> list[Tally]:
    """Return what the log says of each piece of time between two edges, from one pass over it."""
    stamps = [as_stamp(datetime.fromtimestamp(float(edge), UTC)) for edge in edges]
    periods = [Period(str(place), *ends) for place, ends in enumerate(pairwise(stamps))]
    read = logs.reading(periods, LOG_SECONDS).periods
    return [read[period.name] for period in periods]


def _counted(edges: Numbers, tallies: Sequence[Tally], path: str) -> Counts:
    requests = [float(sum(tally.durations.get(path, {}).values())) for tally in tallies]
    failed = [
        float(sum(seen.count for key, seen in tally.refused.items() if key[2] == path and key[0].startswith("5")))
        for tally in tallies
    ]
    # What records no duration is counted by its failures at least.
    return Counts(edges[:-1], edges[1:], np.array(failed), np.maximum(requests, failed))

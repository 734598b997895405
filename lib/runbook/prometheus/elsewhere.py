"""What the figures are taken from where Prometheus has none: the service's own exposition, read twice, and its log."""

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from runbook.connections import EXPOSITION, ApiConnection, LogsConnection
from runbook.logfiles.durations import percentile
from runbook.logfiles.entries import as_stamp
from runbook.logfiles.tally import Period, Tally
from runbook.model import Asking, CouldNotFindOut, DoesNotApply
from runbook.model.units import counted
from runbook.prometheus.figures import Figure

# Long enough for a busy service to count something, short enough to wait for.
APART_SECONDS = 2.0
# The questions of one notebook follow one another; who asks again later wants to know anew.
_KEPT_SECONDS = 20.0
_LOG_SECONDS = 20.0
LOG_MINUTES = 15.0
# Of fewer requests a sample tells neither a rate nor a share nor a duration; the log's last minutes hold more.
FEWEST_REQUESTS = 20
LOGIN = "/auth/login"
# What a sample tells at once, however many requests came.
GAUGES = ("waiting", "oldest")
EXPOSED, LOGGED = "exposition", "log"

Sample = tuple[str, Mapping[str, str], float]
_samples: "WeakKeyDictionary[ApiConnection, tuple[float, float, list[Sample], list[Sample]]]" = WeakKeyDictionary()
_lock = threading.Lock()


def figures_elsewhere(
    asking: Asking, figures: Sequence[Figure], hours: float, end: datetime, *, exposition: bool
) -> list[dict[str, Any]]:
    """Return a row for each of these figures that the exposition or the log tells; none where neither can be read.

    The exposition comes first, and the log where that has nothing to tell, or tells it of fewer than `FEWEST_REQUESTS`
    requests and the log of more. The log is read over the last 15 minutes before ``end``, and over ``hours`` where
    these hold no request.
    """
    found: dict[str, tuple[float, str, str]] = {}
    service = [figure for figure in figures if figure.job == "api"]
    if not service:
        return []
    sampled = float("inf")
    if exposition:
        told, sampled = _exposed(asking, service)
        found |= told
    # Two seconds without a request, or with one, say less than the last quarter of an hour of the log.
    few = sampled < FEWEST_REQUESTS
    left = [
        figure
        for figure in service
        if figure.name not in found or not found[figure.name][0] > 0 or (few and figure.name not in GAUGES)
    ]
    if left:
        logged, recent = _logged(asking, left, hours, end)
        # What the log holds of hours ago is no better than what a sample has of now.
        found |= {name: one for name, one in logged.items() if recent > sampled or not found.get(name, (0.0,))[0] > 0}
    return [
        {
            "figure": figure.name, "object": "", "when": "now", "time": end, "value": found[figure.name][0],
            "unit": figure.unit, "reason": found[figure.name][2], "source": found[figure.name][1],
            "state": "not a number" if np.isnan(found[figure.name][0]) else "value",
        }
        for figure in service
        if figure.name in found
    ]  # fmt: skip


def _exposed(asking: Asking, figures: Sequence[Figure]) -> tuple[dict[str, tuple[float, str, str]], float]:
    """Return the figures that the exposition tells, and of how many requests."""
    try:
        seconds, first, second = _twice(asking.connection(ApiConnection))
    except CouldNotFindOut:
        return {}, 0.0
    values = _from_samples(seconds, first, second)
    requests = values.get("requests", 0.0) * seconds / 60
    apart = f"from two samples of {EXPOSITION}, {seconds:.0f} s apart"
    held = f"{apart}, with {counted(round(requests), 'request')} between them"
    return {
        figure.name: (values[figure.name], EXPOSED, apart if figure.name in GAUGES else held)
        for figure in figures
        if figure.name in values
    }, requests


def _twice(api: ApiConnection) -> tuple[float, list[Sample], list[Sample]]:
    """Return two readings of the exposition and how far apart they are; kept for questions that follow at once.

    Raises `CouldNotFindOut` where what comes is no exposition.
    """
    with _lock:
        kept = _samples.get(api)
        if kept is not None and time.monotonic() - kept[0] < _KEPT_SECONDS:
            return kept[1:]
        began = time.monotonic()
        first = _read(api)
        time.sleep(APART_SECONDS)
        second = _read(api)
        ended = time.monotonic()
        _samples[api] = (ended, ended - began, first, second)
        return ended - began, first, second


def _read(api: ApiConnection) -> list[Sample]:
    return [(one.name, one.labels, one.value) for one in api.exposition()]


def _from_samples(seconds: float, first: list[Sample], second: list[Sample]) -> dict[str, float]:
    before = {(name, tuple(sorted(labels.items()))): value for name, labels, value in first}

    def grown(name: str, **wanted: str) -> float | None:
        rows = [row[1:] for row in second if row[0] == name and wanted.keys() <= {key for key in row[1] if row[1][key]}]
        if not rows:
            return None
        total = 0.0
        for labels, value in rows:
            if all(labels.get(key, "").startswith(start) for key, start in wanted.items()):
                was = before.get((name, tuple(sorted(labels.items()))), 0.0)
                total += value - was if value >= was else value  # it began anew in between
        return total

    values: dict[str, float] = {}
    requests = grown("http_requests_total")
    if requests is not None:
        values["requests"] = 60 * requests / seconds
        for name, start in (("4xx", "4"), ("5xx", "5")):
            of_status = grown("http_requests_total", status=start)
            if of_status is not None:  # else no series carries the label, which is no 0%
                values[name] = _share(of_status, grown("http_requests_total", status="") or 0.0)
        logins = grown("http_requests_total", method="POST", path=LOGIN, status="")
        if logins is not None:
            well = grown("http_requests_total", method="POST", path=LOGIN, status="2") or 0.0
            values["log-ins that succeed"] = _share(well, logins)
    for prefix, metric, shares in (
        ("", "http_request_duration_seconds_bucket", (50, 95, 99)),
        ("model ", "candidate_generation_duration_seconds_bucket", (50, 95)),
    ):
        edges = sorted({float(labels["le"]) for name, labels, _ in second if name == metric and "le" in labels})
        counts = [_bucket(before, second, metric, edge) for edge in edges]
        if counts:
            values |= {f"{prefix}p{share}": 1000 * quantile(share / 100, edges, counts) for share in shares}
    gauges = {name: value for name, _, value in second}
    if "triage_queue_size" in gauges:
        values["waiting"] = gauges["triage_queue_size"]
    if "triage_oldest_item_age_seconds" in gauges:
        values["oldest"] = gauges["triage_oldest_item_age_seconds"] / 3600
    return values


def _bucket(before: Mapping[Any, float], second: list[Sample], metric: str, edge: float) -> float:
    total = 0.0
    for name, labels, value in second:
        if name == metric and float(labels.get("le", "nan")) == edge:
            was = before.get((name, tuple(sorted(labels.items()))), 0.0)
            total += value - was if value >= was else value
    return total


def quantile(share: float, edges: Sequence[float], counts: Sequence[float]) -> float:
    """Return the quantile of cumulative buckets as Prometheus' histogram_quantile does; NaN where they are empty.

    One in the +Inf bucket is the last finite edge.
    """
    if not counts or counts[-1] <= 0:
        return float("nan")
    rank = share * counts[-1]
    at = next(index for index, count in enumerate(counts) if count >= rank)
    if np.isinf(edges[at]):
        return edges[at - 1] if at else float("nan")
    low, below = (edges[at - 1], counts[at - 1]) if at else (0.0, 0.0)
    inside = counts[at] - below
    return low + (edges[at] - low) * ((rank - below) / inside if inside else 1.0)


def _logged(
    asking: Asking, figures: Sequence[Figure], hours: float, end: datetime
) -> tuple[dict[str, tuple[float, str, str]], float]:
    """Return the figures that the log tells, and how many requests it has of the last minutes."""
    begin = end - timedelta(minutes=LOG_MINUTES)
    periods = (
        Period("now", as_stamp(begin), as_stamp(end)),
        Period("all", as_stamp(end - timedelta(hours=hours)), as_stamp(end)),
    )
    try:
        read = asking.connection(LogsConnection).reading(periods, _LOG_SECONDS).periods
    except (CouldNotFindOut, DoesNotApply):
        return {}, 0.0
    now, whole = read["now"], read["all"]
    tally, minutes = (now, LOG_MINUTES) if now.requests else (whole, 60 * hours)
    if not tally.requests:
        return {}, 0.0
    span = f"the last {minutes:.0f} min" if tally is now else f"the last {hours:g} h (none in the last 15 min)"
    values = _from_tally(tally, minutes)
    told = f"derived from the log, of {tally.requests:,} requests in {span}"
    found = {figure.name: (values[figure.name], LOGGED, told) for figure in figures if figure.name in values}
    return found, float(now.requests)


def _from_tally(tally: Tally, minutes: float) -> dict[str, float]:
    values = {"requests": tally.requests / minutes}
    if tally.without_status < tally.requests:
        known = tally.requests - tally.without_status
        for name in ("4xx", "5xx"):
            count = sum(seen.count for (status, *_), seen in tally.refused.items() if status[:1] == name[0])
            values[name] = _share(count, known)
        logins = sum(tally.durations.get(LOGIN, {}).values())
        refused = sum(
            seen.count for (_, method, path, *_), seen in tally.refused.items() if path == LOGIN and method == "POST"
        )
        if logins:
            values["log-ins that succeed"] = _share(max(logins - refused, 0), logins)
            values["log-ins"] = logins
    times: dict[int, int] = {}
    for durations in tally.durations.values():
        for value, count in durations.items():
            times[value] = times.get(value, 0) + count
    if times:
        values |= {f"p{share}": percentile(times, share / 100) for share in (50, 95, 99)}
    model: dict[int, int] = {}
    for subject, durations in tally.operations.items():
        if subject.startswith("candidate_generation"):
            for value, count in durations.items():
                model[value] = model.get(value, 0) + count
    if model:
        values |= {f"model p{share}": percentile(model, share / 100) for share in (50, 95)}
    return values


def _share(part: float, whole: float) -> float:
    return 100 * part / whole if whole else float("nan")

"""Put the service under a bounded load, and look meanwhile at what it does with it."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from runbook.connections import (
    ApiConnection,
    LoadGenerator,
    LogsConnection,
    PostgresConnection,
    monitor_grant,
    read_sql,
)
from runbook.connections.arrivals import Arrival, percentile
from runbook.connections.generator import Bounds, Step, Taken
from runbook.connections.service import Service, service_of
from runbook.logfiles.durations import percentile as of_counted
from runbook.logfiles.entries import as_stamp
from runbook.logfiles.masking import route
from runbook.logfiles.tally import Period
from runbook.model import Asking, CouldNotFindOut, DoesNotApply, NotPlanned, UsageError

SQL = read_sql(__package__, "working_sessions")
# A load is small: what it asks for is told before, and the target's profile may allow less.
MOST_SECONDS, MOST_REQUESTS = 90.0, 20_000
NONE_ANSWERED = "none of the requests was answered, and it has a line for those that were"
NO_LOAD = "no load was put on it: its profile wants a confirmed plan for that (load.without_plan)"
_SERIES = (1, 2, 5)
_LOOK_SECONDS = 0.1
_LOG_SECONDS = 10.0
# What a first look at the service's own metrics may take while it is under load.
_METRICS_SECONDS = 2.0
COLUMNS = [
    "rate", "seconds", "requests", "answered", "failed", "refused_429", "denied", "unconnected", "p50_ms", "p95_ms",
    "p99_ms", "known", "longest_ms", "mean_ms", "late_ms", "stopped", "interrupted", "began", "ended",
    "server_requests", "server_p50_ms", "server_p99_ms", "server_mean_ms", "database_sessions", "database_waits",
    "processor_seconds", "processes", "model_calls", "model_seconds",
]  # fmt: skip


def loads(highest: float, seconds: float, slow_ms: float, failed: float) -> tuple[list[Step], Bounds]:
    """Return the loads up to a rate (requests/s): 1, 2, 5, 10, 20 … and the rate itself, each for so many seconds; and
    when they stop: p99 above ``slow_ms``, or more than ``failed`` % of the requests failed.

    Raises `UsageError` for more than a load may be, or what is none.
    """
    if not 0 < highest <= 500 or not 0 < seconds <= MOST_SECONDS:
        raise UsageError(
            f"a load is bounded: up to 500 requests/s, not {highest:g}, for up to {MOST_SECONDS:g} s each, "
            f"not {seconds:g}, and more than 0 of both"
        )
    if not 10 <= slow_ms <= 60_000 or not 0 < failed <= 100:
        raise UsageError(
            f"a load stops between 10 and 60000 ms and above 0 to 100% failed: not {slow_ms:g}, {failed:g}"
        )
    rates = [float(mantissa * 10**power) for power in range(3) for mantissa in _SERIES]
    steps = [Step.of(rate, seconds) for rate in [rate for rate in rates if rate < highest] + [highest]]
    bounds = Bounds(slow_ms / 1000, 0.01, failed / 100)
    lasts, count = sum(step.seconds + bounds.slow_seconds for step in steps), sum(step.count for step in steps)
    if lasts > MOST_SECONDS or count > MOST_REQUESTS:
        raise UsageError(
            f"a load is bounded: {lasts:.0f} s and {count:,} requests at {len(steps)} rates are more than "
            f"{MOST_SECONDS:g} s and {MOST_REQUESTS:,}; ask for fewer seconds, or a lower bound of time"
        )
    return steps, bounds


def url_of(asking: Asking, path: str) -> str:
    """Return the address that a load goes to: a path of the service, which its profile names where none is given."""
    api, named = asking.target.api, asking.target.load.path
    if api is None:
        raise CouldNotFindOut(f"the profile of {asking.target.name} has no [api]")
    wanted = path or named or api.user_request
    if not wanted.startswith("/") or not wanted.isprintable() or " " in wanted:
        raise UsageError(f"{wanted!r} is no path of the service: write it as /documents?limit=1")
    return f"{api.url.rstrip('/')}{wanted}"


def needs_plan(asking: Asking) -> bool:
    """Tell whether the target takes a load by a confirmed plan only; raises `CouldNotFindOut` for one without [api]."""
    if asking.target.api is None:
        raise CouldNotFindOut(f"the profile of {asking.target.name} has no [api]")
    return not asking.target.load.without_plan


def require_load(asking: Asking, load: pd.DataFrame | None) -> pd.DataFrame:
    """Return the frame of a load; raises `DoesNotApply` where the target takes one by a plan only and had none, and
    `CouldNotFindOut` where it was asked for and not measured.
    """
    if load is not None and not load.empty:
        return load
    if needs_plan(asking):
        raise DoesNotApply(NO_LOAD)
    raise CouldNotFindOut("no load was measured: see performance.load")


def within_limits(steps: Sequence[Step], most_rate: float, per_minute: float | None) -> None:
    """Raise `NotPlanned` for a load that the profile does not allow, or the service's own rate limit would refuse."""
    highest, count = max(step.rate for step in steps), sum(step.count for step in steps)
    if highest > most_rate:
        raise NotPlanned(f"{highest:g} requests/s are more than the profile allows (load.most_rate {most_rate:g})")
    if per_minute is not None and count > per_minute / 2:
        raise NotPlanned(
            f"{count:,} requests from this address would run into the service's rate limit ({per_minute:g} a minute), "
            "and its refusals be measured: ask for a lower `highest` or fewer `seconds`, or exempt this address"
        )


def rate_limit(asking: Asking) -> float | None:
    """Return how many requests a minute the service admits from one address, as /health tells it; None where not."""
    told = asking.connection(ApiConnection).get("/health").mapping().get("rate_limiting")
    limit = told.get("per_minute") if isinstance(told, dict) and told.get("enabled") else None
    return float(limit) if isinstance(limit, int | float) and not isinstance(limit, bool) else None


def drive(asking: Asking, url: str, steps: Sequence[Step], bounds: Bounds) -> pd.DataFrame:
    """Send the loads and return a row for each, as `COLUMNS` name it; attrs hold ``url``, ``path``, ``slow_ms``, and
    why something was not seen: ``no_log``, ``no_database``, ``no_processor``, ``no_model``.

    What was not answered has taken so long at least: ``known`` is False where p99 rests on that.
    """
    generator = asking.connection(LoadGenerator)
    service, no_processor = _service(asking)
    reasons = {"no_processor": no_processor, "no_database": "", "no_log": "", "no_model": ""}
    with _watched(asking, reasons) as samples:
        found = generator.load(url, steps, bounds, lambda: _seen(asking, service, reasons))
    rows = [_row(taken, before, after, samples) for taken, before, after in found]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    path = urlsplit(url).path or "/"
    if not any(taken.interrupted for taken, _, _ in found):
        _add_servers_view(asking, frame, path, reasons)
    frame.attrs.update(reasons, url=url, path=path, slow_ms=bounds.slow_seconds * 1000)
    frame.attrs["service"] = service.told if service is not None else ""
    generator.kept = frame
    return frame


def _service(asking: Asking) -> tuple[Service | None, str]:
    try:
        return service_of(asking), ""
    except CouldNotFindOut as reason:
        return None, str(reason)


@contextmanager
def _watched(asking: Asking, reasons: dict[str, str]) -> Iterator[list[tuple[float, dict[str, int]]]]:
    """Look every tenth of a second at the sessions that work in the database, while a load goes on."""
    samples: list[tuple[float, dict[str, int]]] = []
    over = threading.Event()
    try:
        database = asking.connection(PostgresConnection)
        if not database.sees_all:
            raise CouldNotFindOut(f"the role does not see what others do; {monitor_grant(database.identity['role'])}")
    except CouldNotFindOut as reason:
        reasons["no_database"] = str(reason)
        yield samples
        return

    def look() -> None:
        while not over.wait(_LOOK_SECONDS):
            try:
                rows = database.rows(SQL, seconds=1.0)
            except CouldNotFindOut as reason:
                reasons["no_database"] = str(reason)
                return
            samples.append((time.time(), dict(zip(rows["waits_for"], rows["sessions"], strict=True))))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield samples
    finally:
        over.set()
        watcher.join(0.3)


def _seen(asking: Asking, service: Service | None, reasons: dict[str, str]) -> dict[str, Any]:
    """Return what the service has used so far: a processor's seconds by process, calls of the model and their time."""
    seen: dict[str, Any] = {"processor": service.processor_seconds() if service is not None else None, "model": None}
    if reasons["no_model"]:
        return seen
    try:
        samples = asking.connection(ApiConnection).exposition(seconds=_METRICS_SECONDS)
    except CouldNotFindOut as reason:
        reasons["no_model"] = str(reason)
        return seen
    parts = {}
    for part in ("count", "sum"):
        values = [one.value for one in samples if one.name == f"candidate_generation_duration_seconds_{part}"]
        parts[part] = sum(values) if values else None
    if parts["count"] is None or parts["sum"] is None:
        reasons["no_model"] = (
            "the service exposes no candidate_generation_duration_seconds (as built it is there from the first call on)"
        )
    else:
        seen["model"] = (parts["count"], parts["sum"])
    return seen


def _row(
    taken: Taken,
    before: Mapping[str, Any],
    after: Mapping[str, Any] | None,
    samples: Sequence[tuple[float, dict[str, int]]],
) -> dict[str, Any]:
    arrivals = taken.arrivals
    quantiles = {share: percentile(arrivals, share / 100) for share in (50, 95, 99)}
    answered = [one for one in arrivals if one.answered]
    mine = [waits for at, waits in samples if taken.began <= at <= taken.ended]
    total: Counter[str] = Counter()
    for waits in mine:
        total.update(waits)
    spent, processes = _spent(before, after)
    model = (before.get("model"), (after or {}).get("model"))
    return {
        "rate": taken.step.rate,
        "seconds": taken.ended - taken.began,
        "requests": len(arrivals) + taken.refused,
        "answered": len(answered),
        "failed": sum(one.status >= 500 for one in answered) + len(arrivals) - len(answered) + taken.refused,
        "refused_429": sum(one.status == 429 for one in answered),
        "denied": sum(300 <= one.status < 500 and one.status != 429 for one in answered),
        "unconnected": taken.refused,
        **{f"p{share}_ms": seconds * 1000 for share, (seconds, _) in quantiles.items()},
        "known": quantiles[99][1],
        "longest_ms": max((one.took for one in arrivals), default=float("nan")) * 1000,
        "mean_ms": sum(one.took for one in arrivals) / len(arrivals) * 1000 if arrivals else float("nan"),
        "late_ms": _late(arrivals) * 1000,
        "stopped": taken.stopped,
        "interrupted": taken.interrupted,
        "began": datetime.fromtimestamp(taken.began, UTC),
        "ended": datetime.fromtimestamp(taken.ended, UTC),
        "server_requests": float("nan"),
        "server_p50_ms": float("nan"),
        "server_p99_ms": float("nan"),
        "server_mean_ms": float("nan"),
        "database_sessions": total.total() / len(mine) if mine else float("nan"),
        "database_waits": total.most_common(1)[0][0] if total else "",
        "processor_seconds": spent,
        "processes": processes,
        "model_calls": model[1][0] - model[0][0] if model[0] and model[1] else float("nan"),
        "model_seconds": model[1][1] - model[0][1] if model[0] and model[1] else float("nan"),
    }


def _late(arrivals: Sequence[Arrival]) -> float:
    """Return by how much the generator was late, but for 1 in 20 requests: one of a few says nothing."""
    late = sorted(one.late for one in arrivals)
    return late[int(0.95 * (len(late) - 1))] if late else 0.0


def _spent(before: Mapping[str, Any], after: Mapping[str, Any] | None) -> tuple[float, float]:
    first, second = before.get("processor"), (after or {}).get("processor")
    if first is None or second is None:
        return float("nan"), float("nan")
    return sum(second[pid] - first.get(pid, 0.0) for pid in second), float(len(second))


def _add_servers_view(asking: Asking, frame: pd.DataFrame, path: str, reasons: dict[str, str]) -> None:
    """Add what the service's own log says of the same path in the same time."""
    clock = asking.clocks().get("api")
    ahead = timedelta(seconds=clock.offset if clock is not None else 0.0)
    periods = [
        Period(f"load {place}", as_stamp(row["began"] + ahead), as_stamp(row["ended"] + ahead))
        for place, row in frame.iterrows()
    ]
    try:
        read = asking.connection(LogsConnection).reading(periods, _LOG_SECONDS).periods
    except (CouldNotFindOut, DoesNotApply) as reason:
        reasons["no_log"] = str(reason)
        return
    for place, period in enumerate(periods):
        counted = dict(read[period.name].durations.get(route(path), {}))
        count = sum(counted.values())
        frame.loc[place, "server_requests"] = float(count)
        if count:
            frame.loc[place, "server_p50_ms"] = of_counted(counted, 0.5)
            frame.loc[place, "server_p99_ms"] = of_counted(counted, 0.99)
            frame.loc[place, "server_mean_ms"] = sum(us * times for us, times in counted.items()) / count / 1000
    if not frame["server_requests"].sum():
        with suppress(KeyError):
            text = sum(read[period.name].text_lines for period in periods)
            words = "its lines of the text format record no request" if text else "it has no line of these requests"
            words = words if frame["answered"].sum() else NONE_ANSWERED
            reasons["no_log"] = f"the service's log does not tell: {words}"

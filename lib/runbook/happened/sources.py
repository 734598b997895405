"""Where it is known from what happened: each source gives its events, or says why it cannot."""

import json
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from string import Template

import pandas as pd

from runbook.connections import ContainersConnection, PostgresConnection, PrometheusConnection, read_sql
from runbook.connections.prometheus import Series
from runbook.happened.event import Event
from runbook.model import Asking, CouldNotFindOut
from runbook.model.text import printable, to_run
from runbook.plans import place
from runbook.target import Target
from runbook.target.profile import Jobs

SQL = read_sql(__package__, "server_moments")
_NEVER = "0001-01-01"
# What somebody or something did to a container; exec and health checks come by the thousand.
_TOLD = {"create", "start", "restart", "stop", "kill", "die", "oom", "pause", "unpause", "destroy", "update", "rename"}
# Prometheus gives no more points of a series than 11,000; a few hundred tell a restart to some seconds.
_POINTS = 400
_LEAST_STEP = 5.0
_USUAL_INTERVAL = 15.0  # s between scrapes, where it is not told
# A counter that began anew shows in two samples: so many scrapes hold them, with one that is late or missed.
_SCRAPES = 4
# So many restarts are looked at closely, sample by sample; of a crash loop the others are known to a step.
_CLOSELY = 20
_REFLOG_BYTES = 64 << 10
_REFLOG = re.compile(r"[0-9a-f]{40,64} ([0-9a-f]{7})[0-9a-f]* .*> (\d{1,10}) [+-]\d{4}\t(.*)")
_WORDS = 120
# What to do where one of these is the lead.
DEPLOYED = f"roll back first, understand later: {to_run('api-down')} has the plan to go back to the image before"
RESTARTED = f"see who or what did it, and what it came back with: {to_run('api-down')}"
DATABASE = f"see who did it, what its log says and what was set: {to_run('database-issues')}"


def from_prometheus(asking: Asking, since: datetime, until: datetime) -> Iterator[Event]:
    """Yield when processes began, counters began anew, and parts could not be scraped any more or again."""
    connection, target = asking.connection(PrometheusConnection), asking.target
    until = min(until, connection.now())
    step = max((until - since).total_seconds() / _POINTS, _LEAST_STEP)
    interval = _interval(connection, target)
    reach = math.ceil(max(2 * step, _SCRAPES * interval)) + 1
    window = f"{reach}s"
    starts = connection.range(_query("process_starts", target), since, until, step).series
    moments = {(_who(one), value) for one in starts for value in one.values}
    for who, seconds in sorted(moments):
        if since.timestamp() <= seconds <= until.timestamp():
            told = f"the process of {who} began"
            yield Event(_moment(seconds), told, "Prometheus (process_start_time_seconds)", RESTARTED, 1)
    known = {_who(one) for one in starts}
    looked = 0
    for one in connection.range(_query("counters_begun", target, window), since, until, step).series:
        last = before = 0.0
        found: set[tuple[float, float]] = set()
        for time, count in zip(one.times, one.values, strict=True):
            # One reset is in the window of several points side by side. The first one follows the scrape that shows it.
            if (time - last > 3 * step or count > before) and _who(one) not in known:
                looked += 1
                close = _begun(connection, target, one, time, window) if looked <= _CLOSELY else []
                found |= set(close or [(time - reach, time)])
            last, before = time, count
        for begin, end in _overlapping(found):
            told = f"the counters of {_who(one)} began anew: it was restarted"
            middle, within = _moment((begin + end) / 2), (end - begin) / 2
            yield Event(middle, told, "Prometheus (resets of http_requests_total)", RESTARTED, within)
    for one in connection.range(_query("scraped", target), since, until, step).series:
        yield from _turns(one, step, interval)


def _begun(
    connection: PrometheusConnection, target: Target, instance: Series, time: float, window: str
) -> list[tuple[float, float]]:
    """Return between which two samples each counter of an instance began anew, in the window before a time."""
    query = _query("counters", target, window, instance=instance.labels.get("instance", ""))
    return [
        (begin, end)
        for one in connection.instant(query, _moment(time)).series
        for (begin, end), (was, shown) in zip(pairwise(one.times), pairwise(one.values), strict=True)
        if shown < was
    ]


def _overlapping(spans: set[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return what spans that overlap have in common: a counter that is born again late shows the same restart late."""
    found: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if found and begin < found[-1][1]:
            found[-1] = (begin, min(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def _interval(connection: PrometheusConnection, target: Target) -> float:
    """Return how many seconds are between two scrapes of the service."""
    job = target.prometheus.jobs.api if target.prometheus is not None else ""
    try:
        told = [pd.Timedelta(one.interval) for one in connection.targets() if one.labels.get("job") == job]
    except (CouldNotFindOut, ValueError):
        return _USUAL_INTERVAL  # others that speak Prometheus' language do not tell what they scrape
    return max((one.total_seconds() for one in told if not pd.isna(one)), default=_USUAL_INTERVAL) or _USUAL_INTERVAL


def _turns(one: Series, step: float, interval: float) -> Iterator[Event]:
    for place_, (time, value) in enumerate(zip(one.times, one.values, strict=True)):
        if place_ and value != one.values[place_ - 1]:
            word = "could be scraped again" if value else "could not be scraped any more"
            # What the point before shows was scraped up to an interval before that.
            within = (time - one.times[place_ - 1] + interval) / 2
            yield Event(_moment(time - within), f"{_who(one)} {word}", "Prometheus (up)", RESTARTED, within)


def _who(one: Series) -> str:
    told = " ".join(filter(None, (one.labels.get("job", ""), one.labels.get("instance", ""))))
    return _short(told)


@cache
def _file(name: str) -> str:
    lines = resources.files(__package__).joinpath("promql", f"{name}.promql").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.startswith("#"))


def _query(name: str, target: Target, window: str = "", instance: str = "") -> str:
    jobs = target.prometheus.jobs if target.prometheus is not None else Jobs()
    # The names of jobs hold no sign that a string of PromQL would take for its own but the dot, in an expression.
    return Template(_file(name)).substitute(
        jobs.model_dump(), window=window, instance=json.dumps(instance, ensure_ascii=False)[1:-1]
    )


def from_containers(asking: Asking, since: datetime, until: datetime) -> Iterator[Event]:
    """Yield when containers were made, with their image and its revision, and what the engine remembers of them."""
    connection = asking.connection(ContainersConnection)
    for part, name in connection.named.items():
        told = connection.inspect(name)
        if told is None:
            continue
        config, state = told.get("Config", {}), told.get("State", {})
        labels = config.get("Labels") or {}
        revision = labels.get("org.opencontainers.image.revision") or labels.get("org.opencontainers.image.version")
        image = f"{config.get('Image', '')}{f', revision {revision}' if revision else ''}"
        for moment, what, then in (
            (told.get("Created", ""), f"the container {name} ({part}) was made, from {image}: a deployment", DEPLOYED),
            (state.get("StartedAt", ""), f"the container {name} ({part}) was started", RESTARTED),
        ):
            if moment and not moment.startswith(_NEVER):
                at = datetime.fromisoformat(moment[:19]).replace(tzinfo=UTC)
                yield Event(at, _short(what), "docker inspect", then, 1)
    for event in connection.events(since, min(until, datetime.now(UTC))):
        action, actor = str(event.get("Action", "")), event.get("Actor", {}).get("Attributes", {})
        if action in _TOLD:
            code = f" (exit code {actor['exitCode']})" if "exitCode" in actor else ""
            what = f"the container {actor.get('name', '')}: {action}{code}"
            yield Event(_moment(event["timeNano"] / 1e9), _short(what), "docker events", RESTARTED)


def from_postgres(asking: Asking, since: datetime, until: datetime) -> Iterator[Event]:
    """Yield when PostgreSQL was started, and when its configuration was read last."""
    row = asking.connection(PostgresConnection).rows(SQL).iloc[0]
    started, reloaded = row["started"].to_pydatetime(), row["reloaded"].to_pydatetime()
    yield Event(started.astimezone(UTC), "PostgreSQL was started", "pg_postmaster_start_time()", DATABASE)
    if abs(reloaded - started) > timedelta(seconds=5):
        yield Event(reloaded.astimezone(UTC), "PostgreSQL read its configuration anew", "pg_conf_load_time()", DATABASE)


def from_plans(asking: Asking, since: datetime, until: datetime) -> Iterator[Event]:
    """Yield which plans of this user were carried out on the target, step by step."""
    for plan in place.all_plans():
        if plan.target != asking.target.name or not plan.of_target:
            continue
        for entry in place.journal(plan):
            if entry.event == "intent" and 0 < entry.step <= len(plan.steps):
                at = datetime.fromisoformat(entry.at)
                what = f"plan {plan.id} ({plan.summary}), step {entry.step}: {plan.steps[entry.step - 1].shown}"
                yield Event(
                    at.astimezone(UTC),
                    _short(what),
                    f"plans show {plan.id}",
                    f"runbook plans show {plan.id}: how it is undone",
                )


def from_checkout(asking: Asking, since: datetime, until: datetime) -> Iterator[Event]:
    """Yield when the service's checkout came to another commit, as git noted it (its reflog)."""
    folder = asking.target.service.checkout
    path = Path(folder) / ".git" / "logs" / "HEAD"
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - _REFLOG_BYTES, 0))
            lines = file.read(_REFLOG_BYTES).decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise CouldNotFindOut(f"{path} cannot be read: {error.strerror}") from error
    for line in lines:
        found = _REFLOG.fullmatch(line)
        if found is not None:
            what = f"the service's checkout came to {found[1]} ({found[3]})"
            yield Event(_moment(float(found[2])), _short(what), f"git reflog in {folder}", DEPLOYED)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _short(text: str) -> str:
    told = printable(text)
    return told if len(told) <= _WORDS else f"{told[: _WORDS - 1]}…"

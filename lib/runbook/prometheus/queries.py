"""Queries in files, filled in safely, and many of them asked together."""

import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from string import Template
from typing import TypeVar

from runbook.connections import PrometheusConnection
from runbook.connections.prometheus import QUERY_SECONDS, Result
from runbook.model import CouldNotFindOut, Unreachable
from runbook.target import Target

K = TypeVar("K")
A = TypeVar("A")
V = TypeVar("V")

# More at once would only wait in Prometheus' own queue (20 there, shared with dashboards and rules).
AT_ONCE = 6
# What is asked with less time than this is hardly ever answered in it, and only adds to what keeps Prometheus busy.
LEAST_SECONDS = 1.0
_WINDOW = re.compile(r"\d+[smhdw]")


@cache
def read_promql(name: str) -> str:
    """Return the text of a file ``promql/NAME.promql`` of this package; its first line says what it answers."""
    return resources.files(__package__).joinpath("promql", f"{name}.promql").read_text(encoding="utf-8").strip()


def expression(name: str, target: Target, window: str = "5m", **labels: str) -> str:
    """Return the query of a file without its comments, its $placeholders filled in.

    ``$api``, ``$postgres`` and ``$node`` are the profile's names of the jobs, ``$window`` the window of rates, and
    others the ``labels``: values that stand between double quotes, and are escaped for that.
    """
    jobs = target.prometheus.jobs.model_dump() if target.prometheus is not None else _usual_jobs()
    if not _WINDOW.fullmatch(window):
        raise ValueError(f"{window!r} is no window of time")
    values = {key: escaped(value) for key, value in {**jobs, **labels}.items()}
    lines = [line for line in read_promql(name).splitlines() if not line.startswith("#")]
    return Template("\n".join(lines).strip()).substitute(values, window=window)


def escaped(value: str) -> str:
    """Return a text as it stands between the double quotes of a PromQL string."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")


def _usual_jobs() -> dict[str, str]:
    from runbook.target.profile import Jobs

    return Jobs().model_dump()


@dataclass(frozen=True)
class Asked:
    """A query: its value ``end``, or, with a ``step`` (seconds), its values from ``start`` to ``end``."""

    query: str
    end: datetime
    start: datetime | None = None
    step: float = 0.0


def together(
    connection: PrometheusConnection, asked: Mapping[K, Asked], seconds: float
) -> dict[K, Result | CouldNotFindOut]:
    """Ask many queries, some at a time, and return for each its result or why there is none.

    ``seconds`` bounds all of them; what was not answered until then says so, and so does what was not asked because
    less than `LEAST_SECONDS` were left. A Prometheus that has gone is not asked again.
    """

    def ask(one: Asked, limit: float) -> Result:
        if one.start is None:
            return connection.instant(one.query, one.end, limit)
        return connection.range(one.query, one.start, one.end, one.step, limit)

    return at_once(connection, asked, ask, seconds)


def at_once(
    connection: PrometheusConnection, asked: Mapping[K, A], ask: Callable[[A, float], V], seconds: float
) -> dict[K, V | CouldNotFindOut]:
    """Ask many things of Prometheus, some at a time, each by ``ask`` with the seconds that it may take; as `together`
    does.
    """
    end = time.monotonic() + seconds

    def within(one: A) -> V:
        left = end - time.monotonic()
        if left < LEAST_SECONDS:
            raise CouldNotFindOut(_NOT_ASKED.format(LEAST_SECONDS, seconds))
        limit = min(QUERY_SECONDS, left)
        try:
            return ask(one, limit)
        except Unreachable as error:
            if error.kind == "timeout" and limit < connection.patience:
                raise CouldNotFindOut(_LATE.format(seconds)) from error  # those before it took the time: it is busy
            raise

    crew = ThreadPoolExecutor(min(AT_ONCE, max(1, len(asked))), thread_name_prefix="promql")
    try:
        waiting: dict[K, Future[V]] = {name: crew.submit(within, one) for name, one in asked.items()}
        wait(waiting.values(), timeout=seconds)
        told: dict[K, V | CouldNotFindOut] = {}
        for name, future in waiting.items():
            one = _given(future, seconds)
            told[name] = one
        return told
    finally:
        crew.shutdown(wait=False, cancel_futures=True)


_NOT_ASKED = "this query was not asked: less than {:g} s was left of the {:g} s that all have; ask for fewer hours"
_LATE = "Prometheus did not answer this query within the {:g} s that all of them have; ask for fewer hours"


def _given(future: Future[V], seconds: float) -> V | CouldNotFindOut:
    if not future.done():
        future.cancel()
        return CouldNotFindOut(_LATE.format(seconds))
    try:
        return future.result()
    except CouldNotFindOut as reason:
        return reason

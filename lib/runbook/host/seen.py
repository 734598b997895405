"""Look at every place that a machine is known by: each costs its own rows only, and says whose it is."""

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

import msgspec

from runbook.connections import Machine
from runbook.connections.elsewhere import Elsewhere
from runbook.connections.prometheus import Series
from runbook.model import CouldNotFindOut, Finding, Status

Row = dict[str, Any]
_MOST_AT_ONCE = 8
QUERY_SECONDS = 4.0
NOTHING_KNOWN = "Prometheus knows nothing of it at present: its node_exporter is down, or not scraped"
# Regular expressions stand in PromQL's quotes: a sign that is quoted there is quoted once more.
_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$])")


def from_inside(machine: Machine, ask: Callable[[Elsewhere], list[Row]], empty: Mapping[str, Any]) -> list[Row]:
    """Return the rows of all places that are looked at from inside, asked at once.

    One that cannot be looked at has a row with its ``problem``, and what is ``empty`` of such a row.
    """

    def one(place: Elsewhere) -> list[Row]:
        try:
            return [{"host": place.label, **row, "problem": row.get("problem", "")} for row in ask(place)]
        except (CouldNotFindOut, ValueError) as error:
            return [{"host": place.label, **empty, "problem": str(error), "source": ""}]

    with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
        return [row for rows in pool.map(one, machine.elsewhere) for row in rows]


def by_exporters(machine: Machine, *names: str) -> dict[str, list[Series]]:
    """Return what Prometheus knows now of each host, by its instance: the series of the queries of these names.

    An instance that the profile names and Prometheus knows nothing of has none. Raises `CouldNotFindOut` where it knows
    of no host at all.
    """
    watcher = machine.watcher
    assert watcher is not None
    found: dict[str, list[Series]] = {instance: [] for instance in machine.host.instances}
    for name in names:
        for series in watcher.instant(query(machine, name), seconds=QUERY_SECONDS).series:
            found.setdefault(series.labels.get("instance", "?"), []).append(series)
    if not any(found.values()):
        raise CouldNotFindOut(
            f"Prometheus knows nothing of a host at present ({query(machine, names[0])}): its node_exporter is down, "
            f"or not scraped by a job {machine.node_job}"
        )
    return found


def query(machine: Machine, name: str) -> str:
    """Return a packaged query, filled in for the hosts of the profile."""
    wanted = "|".join(_SPECIAL.sub(r"\\\\\1", one) for one in machine.host.instances) or ".+"
    return Template(_packaged(name)).substitute(node=machine.node_job, instances=wanted)


@cache
def _packaged(name: str) -> str:
    lines = (Path(__file__).parent / "promql" / f"{name}.promql").read_text().splitlines()
    return " ".join(line.strip() for line in lines if not line.startswith("#"))


def newest(series: list[Series], name: str, **labels: str) -> float:
    """Return the value of a metric among some series; NaN where it is not among them."""
    for one in series:
        if one.labels.get("__name__", "") == name and all(
            one.labels.get(key) == value for key, value in labels.items()
        ):
            return one.values[-1] if one.values else float("nan")
    return float("nan")


def judged(row: Mapping[Any, Any], about: str, judge: Callable[[], Finding]) -> Finding:
    """Return the finding on a place, with what was asked for it; UNKNOWN where it could not be looked at."""
    if row.get("problem"):
        told = f"cannot be looked at: {row['problem']}"
        found = Finding(object=f"{row['host']} {about}", status=Status.UNKNOWN, message=told)
    else:
        found = judge()
    return msgspec.structs.replace(found, source=row.get("source", ""))

"""Look at every place that a machine is known by: each costs its own rows only, and says whose it is."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from runbook.connections import Machine
from runbook.connections.elsewhere import Elsewhere
from runbook.connections.exporters import by_instance, filled
from runbook.connections.prometheus import Series
from runbook.model import CouldNotFindOut, Finding, Status

Row = dict[str, Any]
_MOST_AT_ONCE = 8


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
    """Return what Prometheus knows now of each host, by its instance: the series of the queries of these names."""
    return by_instance(machine, *(query(machine, name) for name in names))


def query(machine: Machine, name: str) -> str:
    """Return a query of this package, filled in for the hosts of the profile."""
    return filled(machine, (Path(__file__).parent / "promql" / f"{name}.promql").read_text())


def judged(row: Mapping[Any, Any], about: str, judge: Callable[[], Finding]) -> Finding:
    """Return the finding on a place, with what was asked for it; UNKNOWN where it could not be looked at."""
    if row.get("problem"):
        told = f"cannot be looked at: {row['problem']}"
        found = Finding(object=f"{row['host']} {about}", status=Status.UNKNOWN, message=told)
    else:
        found = judge()
    return msgspec.structs.replace(found, source=row.get("source", ""))

"""The schedule as a file of DAGs for Airflow."""

import json
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from runbook.schedules.cron import fields
from runbook.schedules.planned import Place, Planned, begins
from runbook.target import When

_FILE = resources.files(__package__).joinpath("dags.txt").read_text(encoding="utf-8")


def dags(
    planned: Iterable[Planned], places: Mapping[str, Place], *, zone: str, jitter: int, seconds: Mapping[str, int]
) -> str:
    """Return the file: a DAG for each moment that comes back on a target, a task in it for each notebook.

    ``places`` and ``seconds`` hold for each target where its runs are started, and after how long one is ended.
    ``zone`` is that of the times.
    """
    of_dag: dict[str, dict[str, Any]] = {}
    for one in planned:
        if one.when is not None:
            name = dag_id(one.target, one.when)
            cron = fields(one.when, *begins(one.when, name, jitter))
            dag = of_dag.setdefault(name, {"target": one.target, "cron": cron, "notebooks": {}})
            dag["notebooks"][one.notebook] = one.title
    of_target = {
        name: {"runner": place.runner, "environment": dict(place.environment), "seconds": seconds[name]}
        for name, place in places.items()
    }
    text = _FILE.replace('ZONE = "Etc/UTC"', f"ZONE = {_literal(zone)}", 1)
    text = text.replace("\nTARGETS = {}\n", f"\n{_secrets(places)}TARGETS = {_literal(of_target)}\n", 1)
    return text.replace("\nDAGS = {}\n", f"\nDAGS = {_literal(of_dag)}\n", 1)


def dag_id(target: str, when: When) -> str:
    """Return a DAG's name: its target and how often it runs, and where a profile has moved it, to when."""
    moved = "" if when == When(when.period) else str(when).removeprefix(when.period).replace(":", "").replace(" ", "-")
    return f"runbook-{target}-{when.period}{moved}"


def _literal(value: object) -> str:
    """Return texts, numbers and what holds them as Python reads them: as JSON, whose escapes are those of Python."""
    return json.dumps(value, indent=4, ensure_ascii=False)


def _secrets(places: Mapping[str, Place]) -> str:
    missing = sorted({name for place in places.values() for name in place.secrets})
    told = "# Profiles take secrets from these variables, which the workers' environment is to hold"
    return f"{told}: {', '.join(missing)}\n" if missing else ""

"""Hosts as their node_exporters tell of them, asked of the Prometheus that scrapes these."""

import re
from string import Template

from runbook.connections.machine import Machine
from runbook.connections.prometheus import Series
from runbook.model import CouldNotFindOut

QUERY_SECONDS = 4.0
NOTHING_KNOWN = "Prometheus knows nothing of it at present: its node_exporter is down, or not scraped"
# A regular expression stands in PromQL's quotes: what is quoted in it is quoted once more.
_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$])")


def filled(machine: Machine, text: str) -> str:
    """Return a query's text without its comments, filled in for the hosts of the profile: $node and $instances."""
    wanted = "|".join(_SPECIAL.sub(r"\\\\\1", one) for one in machine.host.instances) or ".+"
    lines = (line.strip() for line in text.splitlines() if not line.startswith("#"))
    return Template(" ".join(lines)).substitute(node=machine.node_job, instances=wanted)


def by_instance(machine: Machine, *queries: str) -> dict[str, list[Series]]:
    """Return the series of some queries by the host's instance; one that the profile names may have none.

    Raises `CouldNotFindOut` where Prometheus knows of no host at all.
    """
    watcher = machine.watcher
    assert watcher is not None
    found: dict[str, list[Series]] = {instance: [] for instance in machine.host.instances}
    for query in queries:
        for series in watcher.instant(query, seconds=QUERY_SECONDS).series:
            found.setdefault(series.labels.get("instance", "?"), []).append(series)
    if not any(found.values()):
        raise CouldNotFindOut(
            f"Prometheus knows nothing of a host at present ({queries[0]}): its node_exporter is down, "
            f"or not scraped by a job {machine.node_job}"
        )
    return found


def newest(series: list[Series], name: str, **labels: str) -> float:
    """Return the value of a metric among some series; NaN where it is not among them."""
    for one in series:
        if one.labels.get("__name__", "") == name and all(
            one.labels.get(key) == value for key, value in labels.items()
        ):
            return one.values[-1] if one.values else float("nan")
    return float("nan")

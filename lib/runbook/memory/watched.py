"""The queries of this package on hosts that only their exporters tell of."""

from pathlib import Path

from runbook.connections import Machine
from runbook.connections.exporters import by_instance, filled


def query(machine: Machine, name: str, window: str = "") -> str:
    """Return a query of this package, filled in for the hosts of the profile."""
    text = (Path(__file__).parent / "promql" / f"{name}.promql").read_text()
    return filled(machine, text.replace("$window", window))


def figures(machine: Machine, name: str, window: str = "") -> dict[str, float]:
    """Return the figure of each host by its instance; NaN for one that nothing is known of."""
    found = by_instance(machine, query(machine, name, window))
    return {
        instance: series[0].values[-1] if series and series[0].values else float("nan")
        for instance, series in found.items()
    }

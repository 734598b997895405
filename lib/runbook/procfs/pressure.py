"""What the kernel tells of waiting: pressure stall information (PSI), of a machine or of a control group."""

import re
from dataclasses import dataclass

_LINE = re.compile(r"^(some|full) avg10=([\d.]+) avg60=([\d.]+) avg300=([\d.]+) total=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Pressure:
    """For how much of the time (%) something waited, over 10, 60 and 300 s: ``some`` of the tasks, or ``full``, all."""

    some: tuple[float, float, float]
    full: tuple[float, float, float]


def pressure(text: str) -> Pressure | None:
    """Return what /proc/pressure/memory or a group's memory.pressure tells; None where it tells nothing."""
    told = {name: tuple(map(float, values)) for name, *values, _ in _LINE.findall(text)}
    if "some" not in told:
        return None
    return Pressure(told["some"], told.get("full", (0.0, 0.0, 0.0)))  # type: ignore[arg-type]

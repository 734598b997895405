"""Does anything wait for memory?"""

import math
from typing import Any

import msgspec
import pandas as pd

from runbook.connections import ContainersConnection, Machine
from runbook.connections.elsewhere import Elsewhere
from runbook.connections.exporters import NOTHING_KNOWN
from runbook.memory.groups import groups
from runbook.memory.watched import figures, query
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable, at_most
from runbook.procfs.pressure import Pressure, pressure

_FILE = "/proc/pressure/memory"
COLUMNS = ["whose", "some_10", "some_60", "some_300", "full_10", "full_60", "full_300", "source", "problem"]


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each machine, and for each container whose control group tells it (version 2): whose, for how
    much of the time (%) something waited for memory (some) or everything did (full), over 10, 60 and 300 s; source,
    problem.
    """
    rows = [*_machines(asking), *_containers(asking)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _machines(asking: Asking) -> list[dict[str, Any]]:
    try:
        machine = asking.connection(Machine)
        if machine.watcher is not None:
            return _watched(machine)
        # Inside of any container it is the machine's.
        place = machine.places[0]
    except CouldNotFindOut as error:
        return [{"whose": "machine", "problem": str(error), "source": ""}]
    row = {"whose": machine.label, "problem": "", "source": place.shown(("cat", _FILE))}
    return [row | _told(place)]


def _watched(machine: Machine) -> list[dict[str, Any]]:
    some, full = figures(machine, "waited"), figures(machine, "stalled")
    source = query(machine, "waited")
    return [
        {"whose": host, "some_60": value, "full_60": full.get(host, math.nan), "source": source,
         "problem": NOTHING_KNOWN if math.isnan(value) else ""}
        for host, value in some.items()
    ]  # fmt: skip


def _told(place: Elsewhere) -> dict[str, Any]:
    try:
        ended = place.call(("cat", _FILE))
    except CouldNotFindOut as error:
        return {"problem": str(error)}
    found = pressure(ended.text)
    return _columns(found) if found is not None else {"problem": f"its kernel tells no pressure ({_FILE}: psi=1)"}


def _containers(asking: Asking) -> list[dict[str, Any]]:
    try:
        held = groups(asking.connection(ContainersConnection))
    except Unreachable as error:
        return [] if error.kind == "not-configured" else [{"whose": "containers", "problem": str(error), "source": ""}]
    return [
        {"whose": one.label, "problem": "", "source": one.source, **_columns(one.group.pressure)}
        for one in held
        if one.group is not None and one.group.pressure is not None
    ]


def _columns(told: Pressure) -> dict[str, Any]:
    names = (10, 60, 300)
    some = {f"some_{seconds}": value for seconds, value in zip(names, told.some, strict=True)}
    return some | {f"full_{seconds}": value for seconds, value in zip(names, told.full, strict=True)}


def check(frame: pd.DataFrame, *, warning: float = 10, critical: float = 40) -> list[Finding]:
    """Judge for how much of the last minute (%) something waited for memory.

    Above a tenth requests become slow; above 40% most of the work is reading back what was just thrown out, and the
    kernel soon ends something.
    """
    findings = []
    for row in frame.to_dict("records"):
        if row["problem"]:
            message = f"cannot be looked at: {row['problem']}"
            found = Finding(object=row["whose"], status=Status.UNKNOWN, message=message)
        else:
            message = f"something waited for memory {row['some_60']:.1f}% of the last minute, "
            message += f"everything {row['full_60']:.1f}%"
            found = at_most(row["whose"], row["some_60"], warning, critical, unit="%", message=message)
        findings.append(msgspec.structs.replace(found, source=row["source"]))
    return findings


waiting = Question(
    name="memory.waiting",
    title="Does anything wait for memory?",
    probe=probe,
    check=check,
    source=f"cat {_FILE}; cat /sys/fs/cgroup/memory.pressure   # in the container",
    needs=(Machine, ContainersConnection),
    deadline=10.0,
    next="see what uses the memory, below; less of it at once: fewer workers, or another machine for a part of it",
)

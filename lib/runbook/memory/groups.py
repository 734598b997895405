"""The control group of each container: from the kernel's own files, here or inside, else from what the engine tells."""

import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runbook.connections import ContainersConnection
from runbook.connections.elsewhere import Elsewhere
from runbook.model import CouldNotFindOut
from runbook.procfs.cgroup import V1, V2, Group, NotAGroup, folder_of, group, of_engine

_FOLDERS = {"/sys/fs/cgroup": V2, "/sys/fs/cgroup/memory": V1}
# grep writes the file's name before each line, which cat does not; what is not there it only complains of.
_INSIDE = ("grep", "-s", "", "/dev/null", *(f"{folder}/{name}" for folder, names in _FOLDERS.items() for name in names))
_LINE = re.compile(r"^/sys/fs/cgroup(?:/memory)?/(memory\.[a-z_.]+):(.*)$")


@dataclass(frozen=True)
class Held:
    """A container and its group: ``source`` is what the group was read from; without one ``problem`` says why."""

    part: str
    name: str
    inspected: Mapping[str, Any] = field(default_factory=dict)
    group: Group | None = None
    source: str = ""
    problem: str = ""

    @property
    def label(self) -> str:
        """Return whose it is."""
        return f"{self.part} ({self.name})"


def groups(connection: ContainersConnection) -> list[Held]:
    """Return the group of each named container, all asked at once; one that cannot be read costs itself only."""
    with ThreadPoolExecutor(len(connection.named)) as pool:
        return list(pool.map(lambda one: _held(connection, *one), connection.named.items()))


def _held(connection: ContainersConnection, part: str, name: str) -> Held:
    try:
        told = connection.inspect(name)
        if told is None:
            return Held(part, name, problem="there is no such container")
        if not told["State"]["Running"]:
            return Held(part, name, told, problem=f"it does not run (it is {told['State']['Status']})")
        found = _on_this_machine(told) or _from_inside(connection.inside(name, part))
        if found is None:
            stats = connection.stats(name) or {}
            found = of_engine(stats.get("memory_stats", {})), f"docker stats --no-stream {name}"
        return Held(part, name, told, *found)
    except (CouldNotFindOut, NotAGroup) as error:
        return Held(part, name, problem=str(error))


def _on_this_machine(told: Mapping[str, Any]) -> tuple[Group, str] | None:
    """Return the group as this machine's kernel tells it; None where the engine is elsewhere or it may not be read."""
    if not (os.environ.get("DOCKER_HOST") or "unix://").startswith("unix://"):
        return None
    with suppress(OSError, NotAGroup):
        cgroup = Path(f"/proc/{told['State']['Pid']}/cgroup").read_text()
        if str(told["Id"]) not in cgroup:
            return None  # another machine's process of that number, or another namespace's
        folder = Path(folder_of(cgroup))
        files = {}
        for name in {*V1, *V2}:
            with suppress(OSError):
                files[name] = (folder / name).read_text()
        return group(files), f"grep '' {folder}/memory.*"
    return None


def _from_inside(place: Elsewhere) -> tuple[Group, str] | None:
    with suppress(CouldNotFindOut, NotAGroup):
        files: dict[str, list[str]] = {}
        for text in place.call(_INSIDE).text.splitlines():
            match = _LINE.match(text)
            if match is not None:
                files.setdefault(match[1], []).append(match[2])
        return group({name: "\n".join(lines) for name, lines in files.items()}), place.shown(_INSIDE)
    return None

"""What the kernel tells of a whole machine: memory, load, processors, file systems."""

import re
from dataclasses import dataclass

_KIB = 1024
_LOAD = re.compile(r"^(\d+\.\d+) (\d+\.\d+) (\d+\.\d+) \d+/\d+ \d+$", re.MULTILINE)
_PROCESSOR = re.compile(r"^cpu\d+ ", re.MULTILINE)
# What `stat` is asked for of each file system: the size of a block, blocks, free ones, those for ordinary users; files
# and free ones; and the path that it was asked about.
FILE_SYSTEM = "%S %b %f %a %c %d %n"


class NotTold(ValueError):
    """A text is not what the kernel tells."""


@dataclass(frozen=True)
class FileSystem:
    """One file system, in bytes and files; ``total`` leaves out what only root may use, as df does."""

    path: str
    used: int
    total: int
    files: int
    files_total: int


def meminfo(text: str) -> dict[str, int]:
    """Return /proc/meminfo in bytes, by name; raises `NotTold` where it tells no total."""
    told: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        parts = rest.split()
        if parts and parts[0].isdigit():
            told[name.strip()] = int(parts[0]) * (_KIB if parts[1:] == ["kB"] else 1)
    if not told.get("MemTotal"):
        raise NotTold("/proc/meminfo tells no MemTotal")
    return told


def used_memory(told: dict[str, int]) -> tuple[int, int]:
    """Return the bytes that are not available to a new program, and all there are.

    Kernels before 3.14 do not tell what is available: then what is free, and the caches, is.
    """
    caches = sum(told.get(name, 0) for name in ("MemFree", "Buffers", "Cached"))
    return told["MemTotal"] - told.get("MemAvailable", caches), told["MemTotal"]


def load(text: str) -> tuple[float, float, float]:
    """Return the load over 1, 5 and 15 minutes of a text that holds /proc/loadavg; raises `NotTold`."""
    found = _LOAD.search(text)
    if found is None:
        raise NotTold("/proc/loadavg tells no load")
    return float(found[1]), float(found[2]), float(found[3])


def processors(text: str) -> int:
    """Return how many processors work, of a text that holds /proc/stat; raises `NotTold`."""
    count = len(_PROCESSOR.findall(text))
    if not count:
        raise NotTold("/proc/stat tells no processor")
    return count


def file_systems(text: str) -> dict[str, FileSystem]:
    """Return what ``stat -f`` printed in the form `FILE_SYSTEM`, by path; lines that are none are passed over."""
    found = {}
    for line in text.splitlines():
        parts = line.split(" ", 6)
        if len(parts) == 7 and all(part.isdigit() for part in parts[:6]):
            size, blocks, free, available, files, files_free = map(int, parts[:6])
            used = blocks - free
            found[parts[6]] = FileSystem(parts[6], used * size, (used + available) * size, files - files_free, files)
    return found

"""The memory of processes, as /proc tells it: each one's own share, its threads, its open files."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

# What is asked with one call of find: of each process the lines that matter, each with the file's name before it.
LINES = r"^(Pss|Pss_Anon|Rss|Swap|Name|PPid|Threads|VmRSS|VmSwap|Max open files)"
FIND = (
    "find", "/proc", "-maxdepth", "2",
    "(", "-path", "/proc/[0-9]*/smaps_rollup", "-o", "-path", "/proc/[0-9]*/status",
    "-o", "-path", "/proc/[0-9]*/limits", ")",
    "-exec", "grep", "-s", "-H", "-E", LINES, "{}", "+",
)  # fmt: skip
FIND_OPEN = ("find", "/proc", "-mindepth", "3", "-maxdepth", "3", "-path", "/proc/[0-9]*/fd/*")
# Who asks is among those that are asked about.
_ASKING = frozenset({"find", "grep", "env", "sshd", "cat"})
_NAMED = re.compile(r"^/proc/(\d+)/(?:smaps_rollup|status|limits):([^:]+?)(?:: *\t?|  +)(.*)$")
_OPEN = re.compile(r"^/proc/(\d+)/fd/\d+$")


@dataclass
class Process:
    """One process: in bytes ``proportional`` (what it shares is divided among who shares it; None where it may not be
    read), ``resident`` and ``swapped``; its threads and open files (None: may not be read) and how many it may have.
    """

    pid: int
    name: str = ""
    parent: int = 0
    proportional: int | None = None
    anonymous: int | None = None
    resident: int = 0
    swapped: int = 0
    threads: int = 0
    open_files: int | None = None
    open_limit: int | None = None

    @property
    def size(self) -> int:
        """Return what counts as its own: the proportional size, else the resident one, which is more."""
        return self.proportional if self.proportional is not None else self.resident


@dataclass
class _Lines:
    told: dict[str, str] = field(default_factory=dict)


def processes(text: str, opened: str = "") -> list[Process]:
    """Return the processes of what `FIND` and `FIND_OPEN` printed, the largest first.

    One that ended while it was read, or is the kernel's own, is left out.
    """
    found: dict[int, _Lines] = {}
    for line in text.splitlines():
        match = _NAMED.match(line)
        if match is not None:
            found.setdefault(int(match[1]), _Lines()).told.setdefault(match[2], match[3].strip())
    counts = Counter(int(match[1]) for line in opened.splitlines() if (match := _OPEN.match(line)))
    all_of_them = [_process(pid, lines.told, counts) for pid, lines in found.items()]
    kept = [one for one in all_of_them if one.name and one.resident and one.name not in _ASKING]
    return sorted(kept, key=lambda one: -one.size)


def _process(pid: int, told: Mapping[str, str], counts: Mapping[int, int]) -> Process:
    limit = told.get("Max open files", "").split()
    return Process(
        pid=pid,
        name=told.get("Name", ""),
        parent=_count(told.get("PPid", "")) or 0,
        proportional=_bytes(told.get("Pss", "")),
        anonymous=_bytes(told.get("Pss_Anon", "")),  # from Linux 5.4 on
        resident=_bytes(told.get("VmRSS", "")) or _bytes(told.get("Rss", "")) or 0,
        swapped=_bytes(told.get("Swap", "")) or _bytes(told.get("VmSwap", "")) or 0,
        threads=_count(told.get("Threads", "")) or 0,
        open_files=counts.get(pid),
        open_limit=_count(limit[0]) if limit else None,
    )


def _bytes(text: str) -> int | None:
    count = _count(text)
    return count * 1024 if count is not None else None


def _count(text: str) -> int | None:
    first = text.split()
    return int(first[0]) if first and first[0].isdigit() else None

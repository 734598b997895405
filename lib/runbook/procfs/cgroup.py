"""The memory of a control group, as the files of either version tell it: the same figures, by the same names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from runbook.procfs.pressure import Pressure, pressure

V1 = (
    "memory.usage_in_bytes", "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.stat", "memory.failcnt",
    "memory.oom_control", "memory.kmem.usage_in_bytes",
)  # fmt: skip
V2 = (
    "memory.current", "memory.max", "memory.high", "memory.peak", "memory.stat", "memory.events", "memory.swap.current",
    "memory.pressure",
)  # fmt: skip
# Version 1 writes no limit as the largest number of pages.
_NO_LIMIT = 1 << 62
_PLACE = re.compile(r"^\d+:([^:]*):(/.*)$", re.MULTILINE)


class NotAGroup(ValueError):
    """The texts are not those of a memory control group."""


@dataclass(frozen=True)
class Group:
    """The memory of a control group, in bytes; None is what the kernel does not tell.

    ``limit`` is None where there is none. ``cache`` is what files take, of which ``inactive`` is given back first;
    ``anonymous`` what only ending something gives back. ``at_limit`` counts how often it stood at its limit, ``kills``
    how often the kernel killed in it for that.
    """

    version: int
    current: int
    limit: int | None
    peak: int | None
    anonymous: int | None
    cache: int | None
    inactive: int | None
    kernel: int | None
    swap: int | None
    at_limit: int | None
    kills: int | None
    pressure: Pressure | None = None

    @property
    def used(self) -> int:
        """Return what is in use without what the kernel gives back first, as `docker stats` counts."""
        return max(0, self.current - (self.inactive or 0))


def group(files: Mapping[str, str]) -> Group:
    """Return what the files of a group tell, by their names; raises `NotAGroup`."""
    if "memory.current" in files:
        return _v2(files)
    if "memory.usage_in_bytes" in files:
        return _v1(files)
    raise NotAGroup("there is no memory.current (version 2) and no memory.usage_in_bytes (version 1)")


def _v2(files: Mapping[str, str]) -> Group:
    stat, events = _table(files.get("memory.stat", "")), _table(files.get("memory.events", ""))
    return Group(
        version=2,
        current=_required(files, "memory.current"),
        limit=_number(files.get("memory.max", "")),
        peak=_number(files.get("memory.peak", "")),  # from Linux 5.19 on
        anonymous=stat.get("anon"),
        cache=stat.get("file"),
        inactive=stat.get("inactive_file"),
        kernel=stat.get("kernel", _sum(stat, "kernel_stack", "slab", "percpu", "pagetables")),
        swap=_number(files.get("memory.swap.current", "")),
        at_limit=events.get("max"),
        kills=events.get("oom_kill"),
        pressure=pressure(files.get("memory.pressure", "")),
    )


def _v1(files: Mapping[str, str]) -> Group:
    stat, control = _table(files.get("memory.stat", "")), _table(files.get("memory.oom_control", ""))
    limit = _number(files.get("memory.limit_in_bytes", ""))
    return Group(
        version=1,
        current=_required(files, "memory.usage_in_bytes"),
        limit=limit if limit is not None and limit < _NO_LIMIT else None,
        peak=_number(files.get("memory.max_usage_in_bytes", "")),
        anonymous=stat.get("total_rss", stat.get("rss")),
        cache=stat.get("total_cache", stat.get("cache")),
        inactive=stat.get("total_inactive_file", stat.get("inactive_file")),
        kernel=_number(files.get("memory.kmem.usage_in_bytes", "")),
        swap=stat.get("total_swap", stat.get("swap")),
        at_limit=_number(files.get("memory.failcnt", "")),
        kills=control.get("oom_kill"),
    )


def of_engine(memory: Mapping[str, object]) -> Group:
    """Return what the Docker engine tells of a container's group, which is less: of version 2 no peak and no kills."""
    stats = memory.get("stats")
    detail = (
        {str(key): value for key, value in stats.items() if isinstance(value, int)} if isinstance(stats, dict) else {}
    )
    old = "total_rss" in detail or "rss" in detail
    limit, usage, peak, failed = (memory.get(key) for key in ("limit", "usage", "max_usage", "failcnt"))
    if not isinstance(usage, int):
        raise NotAGroup("the engine tells no use of memory")
    return Group(
        version=1 if old else 2,
        current=usage,
        limit=limit if isinstance(limit, int) and 0 < limit < _NO_LIMIT else None,
        peak=peak if isinstance(peak, int) else None,
        anonymous=detail.get("total_rss", detail.get("rss", detail.get("anon"))),
        cache=detail.get("total_cache", detail.get("cache", detail.get("file"))),
        inactive=detail.get("total_inactive_file", detail.get("inactive_file")),
        kernel=detail.get("kernel", _sum(detail, "kernel_stack", "slab", "percpu", "pagetables")),
        swap=detail.get("total_swap", detail.get("swap")),
        at_limit=failed if isinstance(failed, int) else None,
        kills=None,
    )


def folder_of(cgroup: str, mounted: str = "/sys/fs/cgroup") -> str:
    """Return the folder of the memory group that /proc/PID/cgroup names; raises `NotAGroup` where it names none."""
    places = {name: path for names, path in _PLACE.findall(cgroup) for name in names.split(",")}
    if "memory" in places:
        return f"{mounted}/memory{places['memory']}".rstrip("/")
    if "" in places:
        return f"{mounted}{places['']}".rstrip("/")
    raise NotAGroup("/proc/PID/cgroup names no group that counts memory")


def _table(text: str) -> dict[str, int]:
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].lstrip("-").isdigit()}


def _sum(table: Mapping[str, int], *names: str) -> int | None:
    known = [table[name] for name in names if name in table]
    return sum(known) if known else None


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None


def _required(files: Mapping[str, str], name: str) -> int:
    value = _number(files[name])
    if value is None:
        raise NotAGroup(f"{name} holds no number")
    return value

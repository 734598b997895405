"""What the Docker engine tells of a container's control group, whichever version it has."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any


def without_cache(memory: Mapping[str, Any]) -> int:
    """Return the bytes in use of the engine's own figures, without what the kernel's cache gives back."""
    detail = memory.get("stats", {})
    cache = detail.get("total_inactive_file", detail.get("inactive_file", 0))  # cgroups v1 and v2
    return max(0, int(memory["usage"]) - int(cache))


def busy_processors(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """Return how many processors a container used between two looks at it; NaN where no time lies between."""
    spent = [told["cpu_stats"]["cpu_usage"]["total_usage"] for told in (before, after)]
    began, ended = (datetime.fromisoformat(told["read"][:26].rstrip("Z") + "+00:00") for told in (before, after))
    seconds = (ended - began).total_seconds()
    return (spent[1] - spent[0]) / 1e9 / seconds if seconds > 0 else float("nan")


def cpu_limit(inspected: Mapping[str, Any]) -> float:
    """Return how many processors a container may use, as it is inspected; NaN where nothing limits it."""
    host = inspected.get("HostConfig", {})
    if host.get("NanoCpus"):
        return float(host["NanoCpus"]) / 1e9
    quota, period = host.get("CpuQuota") or 0, host.get("CpuPeriod") or 100_000
    return float(quota / period) if quota > 0 else float("nan")

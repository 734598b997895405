"""Are the containers short of memory, processors or processes?"""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pandas as pd

from runbook.connections import ContainersConnection
from runbook.docker.explanations import EXPLAINED_BY
from runbook.model import Asking, CouldNotFindOut, Finding, Question, at_most
from runbook.model.units import as_bytes

# Between two looks at the processor time; the engine's own second look takes a second for each container.
_SAMPLE_SECONDS = 0.5
COLUMNS = ["part", "container", "memory", "memory_limit", "cpus", "cpu_limit", "processes"]


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each container that runs: part, container, memory, memory_limit (bytes), cpus (in use),
    cpu_limit (NaN: none), processes.

    ``memory`` is without what the kernel's cache holds of files and gives back, as `docker stats` counts. Raises
    `CouldNotFindOut` where none of them runs.
    """
    connection = asking.connection(ContainersConnection)
    rows = []
    for part, name, before, after in two_looks(connection, _SAMPLE_SECONDS):
        told = connection.inspect(name) or {}
        rows.append((part, name, *_used(before, after), _cpu_limit(told), _processes(after)))
    frame = pd.DataFrame(
        rows, columns=["part", "container", "memory", "memory_limit", "cpus", "cpu_limit", "processes"]
    )
    return frame[COLUMNS]


def two_looks(
    connection: ContainersConnection, seconds: float
) -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Return part, name and what the engine counts of each container that runs, twice, so many seconds apart.

    Raises `CouldNotFindOut` where none of them runs.
    """
    names = list(connection.named.values())
    with ThreadPoolExecutor(len(names)) as pool:  # the engine may take its second for each
        first = list(pool.map(connection.stats, names))
        time.sleep(seconds if any(first) else 0)
        second = list(pool.map(connection.stats, names))
    looks = zip(connection.named.items(), first, second, strict=True)
    found = [(part, name, before, after) for (part, name), before, after in looks if before and after]
    if not found:
        raise CouldNotFindOut(f"none of the containers runs: {', '.join(names)}")
    return found


def _used(before: dict[str, Any], after: dict[str, Any]) -> tuple[int, int, float]:
    memory = after["memory_stats"]
    spent = [told["cpu_stats"]["cpu_usage"]["total_usage"] for told in (before, after)]
    began, ended = (datetime.fromisoformat(told["read"][:26].rstrip("Z") + "+00:00") for told in (before, after))
    seconds = (ended - began).total_seconds()
    cpus = (spent[1] - spent[0]) / 1e9 / seconds if seconds > 0 else float("nan")
    return without_cache(memory), memory["limit"], cpus


def without_cache(memory: dict[str, Any]) -> int:
    """Return the bytes in use of the engine's own figures, without what the kernel's cache gives back."""
    detail = memory.get("stats", {})
    cache = detail.get("total_inactive_file", detail.get("inactive_file", 0))  # cgroups v1 and v2
    return max(0, int(memory["usage"]) - int(cache))


def _cpu_limit(told: dict[str, Any]) -> float:
    host = told.get("HostConfig", {})
    if host.get("NanoCpus"):
        return float(host["NanoCpus"]) / 1e9
    quota, period = host.get("CpuQuota") or 0, host.get("CpuPeriod") or 100_000
    return quota / period if quota > 0 else float("nan")


def _processes(told: dict[str, Any]) -> int:
    return int(told.get("pids_stats", {}).get("current", 0))


def check(frame: pd.DataFrame, *, warning: float = 80, critical: float = 90) -> list[Finding]:
    """Judge memory in use as a share of the limit (%): at the limit the kernel kills; and processors likewise.

    A container without a limit of its own may use the machine's, which then is the limit.
    """
    findings = []
    for row in frame.to_dict("records"):
        share = 100 * row["memory"] / row["memory_limit"] if row["memory_limit"] else None
        used = f"{as_bytes(row['memory'])} of {as_bytes(row['memory_limit'])}"
        subject = f"{row['part']} ({row['container']})"
        told = f"{used} ({share:.0f}%), {row['processes']} processes" if share is not None else used
        findings.append(at_most(f"{subject} memory", share, warning, critical, unit="%", message=told))
        if pd.notna(row["cpu_limit"]):
            busy, told = 100 * row["cpus"] / row["cpu_limit"], f"{row['cpus']:.2f} of {row['cpu_limit']:g} processors"
            findings.append(at_most(f"{subject} processors", busy, warning, critical, unit="%", message=told))
    return findings


resources = Question(
    name="docker.resources",
    title="Are the containers short of memory or processors?",
    probe=probe,
    check=check,
    source="docker stats --no-stream NAME",
    needs=(ContainersConnection,),
    explained_by=EXPLAINED_BY,
    deadline=8,
    next="see what grows (docker top, then its name); give it more: docker update --memory MORE --memory-swap MORE",
)

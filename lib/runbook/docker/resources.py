"""Are the containers short of memory, processors or processes?"""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd

from runbook.connections import ContainersConnection
from runbook.docker.explanations import EXPLAINED_BY
from runbook.model import Asking, CouldNotFindOut, Finding, Question, at_most
from runbook.model.units import as_bytes
from runbook.procfs.engine import busy_processors, cpu_limit, without_cache

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
        memory, busy = after["memory_stats"], busy_processors(before, after)
        rows.append((part, name, without_cache(memory), memory["limit"], busy, cpu_limit(told), _processes(after)))
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

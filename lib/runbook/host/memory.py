"""How much memory is left?"""

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pandas as pd
import psutil

from runbook.connections import ContainersConnection, Machine
from runbook.connections.elsewhere import Elsewhere, read_files
from runbook.connections.exporters import NOTHING_KNOWN, newest
from runbook.host.seen import Row, by_exporters, from_inside, judged, query
from runbook.model import Asking, CouldNotFindOut, Finding, Question, at_most
from runbook.model.text import to_run
from runbook.model.units import as_bytes
from runbook.procfs.engine import without_cache
from runbook.procfs.machine import meminfo, used_memory

_MEMINFO = "/proc/meminfo"
_EMPTY = {"used": 0, "total": 0}


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each machine: host, used, total (bytes); of another machine than this also problem and source.

    ``used`` is what is not available to a new program: caches that the kernel gives back are no use of memory. For a
    share it is the proportional set size of its processes. Of a container it is what its control group counts: inside
    it, /proc/meminfo tells of the whole machine.
    """
    machine = asking.connection(Machine)
    share = machine.host.share
    if machine.engine is not None:
        return pd.DataFrame(_of_containers(machine.engine))
    if machine.elsewhere:
        return pd.DataFrame(from_inside(machine, _inside, _EMPTY))
    if machine.watcher is not None:
        return pd.DataFrame(_by_exporters(machine))
    if share is not None:
        used, total = sum(_proportional_size(process) for process in machine.processes()), share.memory_bytes
    else:
        told = psutil.virtual_memory()
        used, total = told.total - told.available, told.total
    return pd.DataFrame([{"host": machine.label, "used": used, "total": total}])


def _inside(place: Elsewhere) -> list[Row]:
    used, total = used_memory(meminfo(read_files(place, _MEMINFO)))
    return [{"used": used, "total": total, "source": place.shown(("cat", _MEMINFO))}]


def _by_exporters(machine: Machine) -> list[Row]:
    rows, source = [], query(machine, "memory")
    for instance, series in by_exporters(machine, "memory").items():
        total, free = (newest(series, f"node_memory_{name}_bytes") for name in ("MemTotal", "MemAvailable"))
        problem = NOTHING_KNOWN if math.isnan(total - free) else ""
        rows.append({"host": instance, "used": total - free, "total": total, "problem": problem, "source": source})
    return rows


def _of_containers(engine: ContainersConnection) -> list[Row]:
    def one(part: str, name: str) -> Row:
        row = {"host": f"{part} ({name})", **_EMPTY, "source": f"docker stats --no-stream {name}"}
        try:
            stats = engine.stats(name)
        except CouldNotFindOut as error:
            return {**row, "problem": str(error)}
        if stats is None:
            return {**row, "problem": "it does not run"}
        memory = stats["memory_stats"]
        return {**row, "used": without_cache(memory), "total": memory.get("limit", 0), "problem": ""}

    with ThreadPoolExecutor(len(engine.named)) as pool:  # the engine may take its second for each
        return list(pool.map(one, engine.named.keys(), engine.named.values()))


def _proportional_size(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.Error, AttributeError):
        try:
            return int(process.memory_info().rss)
        except psutil.Error:
            return 0


def check(frame: pd.DataFrame, *, warning: float = 90, critical: float = 95) -> list[Finding]:
    """Judge the share in use (%); 90% is the runbook's own HighMemoryUsage."""
    return [judged(row, "memory", partial(_judge, row, warning, critical)) for row in frame.to_dict("records")]


def _judge(row: Mapping[Any, Any], warning: float, critical: float) -> Finding:
    message = f"{as_bytes(row['used'])} of {as_bytes(row['total'])} used"
    share = 100 * row["used"] / row["total"] if row["total"] else None
    return at_most(f"{row['host']} memory", share, warning, critical, unit="%", message=message)


memory = Question(
    name="host.memory",
    title="How much memory is left?",
    probe=probe,
    check=check,
    source="free -b   # used = MemTotal - MemAvailable",
    needs=(Machine,),
    next=f"see who has it, whether it grows and why: {to_run('high-memory-usage')}",
)

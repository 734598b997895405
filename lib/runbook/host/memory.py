"""How much memory is left?"""

import pandas as pd
import psutil

from runbook.connections import Machine
from runbook.model import Asking, Finding, Question, at_most
from runbook.model.units import as_bytes


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: host, used, total (bytes).

    ``used`` is what is not available to a new program: caches that the kernel gives back are no use of memory. For a
    share it is the proportional set size of its processes.
    """
    machine = asking.connection(Machine)
    share = machine.host.share
    if share is not None:
        used, total = sum(_proportional_size(process) for process in machine.processes()), share.memory_bytes
    else:
        told = psutil.virtual_memory()
        used, total = told.total - told.available, told.total
    return pd.DataFrame([{"host": machine.label, "used": used, "total": total}])


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
    row = frame.iloc[0]
    message = f"{as_bytes(row['used'])} of {as_bytes(row['total'])} used"
    share = 100 * row["used"] / row["total"] if row["total"] else None
    return [at_most(f"{row['host']} memory", share, warning, critical, unit="%", message=message)]


memory = Question(
    name="host.memory",
    title="How much memory is left?",
    probe=probe,
    check=check,
    source="free -b   # used = MemTotal - MemAvailable",
    needs=(Machine,),
    next="find the largest processes (ps aux --sort=-rss | head) and look for OOM kills (dmesg)",
)

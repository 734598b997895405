"""Is the machine short of processors?"""

import time

import pandas as pd
import psutil

from runbook.connections import Machine
from runbook.model import Asking, Finding, Question, at_most

# Long enough to tell work from noise, short enough not to be felt.
_SAMPLE_SECONDS = 0.2
_LONG_AGO_SECONDS = 30.0


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: host, cpus, load_1, load_5, load_15, busy (processors in use by a share; NaN for a machine)."""
    machine = asking.connection(Machine)
    share = machine.host.share
    one, five, fifteen = psutil.getloadavg()
    busy = _busy(machine) if share else float("nan")
    cpus = share.cpus if share else float(psutil.cpu_count() or 1)
    row = {"host": machine.label, "cpus": cpus, "load_1": one, "load_5": five, "load_15": fifteen, "busy": busy}
    return pd.DataFrame([row])


def _busy(machine: Machine) -> float:
    """Return how many processors the share uses: since the machine was opened, or now where that is long ago."""
    before, began = machine.spent, machine.opened_at
    if time.monotonic() - began > _LONG_AGO_SECONDS:
        before, began = machine.cpu_seconds(), time.monotonic()
    time.sleep(max(0.0, began + _SAMPLE_SECONDS - time.monotonic()))
    after = machine.cpu_seconds()
    return sum(after[pid] - before[pid] for pid in after if pid in before) / (time.monotonic() - began)


def check(frame: pd.DataFrame, *, warning: float = 2, critical: float = 4) -> list[Finding]:
    """Judge the 5-minute load for each processor: above 2, as node_exporter's own alert has it, work queues up.

    For a share of a machine, judge the processors in use against those it owns, by the same figures.
    """
    row = frame.iloc[0]
    if pd.isna(row["busy"]):
        ratio = row["load_5"] / row["cpus"]
        message = f"5-minute load {row['load_5']:.2f} on {row['cpus']:.0f} processors"
    else:
        ratio = row["busy"] / row["cpus"]
        message = f"{row['busy']:.2f} of {row['cpus']:.0f} processors busy"
    return [at_most(f"{row['host']} load", round(ratio, 2), warning, critical, unit="per processor", message=message)]


load = Question(
    name="host.load",
    title="Is the machine short of processors?",
    probe=probe,
    check=check,
    source="uptime; nproc",
    needs=(Machine,),
    next="find what runs (top); load with idle processors means waiting for a disk (vmstat 1 5, column wa)",
)

"""Is the machine short of processors?"""

import math
import time
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
from runbook.procfs.engine import busy_processors, cpu_limit
from runbook.procfs.machine import load as load_of
from runbook.procfs.machine import processors

_FILES = ("/proc/loadavg", "/proc/stat")
_EMPTY = {"cpus": 0.0, "load_1": float("nan"), "load_5": float("nan"), "load_15": float("nan"), "busy": float("nan")}
_CONTAINER_SECONDS = 0.5

# Long enough to tell work from noise, short enough not to be felt.
_SAMPLE_SECONDS = 0.2
_LONG_AGO_SECONDS = 30.0


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each machine: host, cpus, load_1, load_5, load_15, busy (processors in use by a share or a
    container; NaN for a machine); of another machine than this also problem and source.
    """
    machine = asking.connection(Machine)
    share = machine.host.share
    if machine.engine is not None:
        return pd.DataFrame(_of_containers(machine.engine))
    if machine.elsewhere:
        return pd.DataFrame(from_inside(machine, _inside, _EMPTY))
    if machine.watcher is not None:
        return pd.DataFrame(_by_exporters(machine))
    one, five, fifteen = psutil.getloadavg()
    busy = _busy(machine) if share else float("nan")
    cpus = share.cpus if share else float(psutil.cpu_count() or 1)
    row = {"host": machine.label, "cpus": cpus, "load_1": one, "load_5": five, "load_15": fifteen, "busy": busy}
    return pd.DataFrame([row])


def _inside(place: Elsewhere) -> list[Row]:
    text = read_files(place, *_FILES)
    one, five, fifteen = load_of(text)
    loads = {"load_1": one, "load_5": five, "load_15": fifteen}
    return [{**_EMPTY, "cpus": float(processors(text)), **loads, "source": place.shown(("cat", *_FILES))}]


def _by_exporters(machine: Machine) -> list[Row]:
    rows, source = [], query(machine, "load")
    for instance, series in by_exporters(machine, "load", "processors").items():
        loads = {f"load_{minutes}": newest(series, f"node_load{minutes}") for minutes in (1, 5, 15)}
        cpus = newest(series, "")
        problem = NOTHING_KNOWN if math.isnan(cpus + loads["load_5"]) else ""
        rows.append({"host": instance, **_EMPTY, "cpus": cpus, **loads, "problem": problem, "source": source})
    return rows


def _of_containers(engine: ContainersConnection) -> list[Row]:
    """Return how many processors each container uses: the load inside it is that of the whole machine."""
    _, processors_there = engine.machine()

    def one(part: str, name: str) -> Row:
        row: Row = {"host": f"{part} ({name})", **_EMPTY, "source": f"docker stats --no-stream {name}"}
        try:
            before = engine.stats(name)
            time.sleep(_CONTAINER_SECONDS)
            after = engine.stats(name)
            limit = cpu_limit(engine.inspect(name) or {})
        except CouldNotFindOut as error:
            return {**row, "problem": str(error)}
        if not (before and after):
            return {**row, "problem": "it does not run"}
        cpus = float(processors_there) if math.isnan(limit) else limit
        return {**row, "cpus": cpus, "busy": busy_processors(before, after), "problem": ""}

    with ThreadPoolExecutor(len(engine.named)) as pool:  # the engine may take its second for each
        return list(pool.map(one, engine.named.keys(), engine.named.values()))


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
    return [judged(row, "load", partial(_judge, row, warning, critical)) for row in frame.to_dict("records")]


def _judge(row: Mapping[Any, Any], warning: float, critical: float) -> Finding:
    if pd.isna(row["busy"]):
        ratio = row["load_5"] / row["cpus"]
        message = f"5-minute load {row['load_5']:.2f} on {row['cpus']:.0f} processors"
    else:
        ratio = row["busy"] / row["cpus"]
        message = f"{row['busy']:.2f} of {row['cpus']:g} processors busy"
    return at_most(f"{row['host']} load", round(ratio, 2), warning, critical, unit="per processor", message=message)


load = Question(
    name="host.load",
    title="Is the machine short of processors?",
    probe=probe,
    check=check,
    source="uptime; nproc",
    needs=(Machine,),
    next="find what runs (top); load with idle processors means waiting for a disk (vmstat 1 5, column wa)",
)

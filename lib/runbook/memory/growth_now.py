"""Does memory grow at this moment?"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
import psutil

from runbook.connections import ApiConnection, ContainersConnection, Machine
from runbook.connections.service import listening_at
from runbook.memory.groups import groups
from runbook.memory.processes import look
from runbook.memory.verdicts import judged
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable, UsageError
from runbook.model.text import printable
from runbook.model.units import counted

SECONDS = 8.0
_EVERY = 0.4
_MOST_SECONDS = 60.0
_SUBJECTS = 12
REQUESTS = "http_requests_total"
COLUMNS = ["subject", "at", "memory", "rate", "limit", "source"]

# What is looked at again and again: its memory by subject, and each one's limit.
Look = Callable[[], dict[str, float]]


def probe(asking: Asking, *, seconds: float = SECONDS) -> pd.DataFrame:
    """Return a row for each subject and sample: subject (a container's anonymous memory; without containers the
    service's processes, or where these cannot be told the largest), at (s since the first), memory (bytes), rate
    (requests a second that the service answered meanwhile; NaN: it does not tell), limit (bytes; NaN: none), source.

    Where nobody uses the service nothing grows by its requests: look while it is used.
    """
    if not 1 <= seconds <= _MOST_SECONDS:
        raise UsageError(f"memory is watched for 1 to {_MOST_SECONDS:g} s, not {seconds:g}")
    again, limits, source = _watched(asking)
    told = _requests_of(asking)
    looks, counts, times = [], [], []
    began = time.monotonic()
    while True:
        times.append(time.monotonic() - began)
        looks.append(again())
        counts.append(told())
        if times[-1] >= seconds:
            break
        time.sleep(max(0.0, began + _EVERY * len(times) - time.monotonic()))
    rate = _rates(np.array(times), np.array(counts))
    # What ended, or began, meanwhile has no whole line.
    names = [name for name in looks[0] if all(name in one for one in looks)][:_SUBJECTS]
    if not names:
        raise CouldNotFindOut("nothing that was there at first was still there at the end")
    rows: list[dict[str, Any]] = [
        {"subject": name, "at": at, "memory": one[name], "rate": each, "limit": limits.get(name, float("nan")),
         "source": source}
        for name in names
        for at, one, each in zip(times, looks, rate, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _rates(times: "np.ndarray[Any, Any]", counts: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Return the requests a second at each sample: since the one before it, smoothed over a second or so."""
    if np.isnan(counts).any() or len(times) < 2:
        return np.full(len(times), np.nan)
    each = np.diff(counts, prepend=counts[0]) / np.maximum(np.diff(times, prepend=times[0] - _EVERY), 1e-3)
    each[0] = each[1]
    kernel = np.ones(3) / 3
    return np.clip(np.convolve(np.pad(each, 1, mode="edge"), kernel, mode="valid"), 0, None)


def _requests_of(asking: Asking) -> Callable[[], float]:
    """Return what tells how many requests the service has answered by now; NaN where it does not."""
    gone = False

    def told() -> float:
        nonlocal gone
        if gone:
            return float("nan")
        try:
            found = [one.value for one in asking.connection(ApiConnection).exposition() if one.name == REQUESTS]
        except CouldNotFindOut:
            gone = True
            return float("nan")
        gone = not found
        return float(sum(found)) if found else float("nan")

    return told


def _watched(asking: Asking) -> tuple[Look, dict[str, float], str]:
    try:
        connection = asking.connection(ContainersConnection)
    except Unreachable as error:
        if error.kind != "not-configured":
            raise
        return _processes(asking)
    first = [one for one in groups(connection) if one.group is not None]
    if not first:
        raise CouldNotFindOut("none of the containers runs")
    limits = {one.label: float(one.group.limit) for one in first if one.group and one.group.limit}

    def again() -> dict[str, float]:
        held = [(one.label, one.group) for one in groups(connection) if one.group is not None]
        return {label: float(g.anonymous if g.anonymous is not None else g.used) for label, g in held}

    return again, limits, first[0].source


def _processes(asking: Asking) -> tuple[Look, dict[str, float], str]:
    machine = asking.connection(Machine)
    if machine.host.where == "here":
        api = asking.target.api
        return _here(machine, api.url if api is not None else None)
    (place, *_), places = machine.places, machine.places

    def again() -> dict[str, float]:
        return {
            f"{one.label} {printable(process.name)} (pid {process.pid})": float(process.resident)
            for one in places
            for process in look(one, opened=False)
        }

    return again, {}, place.shown(("cat", "/proc/PID/status"))


def _here(machine: Machine, url: str | None) -> tuple[Look, dict[str, float], str]:
    share = machine.host.share
    watched = _service(url) or (machine.processes() if share is not None else list(psutil.process_iter()))
    sized = [(_resident(process), process) for process in watched]
    largest = [process for _, process in sorted(sized, key=lambda one: -one[0])[:_SUBJECTS] if _ > 0]
    names = {process.pid: f"{machine.label} {_name(process)} (pid {process.pid})" for process in largest}
    total = float(share.memory_bytes if share is not None else psutil.virtual_memory().total)

    def again() -> dict[str, float]:
        sizes = {names[process.pid]: _resident(process) for process in largest}
        return {name: size for name, size in sizes.items() if size > 0}

    return again, dict.fromkeys(names.values(), total), "grep VmRSS /proc/PID/status"


def _service(url: str | None) -> Sequence[psutil.Process]:
    """Return the processes that listen at an address; none where they are not seen."""
    with suppress(CouldNotFindOut):
        return listening_at(url).processes if url else ()
    return ()


def _resident(process: psutil.Process) -> float:
    """Return a process' resident memory; 0 where it has ended, or may not be looked at."""
    try:
        return float(process.memory_info().rss)
    except psutil.Error:
        return 0.0


def _name(process: psutil.Process) -> str:
    try:
        return printable(process.name())[:40]
    except psutil.Error:
        return "ended"


def check(frame: pd.DataFrame, *, hours: float = 6, least_mib: float = 2) -> list[Finding]:
    """Judge what grows by ``least_mib`` or more: a leak is a WARNING, and CRITICAL where its limit may be reached
    within ``hours``: that is as long as nobody looks, by night.

    Some seconds tell what happens now. What grows slower only `memory.growth` tells.
    """
    findings = judged(frame, hours, least_mib)
    still = [one for one in findings if one.message.startswith("it does not grow")]
    rest = [one for one in findings if one not in still]
    served = float(frame["rate"].mean())
    used = "how many requests came meanwhile is not told"
    if not np.isnan(served):
        used = f"{served:.1f} requests/s meanwhile"
    what = counted(len(still), "subject does", "subjects do")
    message = f"{what} not grow by {least_mib:g} MiB within {frame['at'].max():.0f} s; {used}"
    quiet = Finding(object="all others", status=Status.OK, message=message, source=str(frame["source"].iloc[0]))
    return [*rest, quiet] if still else rest


growth_now = Question(
    name="memory.growth_now",
    title="Does memory grow at this moment?",
    probe=probe,
    check=check,
    source="grep VmRSS /proc/PID/status   # again and again",
    needs=(Machine, ContainersConnection, ApiConnection),
    deadline=_MOST_SECONDS + 15,
    next="look again while it is used as usual, and longer (seconds)",
)

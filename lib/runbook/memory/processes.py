"""Which processes have the memory?"""

from dataclasses import asdict
from typing import Any

import msgspec
import pandas as pd

from runbook.connections import Machine
from runbook.connections.elsewhere import Elsewhere, told
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, at_most, first_of
from runbook.model.text import printable
from runbook.model.units import as_bytes, counted
from runbook.procfs.processes import FIND, FIND_OPEN, Process
from runbook.procfs.processes import processes as processes_of

_MOST = 25
COLUMNS = [
    "host", "pid", "name", "size", "exact", "anonymous", "resident", "swapped", "threads", "open_files", "open_limit",
    "problem",
]  # fmt: skip


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each of the largest processes of each place: host (whose), pid (as it is numbered there), name,
    size (bytes: what it shares is divided among who shares it; where that may not be read, ``exact`` is False and it
    is all that it touches), anonymous, resident, swapped, threads, open_files (NaN: may not be read), open_limit,
    problem. Of a share of the machine only its own are looked at.

    Never by a program inside of the container that measures itself: what `docker exec` starts is a process of its own.
    attrs hold by host ``counts`` and ``sizes`` of all, and ``sources``.
    """
    machine = asking.connection(Machine)
    own = {process.pid for process in machine.processes()} if machine.host.share is not None else None
    rows, counts, sizes, sources = [], {}, {}, {}
    for place in machine.places:
        try:
            found = [one for one in look(place) if own is None or one.pid in own]
        except CouldNotFindOut as error:
            rows.append({"host": place.label, "problem": str(error)})
            continue
        counts[place.label], sizes[place.label] = len(found), sum(one.size for one in found)
        sources[place.label] = place.shown(FIND)
        rows += [_row(place, one) for one in found[:_MOST]]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame.attrs = {"counts": counts, "sizes": sizes, "sources": sources}
    return frame


def look(place: Elsewhere, *, opened: bool = True) -> list[Process]:
    """Return the processes of a place, the largest first, and how many files they have ``opened``.

    Raises `CouldNotFindOut` where they cannot be listed.
    """
    ended = place.call(FIND)
    if ended.lacks_program:
        raise CouldNotFindOut(f"there is no program find: {told(ended)}")
    found = processes_of(ended.text, place.call(FIND_OPEN).text if opened else "")
    if not found:
        raise CouldNotFindOut(f"no process can be looked at there: {told(ended)}")
    return found


def _row(place: Elsewhere, one: Process) -> dict[str, Any]:
    facts, exact = asdict(one), one.proportional is not None
    return {**facts, "name": printable(one.name), "host": place.label, "size": one.size, "exact": exact, "problem": ""}


def check(frame: pd.DataFrame, *, warning: float = 80, critical: float = 95) -> list[Finding]:
    """Tell the largest processes of each place, and judge each one's open files by its own limit (%).

    How large a process may be its container's limit says. A process without a free file descriptor refuses connections.
    """
    findings: list[Finding] = []
    for host, rows in frame.groupby("host", sort=False):
        problem = str(rows["problem"].iloc[0])
        if problem:
            message = f"cannot be looked at: {problem}"
            findings.append(Finding(object=f"{host} processes", status=Status.UNKNOWN, message=message))
            continue
        count, size = frame.attrs["counts"][host], frame.attrs["sizes"][host]
        first = [_words(row) for row in rows.head(3).to_dict("records")]
        parts = (
            ""
            if rows["exact"].all()
            else " (of some only what they touch may be read, which counts shared memory twice)"
        )
        message = f"{counted(count, 'process', 'processes')}, {as_bytes(size)}{parts}; the largest: {', '.join(first)}"
        found = Finding(object=f"{host} processes", status=Status.OK, message=message, value=float(size), unit="bytes")
        findings.append(msgspec.structs.replace(found, source=frame.attrs["sources"][host]))
        judged = [_open_files(row, warning, critical) for row in rows.to_dict("records")]
        bad = [one for one in judged if one is not None and one.status is not Status.OK]
        findings += first_of(bad, f"processes of {host}")
    return findings


def _words(row: dict[Any, Any]) -> str:
    opened = f", {counted(int(row['open_files']), 'open file')}" if pd.notna(row["open_files"]) else ""
    return f"{row['name']} ({as_bytes(row['size'])}, {counted(int(row['threads']), 'thread')}{opened})"


def _open_files(row: dict[Any, Any], warning: float, critical: float) -> Finding | None:
    if pd.isna(row["open_files"]) or pd.isna(row["open_limit"]) or not row["open_limit"]:
        return None
    share = 100 * row["open_files"] / row["open_limit"]
    message = f"{row['open_files']:.0f} of {row['open_limit']:.0f} open files"
    obj = f"{row['host']} {row['name']} (pid {row['pid']:.0f}) open files"
    return at_most(obj, share, warning, critical, unit="%", message=message)


processes = Question(
    name="memory.processes",
    title="Which processes have the memory?",
    probe=probe,
    check=check,
    source="grep -E '^(Pss|Rss):' /proc/*/smaps_rollup; ls /proc/PID/fd | wc -l",
    needs=(Machine,),
    deadline=12.0,
    next="see what it holds open (ls -l /proc/PID/fd): connections that are not given back, files that are not closed",
)

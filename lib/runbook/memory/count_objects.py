"""Count the objects inside of the service's Python, by a debugger: what holds the memory that a leak has taken."""

import base64
import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from runbook.connections import Machine
from runbook.connections.service import service_of
from runbook.model import Act, Asking, Change, ChangeFailed, CouldNotFindOut, Draft, NotPlanned, Step
from runbook.model.text import printable
from runbook.model.units import as_bytes, counted

_INSIDE = Path(__file__).with_name("counted_inside.py")
MOST_SECONDS = 60.0
_MOST_BYTES = 64 << 10
# Nothing is read but what is named here: no start-up file of anybody, nothing from a network.
_GDB = (
    "--batch", "--nx", "-iex", "set auto-load off", "-iex", "set debuginfod enabled off", "-iex", "set pagination off",
)  # fmt: skip


def observe(asking: Asking, seconds: float) -> dict[str, Any]:
    """Return the facts about the largest process of the service: pid, started (in ticks of the machine), program,
    memory (bytes), others (how many more there are), gdb ("": not installed), lacks (the right that is missing to look
    into it; "" for none).
    """
    asking.connection(Machine).require_here("a process is looked into")
    process, *others = sorted(service_of(asking).processes, key=lambda one: -_size(one))
    try:
        with process.oneshot():
            facts = {"pid": process.pid, "started": _started(process.pid), "program": process.exe()}
            memory, owner = process.memory_info().rss, process.uids().effective
    except (psutil.Error, OSError) as error:
        raise CouldNotFindOut(f"process {process.pid} cannot be looked at ({type(error).__name__})") from error
    return {**facts, "memory": memory, "others": len(others), "gdb": shutil.which("gdb") or "", "lacks": _lacks(owner)}


def _size(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _started(pid: int) -> int:
    """Return when a process started, in a form that no correction of the clock moves."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def _lacks(owner: int) -> str:
    if os.geteuid() == 0:
        return ""
    if owner != os.geteuid():
        return "it belongs to another user: root may look into it, or that user"
    with suppress(OSError):
        if Path("/proc/sys/kernel/yama/ptrace_scope").read_text().strip() != "0":
            return "this machine lets only root look into a process (kernel.yama.ptrace_scope)"
    return ""


def draft(facts: Mapping[str, Any], seconds: float) -> Draft:
    """Write out the call of the debugger, which is ended after ``seconds``."""
    if not 1 <= seconds <= MOST_SECONDS:
        raise NotPlanned(f"it may take 1 to {MOST_SECONDS:g} s, not {seconds:g}")
    pid, program = facts["pid"], Path(facts["program"]).name
    if "python" not in program:
        raise NotPlanned(f"process {pid} runs {printable(program)}, which is no Python")
    if not facts["gdb"]:
        raise NotPlanned("gdb is not installed on this machine (Debian: gdb)")
    if facts["lacks"]:
        raise NotPlanned(f"process {pid} cannot be looked into: {facts['lacks']}")
    count = facts["others"]
    others = f"; {counted(count, 'other process', 'other processes')} of it serve meanwhile" if count else ""
    return Draft(
        summary=f"count the objects in process {pid} of the service, which has {as_bytes(facts['memory'])}",
        steps=(
            Step(
                act="count",
                shown=f"gdb -p {pid}: run lib/runbook/memory/counted_inside.py inside of it, {seconds:g} s at most",
                arguments={"pid": pid, "started": facts["started"], "gdb": facts["gdb"], "seconds": seconds},
            ),
        ),
        blast_radius=(
            f"the process stands still for about a second, {seconds:g} s at most: who asks it waits{others}",
            "code is injected into it: stopped at a bad moment it may hang or end; have another container first",
            "it takes memory of its own for as long: about 100 bytes for each object",
        ),
        irreversible="what ran inside of the process cannot be taken back; it leaves nothing but what it imported",
    )


def _counts(asking: Asking, arguments: Mapping[str, Any]) -> str:
    pid = arguments["pid"]
    try:
        if _started(pid) != arguments["started"]:
            raise ChangeFailed(f"process {pid} is another one by now")
    except OSError as error:
        raise ChangeFailed(f"process {pid} has ended") from error
    name = f"/tmp/runbook-objects-{secrets.token_hex(8)}"  # noqa: S108 - made with O_EXCL, under a name nobody can guess
    # Its file system may be another one than this process'.
    written = Path(f"/proc/{pid}/root{name}")
    try:
        _inject(arguments, name)
        with written.open("rb") as file:
            text = file.read(_MOST_BYTES)
        return _told(json.loads(text))
    except (OSError, ValueError) as error:
        raise ChangeFailed(f"process {pid} wrote no count to its /tmp ({type(error).__name__})") from error
    finally:
        with suppress(OSError):  # the process may have ended of it
            written.unlink(missing_ok=True)


def _inject(arguments: Mapping[str, Any], name: str) -> None:
    source = _INSIDE.read_text().replace('PATH = ""', f'PATH = "{name}"')
    code = f"import base64;exec(base64.b64decode('{base64.b64encode(source.encode()).decode()}'),{{}})"
    calls = ("(int)PyGILState_Ensure()", f'(int)PyRun_SimpleString("{code}")', "(void)PyGILState_Release($1)")
    argv = [arguments["gdb"], *_GDB, "-p", str(arguments["pid"])]
    argv += [part for call in calls for part in ("-ex", f"call {call}")] + ["-ex", "detach"]
    environment = {"PATH": os.defpath, "LC_ALL": "C", "HOME": "/nonexistent"}
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, cwd="/"
    )
    try:
        out, _ = process.communicate(timeout=arguments["seconds"])
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=2)
        process.kill()
        raise CouldNotFindOut(
            f"gdb did not end within {arguments['seconds']:g} s and was ended: see whether the service still answers"
        ) from None
    said = out.decode("utf-8", "replace")
    if process.returncode != 0 or "$2 = 0" not in said:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        raise ChangeFailed(f"gdb ended with {process.returncode}: {printable('; '.join(lines[-2:]))[:300]}")


def _told(counts: Any) -> str:
    """Return in words what was counted; what an object's type is called may be anything."""
    types = ", ".join(
        f"{printable(str(name))[:60]} {int(number):,} ({as_bytes(int(size))})" for name, number, size in counts["types"]
    )
    held = ", ".join(
        f"a {printable(str(name))[:40]} of {int(length):,}, one of them a {printable(str(inner))[:60]} of "
        f"{as_bytes(int(size))}"
        for length, name, inner, size in counts["held"]
    )
    return (
        f"{int(counts['objects']):,} objects that the collector knows, {int(counts['freed']):,} of circles just freed; "
        f"most are {types}; what seems to hold most: {held}"
    )


count_objects = Change(
    name="memory.count_objects",
    title="Count the objects inside of the service's Python",
    observe=observe,
    draft=draft,
    acts={"count": Act(_counts)},
    needs=(Machine,),
    watched=("pid", "started", "program"),
    repairs=True,
    partial=True,
    patience=5.0,
)

"""The processes of a sandbox: start them so that they can be found again, and end them all."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from runbook_sandbox import containers
from runbook_sandbox.place import MARK, Place

_SERVERS = ("postgres", "redis-server")


def start(
    place: Place,
    argv: Sequence[str | Path],
    *,
    log: str,
    cwd: Path,
    user: int | None = None,
    pass_fds: Sequence[int] = (),
    more: Mapping[str, str] | None = None,
) -> int:
    """Start a process of the sandbox in a session of its own, its output in ``logs/LOG``, and return its pid.

    It inherits the environment without what leads programs to other databases; ``more`` is added.
    """
    elsewhere = ("PG", "REDIS", "DATA_SOURCE")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(elsewhere)}
    with (place.folder / "logs" / log).open("ab") as output:
        process = subprocess.Popen(
            [os.fspath(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**environment, **(more or {}), MARK: str(place.folder)},
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=[] if user is not None else None,
            pass_fds=pass_fds,
        )
    return process.pid


def find(place: Place) -> list[psutil.Process]:
    """Return every process of the sandbox, whoever started it and whatever became of that one.

    A process carries the sandbox's folder in its environment. PostgreSQL's children overwrite theirs: they, and what
    a killed server leaves, are known by name and working folder.
    """
    folder = str(place.folder)
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == folder or (
                process.name() in _SERVERS and process.cwd().startswith(folder + os.sep)
            ):
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.pid != os.getpid()]


def of_part(place: Place, part: str) -> list[psutil.Process]:
    """Return the processes of one part: the server and its children."""
    state = place.read("state.json")
    # A container that was started again has another first process.
    contained = state.get("docker") and part in containers.MEMORY
    pid = containers.pid(place, part) if contained else state.get("pids", {}).get(part)
    try:
        server = psutil.Process(pid)
        if server not in find(place) or server.status() == psutil.STATUS_ZOMBIE:
            return []
        return [server, *server.children(recursive=True)]
    except (psutil.Error, TypeError, ValueError):
        return []


def end(processes: Sequence[psutil.Process], *, seconds: float = 4.0) -> None:
    """End processes: asked first, also those that are stopped, then killed."""
    for process in processes:
        _tell(process, signal.SIGCONT)
        # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for its clients.
        _tell(process, signal.SIGINT if process_name(process) == "postgres" else signal.SIGTERM)
    for process in _left(processes, seconds):
        _tell(process, signal.SIGKILL)
    _left(processes, seconds)


def _left(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until processes have ended and return those that have not; one whose parent does not ask for it has."""
    end, left = time.monotonic() + seconds, list(processes)
    while left and time.monotonic() < end:
        _, left = psutil.wait_procs(left, timeout=0.05)
        left = [process for process in left if not _is_zombie(process)]
    return left


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True


def running(place: Place, module: str) -> list[psutil.Process]:
    """Return the processes of the sandbox that run a module; one that ends meanwhile is none of them."""

    def runs(process: psutil.Process) -> bool:
        try:
            return module in process.cmdline()
        except psutil.Error:
            return False

    return [process for process in find(place) if runs(process)]


def process_name(process: psutil.Process) -> str:
    """Return a process's name, "" when it is gone."""
    try:
        return process.name()
    except psutil.Error:
        return ""


def _tell(process: psutil.Process, what: signal.Signals) -> None:
    try:
        process.send_signal(what)
    except psutil.Error:
        return

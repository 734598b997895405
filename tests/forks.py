"""Commands and templates by fork: the suite calls the command some hundred times, and its imports cost most of each.

A process with the imports done listens on a socket and forks what is asked for. What it forks is the command as a
person calls it: a process with arguments, an environment, a folder and streams of its own, and an exit status. The
template that such a command starts for its kernels is forked as well. That both start by themselves is tested where
tests call `python -m runbook` itself (runs, batches, kernels, the sandbox).
"""

import gc
import importlib
import json
import os
import pkgutil
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from runbook.kernels import owner, template
from runbook.kernels.owner import ForkedProcess, Template

# What a command imports of others when it is under way.
_OTHERS = ("papermill", "papermill.iorw", "nbclient", "nbformat.v4", "jupyter_client.provisioning", "rich.table")
_NOT_IMPORTED = ("runbook.__main__", "runbook.kernels.template")
_SECONDS = 120.0


class Forks:
    """A process that gives commands and templates; it ends by ``close``, or with the one who made it."""

    def __init__(self, folder: str) -> None:
        self._path = f"{folder}/forks"
        self._template: Template | None = None
        ready, told = os.pipe()
        with os.fdopen(ready, "rb") as end:
            self._process = subprocess.Popen(
                [sys.executable, __file__, self._path, str(told)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[told],
                # It is of no test: whoever looks for the processes of one's archive is not to find it.
                env={name: value for name, value in os.environ.items() if name != "RUNBOOK_EVIDENCE"},
            )
            os.close(told)
            if not end.read():
                raise RuntimeError("the process that commands are forked from did not start")

    def call(self, *arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Call the command and return how it ended, as `subprocess.run` does; nothing is to be read from its stdin."""
        pipes = os.pipe(), os.pipe()
        told = ["", ""]

        def read(place: int) -> None:
            with os.fdopen(pipes[place][0], encoding="utf-8") as stream:
                told[place] = stream.read()

        readers = [threading.Thread(target=read, args=(place,)) for place in (0, 1)]
        with Path(os.devnull).open("rb") as nothing:
            request = {"arguments": arguments, "environment": environment, "cwd": str(Path.cwd())}
            process = _asked(self._path, request, [nothing.fileno(), pipes[0][1], pipes[1][1]])
        for _, write in pipes:
            os.close(write)
        for reader in readers:
            reader.start()
        try:
            status = process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        finally:
            for reader in readers:
                reader.join()
            process.end()
        return subprocess.CompletedProcess(["runbook", *arguments], status, *told)

    def template(self) -> Template:
        """Return the template of the kernels that nbval starts."""
        if self._template is None:
            self._template = _forked(self._path)()
        return self._template

    def close(self) -> None:
        if self._template is not None:
            self._template.close()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _asked(path: str, request: dict[str, Any], handles: list[int]) -> ForkedProcess:
    """Return the process that was asked for, which has these handles as its first ones."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    socket.send_fds(connection, [b"f"], handles)
    connection.sendall(json.dumps(request).encode() + b"\n")
    return ForkedProcess(connection)


def _import_all() -> None:
    template.import_all((*template.modules(), *template.LATER, *_OTHERS))
    for package in ("runbook", "runbook_sandbox"):
        folder = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(folder, f"{package}."):
            if package == "runbook" and module.name not in _NOT_IMPORTED:
                importlib.import_module(module.name)


def _serve(path: str, told: int) -> NoReturn:
    before = dict(os.environ)
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    _import_all()
    set_by_imports = {name: value for name, value in os.environ.items() if name not in before}
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers of what was asked for
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(16)
    os.write(told, b"r")
    os.close(told)
    while True:
        ready, _, _ = select.select([listening, sys.stdin], [], [])
        if sys.stdin in ready:
            os._exit(0)
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _keep(connection, path, set_by_imports)
        connection.close()


def _keep(connection: socket.socket, path: str, set_by_imports: dict[str, str]) -> NoReturn:
    """Fork what this connection asks for, and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, handles, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as stream:
        request = json.loads(stream.readline())
    child = os.fork()
    if child == 0:
        connection.close()
        _become(request, handles, path, set_by_imports)
    for handle in handles:
        os.close(handle)
    with suppress(OSError):
        connection.sendall(json.dumps({"pid": child}).encode() + b"\n")
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(OSError):
        connection.sendall(json.dumps({"exit": status}).encode() + b"\n")
    os._exit(0)


def _become(request: dict[str, Any], handles: list[int], path: str, set_by_imports: dict[str, str]) -> NoReturn:
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["cwd"])
    tempfile.tempdir = None
    random.seed()
    sys.modules["numpy"].random.seed()
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(handles[number] if "arguments" in request else null, number)
    os.close(null)
    if "arguments" not in request:
        os.setsid()
        # As a new interpreter's environment is after the imports.
        os.environ.update({name: value for name, value in set_by_imports.items() if name not in os.environ})
        template.serve(socket.socket(fileno=handles[0]), (), request["environment"])
        os._exit(0)
    for handle in handles:
        os.close(handle)
    owner.Template._start = _forked(path)._start  # type: ignore[method-assign]
    sys.argv = ["runbook", *request["arguments"]]
    from runbook.cli.main import main

    main()


def _forked(path: str) -> type[Template]:
    """Return a kind of template that is forked from here instead of being a new interpreter."""

    class Forked(Template):
        def _start(self) -> None:
            self._end()
            self._control, theirs = socket.socketpair()
            with theirs:
                request = {"environment": dict(os.environ), "cwd": str(Path.cwd())}
                self._process = _asked(path, request, [theirs.fileno()])  # type: ignore[assignment]

    return Forked


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))

"""The keeper of one kernel: starts it, takes in whatever it leaves behind, and ends all that with it."""

import ctypes
import json
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Any, NoReturn

from runbook.kernels.kernel import become_kernel
from runbook.model.staying import MARK

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
END_SECONDS = 2.0
# The owner may be stopped, or its machine asleep, between the sign and the request.
REQUEST_SECONDS = 60.0


def keep(connection: socket.socket, set_by_imports: dict[str, str]) -> NoReturn:
    """Start the kernel that was asked for, and end with it.

    ``set_by_imports`` are variables of the environment that a kernel would have set by its own imports.
    """
    connection.settimeout(REQUEST_SECONDS)
    request = _request(connection)
    if request is None:
        os._exit(1)
    connection.settimeout(END_SECONDS)
    os.setsid()
    _control_process(_PR_SET_CHILD_SUBREAPER, 1)
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake)
    keeper = os.getpid()
    kernel = os.fork()
    if kernel == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _control_process(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(1)
        for end in (woken, wake):
            os.close(end)
        connection.close()
        request["environment"] = {**set_by_imports, **request["environment"]}
        become_kernel(**request)
    with suppress(OSError):
        connection.sendall(json.dumps({"pid": kernel}).encode() + b"\n")
    status = _watch(connection, woken, kernel)
    _end_all(kernel)
    with suppress(OSError):
        connection.sendall(json.dumps({"exit": status}).encode() + b"\n")
    os._exit(0)


def _request(connection: socket.socket) -> dict[str, Any] | None:
    told = b""
    while not told.endswith(b"\n"):
        try:
            block = connection.recv(1 << 16)
        except OSError:
            return None
        if not block:
            return None
        told += block
    request: dict[str, Any] = json.loads(told)
    return request


def _watch(connection: socket.socket, woken: int, kernel: int) -> int:
    """Return the kernel's exit status; where the owner has gone the kernel is killed first."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            # Also without a word: one signal may stand for several children.
            ready = {key.fileobj for key, _ in selector.select(1.0)}
            with suppress(BlockingIOError):
                os.read(woken, 4096)
            if connection in ready:  # the owner says nothing more: this is its end
                selector.unregister(connection)
                with suppress(ProcessLookupError):
                    os.kill(kernel, signal.SIGKILL)
            with suppress(ChildProcessError):
                while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                    if ended[0] == kernel:
                        return os.waitstatus_to_exitcode(ended[1])


def _end_all(kernel: int) -> None:
    """Kill whatever the kernel has started, also what calls itself a daemon; each ends up as this process' child.

    But for a server that a confirmed plan has started, and that server's own processes.
    """
    import psutil

    end = time.monotonic() + END_SECONDS
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(kernel, signal.SIGKILL)
    while time.monotonic() < end:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        left = _to_end(psutil.Process())
        if not left:
            return
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(0.002)


def _to_end(parent: Any) -> list[Any]:
    """Return the processes below one that are to end with it."""
    import psutil

    found = []
    with suppress(psutil.Error):
        for child in parent.children():
            if not _stays(child):
                found += [child, *_to_end(child)]
    return found


def _stays(process: Any) -> bool:
    import psutil

    try:
        return MARK in process.environ()
    except psutil.Error:
        # One that is ending has no environment any more: it is waited for until it is gone.
        return False


def _control_process(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)

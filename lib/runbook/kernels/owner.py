"""The owner's side of a template: start it, ask it for kernels, end it."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Self

# The imports of a template take a second, or ten on a machine that is out of breath.
START_SECONDS = 60.0
END_SECONDS = 3.0
# Whoever asks can do without the answer, at the price of the imports.
ANSWER_SECONDS = 4.0
# Nothing is imported from the folder that somebody happens to be in, which -m would allow.
_MAIN = "import sys\nsys.path[:1] == [''] and sys.path.pop(0)\nfrom runbook.kernels.template import main\nmain()"
# What is wanted of the template.
KERNEL, QUESTIONS = b"k", b"q"


class TemplateGone(Exception):
    """The template ended before it gave a kernel."""

    def __init__(self) -> None:
        super().__init__("the process that kernels are forked from ended before it gave one")


class ForkedProcess:
    """A forked kernel, to be treated as a Popen: ``pid``, ``poll``, ``wait``, signals.

    Its keeper tells the exit status through a socket of its own; closing that ends the kernel and all it has started.
    """

    stdin = stdout = stderr = None

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._told = b""
        self._lock = threading.Lock()
        self.returncode: int | None = None
        connection.settimeout(START_SECONDS)
        try:
            while b"\n" not in self._told:
                block = connection.recv(4096)
                if not block:
                    connection.close()
                    raise TemplateGone
                self._told += block
        except OSError as error:
            connection.close()
            raise TemplateGone from error
        line, self._told = self._told.split(b"\n", 1)
        self.pid = int(json.loads(line)["pid"])

    def poll(self) -> int | None:
        """Return the exit status as Popen does, -9 for SIGKILL; None while the kernel runs.

        255 stands for one that nobody can tell any more, since the keeper was killed.
        """
        return self._read(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status when there is one; raises TimeoutExpired as Popen does."""
        end = None if timeout is None else time.monotonic() + timeout
        while self._read(0.1 if end is None else max(0.0, min(0.1, end - time.monotonic()))) is None:
            if end is not None and time.monotonic() >= end:
                raise subprocess.TimeoutExpired(["kernel"], timeout or 0.0)
        return self.returncode or 0

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(15)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(9)

    def end(self, grace: float = 0.0) -> None:
        """Wait ``grace`` seconds for the kernel to end, then end it and everything that it has started."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(grace)
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
        with suppress(subprocess.TimeoutExpired):
            self.wait(END_SECONDS)
        self._connection.close()

    def _read(self, seconds: float) -> int | None:
        with self._lock:
            while self.returncode is None:
                try:
                    self._connection.settimeout(seconds)
                    block = self._connection.recv(4096)
                except (BlockingIOError, TimeoutError):
                    return None
                except OSError:
                    block = b""
                self._told += block
                if b"\n" in self._told:
                    self.returncode = int(json.loads(self._told)["exit"])
                elif not block:
                    self.returncode = 255
            return self.returncode


class Template:
    """A process with the common imports done, which gives kernels; it ends with its owner, or by ``close``.

    ``kernels`` is how many are to be expected: for a single one it imports nothing while that runs already.
    """

    def __init__(self, kernels: int = 2) -> None:
        self._kernels = kernels
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        with self._lock:
            self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Return the template's pid."""
        assert self._process is not None
        return self._process.pid

    def fork(self, arguments: Sequence[str], environment: Mapping[str, str], cwd: str) -> ForkedProcess:
        """Return a kernel with these arguments for ipykernel; raises `TemplateGone` where even a new template ends."""
        request = json.dumps({"arguments": list(arguments), "environment": dict(environment), "cwd": cwd}).encode()
        asked = self._process
        try:
            return self._forked(request)
        except TemplateGone:
            # Killed, by whoever looks for what uses the memory: another one is made, once.
            with self._lock:
                if self._process is asked:
                    self._start()
            return self._forked(request)

    def thresholds(self) -> dict[str, list[str]]:
        """Return the names of each question's thresholds, by the question's; raises `TemplateGone`."""
        ours, told = self._sent(QUESTIONS), b""
        with ours:
            ours.settimeout(ANSWER_SECONDS)
            try:
                while block := ours.recv(1 << 16):
                    told += block
                known: dict[str, list[str]] = json.loads(told)
            except (OSError, ValueError) as error:
                raise TemplateGone from error
        return known

    def close(self) -> None:
        """End the template; a kernel that it gave ends with the process that it was given to."""
        with self._lock:
            self._end()

    def _forked(self, request: bytes) -> ForkedProcess:
        ours = self._sent(KERNEL)
        try:
            ours.settimeout(START_SECONDS)
            ours.sendall(request + b"\n")
        except OSError as error:
            ours.close()
            raise TemplateGone from error
        return ForkedProcess(ours)

    def _sent(self, sign: bytes) -> socket.socket:
        """Return our end of a new pair of sockets, the other end of which was handed over."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                with self._lock:
                    assert self._control is not None
                    socket.send_fds(self._control, [sign], [theirs.fileno()])
            except OSError as error:
                ours.close()
                raise TemplateGone from error
        return ours

    def _start(self) -> None:
        self._end()
        self._control, theirs = socket.socketpair()
        with theirs:
            argv = [sys.executable, "-c", _MAIN, str(theirs.fileno()), str(self._kernels)]
            # A session of its own: what is typed at the terminal reaches the owner alone.
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # As in the kernel's own environment: debugpy looks at it when it is imported.
                env={**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1"},
                start_new_session=True,
            )

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._control = self._process = None

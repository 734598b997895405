"""The load generator: h2load, which makes a connection for each request on a schedule, whatever was answered so far."""

import math
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from runbook.connections.arrivals import Arrival, Sent, on_schedule, parse
from runbook.connections.connection import Connection
from runbook.connections.ending import ends_gently
from runbook.model import CouldNotFindOut, Unreachable
from runbook.target import Target

PROGRAM = "h2load"
INSTALL = "apt-get install nghttp2-client (Debian, Ubuntu), brew install nghttp2, or the like"
_LOOK_SECONDS = 0.02
_KEPT = ("PATH", "RUNBOOK_RUN_ID")  # by the id a runner finds what a kernel that was killed has left
_STARTS_SECONDS = 0.1  # until the program has sent its first request, on a busy machine
_TOTALS = re.compile(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
_CONNECTED = re.compile(r"time for connect:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)\b")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Step:
    """A load: one request each ``period_ms``, for so many seconds."""

    period_ms: int
    seconds: float

    @classmethod
    def of(cls, rate: float, seconds: float) -> "Step":
        """Return the load of a rate (requests/s), or a little less: with whole milliseconds between two requests."""
        return cls(math.ceil(1000 / rate - 1e-9), seconds)

    @property
    def rate(self) -> float:
        """Return how many requests a second it sends."""
        return 1000 / self.period_ms

    @property
    def count(self) -> int:
        """Return how many requests it sends."""
        return max(1, round(self.seconds * self.rate))


@dataclass(frozen=True)
class Bounds:
    """When a load stops by itself: ``slow_seconds`` were exceeded by ``slow_share`` of its requests, or
    ``failed_share`` of them were not answered well. Fewer than ``few`` requests stop nothing before they ended. An
    answer takes ``patience`` at most.
    """

    slow_seconds: float
    slow_share: float
    failed_share: float
    few: int = 5

    @property
    def patience(self) -> float:
        """Return after how many seconds a request is given up as unanswered."""
        return 3.0 * self.slow_seconds


@dataclass
class Taken:
    """What came of a load: its requests, how many had no connection, and why it was stopped early ("" where not)."""

    step: Step
    began: float
    ended: float
    arrivals: list[Arrival] = field(default_factory=list)
    refused: int = 0
    stopped: str = ""
    interrupted: bool = False


class LoadGenerator(Connection):
    """The program that sends a load; it opens nothing by itself. ``kept`` is what a load of this run has found."""

    name = "load generator"
    ends_gently: ClassVar[bool] = True

    def __init__(self, program: str, version: str) -> None:
        self._program = program
        self._told_to_stop = threading.Event()
        self._why = ""
        self.kept: Any = None
        self.identity = {"what": version, "where": "this machine"}

    @classmethod
    def open(cls, target: Target, label: str) -> Self:
        """Find the program; raises `Unreachable` with how it is installed."""
        program = shutil.which(PROGRAM)
        if program is None:
            raise Unreachable("load generator", "other", f"{PROGRAM} is not installed on this machine: {INSTALL}")
        try:
            told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=5, check=True).stdout
        except (OSError, subprocess.SubprocessError) as error:
            raise Unreachable("load generator", "other", f"{program} does not run: {error}") from error
        return cls(program, told.strip()[:40] or PROGRAM)

    def close(self) -> None:
        """End the load that is under way."""
        self._told_to_stop.set()

    def interrupt(self, why: str) -> bool:
        """End the load that is under way; what it found so far is its answer."""
        self._why = why
        self._told_to_stop.set()
        return True

    def command(self, url: str, step: Step, bounds: Bounds, log: str = "FILE") -> list[str]:
        """Return the call for a load: a client is made in each period, and each sends one request."""
        count = str(step.count)
        patience = f"{math.ceil(bounds.patience * 1000)}ms"
        return [
            self._program, "--h1", "-n", count, "-c", count, "-r", "1", "--rate-period", f"{step.period_ms}ms",
            "-T", patience, "-N", patience, "--log-file", log, url,
        ]  # fmt: skip

    def load(
        self, url: str, steps: Sequence[Step], bounds: Bounds, each: Callable[[], Any]
    ) -> list[tuple[Taken, Any, Any]]:
        """Send loads, one after the other, until one is stopped; ``each`` looks before and after each one.

        Return for each what came of it, and what was seen before and after. Ctrl-C ends it at once, and what was found
        until then is returned. Raises `CouldNotFindOut` where the program itself fails.
        """
        self._told_to_stop.clear()
        self._why = ""
        found = []
        with ends_gently():
            for step in steps:
                before = each()
                taken = self._one(url, step, bounds)
                taken.stopped = taken.stopped or _passed(taken, bounds)
                found.append((taken, before, None if taken.interrupted else each()))
                if taken.stopped:
                    break
        return found

    def _one(self, url: str, step: Step, bounds: Bounds) -> Taken:
        with tempfile.TemporaryDirectory(prefix="load-") as folder:
            log, said = Path(folder) / "log", Path(folder) / "said"
            log.touch(mode=0o600)
            taken = Taken(step, time.time(), 0.0)
            with said.open("wb") as output:
                process = subprocess.Popen(
                    self.command(url, step, bounds, str(log)),
                    stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, start_new_session=True,
                    env={"LC_ALL": "C", **{name: os.environ[name] for name in _KEPT if name in os.environ}},
                )  # fmt: skip
                began = time.monotonic()
                lines = _Lines(log)
                try:
                    self._watch(process, taken, lines, bounds, began)
                except KeyboardInterrupt:
                    taken.stopped, taken.interrupted = self._why or "it was interrupted", True
                finally:
                    _end(process)
            taken.ended = time.time()
            self._account(taken, parse(lines.all()), said.read_text(errors="replace"), process.returncode, bounds)
        return taken

    def _watch(
        self, process: "subprocess.Popen[bytes]", taken: Taken, lines: "_Lines", bounds: Bounds, began: float
    ) -> None:
        """Wait for the end of a load, and note why it must end before."""
        limit = taken.step.seconds + bounds.patience + 5.0
        while process.poll() is None:
            if self._told_to_stop.wait(_LOOK_SECONDS):
                taken.stopped, taken.interrupted = self._why or "it was interrupted", True
                return
            gone = time.monotonic() - began
            taken.stopped = _beyond(parse(lines.all()), taken.step, bounds, gone)
            if not taken.stopped and gone > limit:
                taken.stopped = f"the generator did not end within {limit:.0f} s"
            if taken.stopped:
                return

    def _account(self, taken: Taken, sent: Sequence[Sent], said: str, code: int | None, bounds: Bounds) -> None:
        totals, connected = _TOTALS.search(said), _CONNECTED.search(said)
        if code not in (0, None) and not taken.stopped:
            if not sent:
                words = [line for line in said.splitlines() if line.strip()]
                raise CouldNotFindOut(f"{PROGRAM} ended with {code}: {words[-1][:200] if words else 'without a word'}")
            taken.stopped, taken.interrupted = f"{PROGRAM} ended with {code}", True
        taken.refused = max(0, int(totals[3]) - int(totals[4])) if totals else 0
        connecting = float(connected[1]) * _UNITS[connected[2]] if connected else 0.0
        count = taken.step.count
        if taken.stopped:
            period = taken.step.period_ms / 1000
            count = min(count, max(len(sent), math.ceil((taken.ended - taken.began) / period)))
        taken.arrivals = on_schedule(
            sent, count, taken.step.period_ms / 1000, began=taken.began, until=taken.ended, patience=bounds.patience,
            connecting=connecting, refused=taken.refused,
        )  # fmt: skip


class _Lines:
    """The whole lines of a file that is being written, each read once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._lines: list[str] = []

    def all(self) -> list[str]:
        """Return every line that is there so far."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            block = file.read()
        whole = block[: block.rfind(b"\n") + 1]
        self._offset += len(whole)
        self._lines += whole.decode("ascii", "replace").splitlines()
        return self._lines


def _beyond(sent: Sequence[Sent], step: Step, bounds: Bounds, gone: float) -> str:
    """Return which bound a load has passed for sure, however its last requests will fare; "" where none."""
    due = min(step.count, int(gone * 1000 / step.period_ms))
    overdue = max(
        0, min(step.count, int((gone - bounds.slow_seconds - _STARTS_SECONDS) * 1000 / step.period_ms)) - len(sent)
    )
    slow = sum(one.took > bounds.slow_seconds for one in sent) + overdue
    failed = sum(one.status < 0 or one.status >= 500 for one in sent)
    if due >= bounds.few and failed >= max(bounds.few, bounds.failed_share * step.count):
        return f"{failed} of {due} requests failed"
    if due >= bounds.few and slow >= max(bounds.few, bounds.slow_share * step.count):
        return f"{slow} of {due} requests took longer than {bounds.slow_seconds:g} s"
    return ""


def _passed(taken: Taken, bounds: Bounds) -> str:
    """Return which bound a load that has ended has passed; "" where none."""
    count = len(taken.arrivals) + taken.refused
    failed = sum(not one.answered or one.status >= 500 for one in taken.arrivals) + taken.refused
    slow = sum(one.took > bounds.slow_seconds for one in taken.arrivals)
    limited = sum(one.status == 429 for one in taken.arrivals)
    denied = sum(300 <= one.status < 500 for one in taken.arrivals) - limited
    for what, number, share in (
        ("were refused by the rate limit (429)", limited, bounds.failed_share),
        ("were answered 3xx or 4xx", denied, bounds.failed_share),
        ("failed", failed, bounds.failed_share),
        (f"took longer than {bounds.slow_seconds:g} s", slow, bounds.slow_share),
    ):
        if number > share * count:
            return f"{number} of {count} requests {what}"
    return ""


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()

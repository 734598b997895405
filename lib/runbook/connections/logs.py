"""The target's logs: which files and containers, here or elsewhere, they are in; each pass over them, once in a run."""

import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Self

from runbook.connections.connection import Connection
from runbook.connections.containers import Inside, container_output
from runbook.connections.elsewhere import Elsewhere
from runbook.connections.far_files import far_blocks, find_far
from runbook.connections.ssh import SharedHost
from runbook.logfiles.crew import PassBroken, PassTooLong, read_all
from runbook.logfiles.entries import as_stamp
from runbook.logfiles.pieces import Cut
from runbook.logfiles.reader import Job, Reader
from runbook.logfiles.sources import LogFile, find_files
from runbook.logfiles.streams import blocks_of
from runbook.logfiles.tail import Tail
from runbook.logfiles.tally import FileRead, Period, Reading
from runbook.model import CouldNotFindOut, Unreachable
from runbook.model.units import counted
from runbook.target import Logs, Target

# An entry may be this much later than this machine's clock before it counts as one from the future.
CLOCK_SECONDS = 120
GREP_SECONDS = 10
# How long one file elsewhere may take.
READ_SECONDS = 50.0


class LogsConnection(Connection):
    """The logs that the profile names."""

    name = "logs"

    def __init__(self, logs: Logs, connect_seconds: float, host: SharedHost | str = "") -> None:
        self.logs = logs
        self._host = host
        self.opened_at = datetime.now(UTC)
        self._connect_seconds = connect_seconds
        self._readings: dict[tuple[Period, ...], Reading | str] = {}
        self._tail = Tail(logs.timezone)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        files = self.files("api")
        size = sum(file.size for file in files)
        told = [f"{counted(len(files), 'file')} of the service ({size / (1 << 20):.1f} MiB)"] if files else []
        told += [place for place in (*logs.api, *logs.postgres, *logs.redis) if not place.startswith("/")]
        self.identity = {
            "what": ", ".join(told) or "no file",
            "where": ", ".join(logs.api) or "no place for the service",
        }

    @classmethod
    def open(cls, target: Target, label: str) -> Self:
        """Find the log files; refuses where the profile names none."""
        logs = target.logs or Logs()
        if target.containers is not None:
            # A container's output is where PostgreSQL and Redis log, unless the profile says otherwise.
            named = target.containers.named
            usual = {part: (f"container:{named[part]}",) for part in ("postgres", "redis") if part in named}
            logs = logs.model_copy(update={part: place for part, place in usual.items() if not getattr(logs, part)})
        if not (logs.api or logs.postgres or logs.redis):
            raise Unreachable("logs", "not-configured", f"the profile of {target.name} names no logs (section [logs])")
        return cls(logs, target.deadlines.connect, _host(target, logs))

    def now(self) -> datetime:
        """Return the present, where a window of the log ends that names no end."""
        return datetime.now(UTC)

    def files(self, part: str) -> list[LogFile]:
        """Return the files of the api, postgres or redis log on this machine, oldest first."""
        return find_files(self._patterns(part))

    def reading(self, periods: Sequence[Period], seconds: float) -> Reading:
        """Return one pass over the service's logs; asked again for the same periods, the same pass.

        Raises `CouldNotFindOut` where there is no log, or it is too long to be read in ``seconds``.
        """
        with self._lock:
            key = tuple(periods)
            if key not in self._readings:
                try:
                    self._readings[key] = self._read(periods, seconds)
                except PassTooLong as reason:
                    self._readings[key] = f"{reason}; ask for a shorter window (fewer hours)"
                except PassBroken as reason:
                    raise CouldNotFindOut(str(reason)) from reason
            found = self._readings[key]
        if isinstance(found, str):
            raise CouldNotFindOut(found)
        return found

    def job(self, periods: Sequence[Period]) -> Job:
        """Return how the service's lines are read for some periods."""
        latest = as_stamp(datetime.now(UTC) + timedelta(seconds=CLOCK_SECONDS))
        return Job(list(periods), self.logs.timezone, latest)

    def recent(self, minutes: float) -> Tail:
        """Return the last minutes of the service's log files, having read what was added since the last call."""
        with self._lock:
            self._tail.refresh(self.files("api"), datetime.now(UTC), minutes)
        return self._tail

    def not_followed(self) -> dict[str, str]:
        """Return the places of the service's log that `recent` does not read, each with the reason."""
        problems = {file.path: file.problem for file in self.files("api") if file.problem}
        told = "is not followed; the questions about a window read it"
        for place in self.logs.api:
            if not place.startswith("/"):
                what = "what is over ssh" if place.startswith("ssh:") else "a container's output"
                problems[place] = f"{what} {told}"
        return problems

    def blocks(self, part: str, since: datetime, until: datetime) -> Iterator[tuple[str, Iterator[bytes] | str]]:
        """Yield for each file and container of a log its name and its bytes in blocks, or why it cannot be read.

        Of a container only what was written from ``since`` until ``until`` comes.
        """
        for file in self.files(part):
            if file.problem:
                yield file.path, file.problem
            elif file.modified >= since.timestamp() - CLOCK_SECONDS:
                yield file.path, blocks_of(file)
        yield from self._streams(part, since, until, time.monotonic() + READ_SECONDS)

    def searched(
        self, part: str, since: datetime, until: datetime
    ) -> tuple[list[LogFile], dict[str, Iterator[bytes]], dict[str, str]]:
        """Return the files of a log, what is not on this machine between two moments by name, and why one is missing.

        A container's output is kept by when it was written, which is a little later than what the entry says.
        """
        span = timedelta(seconds=CLOCK_SECONDS)
        streams = dict(self._streams(part, since - span, until + span, time.monotonic() + READ_SECONDS))
        outputs = {name: blocks for name, blocks in streams.items() if not isinstance(blocks, str)}
        problems = {name: blocks for name, blocks in streams.items() if isinstance(blocks, str)}
        return self.files(part), outputs, problems

    def todays_file(self) -> str | None:
        """Return the file that the runbook's own commands read: that of this day."""
        name = f"api_{self.opened_at:%Y%m%d}.log"
        return next((file.path for file in self.files("api") if file.path.endswith(name) and not file.problem), None)

    def grep(self, expression: str) -> str:
        """Return how many lines the runbook's own grep prints of this day's file, as it would be told in a sentence."""
        file, grep = self.todays_file(), shutil.which("grep")
        if not self._patterns("api"):
            return ""
        if file is None:
            return f"the runbook's grep '{expression}' fails: there is no file of this day"
        if grep is None:
            return ""
        printed, last = 0, b""
        with (
            tempfile.TemporaryFile() as told,
            subprocess.Popen([grep, expression, file], stdout=subprocess.PIPE, stderr=told) as process,
        ):
            ending = threading.Timer(GREP_SECONDS, process.kill)
            ending.start()
            assert process.stdout
            while block := process.stdout.read(1 << 20):  # it may print all of a big file
                printed += block.count(b"\n")
                last = (last + block)[-300:]
            process.wait()
            ending.cancel()
            told.seek(0)
            complaint = told.read(4096)
        if process.returncode < 0:
            return f"the runbook's grep '{expression}' did not end within {GREP_SECONDS} s"
        # Its remark about a file that is no text stands on either stream, by its version.
        printed -= b"inary file" in last
        binary = b"inary file" in last + complaint
        stopped = ": it stops at a byte that is no text" if binary else ""
        return f"the runbook's grep '{expression}' prints {counted(printed, 'line')} of this day's file{stopped}"

    def close(self) -> None:
        """End what still reads."""
        self._stopped.set()
        if isinstance(self._host, SharedHost):
            self._host.give_back()

    @property
    def closed(self) -> bool:
        """Tell whether the connection to the host that a part of the logs is on has broken off."""
        return isinstance(self._host, SharedHost) and self._host.host.closed

    @property
    def stopped(self) -> bool:
        """Tell whether nobody waits for an answer any more."""
        return self._stopped.is_set()

    def _places(self, part: str) -> tuple[str, ...]:
        places: tuple[str, ...] = getattr(self.logs, part)
        if not places:
            raise CouldNotFindOut(f"the profile names no log of {part} (logs.{part})")
        return places

    def _patterns(self, part: str) -> list[str]:
        return [place for place in self._places(part) if place.startswith("/")]

    def _streams(
        self, part: str, since: datetime, until: datetime, end: float
    ) -> Iterator[tuple[str, Iterator[bytes] | str]]:
        """Yield what is not on this machine: outputs of containers, files in them, files over ssh."""
        for place in self._places(part):
            kind, _, rest = place.partition(":")
            name, _, path = rest.partition(":")
            try:
                if kind == "container" and not path:
                    yield place, container_output(name, since, until, self._connect_seconds)
                elif place[:1] != "/":
                    where, pattern = (Inside(name), path) if kind == "container" else (self._far(), rest)
                    for file in find_far(where, pattern):
                        yield file.name, far_blocks(file, since, self.logs.timezone, max(1.0, end - time.monotonic()))
            except CouldNotFindOut as reason:
                yield place, str(reason)

    def _far(self) -> Elsewhere:
        if isinstance(self._host, SharedHost):
            return self._host.host
        raise CouldNotFindOut(self._host)

    def _read(self, periods: Sequence[Period], seconds: float) -> Reading:
        files, patterns = self.files("api"), self._patterns("api")
        if not files and len(patterns) == len(self.logs.api):
            raise CouldNotFindOut(f"no file is named {' or '.join(patterns)}")
        job = self.job(periods)
        began = time.monotonic()
        reading = read_all(files, job, seconds=seconds, stopped=self._stopped.is_set)
        since = datetime.fromisoformat(min(period.since for period in periods))
        until = datetime.fromisoformat(max(period.until for period in periods))
        for name, blocks in self._streams("api", since, until, began + seconds):
            reader = Reader(job)
            reader.file = FileRead(name)
            try:
                if isinstance(blocks, str):
                    raise CouldNotFindOut(blocks)
                reader.read_stream(blocks, self._stopped.is_set)
            except (CouldNotFindOut, Cut) as reason:
                reader.file.problem = str(reason)
            more = reader.done()
            more.files = {reader.file.path: reader.file}
            reading.merge(more)
        return reading


def _host(target: Target, logs: Logs) -> SharedHost | str:
    """Return the host that places over ssh are on; why it cannot be asked, where other places still can."""
    places = (*logs.api, *logs.postgres, *logs.redis)
    if not any(place.startswith("ssh:") for place in places):
        return "no place of the log is over ssh"
    if target.host.ssh is None:
        return "the profile does not say where ssh leads ([host.ssh])"
    try:
        return SharedHost.take(target.host.ssh, target.deadlines.connect, target.host.name)
    except Unreachable as error:
        if all(place.startswith("ssh:") for place in places):
            raise Unreachable("logs", error.kind, error.reason) from error
        return error.reason

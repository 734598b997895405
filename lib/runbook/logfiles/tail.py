"""Follow files: each call reads what was added since the last one, across rotation."""

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from runbook.logfiles.entries import as_stamp
from runbook.logfiles.reader import Job, Reader, Task
from runbook.logfiles.sources import LogFile, open_file
from runbook.logfiles.tally import Period, Tally
from runbook.logfiles.window import parts

MOST_MINUTES = 240


class Tail:
    """The last minutes of a log: a tally for each minute, by its beginning (UTC).

    ``read`` is how many bytes the last refresh read, ``problems`` what kept it from reading a file, by path.
    """

    def __init__(self, zone: str) -> None:
        self.minutes: dict[str, Tally] = {}
        self.read = 0
        self.problems: dict[str, str] = {}
        self._zone = zone
        self._reached: dict[tuple[int, int], int] = {}
        self._since = ""

    def refresh(self, files: Sequence[LogFile], now: datetime, minutes: float) -> None:
        """Read what was added and forget what is older than ``minutes`` before now."""
        begin = (now - timedelta(minutes=min(minutes, MOST_MINUTES))).astimezone(UTC).replace(second=0, microsecond=0)
        since = as_stamp(begin)
        if self._since and since < self._since:
            # A longer time than before: what was passed over then is wanted now.
            self._reached.clear()
            self.minutes.clear()
        self._since = since
        count = int((now.astimezone(UTC) - begin).total_seconds() // 60) + 2
        starts = [begin + timedelta(minutes=n) for n in range(count)]
        periods = [
            Period(f"{start:%Y-%m-%dT%H:%M}", as_stamp(start), as_stamp(start + timedelta(minutes=1)))
            for start in starts
        ]
        reader = Reader(Job(periods, self._zone))
        self.read = 0
        for file in files:
            if not file.problem and not file.compressed and file.modified >= begin.timestamp():
                with suppress(OSError):  # renamed or removed meanwhile: the next call finds what is there then
                    self._read(file, reader, since)
        reading = reader.done()
        self.problems = {path: file.problem for path, file in reading.files.items() if file.problem}
        for name, tally in reading.periods.items():
            if tally.entries:
                self.minutes.setdefault(name, Tally()).merge(tally)
        self.minutes = {minute: tally for minute, tally in self.minutes.items() if minute >= since[:16]}

    def _read(self, file: LogFile, reader: Reader, since: str) -> None:
        fd = open_file(file.path, file.identity)
        try:
            facts = os.fstat(fd)
            identity = (facts.st_dev, facts.st_ino)
            size = _whole_lines(fd, facts.st_size)
            reached = self._reached.get(identity)
            if reached is None or reached > size:
                # New, or begun anew in its place.
                found, _ = parts(fd, size, since, "9998-01-01T00:00:00.000000Z", self._zone)
            else:
                found = [(reached, size)] if reached < size else []
            self._reached[identity] = size
        finally:
            os.close(fd)
        for begin, end in found:
            # A part begins where a line does: what lies before has been read.
            reader.read(Task(file.path, begin, end, size, identity=file.identity))
            self.read += end - begin


def _whole_lines(fd: int, size: int) -> int:
    """Return where the last whole line ends: one that is still being written is read the next time."""
    look = min(size, 1 << 20)
    cut = os.pread(fd, look, size - look).rfind(b"\n") + 1
    return size - look + cut if cut else 0 if look == size else size

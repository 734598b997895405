"""Read lines of either format into tallies: in bulk where a piece is ordinary, line by line where it is not."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter

import msgspec

from runbook.logfiles.entries import (
    HEADER,
    LEVELS,
    SECONDS,
    Entry,
    canonical,
    decode_line,
    decode_lines,
    text_entry,
    utc_minute,
)
from runbook.logfiles.heads import NONE as NO_LEVEL
from runbook.logfiles.heads import SECOND_CHARACTERS, HeadReader
from runbook.logfiles.pieces import LONGEST_LINE, Cut, halves, of_range, of_stream, unpacked
from runbook.logfiles.sources import open_file
from runbook.logfiles.stamps import all_canonical
from runbook.logfiles.tally import FileRead, Period, Reading, Tallier, Tally

_HEAD = itemgetter(slice(0, 26))
_FRACTION = re.compile(rb"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)[.,]\d+(?= \[)", re.MULTILINE)
_LEVELS = {b" [DEBUG": "DEBUG", b" [INFO]": "INFO", b" [WARNI": "WARNING", b" [ERROR": "ERROR", b" [CRITI": "CRITICAL"}
_SERIOUS_MARKS = (b"[WARNING] ", b"[ERROR] ", b"[CRITICAL] ")
_FIRST_SERIOUS = LEVELS.index("WARNING")
_TRACEBACK_LINES = 60
_LOOKED_AT = 16
_TIMES_REMEMBERED = 10_000


class Task(msgspec.Struct, frozen=True):
    """A part of a file to be read: the lines that begin in [begin, end)."""

    path: str
    begin: int
    end: int
    size: int
    compressed: bool = False
    identity: tuple[int, int] = (0, 0)


class Job(msgspec.Struct, frozen=True):
    """What is the same for all parts: the periods, the zone of text lines, and after which time an entry is from the
    future."""

    periods: list[Period]
    zone: str = "UTC"
    latest: str = "9999"


class Reader:
    """Reads parts of files and counts what they say."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._tallies = [(period, Tallier(Tally())) for period in job.periods]
        self._reading = Reading()
        self.file = FileRead("")
        self._in_text = False
        self._heads = HeadReader(job.zone)
        self._local: dict[bytes, str | None] = {}

    def read(self, task: Task, stopped: Callable[[], bool] = lambda: False) -> None:
        """Read one part; what keeps it from being read whole is told of its file."""
        self.file = FileRead(task.path)
        try:
            fd = open_file(task.path, task.identity)
        except OSError as error:
            self.file.problem = f"cannot be read: {error.strerror}"
        else:
            try:
                self._in_text = task.begin > 0 and _text_before(fd, task.begin)
                blocks = unpacked(fd) if task.compressed else of_range(fd, task.begin, task.end, task.size)
                self.read_stream(blocks, stopped)
            except Cut as error:
                self.file.problem = f"{error}; what could be read counts"
            except OSError as error:
                self.file.problem = f"could not be read to its end: {error.strerror}"
            finally:
                os.close(fd)
        self._reading.files.setdefault(task.path, FileRead(task.path)).merge(self.file)

    def read_stream(self, blocks: Iterator[bytes], stopped: Callable[[], bool] = lambda: False) -> None:
        """Read a stream of blocks of bytes."""
        for piece in of_stream(blocks):
            if stopped():
                return
            if piece is None:
                self.file.malformed += 1
                self.file.problem = (
                    f"has a line longer than {LONGEST_LINE >> 20} MiB, which is passed over; the rest counts"
                )
                continue
            self.file.bytes += len(piece)
            self._piece(piece)

    def done(self) -> Reading:
        """Return everything counted."""
        self._reading.periods = {period.name: tallier.done() for period, tallier in self._tallies}
        return self._reading

    def _piece(self, piece: bytes) -> None:
        if piece[:1] == b"{":
            self._json(piece)
        elif HEADER.match(piece) and b"\n{" not in piece and b"\0" not in piece:
            self._text(piece)
        else:
            self._lines(piece)

    def _json(self, lines: bytes) -> None:
        """Count lines of which the first is JSON: all at once, but for those around one that is not well."""
        if not self._decoded(lines):
            # A line of text holds together with those behind it.
            if b"\n2" in lines or lines.count(b"\n") <= _LOOKED_AT:
                self._lines(lines)
            else:
                for half in halves(lines):
                    self._json(half)

    def _decoded(self, lines: bytes) -> bool:
        """Count the entries of JSON lines, and tell whether all are well."""
        try:
            entries = decode_lines(lines)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        self.file.json_lines += len(entries)
        self._in_text = False
        self._entries(entries)
        return True

    def _holding(self, low: str, high: str) -> list[Tallier] | None:
        """Return the tallies whose period holds all from ``low`` to ``high``; None where one holds a part of it only,
        or a part is of the future.
        """
        holding = []
        for period, tallier in self._tallies:
            if period.since <= low and high < period.until:
                holding.append(tallier)
            elif low < period.until and high >= period.since:
                return None
        return None if high > self._job.latest else holding

    def _entries(self, entries: list[Entry]) -> None:
        """Count entries of JSON lines, whatever form their timestamps have."""
        if not entries:
            return
        stamps = [entry.timestamp for entry in entries]
        if not all_canonical(stamps):
            entries = self._made_canonical(entries)
            stamps = [entry.timestamp for entry in entries]
            if not entries:
                return
        low, high = min(stamps), max(stamps)
        self._span(low, high)
        holding = self._holding(low, high)
        if holding is not None:
            for tallier in holding:
                tallier.add(entries, low, high)
            return
        self._reading.future += sum(stamp > self._job.latest for stamp in stamps)
        for period, tallier in self._tallies:
            inside = [entry for entry in entries if period.since <= entry.timestamp < period.until]
            if inside:
                tallier.add(inside, low, high)

    def _made_canonical(self, entries: list[Entry]) -> list[Entry]:
        kept = []
        for entry in entries:
            stamp = canonical(entry.timestamp, self._job.zone)
            if stamp is None:
                self.file.malformed += 1
                self.file.json_lines -= 1
            else:
                entry.timestamp = stamp
                kept.append(entry)
        return kept

    def _text(self, piece: bytes) -> None:
        """Count a piece of the text format: by minute and level at once, then its serious lines one by one."""
        heads = self._heads.read(piece)
        holding = None if heads is None else self._holding(heads.low, heads.high)
        if heads is None or holding is None:
            self._text_by_second(piece)
            return
        self._in_text = True
        self._span(heads.low, heads.high)
        count = sum(heads.minutes.values())
        self.file.text_lines += count
        self.file.other_lines += len(heads.levels) - count
        for tallier in holding:
            tallier.add_text_counts(heads.minutes)
            tallier.tally.text_lines += count
        if holding:
            serious = (heads.levels >= _FIRST_SERIOUS) & (heads.levels < NO_LEVEL)
            for begin, end in zip(heads.begins[serious].tolist(), heads.ends[serious].tolist(), strict=True):
                self._serious_text(piece, begin, end)

    def _text_by_second(self, piece: bytes) -> None:
        """Count a piece that a period holds a part of, or whose times are not all of the usual form."""
        seconds: Counter[tuple[str, str]] = Counter()
        others = 0
        for head, count in Counter(map(_HEAD, piece.split(b"\n"))).items():
            level = _LEVELS.get(head[19:26])
            stamp = self._second(head[:19]) if level is not None else None
            if level is None or stamp is None:
                if head[19:20] in (b",", b"."):
                    whole = _FRACTION.sub(rb"\1", piece)
                    if whole != piece:
                        self._text(whole)
                        return
                others += count
            else:
                seconds[(stamp, level)] += count
        self.file.other_lines += others - (piece[-1:] == b"\n")
        self.file.text_lines += sum(seconds.values())
        self._in_text = True
        if seconds:
            self._seconds(seconds)
        for mark in _SERIOUS_MARKS:
            found = piece.find(mark)
            while found >= 0:
                begin = piece.rfind(b"\n", 0, found) + 1
                if found - begin == 20:
                    end = piece.find(b"\n", begin)
                    self._serious_text(piece, begin, len(piece) if end < 0 else end)
                found = piece.find(mark, found + 1)

    def _seconds(self, seconds: "Counter[tuple[str, str]]") -> None:
        """Count entries of the text format by second and level."""
        low, high = min(seconds)[0], max(seconds)[0]
        self._span(low, high)
        self._reading.future += sum(n for (stamp, _), n in seconds.items() if stamp > self._job.latest)
        for period, tallier in self._tallies:
            if low < period.until and high >= period.since:
                minutes: Counter[tuple[str, str]] = Counter()
                for (stamp, level), count in seconds.items():
                    if period.since <= stamp < period.until:
                        minutes[(stamp[:16], level)] += count
                tallier.add_text_counts(minutes)
                tallier.tally.text_lines += sum(minutes.values())

    def _second(self, local: bytes) -> str | None:
        """Return the time of a text line as the service writes it in JSON, or None where it is none."""
        stamp = self._local.get(local, "")
        if stamp == "":
            second = local[16:].decode("ascii", "replace")
            try:
                minute = utc_minute(local[:16].decode(), self._job.zone)
                stamp = f"{minute}{second}.000000Z" if second in SECONDS and local[10:11] == b" " else None
            except (ValueError, OverflowError):
                stamp = None
            if len(self._local) >= _TIMES_REMEMBERED:
                self._local.clear()
            self._local[local] = stamp
        return stamp

    def _serious_text(self, piece: bytes, begin: int, end: int) -> None:
        stamp = self._second(piece[begin : begin + SECOND_CHARACTERS])
        if stamp is not None:
            told = piece[begin + SECOND_CHARACTERS : end]
            for period, tallier in self._tallies:
                if period.since <= stamp < period.until and not tallier.add_text_again(stamp, told):
                    header = HEADER.match(piece[begin:end])
                    if header is not None:
                        continued = piece[end + 1 : end + 2] not in (b"2", b"")
                        exception = _continued(piece, end + 1) if continued else None
                        tallier.add_text(text_entry(header, stamp, exception), told)

    def _lines(self, piece: bytes) -> None:
        """Count a piece line by line: lines of both formats, broken ones, and what follows a line of text."""
        entries: list[Entry] = []
        run: list[bytes] = []
        for line in piece.split(b"\n"):
            # What begins with { after a line of text may be that one's own next line: a message of several.
            entry = decode_line(line) if line.lstrip()[:1] == b"{" else None
            if entry is not None or line[:1] == b"{":
                self._settle(run)
                self._in_text = False
                if entry is None:
                    self.file.malformed += 1
                else:
                    entries.append(entry)
            elif HEADER.match(line):
                self._in_text = True
                run.append(line.replace(b"\0", b"\xef\xbf\xbd"))
            elif not line.strip():
                continue
            elif self._in_text and b"\0" not in line:
                run.append(line) if run else None
                self.file.other_lines += 0 if run else 1
            else:
                self.file.malformed += 1
        self._settle(run)
        self.file.json_lines += len(entries)
        self._entries(entries)

    def _settle(self, run: list[bytes]) -> None:
        if run:
            in_text = self._in_text
            self._text(b"\n".join(run) + b"\n")
            self._in_text = in_text
            run.clear()

    def _span(self, low: str, high: str) -> None:
        self._reading.newest = max(self._reading.newest, high)
        self._reading.oldest = min(self._reading.oldest or low, low)


def _continued(piece: bytes, begin: int) -> str:
    """Return the lines after a header until the next one: a traceback."""
    lines = []
    for line in piece[begin : begin + (64 << 10)].split(b"\n")[:_TRACEBACK_LINES]:
        if HEADER.match(line) or line[:1] == b"{":
            break
        lines.append(line.decode("utf-8", "replace"))
    return "\n".join(lines).strip()


def _text_before(fd: int, position: int) -> bool:
    """Tell whether the last line before a position that tells its format is one of text."""
    look = 64 << 10
    block = os.pread(fd, min(look, position), max(0, position - look))
    for line in reversed(block.split(b"\n")[:-1]):
        if line[:1] == b"{":
            return False
        if HEADER.match(line):
            return True
    return False


def read_here(job: Job, tasks: Sequence[Task], stopped: Callable[[], bool]) -> Reading:
    """Read parts in this process, one after another."""
    reader = Reader(job)
    for task in tasks:
        reader.read(task, stopped)
    return reader.done()

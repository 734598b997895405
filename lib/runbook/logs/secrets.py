"""Do the logs hold secrets?"""

import os
import time
from collections import Counter
from collections.abc import Iterator

import pandas as pd

from runbook.connections import LogsConnection
from runbook.logfiles.pieces import Cut, of_range, unpacked
from runbook.logfiles.sources import LogFile, open_file
from runbook.logs.window import Window
from runbook.logs.window import window as last_day
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, first_of
from runbook.model.units import as_bytes, counted
from runbook.redaction import Redactor

_MIB = 1 << 20
_READ_SECONDS = 90.0
_PIECE = 64 << 10
_SHOWN = 3
_MOST = 11
COLUMNS = ["file", "kind", "count", "lines"]


def probe(asking: Asking, *, window: Window | None = None, mebibytes: float = 8.0) -> pd.DataFrame:
    """Return a row for each kind of secret in each file of the service's, PostgreSQL's and Redis' logs, never the
    secret: file, kind, count, lines (the numbers of the first lines that hold one).

    Read are the files that were written within the window (the last 24 h where none is given), the newest first, of
    each the last ``mebibytes``: of a compressed one and of a container's output, the first. What is a secret is told by
    the rules of the redaction, and by the secrets that the profile refers to. attrs hold ``read`` (bytes), ``files``,
    ``skipped`` (bytes of these files that were not read), ``left`` (how many files there was no time for) and
    ``problems`` (why one was not read).
    """
    logs = asking.connection(LogsConnection)
    about = window or last_day(until=logs.opened_at.isoformat())
    target = asking.target
    search = _Search(Redactor(target.secret_values(), allow=target.redaction.allow), int(mebibytes * _MIB))
    found: list[LogFile] = []
    for part in ("api", "postgres", "redis"):
        if not getattr(logs.logs, part):
            continue
        files, outputs, problems = logs.searched(part, about.since, about.until)
        search.problems |= problems
        search.problems |= {file.path: file.problem for file in files if file.problem}
        found += [file for file in files if not file.problem and file.modified >= about.since.timestamp()]
        for name, blocks in outputs.items():
            search.blocks(name, blocks, 1)
    for file in sorted(found, key=lambda one: one.modified, reverse=True):
        search.file(file)
    rows = [
        (file, kind, count, ", ".join(f"{line:,}" for line in search.lines[file, kind]))
        for (file, kind), count in sorted(search.counts.items())
    ]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    told = ("read", "files", "skipped", "left", "problems")
    frame.attrs = {name: getattr(search, name) for name in told}
    return frame


class _Search:
    """Looks for secrets in pieces of whole lines, and by the line only where a piece holds one."""

    def __init__(self, redactor: Redactor, most: int) -> None:
        self._redactor, self._most = redactor, most
        self._end = time.monotonic() + _READ_SECONDS
        self.counts: Counter[tuple[str, str]] = Counter()
        self.lines: dict[tuple[str, str], list[int]] = {}
        self.read = self.files = self.skipped = self.left = 0
        self.problems: dict[str, str] = {}

    def file(self, file: LogFile) -> None:
        """Search the newest part of a file, while there is time."""
        if time.monotonic() > self._end:
            self.left += 1
            return
        try:
            fd = open_file(file.path, file.identity)
        except OSError as error:
            self.problems[file.path] = f"cannot be read: {error.strerror or type(error).__name__}"
            return
        try:
            start = 0 if file.compressed else max(0, file.size - self._most)
            self.skipped += start
            before = self._lines_before(fd, start, file.path)
            blocks = unpacked(fd) if file.compressed else of_range(fd, start, file.size, file.size)
            self.blocks(file.path, blocks, before + 1)
        except (Cut, OSError) as error:
            self.problems[file.path] = f"could not be read to its end: {error}"
        finally:
            os.close(fd)

    def _lines_before(self, fd: int, start: int, name: str) -> int:
        """Return how many lines stand before the part that is searched; 0 where counting them takes too long."""
        count = 0
        for block in of_range(fd, 0, start, start) if start else ():
            count += block.count(b"\n")
            if time.monotonic() > self._end - _READ_SECONDS / 2:
                self.problems[name] = "its older lines were not counted: lines are numbered from where reading began"
                return 0
        return count

    def blocks(self, name: str, blocks: Iterator[bytes], number: int) -> None:
        """Search what comes in blocks, of which the first begins in line ``number``."""
        self.files += 1
        rest, taken = b"", 0
        try:
            for block in blocks:
                taken += len(block)
                self.read += len(block)
                whole, newline, rest = (rest + block).rpartition(b"\n")
                number = self._pieces(name, whole + newline, number)
                if taken >= self._most:
                    break
                if time.monotonic() > self._end:
                    self.problems[name] = f"reading was ended after {_READ_SECONDS:g} s; ask for less of each file"
                    return
            self._pieces(name, rest, number)
        except (Cut, OSError, CouldNotFindOut) as error:
            self.problems[name] = f"could not be read to its end: {error}"

    def _pieces(self, name: str, text: bytes, number: int) -> int:
        """Search whole lines and return the number of the line after them."""
        start = 0
        while start < len(text):
            end = text.find(b"\n", min(start + _PIECE, len(text) - 1)) + 1 or len(text)
            piece = text[start:end].decode("utf-8", "replace")
            before = self._redactor.count
            self._redactor.text(piece)
            if self._redactor.count > before:
                self._by_line(name, piece, number)
            number += piece.count("\n")
            start = end
        return number

    def _by_line(self, name: str, piece: str, number: int) -> None:
        whole = Counter(self._redactor.counts)
        for offset, line in enumerate(piece.split("\n")):
            before = Counter(self._redactor.counts)
            self._redactor.text(line)
            for kind, count in (self._redactor.counts - before).items():
                self._note(name, kind, count, number + offset)
        if self._redactor.counts == whole:  # one that spans lines, as a private key does
            self._note(name, "a secret of several lines", 1, number)

    def _note(self, name: str, kind: str, count: int, line: int) -> None:
        self.counts[name, kind] += count
        lines = self.lines.setdefault((name, kind), [])
        if len(lines) < _SHOWN:
            lines.append(line)


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge each kind in each file: a log is read by more people than a secret is meant for, and kept for longer."""
    attrs = frame.attrs
    findings = [
        Finding(
            object=f"{row['file']}: {row['kind']}",
            status=Status.CRITICAL,
            message=f"{counted(row['count'], 'time')}, such as in line {row['lines']}",
            value=float(row["count"]),
            unit="times",
            source=f"sed -n '{str(row['lines']).split(', ')[0].replace(',', '')}p' {row['file']}   # shows it",
        )
        for row in frame.to_dict("records")
    ]
    problems = [
        Finding(object=name, status=Status.UNKNOWN, message=f"was not searched to its end: {why}")
        for name, why in attrs["problems"].items()
    ]
    if attrs["left"]:
        message = f"there was no time for {counted(attrs['left'], 'older file')}: ask for fewer hours, or less of each"
        problems.append(Finding(object="older files", status=Status.UNKNOWN, message=message))
    if findings:
        return [*first_of(findings, "secrets", _MOST), *first_of(problems, "files", 3)]
    told = f"in {as_bytes(attrs['read'])} of {counted(attrs['files'], 'file')}"
    older = f"; {as_bytes(attrs['skipped'])} of older lines were not read" if attrs["skipped"] else ""
    status = Status.OK if attrs["files"] else Status.UNKNOWN
    message = f"no secret {told}{older}" if attrs["files"] else "no file of the logs was written in this window"
    return [Finding(object="logs", status=status, message=message), *first_of(problems, "files", 3)]


secrets = Question(
    name="logs.secrets",
    title="Do the logs hold secrets?",
    probe=probe,
    check=check,
    source="the newest part of each file that the profile names under [logs], by the rules of runbook.redaction",
    needs=(LogsConnection,),
    deadline=_READ_SECONDS + 10,
    next="change the secret first; then mend what logs it, and remove or scrub the file and its copies",
)

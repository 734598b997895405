"""Find lines by an expression and by fields, in a process of its own: an expression can take forever, a process can be
ended.

The request comes as msgpack on stdin, the lines go as msgpack to stdout.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from heapq import nsmallest
from typing import Any

import msgspec

from runbook.logfiles.entries import HEADER, canonical, mended
from runbook.logfiles.pieces import PIECE, Cut, of_range, of_stream, unpacked
from runbook.logfiles.sources import LogFile, open_file
from runbook.logfiles.window import parts

LINE_CHARACTERS = 2000
_STAMP = re.compile(rb'"timestamp"\s*:\s*"([^"]{10,40})"')


class Condition(msgspec.Struct, frozen=True):
    """A field compared with a value: ``operator`` is one of = != > < >= <= ~ (holds).

    For = and != the value may be several, parted by |.
    """

    field: str
    operator: str
    value: str


class Search(msgspec.Struct, frozen=True):
    """Which lines are wanted: of which files and time, matching what, and the first how many by time.

    ``streams`` are open descriptors that are read besides the files, by the name that their lines are told under.
    """

    files: list[LogFile]
    since: str
    until: str
    zone: str = "UTC"
    pattern: str = ""
    conditions: list[Condition] = []
    limit: int = 200
    streams: dict[str, int] = {}


class Found(msgspec.Struct):
    """The lines found, oldest first, as (time, file, line); ``count`` is how many there are in all."""

    count: int = 0
    lines: list[tuple[str, str, str]] = []
    problems: dict[str, str] = {}


class SearchTooLong(Exception):
    """The search did not end in the time there was."""


class _Pump(threading.Thread):
    """Hands a stream of blocks to a process through a pipe: ``end`` is what that one reads."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        super().__init__(daemon=True)
        self.end, self._into = os.pipe()
        self.broken: Exception | None = None
        self._blocks = blocks

    def run(self) -> None:
        """Write until the stream ends, or nobody reads any more."""
        with suppress(BrokenPipeError), os.fdopen(self._into, "wb") as into:
            try:
                for block in self._blocks:
                    into.write(block)
            except BrokenPipeError:
                return
            except Exception as error:  # noqa: BLE001 - noted before the pipe is shut: its end is no end of the log
                self.broken = error


def search(wanted: Search, seconds: float, streams: Mapping[str, Iterator[bytes]] | None = None) -> Found:
    """Return the lines found by a process that is ended after ``seconds``; then raises `SearchTooLong`.

    ``streams`` are blocks of bytes to be searched besides the files, by the name to be told; what one of them raises is
    told among the problems.
    """
    pumps = {name: _Pump(blocks) for name, blocks in (streams or {}).items()}
    wanted = msgspec.structs.replace(wanted, streams={name: pump.end for name, pump in pumps.items()})
    argv = [sys.executable, "-P", "-m", "runbook.logfiles.search"]
    pipe, fds = subprocess.PIPE, list(wanted.streams.values())
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=fds) as process:
        for pump in pumps.values():
            os.close(pump.end)
            pump.start()
        try:
            told, complaint = process.communicate(msgspec.msgpack.encode(wanted), timeout=seconds)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise SearchTooLong(f"the search did not end within {seconds:g} s") from error
    if process.returncode:
        last = complaint.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise SearchTooLong(f"the search ended early: {''.join(last) or process.returncode}")
    found = msgspec.msgpack.decode(told, type=Found)
    for name, pump in pumps.items():
        pump.join(1)
        if pump.broken is not None:
            found.problems[name] = str(pump.broken) or type(pump.broken).__name__
    return found


def find(wanted: Search) -> Found:
    """Return the lines found, searching in this process."""
    found = Found()
    first = nsmallest(wanted.limit, _hits(wanted, found))
    found.lines = [(stamp, path, line) for stamp, _, path, line in first]
    return found


def _hits(wanted: Search, found: Found) -> Iterator[tuple[str, int, str, str]]:
    """Yield each line that is wanted, with its time, its number and its file; counts them, and tells problems."""
    matches = re.compile(wanted.pattern).search if wanted.pattern else None

    def chosen(name: str, lines: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, int, str, str]]:
        for stamp, line in lines:
            if wanted.since <= stamp < wanted.until and _wanted(line, wanted.conditions, matches):
                found.count += 1
                yield stamp, found.count, name, line[:LINE_CHARACTERS].decode("utf-8", "replace")

    for file in wanted.files:
        if file.problem:
            found.problems[file.path] = file.problem
            continue
        try:
            yield from chosen(file.path, _lines(file, wanted))
        except (Cut, OSError) as error:
            found.problems[file.path] = f"could not be read to its end: {error}"
    for name, fd in wanted.streams.items():
        yield from chosen(name, _timed(iter(partial(os.read, fd, PIECE), b""), wanted.zone))


def _lines(file: LogFile, wanted: Search) -> Iterator[tuple[str, bytes]]:
    """Yield each line of a file with its time."""
    fd = open_file(file.path, file.identity)
    try:
        streams: list[Iterator[bytes]]
        if file.compressed:
            streams = [unpacked(fd)]
        else:
            found, _ = parts(fd, file.size, wanted.since, wanted.until, wanted.zone)
            streams = [of_range(fd, begin, end, file.size) for begin, end in found]
        for stream in streams:
            yield from _timed(stream, wanted.zone)
    finally:
        os.close(fd)


def _timed(blocks: Iterator[bytes], zone: str) -> Iterator[tuple[str, bytes]]:
    """Yield each line with its time; lines that follow a line of text have that one's."""
    stamp = ""
    for piece in of_stream(blocks):
        for line in (piece or b"").split(b"\n"):
            stamp = _time_of(line, zone) or stamp
            if line.strip() and stamp:
                yield stamp, line


def _time_of(line: bytes, zone: str) -> str | None:
    told = _STAMP.search(line) if line.lstrip()[:1] == b"{" else None
    if told is not None:
        return canonical(told[1].decode("utf-8", "replace"), zone)
    header = HEADER.match(line)
    return canonical(f"{header[1].decode()} {header[2].decode()}", zone) if header else None


def _wanted(line: bytes, conditions: Sequence[Condition], matches: Callable[[str], Any] | None) -> bool:
    if matches is not None and not matches(line.decode("utf-8", "replace")):
        return False
    return not conditions or _fulfils(fields_of(line), conditions)


def fields_of(line: bytes) -> dict[str, Any]:
    """Return the fields that a line records; none where it is no entry."""
    header = HEADER.match(line)
    if header is not None:
        level, logger, function, number, message = (part.decode("utf-8", "replace") for part in header.groups()[2:])
        return {"level": level, "logger": logger, "function": function, "line": number, "message": message}
    try:
        told = msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # A line that counts with damaged bytes in it must be found too.
        try:
            told = json.loads(mended(line))
        except (ValueError, RecursionError):
            return {}
    return told if isinstance(told, dict) else {}


def _fulfils(fields: dict[str, Any], conditions: Sequence[Condition]) -> bool:
    return all(c.field in fields and _compare(fields[c.field], c.operator, c.value) for c in conditions)


def _compare(told: Any, operator: str, value: str) -> bool:
    text = "" if told is None else str(told)
    if operator == "~":
        return value.lower() in text.lower()
    if operator in ("=", "!="):
        return any(_equal(text, one) for one in (value, *value.split("|"))) == (operator == "=")
    try:
        left, right = float(text), float(value)
    except ValueError:
        return False
    return {
        ">": left > right,
        "<": left < right,
        ">=": left >= right,
        "<=": left <= right,
    }[operator]


def _equal(text: str, value: str) -> bool:
    try:
        return text == value or float(text) == float(value)
    except ValueError:
        return False


def main() -> None:
    """Answer the one request on stdin."""
    wanted = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Search)
    sys.stdout.buffer.write(msgspec.msgpack.encode(find(wanted)))


if __name__ == "__main__":
    main()

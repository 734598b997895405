"""Find lines by an expression and by fields, in a process of its own: an expression can take forever, a process can be
ended.

The request comes as msgpack on stdin, the lines go as msgpack to stdout.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from heapq import nsmallest
from typing import Any

import msgspec

from runbook.logfiles.entries import HEADER, canonical, mended
from runbook.logfiles.pieces import Cut, of_range, of_stream, unpacked
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
    """Which lines are wanted: of which files and time, matching what, and the first how many by time."""

    files: list[LogFile]
    since: str
    until: str
    zone: str = "UTC"
    pattern: str = ""
    conditions: list[Condition] = []
    limit: int = 200


class Found(msgspec.Struct):
    """The lines found, oldest first, as (time, file, line); ``count`` is how many there are in all."""

    count: int = 0
    lines: list[tuple[str, str, str]] = []
    problems: dict[str, str] = {}


class SearchTooLong(Exception):
    """The search did not end in the time there was."""


def search(wanted: Search, seconds: float) -> Found:
    """Return the lines found by a process that is ended after ``seconds``; then raises `SearchTooLong`."""
    argv = [sys.executable, "-m", "runbook.logfiles.search"]
    try:
        ended = subprocess.run(
            argv, input=msgspec.msgpack.encode(wanted), capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SearchTooLong(f"the search did not end within {seconds:g} s") from error
    if ended.returncode:
        last = ended.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise SearchTooLong(f"the search ended early: {''.join(last) or ended.returncode}")
    return msgspec.msgpack.decode(ended.stdout, type=Found)


def find(wanted: Search) -> Found:
    """Return the lines found, searching in this process."""
    found = Found()
    first = nsmallest(wanted.limit, _hits(wanted, found))
    found.lines = [(stamp, path, line) for stamp, _, path, line in first]
    return found


def _hits(wanted: Search, found: Found) -> Iterator[tuple[str, int, str, str]]:
    """Yield each line that is wanted, with its time, its number and its file; counts them, and tells problems."""
    matches = re.compile(wanted.pattern).search if wanted.pattern else None
    for file in wanted.files:
        if file.problem:
            found.problems[file.path] = file.problem
            continue
        try:
            for stamp, line in _lines(file, wanted):
                if wanted.since <= stamp < wanted.until and _wanted(line, wanted.conditions, matches):
                    found.count += 1
                    yield stamp, found.count, file.path, line[:LINE_CHARACTERS].decode("utf-8", "replace")
        except (Cut, OSError) as error:
            found.problems[file.path] = f"could not be read to its end: {error}"


def _lines(file: LogFile, wanted: Search) -> Iterator[tuple[str, bytes]]:
    """Yield each line with its time; lines that follow a line of text have that one's."""
    fd = open_file(file.path, file.identity)
    try:
        streams: list[Iterator[bytes]]
        if file.compressed:
            streams = [unpacked(fd)]
        else:
            found, _ = parts(fd, file.size, wanted.since, wanted.until, wanted.zone)
            streams = [of_range(fd, begin, end, file.size) for begin, end in found]
        for stream in streams:
            stamp = ""
            for piece in of_stream(stream):
                for line in (piece or b"").split(b"\n"):
                    stamp = _time_of(line, wanted.zone) or stamp
                    if line.strip() and stamp:
                        yield stamp, line
    finally:
        os.close(fd)


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

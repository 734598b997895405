"""Log files where this process is not: found and read by usual programs, from where the window begins."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from runbook.connections.elsewhere import Elsewhere, told
from runbook.logfiles.entries import as_stamp, later
from runbook.logfiles.pieces import unpacked_blocks
from runbook.logfiles.window import SLACK_SECONDS, time_in
from runbook.model import CouldNotFindOut

_GLOB = re.compile(r"[*?\[]")
_FORM = "%s %Y %n"  # size, when it was written, name
_STEP = 1 << 20
_LOOK = 64 << 10
_SMALL = 4 << 20  # what is read whole: looking for a place in it takes longer
_MODIFIED_SLACK = 3600.0
_GZIP = b"\x1f\x8b"
_SECONDS = 10.0


@dataclass(frozen=True)
class FarFile:
    """A log file elsewhere: where, its size and when it was written, when it was found."""

    place: Elsewhere
    path: str
    size: int
    modified: float

    @property
    def name(self) -> str:
        """Return what it is told as: whose it is, and its path there."""
        return f"{self.place.label}:{self.path}"


def find_far(place: Elsewhere, pattern: str) -> list[FarFile]:
    """Return the regular files of a place that a pattern with * and ? names, oldest first.

    Raises `CouldNotFindOut` where it cannot be looked for them, or there is none.
    """
    parts = pattern.split("/")
    plain = next((at for at, part in enumerate(parts) if _GLOB.search(part)), len(parts))
    depth = str(len(parts) - plain)
    begin = "/".join(parts[:plain]) or "/"
    # Only regular files: whoever reads a FIFO or a device waits for its other end.
    wanted = ("-mindepth", depth, "-maxdepth", depth, "-type", "f", "-path", pattern if depth != "0" else "*")
    argv = ("find", "-L", begin, *wanted, "-exec", "stat", "-L", "-c", _FORM, "{}", "+")
    ended = place.call(argv, _SECONDS)
    if ended.lacks_program:
        raise CouldNotFindOut(f"{place.label} has no program {argv[0]}: log files there cannot be looked for")
    found = []
    for line in ended.text.splitlines():
        size, _, rest = line.partition(" ")
        written, _, path = rest.partition(" ")
        # A name may hold anything: what it pretends to be is none of the pattern's.
        if size.isdigit() and written.lstrip("-").isdigit() and _named(path, parts):
            found.append(FarFile(place, path, int(size), float(written)))
    if not found:
        raise CouldNotFindOut(told(ended) if ended.status else "no file is named so")
    return sorted(found, key=lambda file: (file.modified, file.path))


def _named(path: str, parts: list[str]) -> bool:
    there = path.split("/")
    return len(there) == len(parts) and all(map(fnmatchcase, there, parts))


def far_blocks(file: FarFile, since: datetime, zone: str, seconds: float) -> Iterator[bytes]:
    """Yield a file's bytes, unpacked, from a little before a moment on; nothing where it was written before.

    Raises `CouldNotFindOut` where it cannot be read to its end, `Cut` where a compressed one ends early.
    """
    if file.modified + _MODIFIED_SLACK < since.timestamp():
        return
    begin = _begin(file, later(as_stamp(since), -SLACK_SECONDS), zone) if file.size > _SMALL else 0
    blocks = file.place.stream(("tail", "-c", f"+{begin + 1}", file.path), seconds)
    first = next(blocks, b"")
    if begin == 0 and first.startswith(_GZIP):
        yield from unpacked_blocks(_again(first, blocks))
        return
    # What lies before the first line end behind the beginning is a part of a line.
    yield first[first.find(b"\n") + 1 :] if begin else first
    yield from blocks


def _again(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _begin(file: FarFile, since: str, zone: str) -> int:
    """Return where a file in the order of time is to be read from: a step before its entries reach a moment."""
    low, high = 0, file.size // _STEP
    while low < high:
        middle = (low + high + 1) // 2
        moment = _time_at(file, middle * _STEP, zone)
        if moment is None or moment >= since:
            high = middle - 1
        else:
            low = middle
    return low * _STEP


def _time_at(file: FarFile, position: int, zone: str) -> str | None:
    argv = ("dd", f"if={file.path}", f"bs={_LOOK}", f"skip={position // _LOOK}", "count=1")
    return time_in(file.place.call(argv, _SECONDS).out, zone, last=False, whole=position == 0)

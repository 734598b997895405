"""What goes wrong in a log itself: lines that are broken, and lines that are kept although bytes in them are bad."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from runbook_sandbox.history.event import REQUEST_LOGGER, Event

HUGE = 100_000
BAD_BYTES = (b"\x00", b"\xff\xfe", b"\xc3(", b"\xed\xa0\x80")
_MARK = "\ue000"
_MARKS = (_MARK.encode(), b"\\ue000")


def cut(rng: Random, line: bytes) -> bytes:
    """Return the beginning of a line, as a full disk or a kill leaves it: nothing that counts."""
    line = line.split(b"\n", 1)[0].rstrip()
    if line.startswith(b"20"):
        return line[: rng.randint(12, 20)] + b"\n"  # text: ends at the latest before the level
    return line[: rng.randint(len(line) // 3, len(line) - 1)] + b"\n"


def binary(rng: Random, _: bytes) -> bytes:
    """Return garbage with NULs and bytes that no UTF-8 holds."""
    allowed = bytes(each for each in range(256) if each not in b"\r\n")
    return b"\x00\xff\xfe" + bytes(rng.choice(allowed) for _ in range(rng.randint(40, 300))) + b"\x00\n"


def huge(_: Random, line: bytes) -> bytes:
    """Return a line of about 100 kB that looks like an entry here and there and is none."""
    piece = b'"level": "ERROR" 401 403 rate limit exceeded ' + line.split(b"\n", 1)[0].strip()[:-1] + b" "
    return b"#" + (piece * (HUGE // len(piece) + 1))[:HUGE] + b"\n"


def empty(_: Random, __: bytes) -> bytes:
    """Return an empty line."""
    return b"\n"


BROKEN: dict[str, Callable[[Random, bytes], bytes]] = {"cut": cut, "binary": binary, "empty": empty, "huge": huge}


def can_be_spoilt(event: Event) -> bool:
    """Tell whether an entry is of those that get bad bytes: requests that went well, and errors."""
    return event.level == "ERROR" or (event.level == "INFO" and event.logger == REQUEST_LOGGER)


def spoilt(event: Event, render: Callable[[Event], bytes], bad: bytes) -> bytes:
    """Return an entry's line with bad bytes within its message; it still counts as its entry."""
    middle = len(event.message) // 2
    marked = render(replace(event, message=event.message[:middle] + _MARK + event.message[middle:]))
    for mark in _MARKS:
        marked = marked.replace(mark, bad)
    return marked

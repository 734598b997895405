"""Find the parts of a file that a window of time can touch, by probing its time at many places."""

import itertools
import os
import re

from runbook.logfiles.entries import HEADER, canonical, later

# Entries of several threads may stand a little out of order.
SLACK_SECONDS = 120.0
STEP = 1 << 20
MOST_PROBES = 2048
# An entry is mostly found at a glance.
_GLANCE, _LOOK = 2 << 10, 64 << 10
_JSON_STAMP = re.compile(rb'"timestamp"\s*:\s*"([0-9T:. Z+-]{19,35})"')


def time_at(fd: int, position: int, size: int, zone: str, *, last: bool = False) -> str | None:
    """Return the time of the first entry that begins at or after a position, or None where none is near.

    With ``last`` it is that of the last entry near the file's end.
    """
    near = min(_LOOK, max(0, size - position))
    for look in (_GLANCE, _LOOK):
        begin = max(position, size - look) if last else position
        block = os.pread(fd, min(look, near), begin)
        moment = time_in(block, zone, last=last, whole=begin == 0)
        if moment is not None or look >= near:
            return moment
    return None


def time_in(block: bytes, zone: str, *, last: bool, whole: bool) -> str | None:
    """Return the time of the first or the last entry of a block, whose first line is whole or not."""
    begin = 0 if whole else block.find(b"\n") + 1
    if not whole and not begin:
        return None
    lines = block[begin:].split(b"\n")
    for line in reversed(lines) if last else lines:
        told = _JSON_STAMP.search(line[:400]) if line[:1] == b"{" else None
        header = HEADER.match(line) if told is None else None
        stamp = told[1].decode() if told else f"{header[1].decode()} {header[2].decode()}" if header else ""
        moment = canonical(stamp, zone) if stamp else None
        if moment is not None:
            return moment
    return None


def parts(fd: int, size: int, since: str, until: str, zone: str) -> tuple[list[tuple[int, int]], bool]:
    """Return the parts [begin, end) of a file that may hold entries from ``since`` until ``until``, and whether it is
    out of order.

    The time at the beginning of each step bounds the steps before and after it. A step whose times run backwards, or
    whose times are not both known, is always read; one without a time at its beginning is one with the step before.
    """
    step = max(STEP, size // MOST_PROBES)
    if size <= step:
        return [(0, size)], False
    probed = [(place, time_at(fd, place, size, zone)) for place in range(0, size, step)]
    times = [probed[0], *((place, time) for place, time in probed[1:] if time is not None)]
    times.append((size, time_at(fd, max(times[-1][0] + 1, size - _LOOK), size, zone, last=True)))
    low, high = later(since, -SLACK_SECONDS), later(until, SLACK_SECONDS)
    wanted: list[tuple[int, int]] = []
    unordered = False
    for (begin, before), (end, after) in itertools.pairwise(times):
        if before is not None and after is not None:
            backwards = later(after, SLACK_SECONDS) < before
            unordered = unordered or backwards
            if not backwards and (before > high or after < low):
                continue
        if wanted and wanted[-1][1] == begin:
            wanted[-1] = (wanted[-1][0], end)
        else:
            wanted.append((begin, end))
    return wanted, unordered

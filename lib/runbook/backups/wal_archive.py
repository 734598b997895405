"""The WAL archive: which segments are there, whether one is missing, and of when the newest is."""

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from runbook.model import CouldNotFindOut

_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(\.(?:gz|lz4|zst|bz2|xz))?\Z")
_MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Archived:
    """Segments of the newest timeline in their order; ``gap`` names the first that is missing, ``odd`` one of another
    length, "" where there is none. ``newest`` is when the last one was written, None without any.
    """

    names: tuple[str, ...]
    gap: str
    odd: str
    newest: datetime | None


def segments(folder: Path) -> Archived:
    """Return what lies in a WAL archive; raises `CouldNotFindOut` where it cannot be listed."""
    found: dict[str, os.stat_result] = {}
    packed = False
    try:
        for entry in os.scandir(folder):
            match = _SEGMENT.match(entry.name)
            if match is not None:
                found[entry.name[:24]] = entry.stat()
                packed = packed or bool(match[4])
    except OSError as error:
        raise CouldNotFindOut(f"{folder} cannot be read: {error.strerror}") from error
    if not found:
        return Archived((), "", "", None)
    timeline = max(name[:8] for name in found)
    names = sorted(name for name in found if name.startswith(timeline))
    sizes = [found[name].st_size for name in names]
    usual = max(set(sizes), key=sizes.count)
    odd = "" if packed else next((name for name in names if found[name].st_size != usual), "")
    in_a_file = (4096 * _MEGABYTE) // usual if not packed and usual >= _MEGABYTE else 256
    gap = next((_after(one, in_a_file) for one, other in pairwise(names) if _after(one, in_a_file) != other), "")
    newest = datetime.fromtimestamp(max(found[name].st_mtime for name in names), UTC)
    return Archived(tuple(names), gap, odd, newest)


def _after(name: str, in_a_file: int) -> str:
    high, low = int(name[8:16], 16), int(name[16:24], 16)
    high, low = (high + 1, 0) if low + 1 >= in_a_file else (high, low + 1)
    return f"{name[:8]}{high:08X}{low:08X}"

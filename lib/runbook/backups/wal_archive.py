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
    """Segments of the newest timeline in their order; ``gap`` names the first that is missing in the archive, of those
    of former timelines as well, ``odd`` one of another length, "" where there is none. ``newest`` is when the last one
    was written, None without any, and ``suffix`` how it is packed, "" for not at all.
    """

    names: tuple[str, ...]
    gap: str
    odd: str
    newest: datetime | None
    suffix: str = ""


def segments(folder: Path) -> Archived:
    """Return what lies in a WAL archive; raises `CouldNotFindOut` where it cannot be listed."""
    found: dict[str, os.stat_result] = {}
    suffixes: dict[str, str] = {}
    try:
        for entry in os.scandir(folder):
            match = _SEGMENT.match(entry.name)
            if match is not None:
                found[entry.name[:24]] = entry.stat()
                suffixes[entry.name[:24]] = match[4] or ""
    except OSError as error:
        raise CouldNotFindOut(f"{folder} cannot be read: {error.strerror}") from error
    if not found:
        return Archived((), "", "", None)
    packed = any(suffixes.values())
    timeline = max(name[:8] for name in found)
    names = sorted(name for name in found if name.startswith(timeline))
    sizes = [found[name].st_size for name in names]
    usual = max(set(sizes), key=sizes.count)
    odd = "" if packed else next((name for name in names if found[name].st_size != usual), "")
    in_a_file = (4096 * _MEGABYTE) // usual if not packed and usual >= _MEGABYTE else 256
    # What came before this timeline is of former ones, which end in the segment that it begins with.
    former = {name[8:]: name for name in sorted(found) if name[8:] < names[0][8:]}
    chain = [*(former[number] for number in sorted(former)), *names]
    after = ((_after(one, in_a_file), other) for one, other in pairwise(chain))
    gap = next((one for one, other in after if one[8:] != other[8:]), "")
    newest = datetime.fromtimestamp(max(found[name].st_mtime for name in names), UTC)
    return Archived(tuple(names), gap, odd, newest, suffixes[names[-1]])


def _after(name: str, in_a_file: int) -> str:
    high, low = int(name[8:16], 16), int(name[16:24], 16)
    high, low = (high + 1, 0) if low + 1 >= in_a_file else (high, low + 1)
    return f"{name[:8]}{high:08X}{low:08X}"

"""Files that give rights in what is left out of the comparison: there only their kind and permissions are looked at."""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress

from runbook.integrity.comparing import is_open, privileges
from runbook.integrity.listing import FILE, FOLDER, Entry, Listing
from runbook.integrity.names import shown

# A data folder may hold a million files; each costs some ten microseconds.
SECONDS = 20.0
MOST = 1_000_000


def rights_elsewhere(listing: Listing, seconds: float = SECONDS) -> tuple[list[Entry], int, str]:
    """Return the files and folders left out that give rights or that everybody can write, how many were looked at, and
    why not all were ("": all were). Links are not followed, other file systems not entered; capabilities are not seen.
    """
    found, looked, end = [], 0, time.monotonic() + seconds
    for tree, top, path in listing.left_out:
        for entry in _below(tree, top, path):
            looked += 1
            if privileges(entry) or is_open(entry):
                found.append(entry)
            if looked > MOST or time.monotonic() > end:
                return (
                    found,
                    looked,
                    f"no more than {looked:,} files that the profile excludes were looked at in time",
                )
    return found, looked, ""


def _below(tree: str, top: str, path: str) -> Iterator[Entry]:
    """Yield what is left out at a path of a tree, whose real folder is ``top``, and all below it."""
    pending, device = [path], None
    while pending:
        inside = pending.pop()
        with suppress(OSError):  # it has vanished, or is closed to us: then nothing of it is told
            about = os.lstat(f"{top.rstrip('/')}/{inside}")
            device = about.st_dev if device is None else device
            kind = FOLDER if stat.S_ISDIR(about.st_mode) else FILE if stat.S_ISREG(about.st_mode) else ""
            if kind:
                yield Entry(tree, shown(inside), kind, stat.S_IMODE(about.st_mode), about.st_uid, about.st_gid)
            if kind == FOLDER and about.st_dev == device:
                with os.scandir(f"{top.rstrip('/')}/{inside}") as names:
                    pending += [f"{inside}/{name.name}" for name in names if not name.is_symlink()]

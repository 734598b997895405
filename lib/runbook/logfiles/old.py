"""Which log files are old, and which of them may go: nobody writes them, and they are not what is written next."""

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from runbook.logfiles.sources import find_files


@dataclass(frozen=True)
class OldFile:
    """A log file that was not written for long: its identity (device, inode, time of writing in ns), and why it is
    ``kept`` ("": it may go).
    """

    path: str
    bytes: int
    written: datetime
    identity: tuple[int, int, int]
    kept: str


def old_files(patterns: Iterable[str], days: float) -> list[OldFile]:
    """Return the files of logs that were not written for so many days, the oldest first.

    Kept are the newest file of each pattern, what a process has open, a link, and what cannot be looked at.
    """
    now, found, newest = datetime.now(UTC).timestamp(), dict[str, os.stat_result](), set[str]()
    problems = dict[str, str]()
    for pattern in patterns:
        own = find_files([pattern])
        newest.update([file.path for file in own if not file.problem][-1:])
        for file in own:
            with suppress(OSError):
                about = Path(file.path).lstat()
                if now - about.st_mtime > days * 86_400:
                    found[file.path] = about
                    problems[file.path] = file.problem
    opened = _opened({(about.st_dev, about.st_ino) for about in found.values()})
    return [
        OldFile(
            path, about.st_size, datetime.fromtimestamp(about.st_mtime, UTC),
            (about.st_dev, about.st_ino, about.st_mtime_ns), problems[path] or _why_kept(path, about, newest, opened),
        )
        for path, about in sorted(found.items(), key=lambda one: one[1].st_mtime)
    ]  # fmt: skip


def _why_kept(path: str, about: os.stat_result, newest: set[str], opened: dict[tuple[int, int], int]) -> str:
    if not stat.S_ISREG(about.st_mode):
        return "it is a link"
    if (about.st_dev, about.st_ino) in opened:
        return f"process {opened[about.st_dev, about.st_ino]} has it open"
    return "it is the newest of its log" if path in newest else ""


def _opened(wanted: set[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Return which of some files a process has open, and which one; only of those that may be looked at."""
    found: dict[tuple[int, int], int] = {}
    if not wanted or not Path("/proc").is_dir():
        return found
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError):
            for handle in os.scandir(folder / "fd"):
                with suppress(OSError):
                    about = handle.stat()
                    if (about.st_dev, about.st_ino) in wanted:
                        found[about.st_dev, about.st_ino] = int(folder.name)
    return found

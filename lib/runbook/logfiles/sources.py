"""Find the files of a log: every one that a pattern names, each once, and only regular ones."""

import os
import stat
from collections.abc import Iterable
from glob import glob
from pathlib import Path

import msgspec


class LogFile(msgspec.Struct, frozen=True):
    """One file of a log: where it is, its size when it was found, whether it is compressed; or why it is not read."""

    path: str
    size: int = 0
    modified: float = 0.0
    compressed: bool = False
    problem: str = ""


def find_files(patterns: Iterable[str]) -> list[LogFile]:
    """Return the files that patterns name, oldest first; each file once, however many names lead to it.

    What is no regular file (a folder, a FIFO, a device) or cannot be opened is returned with its ``problem``.
    """
    seen: set[tuple[int, int]] = set()
    found = []
    names = [name for pattern in patterns for name in sorted(glob(pattern))]  # noqa: PTH207 - patterns are whole paths
    for name in dict.fromkeys(names):
        file, identity = _look_at(name)
        if identity is not None and identity in seen:
            continue
        if identity is not None:
            seen.add(identity)
        found.append(file)
    return sorted(found, key=lambda file: (file.modified, file.path))


def open_file(path: str) -> int:
    """Return a descriptor for reading a file, without ever waiting for the other end of a FIFO or a device."""
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def _look_at(name: str) -> tuple[LogFile, tuple[int, int] | None]:
    try:
        facts = Path(name).stat()
        if not stat.S_ISREG(facts.st_mode):
            return LogFile(name, problem=f"is no file but a {_kind(facts.st_mode)}"), (facts.st_dev, facts.st_ino)
        fd = open_file(name)
    except OSError as error:
        return LogFile(name, problem=f"cannot be read: {error.strerror or type(error).__name__}"), None
    try:
        compressed = os.pread(fd, 2, 0) == b"\x1f\x8b"
    except OSError as error:
        return LogFile(name, problem=f"cannot be read: {error.strerror or type(error).__name__}"), None
    finally:
        os.close(fd)
    return LogFile(name, facts.st_size, facts.st_mtime, compressed), (facts.st_dev, facts.st_ino)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "FIFO", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
    return kinds.get(stat.S_IFMT(mode), "socket")

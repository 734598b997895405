"""Find the files of a log: every one that a pattern names, each once, and only regular ones."""

import errno
import os
import stat
import zlib
from collections.abc import Iterable
from contextlib import suppress
from glob import glob
from pathlib import Path

import msgspec

OF_DOCKER = "is Docker's own record of a container's output: name container:NAME in the profile instead of this file"
_GZIP = 16 + zlib.MAX_WBITS


class LogFile(msgspec.Struct, frozen=True):
    """One file of a log: where it is, its size when it was found, whether it is compressed; or why it is not read.

    ``identity`` is its device and inode: by the time it is read, another file may have its name.
    """

    path: str
    size: int = 0
    modified: float = 0.0
    compressed: bool = False
    problem: str = ""
    identity: tuple[int, int] = (0, 0)


def find_files(patterns: Iterable[str]) -> list[LogFile]:
    """Return the files that patterns name, oldest first; each file once, however many names lead to it.

    What is no regular file (a folder, a FIFO, a device), cannot be opened or is Docker's own is returned with its
    ``problem``.
    """
    seen: set[tuple[int, int]] = set()
    found = []
    names = [name for pattern in patterns for name in sorted(glob(pattern))]  # noqa: PTH207 - patterns are whole paths
    for name in dict.fromkeys(names):
        file = _look_at(name)
        if file.identity in seen and any(file.identity):
            continue
        seen.add(file.identity)
        found.append(file)
    return sorted(found, key=lambda file: (file.modified, file.path))


def open_file(path: str, identity: tuple[int, int] = (0, 0)) -> int:
    """Return a descriptor for reading a file, without ever waiting for the other end of a FIFO or a device.

    Where an ``identity`` is given and another file has the name by now, as after a rotation, the file is looked for
    under the other names of its folder; raises OSError where it has gone.
    """
    if identity == (0, 0):
        return _open(path)
    with suppress(FileNotFoundError):
        fd = _open(path)
        if _identity(os.fstat(fd)) == identity:
            return fd
        os.close(fd)
    with os.scandir(Path(path).parent) as names:
        moved = [name.path for name in names if name.inode() == identity[1] and name.is_file(follow_symlinks=False)]
    for name in moved:
        fd = _open(name)
        if _identity(os.fstat(fd)) == identity:
            return fd
        os.close(fd)
    raise OSError(errno.ESTALE, "it was replaced after it was found; run it again")


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino


def _look_at(name: str) -> LogFile:
    try:
        name.encode()
    except UnicodeEncodeError:
        return LogFile(os.fsencode(name).decode("utf-8", "backslashreplace"), problem="its name is no text")
    try:
        facts = Path(name).stat()
        if not stat.S_ISREG(facts.st_mode):
            return LogFile(name, problem=f"is no file but a {_kind(facts.st_mode)}", identity=_identity(facts))
        fd = _open(name)
        try:
            begin = os.pread(fd, 512, 0)
        finally:
            os.close(fd)
    except OSError as error:
        return LogFile(name, problem=f"cannot be read: {error.strerror or type(error).__name__}")
    compressed = begin[:2] == b"\x1f\x8b"
    if _of_docker(begin, compressed):
        return LogFile(name, problem=OF_DOCKER, identity=_identity(facts))
    return LogFile(name, facts.st_size, facts.st_mtime, compressed, identity=_identity(facts))


def _of_docker(begin: bytes, compressed: bool) -> bool:
    """Tell whether a file is one in which Docker wraps each line that a container writes."""
    if compressed:
        with suppress(zlib.error):
            begin = zlib.decompressobj(_GZIP).decompress(begin, 64)
    return begin.startswith(b'{"log":"')


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "FIFO", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
    return kinds.get(stat.S_IFMT(mode), "socket")

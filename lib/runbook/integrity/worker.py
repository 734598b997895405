"""Read files whole and tell their digests: in a process of its own, or called by its parent where there are few.

On stdin comes one chunk after another: the folder, its device and inode, and names of files in it. Each is answered on
stdout with what was read. Nothing but the standard library is imported, so that a process is there at once.
"""

import errno
import hashlib
import marshal
import os
import stat
import sys
from collections.abc import Sequence
from typing import Any

# A link is not followed, a pipe not waited for, a terminal not taken.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
FOLDER_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_BLOCK = 1 << 20

# What is told of one file: the number of the error (0: read), mode, uid, gid, size, mtime and ctime (ns), digest,
# capabilities.
Told = tuple[int, int, int, int, int, int, int, str, bool]
_GONE: Told = (errno.ENOENT, 0, 0, 0, 0, 0, 0, "", False)


def read_files(folder: str, identity: tuple[int, int], names: Sequence[str]) -> list[Told]:
    """Return what is told of each file of a folder; all are gone where the folder is another one by now."""
    try:
        fd = os.open(folder, FOLDER_FLAGS)
    except OSError:
        return [_GONE] * len(names)
    try:
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) != identity:
            return [_GONE] * len(names)
        return [_read(fd, name) for name in names]
    finally:
        os.close(fd)


def _read(folder: int, name: str) -> Told:
    try:
        fd = os.open(name, _FLAGS, dir_fd=folder)
    except OSError as error:
        return _unread(folder, name, error.errno or errno.EIO)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return _unread(folder, name, errno.EINVAL)
        content = os.read(fd, found.st_size + 1 if found.st_size < _BLOCK else _BLOCK)
        digest = hashlib.sha256(content)
        # One more than it has was asked for: less has come, so this was the end.
        if len(content) != found.st_size or found.st_size >= _BLOCK:
            while content:
                content = os.read(fd, _BLOCK)
                digest.update(content)
        capable = bool(found.st_mode & 0o111) and _has_capabilities(fd)
        return (0, *_about(found), digest.hexdigest(), capable)
    except OSError as error:
        return _unread(folder, name, error.errno or errno.EIO)
    finally:
        os.close(fd)


def _unread(folder: int, name: str, why: int) -> Told:
    """Return what is told of a file that cannot be read; it is gone where it cannot even be looked at."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return _GONE
    return (why, *_about(found), "", False)


def _about(found: os.stat_result) -> tuple[int, int, int, int, int, int]:
    return (found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _has_capabilities(fd: int) -> bool:
    """Tell whether a program has rights of its own, as a set-uid one has."""
    try:
        return bool(os.getxattr(fd, "security.capability"))
    except (OSError, AttributeError):
        return False


def main() -> None:
    """Answer until the parent ends it or has gone."""
    requests, answers = os.fdopen(0, "rb"), os.fdopen(1, "wb")
    try:
        while head := requests.read(4):
            chunk: Any = marshal.loads(requests.read(int.from_bytes(head, "big")))  # noqa: S302 - from its parent
            answer = marshal.dumps(read_files(*chunk))
            answers.write(len(answer).to_bytes(4, "big") + answer)
            answers.flush()
    except (EOFError, BrokenPipeError, ValueError):
        sys.exit(1)


if __name__ == "__main__":
    main()

"""One writer at a time: a lock file that the kernel frees when its holder ends, however it ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runbook.model import RunbookError

_AGAIN = 0.02


@contextmanager
def only_one(
    lock: Path, *, seconds: float | None = None, busy: RunbookError | None = None, must: bool = True
) -> Iterator[None]:
    """Hold a lock file, which is made where there is none and never removed.

    Waits for as long as another process holds it, or ``seconds``: then it raises ``busy`` (BlockingIOError where there
    is none). Where the file system has no locks it raises OSError, or goes on where the lock need not hold (``must`` is
    off): for files that are replaced as a whole, it only saves work.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            take(descriptor, seconds)
        except BlockingIOError:
            if busy is None:
                raise
            raise busy from None
        except OSError:
            if must:
                raise
        yield
    finally:
        os.close(descriptor)


def take(descriptor: int, seconds: float | None) -> None:
    """Take the lock of an open file; raises BlockingIOError where another still holds it after so many seconds."""
    if seconds is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(_AGAIN)
        else:
            return

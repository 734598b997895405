"""One change at a time for each target, whoever makes it on this machine.

The lock ends with the process that holds it; what it wrote into the lock's file stays, and tells who it was.
"""

import fcntl
import os
import re
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from runbook.evidence.only_one import take
from runbook.model import RunFailed
from runbook.model.plan import Plan
from runbook.plans.place import stamp, whoami

# The place for locks that all users of a machine share.
_SHARED = Path("/run/lock")
# Who looks whether a lock is held has it for a moment as well.
_LOOKED_AT_SECONDS = 1.0


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a lock, or held it last: with which plan, since when (UTC)."""

    plan: str
    user: str
    host: str
    pid: int
    since: str

    def __str__(self) -> str:
        return f"{self.user} on {self.host} (process {self.pid}) since {self.since}, with plan {self.plan}"


class Held(Exception):
    """Another change of this target is under way; the text says whose."""


def name_of(plan: Plan) -> str:
    """Return the name of the lock under which a plan is carried out: that of its target, if it changes that."""
    return plan.target if plan.of_target else f"{plan.target}-{plan.change}"


@contextmanager
def lock(target: str, plan: str) -> Iterator[Holder | None]:
    """Hold a lock by its name; yields who died holding it, or None. Raises `Held`, or `RunFailed` without a place."""
    fd = _open(target)
    try:
        try:
            take(fd, _LOOKED_AT_SECONDS)
        except BlockingIOError:
            raise Held(f"another change of {target} is under way: {_read(fd) or 'its holder is not told'}") from None
        left = _read(fd)
        _write(fd, Holder(plan=plan, user=whoami(), host=socket.gethostname(), pid=os.getpid(), since=_now()))
        try:
            yield left
        finally:
            _write(fd, None)
    finally:
        os.close(fd)


def holder(target: str) -> tuple[Holder | None, bool]:
    """Return who holds the lock of a target, or died holding it, and whether it is held now."""
    try:
        fd = os.open(_path(target), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None, False
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            live = False
        except BlockingIOError:
            live = True
        return _read(fd), live
    finally:
        os.close(fd)


def _path(target: str) -> Path:
    folder = _SHARED if os.access(_SHARED, os.W_OK) else Path(tempfile.gettempdir())
    return folder / f"runbook-{re.sub(r'[^A-Za-z0-9_-]', '-', target)}.lock"


def _open(target: str) -> int:
    path = _path(target)
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        try:
            fd = os.open(path, flags)
        except FileNotFoundError:
            with suppress(FileExistsError):
                made = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
                os.fchmod(made, 0o666)  # whatever the umask: another user's runbook takes it next
                os.close(made)
            fd = os.open(path, flags)
    except OSError as error:
        raise RunFailed(f"the lock of {target} cannot be taken: {path}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise RunFailed(f"the lock of {target} cannot be taken: {path} is no file")
    return fd


def _read(fd: int) -> Holder | None:
    try:
        return msgspec.json.decode(os.pread(fd, 4096, 0), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return None


def _write(fd: int, held: Holder | None) -> None:
    os.ftruncate(fd, 0)
    if held is not None:
        os.pwrite(fd, msgspec.json.encode(held), 0)
        os.fsync(fd)


def _now() -> str:
    return stamp(datetime.now(UTC))

"""What a batch has still to do, noted beside the archive, so that `run --resume` can go on with it.

The note is locked while its batch lives: one that is there and not locked is of a batch that was cut short.
"""

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from runbook.evidence.archive import state_folder, write_whole
from runbook.model import UsageError
from runbook.model.layout import make_private

FOLDER = "batches"
# What was cut short a week ago is not gone on with: it is run anew.
KEPT_SECONDS = 7 * 86400


class Entry(msgspec.Struct, kw_only=True):
    """One run of a batch; ``run_id`` is "" until it has ended."""

    notebook: str
    target: str
    parameters: dict[str, Any]
    run_id: str = ""


class Note(msgspec.Struct, kw_only=True):
    """A batch: when it was begun (UTC), where its evidence goes, its bounds in seconds, its runs."""

    began: str
    archive: str
    deadline: float | None
    cell_deadline: float | None
    entries: list[Entry]


class Unfinished:
    """The note of one batch, held by its runner."""

    def __init__(self, path: Path, note: Note, lock: int) -> None:
        self.path, self._lock = path, lock
        self._alone = threading.Lock()
        self.note = note

    @classmethod
    def begin(cls, note: Note) -> "Unfinished":
        """Write the note of a new batch; raises OSError where the state folder cannot be written."""
        folder = state_folder() / FOLDER
        make_private(folder)
        _forget_old()
        path = folder / f"{secrets.token_hex(8)}.json"
        held = cls(path, note, _locked(path.with_suffix(".lock")))
        held._write()
        return held

    @classmethod
    def resume(cls, archive: Path) -> "Unfinished":
        """Return the note of the batch that was cut short last, whatever goes on beside it; raises `UsageError` where
        there is none.
        """
        none = "no batch was cut short: there is nothing to go on with; name the notebooks to run"
        for path in _newest_first():
            note = _read(path)
            if note is None or note.archive != str(archive):
                continue
            lock = _locked(path.with_suffix(".lock"), wait=False)
            if lock is None:
                none = f"the batch begun at {note.began} still goes on; wait for it, or end it first"
                continue
            note = _read(path)  # by now it may have come to its end
            if note is not None:
                return cls(path, note, lock)
            path.with_suffix(".lock").unlink(missing_ok=True)
            os.close(lock)
        raise UsageError(none)

    def done(self, place: int, run_id: str) -> None:
        """Note that a run has ended; raises OSError where it cannot be written."""
        with self._alone:
            self.note.entries[place].run_id = run_id
            self._write()

    def close(self) -> None:
        """Let go of the note; where all was done it goes."""
        if all(entry.run_id for entry in self.note.entries):
            for path in (self.path, self.path.with_suffix(".lock")):
                with suppress(OSError):  # what was done is told all the same
                    path.unlink(missing_ok=True)
        os.close(self._lock)

    def _write(self) -> None:
        write_whole(self.path, msgspec.json.encode(self.note))


def _newest_first() -> Iterator[Path]:
    """Yield the notes that are there; one of a batch that ends meanwhile is gone."""
    found = []
    for path in (state_folder() / FOLDER).glob("*.json"):
        with suppress(OSError):
            found.append((path.stat().st_mtime, path))
    yield from (path for _, path in sorted(found, reverse=True))


def _forget_old() -> None:
    """Remove the notes of batches that nobody went on with."""
    for path in _newest_first():
        with suppress(OSError):
            if time.time() - path.stat().st_mtime <= KEPT_SECONDS:
                continue
            lock = _locked(path.with_suffix(".lock"), wait=False)
            if lock is not None:
                path.unlink(missing_ok=True)
                path.with_suffix(".lock").unlink(missing_ok=True)
                os.close(lock)


def _read(path: Path) -> Note | None:
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(path.read_bytes(), type=Note)
    return None


def _locked(path: Path, *, wait: bool = True) -> Any:
    """Return the held lock of a note; None where its batch still lives."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(lock)
        return None
    return lock

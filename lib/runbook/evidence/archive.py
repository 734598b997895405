"""The archive of all runs: where it is, which folders of runs it holds, how a file in it is written whole."""

import json
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from runbook.model import RunbookError, UsageError
from runbook.model.layout import ALPHABET, is_run_id, make_private, run_folder

ARCHIVE_FILE = "archive.json"
PRIVATE = 0o600
RUNS_FOLDER, INDEX_FILE = "runs", "index.html"
_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")


class NotTrusted(RunbookError):
    """Something in the archive is not what was sealed; the message names the first thing that is wrong."""

    exit_status = 1


class UnknownKey(NotTrusted):
    """Something was sealed with a key that is not trusted here: perhaps by somebody else, perhaps by nobody good."""


@dataclass(frozen=True)
class RunPlace:
    """The folder of a run in the archive, whatever it holds."""

    run_id: str
    folder: Path


def archive_folder() -> Path:
    """Return the archive: RUNBOOK_EVIDENCE, else ``runbook/evidence`` in the user's state folder."""
    named = os.environ.get("RUNBOOK_EVIDENCE")
    return Path(named).absolute() if named else platformdirs.user_state_path("runbook") / "evidence"


def state_folder() -> Path:
    """Return the folder for what must not lie in the archive: keys, and the last seal of each chain."""
    return Path(platformdirs.user_state_path("runbook"))


def archive_id(archive: Path) -> str:
    """Return the archive's own id, making it on first use; raises OSError where it cannot be written."""
    path = archive / ARCHIVE_FILE
    with suppress(FileNotFoundError):
        return read_archive_id(path)
    name_archive(archive, "arc_" + "".join(secrets.choice(ALPHABET) for _ in range(12)))
    return read_archive_id(path)


def name_archive(archive: Path, own: str) -> None:
    """Give an archive an id, unless it has one; raises OSError where it cannot be written."""
    make_private(archive)
    write_whole(archive / ARCHIVE_FILE, _named(own), replace=False)


def read_archive_id(path: Path) -> str:
    """Return the id in an archive's file; raises `NotTrusted` where it is damaged, OSError where it is not there."""
    content = path.read_bytes()
    named = str(read_json(content, path.name).get("id"))
    if content != _named(named):
        raise NotTrusted(f"{path.name} is not as it was written: a byte of it was changed")
    return named


def _named(own: str) -> bytes:
    return json.dumps({"schema": 1, "id": own}).encode() + b"\n"


def runs(archive: Path) -> Iterator[RunPlace]:
    """Yield every run's folder, in the order of their ids, which is that of time.

    Raises `NotTrusted` for what is no folder of a run and lies where only such folders do.
    """
    top = archive / RUNS_FOLDER
    _refuse_link(top, archive)
    for month in sorted(top.iterdir()) if top.is_dir() else []:
        _refuse_link(month, archive)
        if not (month.is_dir() and _MONTH.fullmatch(month.name)):
            raise NotTrusted(f"{month.relative_to(archive)} is no folder of a month: something was put there")
        for folder in sorted(month.iterdir()):
            _refuse_link(folder, archive)
            if not (folder.is_dir() and is_run_id(folder.name)):
                raise NotTrusted(f"{folder.relative_to(archive)} is no folder of a run: something was put there")
            if run_folder(archive, folder.name) != folder:
                raise NotTrusted(f"{folder.relative_to(archive)} lies in another month than its id says")
            yield RunPlace(folder.name, folder)


def find_run(archive: Path, name: str) -> RunPlace:
    """Return a run by its id, or by the end of it where only one ends so; raises `UsageError`."""
    if is_run_id(name):
        folder = run_folder(archive, name)
        if folder.is_dir():
            return RunPlace(name, folder)
    found = [
        place for place in runs(archive) if name and (place.run_id.endswith(name) or place.run_id.startswith(name))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{len(found)} runs are named like {name!r}; the newest is {found[-1].run_id}")
    raise UsageError(f"the archive {archive} holds no run {name!r}; `runbook evidence list` shows all")


def _refuse_link(path: Path, archive: Path) -> None:
    if path.is_symlink():
        raise NotTrusted(f"{path.relative_to(archive)} is a symbolic link: the archive holds none of its own")


def write_whole(path: Path, content: bytes, *, replace: bool = True, mode: int = PRIVATE) -> None:
    """Write a file so that it is there whole or not at all, on the disk before this returns.

    With ``replace`` False one that is there already stays. ``mode`` says who may read it. Raises
    OSError and leaves nothing behind.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.new")
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            if mode != PRIVATE:  # whatever the umask says; some file systems have no modes at all
                os.fchmod(fd, mode)
            os.fsync(file.fileno())
        if replace:
            new.replace(path)
        else:
            with suppress(FileExistsError):
                os.link(new, path)
            new.unlink()
        _sync_folder(path.parent)
    except OSError:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_json(content: bytes, what: str) -> dict[str, Any]:
    """Return the one object of a JSON text; raises `NotTrusted` where it is damaged or a key stands in it twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise NotTrusted(f"{what} holds the key {twice!r} twice: two readers could read two things")
        return dict(pairs)

    try:
        told = json.loads(content, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise NotTrusted(f"{what} is damaged: it is no JSON") from error
    if not isinstance(told, dict):
        raise NotTrusted(f"{what} is damaged: it is no JSON object")
    return told

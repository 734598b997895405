"""Which backups there are: by the patterns of the profile, on a file system or in an object store."""

import glob
import heapq
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook.model import CouldNotFindOut
from runbook.model.text import printable
from runbook.target import Backups, BackupSet, Target

# Of more than so many the newest count: half a year of hourly ones.
MOST = 5000
_IN_ITS_NAME = re.compile(
    r"(20\d\d)[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])"
    r"(?:[T_.-]?([01]\d|2[0-3])[:._-]?([0-5]\d)(?:[:._-]?([0-5]\d))?)?(?!\d)"
)
# Beside the backups lie their digests, and what is being written.
_BESIDE = re.compile(r"(?:\.(?:sha256|sha256sum|sha512|md5|asc|sig|part|partial|tmp|new)|SHA256SUMS)\Z")
NOT_NAMED = (
    "the profile names no backups: write [[backups.sets]] with a name, the kind and a pattern of their files, as the "
    "example profile does"
)


@dataclass(frozen=True)
class Found:
    """One backup: of which set, where, when it was taken (as its name says, else when it was written), how large."""

    of: BackupSet
    path: str
    taken: datetime
    named: bool
    written: datetime
    bytes: int
    is_folder: bool = False

    @property
    def name(self) -> str:
        """Return the last part of its path, so that it can be shown."""
        return printable(self.path.rstrip("/").rpartition("/")[2])


def backups_of(target: Target) -> Backups:
    """Return what the profile says of backups; raises `CouldNotFindOut` where it says nothing."""
    if target.backups is None:
        raise CouldNotFindOut(NOT_NAMED)
    return target.backups


def found(of: BackupSet) -> list[Found]:
    """Return the backups of a set, the newest first; raises `CouldNotFindOut` where they cannot be listed."""
    listed = _in_store(of) if of.files.startswith("s3://") else _on_disk(of)
    return heapq.nlargest(MOST, listed, key=lambda one: (one.taken, one.path))


def _on_disk(of: BackupSet) -> Iterator[Found]:
    top = of.files.split("*")[0].split("?")[0].split("[")[0].rpartition("/")[0] or "/"
    try:
        os.scandir(top).close()
    except OSError as error:
        raise CouldNotFindOut(f"{top}, where the set {of.name} is to be, cannot be read: {error.strerror}") from error
    for path in glob.iglob(of.files):  # noqa: PTH207 - a pattern may begin anywhere
        if _BESIDE.search(path):
            continue
        try:
            about = Path(path).stat()
            is_folder = Path(path).is_dir()
            size, written = _of_folder(of, path) if is_folder else (about.st_size, about.st_mtime)
        except OSError:
            continue  # it is being rotated away
        yield _found(of, path, written, size, is_folder)


def _of_folder(of: BackupSet, folder: str) -> tuple[int, float]:
    """Return the bytes of a folder's files, and when it was written: of an archive, the newest file counts.

    A base backup is written when its manifest is, which comes last.
    """
    total, newest, manifest = 0, 0.0, 0.0
    for at, _, names in os.walk(folder):
        for name in names:
            try:
                about = Path(at, name).lstat()
            except FileNotFoundError:
                continue  # an archive is cleaned while it is looked at
            total += about.st_size
            newest = max(newest, about.st_mtime)
            manifest = about.st_mtime if name == "backup_manifest" and at == folder else manifest
    return total, manifest if of.kind == "base" and manifest else newest


def _in_store(of: BackupSet) -> Iterator[Found]:
    try:
        store = store_of(of.files)
        paths = store.glob(of.files, detail=True)
    except CouldNotFindOut:
        raise
    except Exception as error:
        raise CouldNotFindOut(f"the set {of.name} cannot be listed: {_in_words(error)}") from error
    for path, about in paths.items():
        if about.get("type") == "file" and not _BESIDE.search(path):
            written = about.get("LastModified")
            moment = written.timestamp() if isinstance(written, datetime) else 0.0
            yield _found(of, f"s3://{path}", moment, int(about.get("size") or 0), is_folder=False)


def store_of(place: str) -> Any:
    """Return the object store that a place is in, by the standard environment (AWS_…); raises `CouldNotFindOut`."""
    try:
        import fsspec
        import s3fs  # type: ignore[import-untyped]  # noqa: F401 - fsspec finds it by its name
    except ImportError as error:
        raise CouldNotFindOut("backups in s3:// need the extra `push` (pip install 'lib[push]')") from error
    config = {"connect_timeout": 5, "read_timeout": 10, "retries": {"max_attempts": 1}}
    store, _ = fsspec.core.url_to_fs(place, use_listings_cache=False, config_kwargs=config)
    store.retries = 2  # its own, around those of its client: a store that hangs is not to be waited for ten times
    return store


def _in_words(error: BaseException) -> str:
    return printable(f"{type(error).__name__}: {error}")[:300]


def _found(of: BackupSet, path: str, written: float, size: int, is_folder: bool) -> Found:
    moment = datetime.fromtimestamp(written, UTC)
    named = _IN_ITS_NAME.search(path.rstrip("/").rpartition("/")[2])
    taken = moment
    if named is not None:
        parts = [int(part or 0) for part in named.groups()]
        try:
            taken = datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]
        except ValueError:
            named = None  # as the 30th of February is no day, that is no time
        else:
            if named[4] is None and taken.date() == moment.date():
                taken = moment  # of the day that its name tells, written then
    return Found(of, path, taken, named is not None, moment, size, is_folder)

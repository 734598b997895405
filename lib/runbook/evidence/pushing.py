"""Copy the archive to an object store: what is there already stays, what was copied is read back and compared."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from runbook.evidence.archive import ARCHIVE_FILE, runs, state_folder, write_whole
from runbook.evidence.chain import CHAINS_FOLDER, HEAD_FILE
from runbook.evidence.seal import SEAL_FILE
from runbook.evidence.statement import digest
from runbook.model import RunFailed, UsageError
from runbook.model.layout import make_private

# Stores that know no folders: there, making one would make a bucket that nobody asked for.
_WITHOUT_FOLDERS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})


class Pushed(msgspec.Struct):
    """How many files were copied now, how many were there already, and how many bytes went over."""

    copied: int = 0
    there: int = 0
    bytes: int = 0


def push_archive(archive: Path, place: str) -> Pushed:
    """Copy every sealed run, each chain's note and the archive's id to a place that fsspec knows (s3://BUCKET/FOLDER).

    A run's seal goes last: where it is, the whole run is. Cut short, the next push goes on where this one was. Raises
    `RunFailed` where a file cannot be written or is not the same when it is read back; nothing here is changed.
    """
    files = _filesystem(place)
    told = Pushed()
    memory = state_folder() / "pushed" / f"{digest(place.encode())[:16]}.json"
    known = _remembered(memory)
    try:
        for path in _in_order(archive):
            name = str(path.relative_to(archive))
            content = path.read_bytes()
            sha = digest(content)
            if known.get(name) == sha:
                told.there += 1
                continue
            remote = f"{place.rstrip('/')}/{name}"
            _copied(files, remote, content, sha)
            known[name] = sha
            told.copied += 1
            told.bytes += len(content)
    finally:
        make_private(memory.parent)
        write_whole(memory, json.dumps(known, indent=0).encode())
    return told


def _copied(files: Any, remote: str, content: bytes, sha: str) -> None:
    try:
        if remote.split("://", maxsplit=1)[0] not in _WITHOUT_FOLDERS:
            files.makedirs(remote.rsplit("/", 1)[0], exist_ok=True)
        files.pipe_file(remote, content)
        back = files.cat_file(remote)
    except Exception as error:  # each store has errors of its own
        raise RunFailed(
            f"{remote} could not be copied ({type(error).__name__}: {str(error)[:200]}); push again to go on from here"
        ) from error
    if digest(back) != sha:
        raise RunFailed(f"{remote} is not what was copied when it is read back; push again, and look at the store")


def _filesystem(place: str) -> Any:
    if "://" not in place:
        raise UsageError(f"{place!r} is no place to push to; it is s3://BUCKET/FOLDER or the like")
    try:
        import fsspec
    except ImportError as error:
        raise UsageError("pushing needs the extra `push` (pip install 'lib[push]')") from error
    try:
        files, _ = fsspec.core.url_to_fs(place, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise UsageError(f"{place}: {error}") from error
    return files


def _in_order(archive: Path) -> Iterator[Path]:
    for run in runs(archive):
        seal = run.folder / SEAL_FILE
        if seal.exists():
            yield from (path for path in sorted(run.folder.rglob("*")) if path.is_file() and path != seal)
            yield seal
    yield from sorted((archive / CHAINS_FOLDER).glob(f"*/{HEAD_FILE}"))
    if (archive / ARCHIVE_FILE).exists():
        yield archive / ARCHIVE_FILE


def _remembered(memory: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(memory.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError):
        return {}

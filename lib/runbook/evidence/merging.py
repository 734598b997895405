"""Take over what another machine has sealed for this archive: each run with the chain that it belongs to.

A worker writes a chain of its own, of which it keeps nothing but the end. A run is taken over as a whole, and only as
the next one of its chain: so the merged archive verifies at any moment, whichever worker is lost.
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from runbook.evidence.archive import ARCHIVE_FILE, NotTrusted, RunPlace, read_archive_id, write_whole
from runbook.evidence.chain import CHAINS_FOLDER, HEAD_FILE, Head
from runbook.evidence.seal import SEAL_FILE, opened
from runbook.evidence.statement import digest
from runbook.model.layout import is_run_id, make_private, run_folder

# The chain of a worker's lane: no worker can go on with one that this machine, or any other, writes by itself.
_WRITER = re.compile(r"[a-z0-9-]+-w[1-9][0-9]{0,5}")


class Packed(msgspec.Struct, frozen=True):
    """The files of a sealed run by their names, as they lie in its folder."""

    run_id: str
    files: dict[str, bytes]


def pack(archive: Path, run_id: str) -> Packed | None:
    """Return a run to be taken elsewhere; None where it was not sealed."""
    folder = run_folder(archive, run_id)
    if not (folder / SEAL_FILE).is_file():
        return None
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return Packed(run_id, {str(path.relative_to(folder)): path.read_bytes() for path in found})


def merge(archive: Path, packed: Packed, writer: str, keys: Mapping[str, Any]) -> RunPlace:
    """Take a run of a worker's chain into an archive and return its place.

    Raises `NotTrusted` where it is not what was sealed, with a key that is trusted, for this archive and as the next
    run of that chain: nothing is written then. Raises OSError where the archive cannot be written.
    """
    head = head_of(archive, writer)
    seal = _checked(archive, packed, writer, head, keys)
    folder = run_folder(archive, packed.run_id)
    note = archive / CHAINS_FOLDER / writer / HEAD_FILE
    make_private(note.parent)
    write_whole(note, msgspec.json.encode(msgspec.structs.replace(head, pending=packed.run_id)))
    for name, content in packed.files.items():
        if name != SEAL_FILE:
            make_private((folder / name).parent)
            write_whole(folder / name, content)
    write_whole(folder / SEAL_FILE, seal)
    write_whole(note, msgspec.json.encode(Head(seq=head.seq + 1, digest=digest(seal), run_id=packed.run_id)))
    return RunPlace(packed.run_id, folder)


def head_of(archive: Path, writer: str) -> Head:
    """Return where a worker's chain has come to in an archive; raises `NotTrusted` for a chain that is no worker's."""
    if not _WRITER.fullmatch(writer):
        raise NotTrusted(f"{writer!r} is not the name of a worker's chain")
    try:
        return msgspec.json.decode((archive / CHAINS_FOLDER / writer / HEAD_FILE).read_bytes(), type=Head)
    except FileNotFoundError:
        return Head()
    except msgspec.MsgspecError as error:
        raise NotTrusted(f"{CHAINS_FOLDER}/{writer}/{HEAD_FILE} is damaged") from error


def worker_heads(archive: Path) -> dict[str, Head]:
    """Return where each worker's chain has come to; one whose last run was perhaps not taken over whole is left out."""
    found = {}
    for folder in sorted((archive / CHAINS_FOLDER).glob("*")):
        if _WRITER.fullmatch(folder.name):
            head = head_of(archive, folder.name)
            if not head.pending:
                found[folder.name] = head
    return found


def forget(archive: Path, run_id: str) -> None:
    """Remove a run that was taken over from where it was made; the end of its chain stays."""
    shutil.rmtree(run_folder(archive, run_id), ignore_errors=True)


def _checked(archive: Path, packed: Packed, writer: str, head: Head, keys: Mapping[str, Any]) -> bytes:
    """Return the seal of a run that may be taken over; raises `NotTrusted`."""
    what = f"{packed.run_id} from {writer}"
    if not is_run_id(packed.run_id) or run_folder(archive, packed.run_id).exists():
        raise NotTrusted(f"{what} is no new run")
    seal = packed.files.get(SEAL_FILE, b"")
    statement = opened(seal, keys, what)
    facts = statement.predicate
    if facts.run_id != packed.run_id or facts.writer != writer:
        raise NotTrusted(f"{what} was sealed as {facts.run_id} of {facts.writer}")
    if facts.archive != read_archive_id(archive / ARCHIVE_FILE):
        raise NotTrusted(f"{what} was sealed for another archive")
    if (facts.seq, facts.prev) != (head.seq + 1, head.digest) or head.pending:
        raise NotTrusted(f"{what} is run {facts.seq} of its chain, of which {head.seq} are here: it does not follow on")
    if {name: digest(content) for name, content in packed.files.items() if name != SEAL_FILE} != statement.subjects:
        raise NotTrusted(f"{what} does not hold the files that were sealed")
    return seal

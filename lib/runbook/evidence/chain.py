"""Chain the runs of one writer: each seal holds its place and the digest of the seal before.

A writer is one key on one machine. Where its chain has come to stands in the archive, and once more in the user's state
folder: so a tail that was cut off the archive is noticed by its own writer.
"""

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from runbook.evidence.archive import NotTrusted, runs, state_folder, write_whole
from runbook.evidence.only_one import only_one
from runbook.evidence.seal import SEAL_FILE, opened, sealed
from runbook.evidence.statement import Statement, digest
from runbook.model import RunFailed
from runbook.model.layout import is_run_id, make_private, run_folder

CHAINS_FOLDER = "chains"
HEAD_FILE = "head.json"


class Head(msgspec.Struct, kw_only=True):
    """Where a chain has come to: the last run, its place and the digest of its seal; ``pending`` is what is about to
    be sealed at the next place.
    """

    seq: int = 0
    digest: str = ""
    run_id: str = ""
    pending: str = ""


def writer_of(signer: Any, lane: str = "") -> str:
    """Return the name of the chain that a key writes on this machine; one that writes several at once names lanes."""
    host = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().lower()).strip("-")[:40] or "host"
    return f"{host}-{signer.public_key.keyid[:12]}" + (f"-{lane}" if lane else "")


class Chain:
    """The chain of one writer in one archive."""

    def __init__(self, archive: Path, archive_id: str, signer: Any, lane: str = "") -> None:
        self.writer = writer_of(signer, lane)
        self._archive, self._signer = archive, signer
        self._folder = archive / CHAINS_FOLDER / self.writer
        self._kept = state_folder() / "heads" / f"{archive_id}-{self.writer}.json"

    def append(self, run_id: str, statement: Callable[[int, str], Statement]) -> Head:
        """Seal a run at the next place; ``statement`` makes what is sealed from its place and the digest before.

        Raises OSError where it cannot be written: the run is then not sealed, and the chain as it was.
        """
        with self._alone():
            head = self.head()
            self._keep(msgspec.structs.replace(head, pending=run_id))
            content = sealed(statement(head.seq + 1, head.digest), self._signer)
            write_whole(run_folder(self._archive, run_id) / SEAL_FILE, content)
            head = Head(seq=head.seq + 1, digest=digest(content), run_id=run_id)
            self._keep(head)
            with suppress(OSError):  # a second memory, for the day on which the archive's own is cut
                make_private(self._kept.parent)
                write_whole(self._kept, msgspec.json.encode(head))
        return head

    def head(self) -> Head:
        """Return where the chain has come to, also where a death came between a seal and the note of it."""
        head = _read(self._folder / HEAD_FILE)
        if head is None:
            head = self._searched()
        if head.pending:
            found = self._sealed(head.pending)
            came = found is not None and found.seq == head.seq + 1
            head = found if found is not None and came else msgspec.structs.replace(head, pending="")
        kept = _read(self._kept)
        return kept if kept is not None and kept.seq > head.seq else head

    def _keep(self, head: Head) -> None:
        write_whole(self._folder / HEAD_FILE, msgspec.json.encode(head))

    def _searched(self) -> Head:
        """Return the head as the seals themselves tell it: the note of it is not there, or damaged."""
        head = Head()
        for place in runs(self._archive):
            found = self._sealed(place.run_id)
            head = found if found is not None and found.seq > head.seq else head
        return head

    def _sealed(self, run_id: str) -> Head | None:
        if not is_run_id(run_id):
            return None
        try:
            content = (run_folder(self._archive, run_id) / SEAL_FILE).read_bytes()
            key = self._signer.public_key
            facts = opened(content, {key.keyid: key}, run_id).predicate
        except (OSError, NotTrusted):
            return None
        if facts.writer != self.writer or facts.run_id != run_id:
            return None
        return Head(seq=facts.seq, digest=digest(content), run_id=run_id)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the chain: of two writers with one key on one machine, one waits for the other."""
        make_private(self._folder)
        with only_one(self._folder / "lock"):
            yield


def heads(archive: Path) -> dict[str, Head]:
    """Return the noted head of every chain of an archive, by writer; raises `NotTrusted` where a note is damaged."""
    found = {}
    for folder in sorted((archive / CHAINS_FOLDER).glob("*")):
        path = folder / HEAD_FILE
        head = _read(path)
        if head is None and not path.exists():
            continue
        if head is None or msgspec.json.encode(head) != path.read_bytes():
            raise NotTrusted(f"{path.relative_to(archive)} is damaged; the next run writes it anew")
        if head.seq or head.pending:
            found[folder.name] = head
    return found


def _read(path: Path) -> Head | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Head)
    except (OSError, msgspec.MsgspecError):
        return None


def head_line(archive_id: str, writer: str, head: Head) -> str:
    """Return a chain's head as one line, to be published where the archive's keeper cannot change it."""
    return f"runbook-head {archive_id} {writer} {head.seq} {head.digest}"


def parse_head(line: str) -> tuple[str, str, int, str]:
    """Return the archive, writer, place and digest of such a line; raises `RunFailed` for another text."""
    found = re.fullmatch(r"runbook-head (arc_\w+) ([a-z0-9-]+) ([1-9][0-9]*) ([0-9a-f]{64})", line.strip())
    if found is None:
        raise RunFailed("a head is one line: runbook-head ARCHIVE WRITER PLACE DIGEST, as `evidence head` prints it")
    return found[1], found[2], int(found[3]), found[4]

"""What lies in the trees: an entry for each file, folder and link, and what could not be read."""

import gzip
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

FILE, FOLDER, LINK = "file", "folder", "link"
WITHOUT_DIGEST = "no digest of it is kept: it may hold a secret that could be guessed"


class Entry(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One thing in a tree: its path from the tree's top ("" is the top), what it is, and whose.

    ``kind`` is file, folder, link, or what else it is: such are never opened. ``mtime`` is in nanoseconds, and so is
    ``ctime``, when its inode was changed last, which nobody can put back. ``sha256`` is "" where it was not read;
    ``problem`` says why. ``target`` is what a link leads to, ``outside`` whether that lies outside of the tree.
    ``capable`` says that a program has rights of its own (capabilities). ``secret`` says that it may hold a secret: its
    digest is never stored.
    """

    tree: str
    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    size: int = 0
    mtime: int = 0
    sha256: str = ""
    target: str = ""
    problem: str = ""
    outside: bool = False
    capable: bool = False
    secret: bool = False
    ctime: int = 0

    @property
    def place(self) -> str:
        """Return its whole path."""
        return f"{self.tree.rstrip('/')}/{self.path}" if self.path else self.tree


@dataclass
class Listing:
    """What was read: the entries by tree and path, and what is to be said of the reading itself.

    ``trees`` are those that were asked for, each with the folder that it really is ("": it is not there). ``partial``
    says why not all was read, "" where all was. ``vanished`` were gone before they were read, ``mounts`` are other file
    systems, which were not entered, ``twice`` folders that were reached again, ``left_out`` what the profile excludes:
    the tree, its real folder, and the path in it. ``read_at`` is when it began.
    """

    trees: dict[str, str]
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    partial: str = ""
    vanished: list[str] = field(default_factory=list)
    mounts: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str, str]] = field(default_factory=list)
    seconds: float = 0.0
    read_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def files(self) -> int:
        """Return how many files there are."""
        return sum(entry.kind == FILE for entry in self.entries.values())

    @property
    def unread(self) -> list[Entry]:
        """Return what could not be read."""
        return [entry for entry in self.entries.values() if entry.problem]


def root_digest(entries: Iterable[Entry]) -> str:
    """Return one digest of all entries as they are stored: it changes with any of them."""
    digest = hashlib.sha256()
    for line in sorted(_ENCODER.encode(stored(entry)) for entry in entries):
        digest.update(line + b"\n")
    return digest.hexdigest()


def stored(entry: Entry) -> Entry:
    """Return an entry as it is stored: without the digest of what may be a secret.

    Of other things than such files the times are left out: they say nothing that the digest does not, and move.
    """
    if entry.secret:
        return msgspec.structs.replace(entry, sha256="")
    return msgspec.structs.replace(entry, mtime=0, ctime=0)


_ENCODER = msgspec.json.Encoder()


def as_lines(entries: Iterable[Entry]) -> bytes:
    """Return entries as they are stored: a line of JSON for each, by their paths, compressed."""
    lines = sorted((entry.tree, entry.path, _ENCODER.encode(stored(entry))) for entry in entries)
    return gzip.compress(b"".join(line + b"\n" for _, _, line in lines), compresslevel=5, mtime=0)


def from_lines(content: bytes) -> dict[tuple[str, str], Entry]:
    """Return the stored entries by tree and path; raises ValueError where they are damaged."""
    try:
        found = msgspec.json.Decoder(Entry).decode_lines(gzip.decompress(content))
    except (OSError, EOFError, msgspec.MsgspecError) as error:
        raise ValueError("the list of files is damaged") from error
    return {(entry.tree, entry.path): entry for entry in found}

"""Walk trees without following a link or entering another file system, and have their files read.

Whoever can write there may change a tree while it is walked: a folder counts only as the one that was found by its
name, and what is gone when its turn comes has vanished, which is no failure.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runbook.integrity.crew import NAMES_OF_CHUNK, Chunk, Died, read_chunks
from runbook.integrity.listing import FILE, FOLDER, LINK, Entry, Listing
from runbook.integrity.names import leads_out, left_out, may_be_secret, shown
from runbook.integrity.worker import FOLDER_FLAGS, Told
from runbook.model.units import counted

# More than any deployment has; beyond it the memory of the notebook would be what ends the walk.
MOST_ENTRIES = 1_000_000
_KINDS = {
    stat.S_IFREG: FILE, stat.S_IFDIR: FOLDER, stat.S_IFLNK: LINK, stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "block device", stat.S_IFCHR: "character device",
}  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """A tree to read: its top, patterns of what is left out of it, and paths of files that hold a secret."""

    path: str
    exclude: tuple[str, ...] = ()
    secrets: frozenset[str] = frozenset()


def walk(
    trees: Sequence[Wanted], seconds: float, *, stopped: Callable[[], bool] = lambda: False, workers: int = 0
) -> Listing:
    """Return what lies in trees; what could not be read within ``seconds`` makes it partial, and it says so."""
    return _Walk(trees, seconds, stopped).walk(workers)


class _Walk:
    def __init__(self, trees: Sequence[Wanted], seconds: float, stopped: Callable[[], bool]) -> None:
        self._trees, self._seconds, self._stopped = trees, seconds, stopped
        self._end = time.monotonic() + seconds
        self._tops = [os.path.realpath(tree.path) for tree in trees]
        self.found = Listing({tree.path: "" for tree in trees})
        self._cut_short = False

    def walk(self, workers: int) -> Listing:
        began = time.monotonic()
        try:
            read_chunks(self._chunks(), self._took, self._over, workers)
        except Died:
            self.found.partial = "a process that read the files was ended by somebody, or for want of memory"
        self.found.seconds = time.monotonic() - began
        if not self.found.partial and self._cut_short:
            read = counted(self.found.files, "file")
            if len(self.found.entries) > MOST_ENTRIES:
                self.found.partial = f"there are more than {MOST_ENTRIES:,} files and folders; {read} were read"
            else:
                self.found.partial = f"after {self._seconds:g} s no more than {read} were read"
        return self.found

    def _over(self) -> bool:
        over = time.monotonic() > self._end or self._stopped() or len(self.found.entries) > MOST_ENTRIES
        self._cut_short |= over
        return over

    def _chunks(self) -> Iterator[Chunk]:
        for number, tree in enumerate(self._trees):
            top = self._tops[number]
            try:
                about = os.lstat(top)
            except OSError as error:
                if not isinstance(error, FileNotFoundError | NotADirectoryError):
                    self._add(Entry(tree.path, "", FOLDER, 0, 0, 0, problem=error.strerror or "cannot be looked at"))
                continue
            self.found.trees[tree.path] = shown(top)
            target = "" if top == os.path.normpath(tree.path) else shown(top)
            if stat.S_ISREG(about.st_mode):
                yield self._of_one_file(number, top)
                continue
            self._add(_entry(tree.path, "", about, target=target))
            yield from self._below(number, top, about)

    def _of_one_file(self, number: int, path: str) -> Chunk:
        """Return the chunk of a tree that is one file, such as /etc/crontab."""
        folder, _, name = path.rpartition("/")
        about = Path(folder or "/").stat()
        return Chunk(number, "", folder or "/", (about.st_dev, about.st_ino), [name])

    def _below(self, number: int, top: str, about: os.stat_result) -> Iterator[Chunk]:
        tree = self._trees[number]
        is_left_out = left_out(tree.exclude)
        pending, seen = [("", (about.st_dev, about.st_ino))], set()
        while pending and not self._over():
            inside, identity = pending.pop()
            folder = f"{top.rstrip('/')}/{inside}" if inside else top
            if identity in seen:
                self.found.twice.append(_place(tree, inside))
                continue
            seen.add(identity)
            names: list[str] = []
            for name, kind, status, target in self._listed(number, folder, inside, identity):
                path = f"{inside}/{name}" if inside else name
                if is_left_out(name, path):
                    self.found.left_out.append((tree.path, top, path))
                    continue
                if kind == FILE:
                    names.append(name)
                    continue
                if status is None:
                    self.found.vanished.append(_place(tree, path))
                    continue
                outside = kind == LINK and leads_out(top, inside, target)
                self._add(_entry(tree.path, path, status, target=shown(target), outside=outside))
                if kind == FOLDER and status.st_dev != about.st_dev:
                    self.found.mounts.append(_place(tree, path))
                elif kind == FOLDER:
                    pending.append((path, (status.st_dev, status.st_ino)))
            for at in range(0, len(names), NAMES_OF_CHUNK):
                yield Chunk(number, inside, folder, identity, names[at : at + NAMES_OF_CHUNK])

    def _listed(
        self, number: int, folder: str, inside: str, identity: tuple[int, int]
    ) -> list[tuple[str, str, os.stat_result | None, str]]:
        """Return name, kind, status (of all but files; None: gone) and target (of links) of what lies in a folder."""
        tree = self._trees[number]
        listed: list[tuple[str, str, os.stat_result | None, str]] = []
        try:
            fd = os.open(folder, FOLDER_FLAGS)
        except OSError as error:
            if isinstance(error, FileNotFoundError | NotADirectoryError):
                self.found.vanished.append(_place(tree, inside))
            else:
                self._unread(tree.path, inside, error)
            return []
        try:
            about = os.fstat(fd)
            if (about.st_dev, about.st_ino) != identity:
                self.found.vanished.append(_place(tree, inside))  # another one lies there by now
                return []
            with os.scandir(fd) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        listed.append((entry.name, FILE, None, ""))
                        continue
                    status, target = None, ""
                    with suppress(OSError):
                        status = os.stat(entry.name, dir_fd=fd, follow_symlinks=False)
                        if stat.S_ISLNK(status.st_mode):
                            target = os.readlink(entry.name, dir_fd=fd)
                    kind = _kind(status.st_mode) if status is not None else ""
                    listed.append((entry.name, kind, status, target))
        except OSError as error:
            self._unread(tree.path, inside, error)
        finally:
            os.close(fd)
        return listed

    def _unread(self, tree: str, inside: str, error: OSError) -> None:
        """Note that a folder, which was found already, cannot be listed."""
        known = self.found.entries.get((tree, shown(inside)))
        mode, uid, gid = (known.mode, known.uid, known.gid) if known else (0, 0, 0)
        problem = error.strerror or type(error).__name__
        self._add(Entry(tree, shown(inside), FOLDER, mode, uid, gid, problem=problem))

    def _took(self, chunk: Chunk, told: list[Told]) -> None:
        tree = self._trees[chunk.tree]
        alone = chunk.inside == "" and chunk.folder != self._tops[chunk.tree]
        for name, (why, mode, uid, gid, size, mtime, ctime, sha256, capable) in zip(chunk.names, told, strict=True):
            path = "" if alone else f"{chunk.inside}/{name}" if chunk.inside else name
            if not mode:
                self.found.vanished.append(_place(tree, path))
                continue
            kind = _kind(mode)
            problem = os.strerror(why) if why and kind == FILE else ""
            secret = may_be_secret(path or name) or f"{chunk.folder.rstrip('/')}/{name}" in tree.secrets
            about = (shown(path), kind, stat.S_IMODE(mode), uid, gid, size, mtime, sha256)
            self._add(Entry(tree.path, *about, problem=problem, capable=capable, secret=secret, ctime=ctime))

    def _add(self, entry: Entry) -> None:
        self.found.entries[entry.tree, entry.path] = entry


def _place(tree: Wanted, path: str) -> str:
    """Return the whole path of something in a tree as its entry tells it."""
    return f"{tree.path.rstrip('/')}/{shown(path)}" if path else tree.path


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "something unknown")


def _entry(tree: str, path: str, about: os.stat_result, *, target: str = "", outside: bool = False) -> Entry:
    mode = stat.S_IMODE(about.st_mode) if not stat.S_ISLNK(about.st_mode) else 0
    kind = _kind(about.st_mode)
    return Entry(tree, shown(path), kind, mode, about.st_uid, about.st_gid, target=target, outside=outside)

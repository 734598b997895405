"""Read a backup whole, as restoring it would, and say what it holds or why it cannot be restored."""

import contextlib
import fcntl
import io
import os
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runbook.backups.content import BLOCK, AsFile, Broken, Content, OutOfTime, digest_beside, first_bytes, is_plain_file
from runbook.backups.listing import Found
from runbook.backups.sql_text import SqlText
from runbook.connections.programs import last_words
from runbook.connections.server_programs import major, major_of, program
from runbook.model import CouldNotFindOut
from runbook.model.units import as_bytes, counted
from runbook.target import Backups

CUSTOM, PLAIN, FOLDER, TAR = "custom", "plain", "directory", "tar"
SAME, OTHER, NONE = "same", "other", "none"


@dataclass
class Reading:
    """What came of reading a backup whole.

    ``packed`` says that it is gzip. ``problem`` says why it cannot be restored, ``unknown`` why that could not be found
    out; "" where neither is so. ``digest`` tells whether its SHA-256 is the one written when it was made (same, other,
    none). ``text`` is what its text says, of a dump; ``told`` what else is to be said of it.
    """

    of: Found
    format: str = ""
    packed: bool = False
    problem: str = ""
    unknown: str = ""
    sha256: str = ""
    digest: str = NONE
    seconds: float = 0.0
    told: str = ""
    text: SqlText = field(default_factory=SqlText)

    @property
    def sound(self) -> bool:
        """Tell whether it was read to its end and nothing speaks against it."""
        return not self.problem and not self.unknown


def read(one: Found, named: Backups, seconds: float) -> Reading:
    """Read a backup whole within some seconds, and return what came of it."""
    began = time.monotonic()
    reading = Reading(one)
    try:
        _HOW[one.of.kind](reading, named, began + seconds)
    except Broken as why:
        reading.problem = str(why)
    except OutOfTime:
        reading.unknown = f"it was not read to its end within {seconds:.0f} s"
    except CouldNotFindOut as why:
        reading.unknown = str(why)
    if reading.sha256:
        written = digest_beside(one.path)
        reading.digest = SAME if written == reading.sha256 else OTHER if written else NONE
        if reading.digest == OTHER:
            other = "its content is not the one whose SHA-256 was written when it was made: it was changed since"
            reading.problem = f"{other}; {reading.problem}" if reading.problem else other
    reading.seconds = time.monotonic() - began
    return reading


# --- dumps


def _dump(reading: Reading, named: Backups, end: float) -> None:
    path = reading.of.path
    if reading.of.is_folder:
        reading.format = FOLDER
        _by_program(reading, [program(named, "pg_restore"), "-C", "-f", "-", path], None, end)
    else:
        begins = first_bytes(path)
        if not begins:
            raise Broken("it is empty")
        reading.format = CUSTOM if begins.startswith(b"PGDMP") else TAR if begins[257:262] == b"ustar" else PLAIN
        content = Content(path, end)
        if reading.format == PLAIN:
            for block in content.text():
                reading.text.feed(block)
        else:
            if reading.format == TAR:
                _members(Content(path, end))  # of one that is cut pg_restore waits for more without an end
            argv: list[str | Path] = [program(named, "pg_restore"), "-C", "-f", "-"]
            _by_program(reading, argv, content, end, by_itself=is_plain_file(path))
        reading.sha256, reading.packed = content.sha256, content.packed
    text = reading.text
    if reading.format == PLAIN and b"PostgreSQL database" not in first_bytes(path):
        raise Broken("it is no dump of PostgreSQL: it does not begin as one")
    if text.inside:
        raise Broken(f"it is cut: it ends among the rows of {text.inside}, after {text.rows[text.inside] or 0:,}")
    if not text.complete:
        raise Broken("it is cut: the line that ends a dump is not there")
    if reading.format == PLAIN and text.connects and reading.of.of.kind == "database":
        raise CouldNotFindOut(
            "it makes a database of its own (pg_dump --create, or pg_dumpall) and would go into that, over what is "
            "there, and not beside it: have it made without --create"
        )
    if reading.of.of.kind == "roles":
        reading.told = counted(len(text.makes), "role")
        return
    rows = sum(count or 0 for count in text.rows.values())
    reading.told = f"{counted(len(text.tables), 'table')}, {counted(rows, 'row')}, from PostgreSQL {text.server or '?'}"


def _by_program(
    reading: Reading, argv: list[str | Path], content: Content | None, end: float, *, by_itself: bool = False
) -> None:
    """Have a program write a dump's text, and read it.

    The dump is handed to it block by block; what it can read ``by_itself`` is read beside it, for the digest.
    """
    handed = content is not None and not by_itself
    if by_itself:
        argv = [*argv, reading.of.path]
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                argv, stdin=subprocess.PIPE if handed else subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}, cwd="/",
            )  # fmt: skip
        except OSError as error:
            raise CouldNotFindOut(f"{argv[0]} cannot be called: {error.strerror}") from error
        for end_of_pipe in filter(None, (process.stdin, process.stdout)):
            _widen(end_of_pipe.fileno())
        feeding = _Feeding(content, process) if content else None
        timer = threading.Timer(max(0.0, end - time.monotonic()), process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            for block in iter(lambda: os.read(process.stdout.fileno(), BLOCK), b""):  # type: ignore[union-attr]
                reading.text.feed(block)
            status = process.wait()
        finally:
            timer.cancel()
            process.kill()
            process.wait()
            if feeding is not None:
                feeding.join()
        if feeding is not None and feeding.problem is not None:
            raise feeding.problem
        if status == -9 and time.monotonic() >= end:
            raise OutOfTime
        if status != 0:
            said.seek(0)
            words = last_words(said.read(8192).decode(errors="replace"))
            if "unsupported version" in words:
                raise CouldNotFindOut(
                    f"it is of a newer pg_dump than {argv[0]}, which cannot read it; name the folder of newer programs "
                    f"(binaries in [backups]): {words}"
                )
            raise Broken(
                f"pg_restore cannot read it to its end: {words.removeprefix('pg_restore: ').removeprefix('error: ')}"
            )


def _widen(handle: int) -> None:
    """Have a pipe hold a megabyte, where the system lets it: each block takes one turn then instead of sixteen."""
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(handle, fcntl.F_SETPIPE_SZ, BLOCK)


class _Feeding(threading.Thread):
    """Reads a backup, for its digest, and hands it to a program that wants it, while its text is read."""

    def __init__(self, content: Content, process: "subprocess.Popen[bytes]") -> None:
        super().__init__(daemon=True)
        self._content, self._process = content, process
        self.problem: Exception | None = None
        self.start()

    def run(self) -> None:
        stdin: Any = self._process.stdin
        taken = stdin is not None
        try:
            for block in self._content.text():
                if taken:
                    try:
                        stdin.write(block)
                    except OSError:
                        taken = False  # it has ended, and says why; the digest is wanted all the same
        except (Broken, OutOfTime, CouldNotFindOut) as problem:
            self.problem = problem
        finally:
            with contextlib.suppress(OSError, AttributeError):
                stdin.close()


# --- base backups, WAL, Redis, data


def _base(reading: Reading, named: Backups, end: float) -> None:
    reading.format = "base"
    folder = Path(reading.of.path)
    if not reading.of.is_folder:
        raise CouldNotFindOut("a base backup that is no folder (pg_basebackup -Fp) cannot be verified here")
    if not (folder / "backup_manifest").exists():
        raise Broken("backup_manifest is not there: the copying did not end, or was made without one")
    verify = program(named, "pg_verifybackup")
    of, here = _version_of(folder), major(verify)
    if of > here:
        raise CouldNotFindOut(f"it is of PostgreSQL {of}, and {verify} of {here}: name the newer ones (binaries)")
    waldump = verify.with_name("pg_waldump").exists() and of == here  # which reads the WAL of its own version only
    # WAL that is archived elsewhere need not be in the backup itself.
    more = [] if waldump and any((folder / "pg_wal").glob("0*")) else ["-n"]
    status, words = _called([verify, "-e", "-q", *more, folder], end)
    if status != 0:
        raise Broken(f"pg_verifybackup: {words}")
    reading.told = f"{as_bytes(reading.of.bytes)}, verified by its manifest"
    reading.told += ", without its WAL" if more else ""


def _version_of(folder: Path) -> int:
    try:
        return major_of((folder / "PG_VERSION").read_text(errors="replace"))
    except OSError as error:
        raise Broken(f"PG_VERSION cannot be read: {error.strerror}") from error


def _wal(reading: Reading, named: Backups, end: float) -> None:
    reading.format = "wal"
    from runbook.backups.wal_archive import segments

    archived = segments(Path(reading.of.path))
    if not archived.names:
        raise Broken("no segment of WAL is in it")
    if archived.gap:
        raise Broken(f"a segment is missing: {archived.gap}; from there on nothing can be restored by it")
    if archived.odd:
        raise Broken(f"a segment is not as long as the others: {archived.odd}")
    reading.told = f"{counted(len(archived.names), 'segment')} without a gap, to {archived.names[-1]}"


def _redis(reading: Reading, named: Backups, end: float) -> None:
    reading.format = "rdb"
    content = Content(reading.of.path, end)
    begins = first_bytes(reading.of.path, 9)
    if not begins.startswith(b"REDIS"):
        raise Broken("it does not begin as an RDB file" if begins else "it is empty")
    checker = _redis_check()
    # It wants a file of its own: what is packed or elsewhere is written down first.
    with tempfile.NamedTemporaryFile(dir=named.scratch, prefix="runbook-rdb-") as copy:
        for block in content.text():
            copy.write(block)
        copy.flush()
        reading.sha256 = content.sha256
        status, words = _called([checker, copy.name], end)
    if status != 0:
        raise Broken(f"redis-check-rdb: {words.replace(copy.name, 'it')}")
    reading.told = f"{as_bytes(reading.of.bytes)}, its checksum is right"


def _redis_check() -> str:
    import shutil

    found = shutil.which("redis-check-rdb")
    if found is None:
        raise CouldNotFindOut("redis-check-rdb is not on this machine: install Redis' tools (Debian: redis-tools)")
    return found


def _data(reading: Reading, named: Backups, end: float) -> None:
    reading.format = "tar"
    content = Content(reading.of.path, end)
    files = _members(content)
    reading.sha256 = content.sha256
    reading.told = f"{counted(files, 'file')}, {as_bytes(reading.of.bytes)}"


def _members(content: Content) -> int:
    """Return how many files are in a tar file, having read it to its end; raises `Broken` where that is not there."""
    blocks, files = content.text(), 0
    try:
        with tarfile.open(fileobj=io.BufferedReader(AsFile(blocks)), mode="r|") as archive:
            for member in archive:
                files += member.isfile()
    except (tarfile.TarError, EOFError) as error:
        raise Broken(f"the tar file cannot be read to its end: {error}") from error
    for _ in blocks:
        pass
    return files


def _called(argv: list[str | Path], end: float) -> tuple[int, str]:
    """Return how a program ended, and its last words."""
    try:
        ended = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, check=False, cwd="/",
            timeout=max(0.1, end - time.monotonic()), env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise OutOfTime from None
    except OSError as error:
        raise CouldNotFindOut(f"{argv[0]} cannot be called: {error.strerror}") from error
    return ended.returncode, last_words(ended.stderr, ended.stdout)


_HOW: dict[str, Callable[[Reading, Backups, float], None]] = {
    "database": _dump, "roles": _dump, "base": _base, "wal": _wal, "redis": _redis, "data": _data,
}  # fmt: skip

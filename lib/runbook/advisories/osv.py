"""Read advisories in OSV's format from files, folders and archives, as osv.dev exports them; bounded in every way."""

import re
import stat
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from runbook.model import CouldNotFindOut

# PyPI's whole export holds some 20,000 advisories of a few KiB each; npm's ten times as many.
MOST_ADVISORIES = 400_000
LONGEST = 8 << 20
MOST_BYTES = 2 << 30
READ_SECONDS = 60.0


class _Package(msgspec.Struct, frozen=True):
    name: str = ""
    ecosystem: str = ""


class Range(msgspec.Struct, frozen=True):
    """Versions between events, each of which is one key (introduced, fixed, last_affected, limit) and a version."""

    type: str = ""
    events: list[dict[str, str]] = []


class _Affected(msgspec.Struct, frozen=True):
    package: _Package | None = None
    ranges: list[Range] = []
    versions: list[str] = []


class _Severity(msgspec.Struct, frozen=True):
    type: str = ""
    score: str = ""


class _Entry(msgspec.Struct, frozen=True):
    id: str
    modified: str = ""
    withdrawn: str = ""
    summary: str = ""
    aliases: list[str] = []
    affected: list[_Affected] = []
    severity: list[_Severity] = []
    database_specific: dict[str, Any] = {}


class _Several(msgspec.Struct, frozen=True):
    vulns: list[_Entry]


@dataclass(frozen=True)
class Advisory:
    """What one advisory says of one package. ``severity`` is a word in capital letters, "" where it tells none."""

    id: str
    severity: str
    summary: str
    ranges: list[Range]
    versions: list[str]


@dataclass
class Database:
    """All advisories that were read, by ecosystem and name of the package."""

    by_package: dict[tuple[str, str], list[Advisory]] = field(default_factory=dict)
    count: int = 0
    withdrawn: int = 0
    newest: datetime | None = None
    malformed: list[str] = field(default_factory=list)
    cut: str = ""


def normal(name: str, ecosystem: str) -> str:
    """Return a package's name as it is compared: PyPI knows several spellings of one."""
    return re.sub(r"[-_.]+", "-", name).lower() if ecosystem == "PyPI" else name


def read(paths: tuple[Path, ...], wanted: frozenset[tuple[str, str]] | None = None) -> Database:
    """Return the advisories in files (JSON: one, a list, or under "vulns"; or a zip of such) and folders of files.

    With ``wanted`` only those of these packages are kept; all are counted. Raises `CouldNotFindOut` where a path cannot
    be read at all.
    """
    found, end, size = Database(), time.monotonic() + READ_SECONDS, 0
    for name, content in _contents(paths, found):
        size += len(content)
        if found.count >= MOST_ADVISORIES or size > MOST_BYTES or time.monotonic() > end:
            found.cut = f"reading stopped at {name}: more than it takes in"
            break
        entries = _entries(content)
        if entries is None:
            found.malformed.append(name)
            continue
        for entry in entries:
            _keep(found, entry, wanted)
    return found


def _contents(paths: tuple[Path, ...], found: Database) -> Iterator[tuple[str, bytes]]:
    for path in paths:
        try:
            facts = path.stat()
            if stat.S_ISDIR(facts.st_mode):
                files = sorted(one for one in path.rglob("*") if one.suffix in (".json", ".zip") and one.is_file())
            elif stat.S_ISREG(facts.st_mode):
                files = [path]
            else:
                raise CouldNotFindOut(f"{path} is neither a file nor a folder")
            for file in files:
                yield from _of_zip(file, found) if file.suffix == ".zip" else _of_file(file, found)
        except OSError as error:
            raise CouldNotFindOut(f"the advisories at {path} cannot be read: {error.strerror}") from error


def _of_file(path: Path, found: Database) -> Iterator[tuple[str, bytes]]:
    # A whole export may stand in one file; a single advisory may not be as long.
    if path.stat().st_size > 256 << 20:
        found.malformed.append(f"{path.name} (longer than 256 MiB)")
        return
    yield path.name, path.read_bytes()


def _of_zip(path: Path, found: Database) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not member.filename.endswith(".json"):
                    continue
                if member.file_size > LONGEST:
                    found.malformed.append(f"{path.name}/{member.filename} (longer than 8 MiB)")
                    continue
                with archive.open(member) as file:
                    # What it says of its own length may be wrong.
                    content = file.read(LONGEST + 1)
                yield f"{path.name}/{member.filename}", content if len(content) <= LONGEST else b""
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise CouldNotFindOut(f"{path} is no archive that can be read: {type(error).__name__}") from error


def _entries(content: bytes) -> list[_Entry] | None:
    begin = content[:64].lstrip()[:1]
    try:
        if begin == b"[":
            return msgspec.json.decode(content, type=list[_Entry])
        try:
            return [msgspec.json.decode(content, type=_Entry)]
        except msgspec.ValidationError:
            return msgspec.json.decode(content, type=_Several).vulns
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _keep(found: Database, entry: _Entry, wanted: frozenset[tuple[str, str]] | None) -> None:
    found.count += 1
    with_time = _moment(entry.modified)
    if with_time is not None and (found.newest is None or with_time > found.newest):
        found.newest = with_time
    if entry.withdrawn:
        found.withdrawn += 1
        return
    for affected in entry.affected:
        if affected.package is None:
            continue
        ecosystem = affected.package.ecosystem.partition(":")[0]
        key = (ecosystem, normal(affected.package.name, ecosystem))
        if wanted is None or key in wanted:
            told = Advisory(_name(entry), _severity(entry), entry.summary[:200], affected.ranges, affected.versions)
            found.by_package.setdefault(key, []).append(told)


def _name(entry: _Entry) -> str:
    """Return the name that most know an advisory by: its CVE, where it has one."""
    names = [entry.id, *entry.aliases]
    return next((name for name in names if re.fullmatch(r"CVE-\d{4}-\d{4,}", name)), entry.id)[:60]


def _severity(entry: _Entry) -> str:
    word = str(entry.database_specific.get("severity", "")).upper()
    return word if word in ("LOW", "MODERATE", "MEDIUM", "HIGH", "CRITICAL") else ""


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)

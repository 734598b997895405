"""Backups of a practice stack: made by PostgreSQL's and Redis' own programs, a month of them.

What lies there of earlier days is the one of today under an older name: the stack is as old as its start, and a month
of it would be a month of the same. What can be wrong with a backup is made of the newest ones (`break_`).
"""

import gzip
import hashlib
import os
import shutil
import subprocess
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from runbook_sandbox.place import Place, SandboxError

FOLDER, DAYS = "backups", 31
DATABASE, ROLES, REDIS, DATA = "database", "roles", "redis", "data"
_SUFFIXES = {DATABASE: "dump", ROLES: "sql.gz", REDIS: "rdb.gz", DATA: "tar.gz"}
_SECONDS = 30


def make(place: Place, database: str) -> None:
    """Make today's backups of all kinds, and put those of the month before beside them; raises `SandboxError`."""
    folder = place.folder / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    now = datetime.now(UTC)
    for kind, content in (
        (DATABASE, _dumped(place, "pg_dump", "-Fc", "-d", database)),
        (ROLES, gzip.compress(_dumped(place, "pg_dumpall", "--globals-only"), mtime=0)),
        (REDIS, gzip.compress(_rdb(place), mtime=0)),
        (DATA, _data(place)),
    ):
        newest = _path(place, kind, now - timedelta(minutes=10))
        newest.write_bytes(content)
        _write_digest(newest)
        for days in range(1, DAYS):
            earlier = _path(place, kind, now - timedelta(days=days, minutes=10))
            os.link(newest, earlier)
            _write_digest(earlier)


def make_anew(place: Place, database: str) -> None:
    """Have the newest dump be of what is in the database now; those of the days before stay."""
    put_newest(place, _dumped(place, "pg_dump", "-Fc", "-d", database))


def put_newest(place: Place, content: bytes) -> None:
    """Have the newest dump be this one, with its digest."""
    path = newest(place, DATABASE)
    path.unlink()
    path.write_bytes(content)
    _write_digest(path)


def _path(place: Place, kind: str, moment: datetime) -> Path:
    return place.folder / FOLDER / f"{kind}-{moment:%Y-%m-%dT%H%M}.{_SUFFIXES[kind]}"


def newest(place: Place, kind: str) -> Path:
    """Return the newest backup of a kind; raises `SandboxError` where the stack has none."""
    found = sorted((place.folder / FOLDER).glob(f"{kind}-*.{_SUFFIXES[kind]}"))
    if not found:
        raise SandboxError("this practice stack has no backups; one that `sandbox up` makes has")
    return found[-1]


def _write_digest(path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n")


def _dumped(place: Place, program: str, *arguments: str) -> bytes:
    state = place.read("state.json")
    argv: list[str | Path] = [
        Path(state["postgres_bin"]) / program, *arguments, "-h", str(place.folder / "postgres"), "-U", "postgres",
        "-p", str(state["ports"]["postgres"]), "--no-password",
    ]  # fmt: skip
    ended = subprocess.run(argv, capture_output=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL)
    if ended.returncode != 0:
        raise SandboxError(f"{program} ended with {ended.returncode}: {ended.stderr.decode(errors='replace')[-300:]}")
    return ended.stdout


def _rdb(place: Place) -> bytes:
    import redis

    state = place.read("state.json")
    password = (place.folder / "secrets" / "redis").read_text().strip()
    with redis.Redis(port=state["ports"]["redis"], password=password) as connection:
        connection.save()
    return (place.folder / "redis" / "dump.rdb").read_bytes()


def _data(place: Place) -> bytes:
    """Return the service's folder, packed: here the tree that was deployed."""
    path = place.folder / FOLDER / "data.part"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(
            place.folder / "deployed", arcname="data", filter=lambda one: one if ".env" not in one.name else None
        )
    content = path.read_bytes()
    path.unlink()
    return content


def profile(place: Place) -> str:
    """Return what the target file says of them."""
    if not (place.folder / FOLDER).is_dir():
        return ""
    state = place.read("state.json")
    sets = "".join(
        f'[[backups.sets]]\nname = "{kind}"\nkind = "{kind}"\nfiles = "{place.folder / FOLDER}/{kind}-*.{suffix}"\n\n'
        for kind, suffix in _SUFFIXES.items()
    )
    socket = place.folder / "postgres"
    superuser = f"host={socket} port={state['ports']['postgres']} user=postgres dbname=postgres"
    return f'[backups]\nbinaries = "{state["postgres_bin"]}"\nrestore_dsn = "{superuser}"\n\n{sets}'


def cut(place: Place) -> None:
    """Have the newest dump end at 60% of its length, as a full disk leaves it; its digest is of what was there."""
    path = _own(newest(place, DATABASE))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])


def flip(place: Place) -> None:
    """Have one bit of the newest dump be another one, in the middle of its rows, which are not packed."""
    path = newest(place, DATABASE)
    content = bytearray(_dumped(place, "pg_dump", "-Fc", "-Z0", "-d", "shrimp_annotation"))
    path.unlink()
    path.write_bytes(bytes(content))
    _write_digest(path)
    at = content.index(b"shrimp", len(content) // 3)
    content[at] ^= 0x01
    path.write_bytes(bytes(content))


def take_away(place: Place) -> None:
    """Have no dump of the last three days be there."""
    newest(place, DATABASE)
    for path in sorted((place.folder / FOLDER).glob(f"{DATABASE}-*.dump"))[-3:]:
        path.rename(path.with_name(f"aside-{path.name}"))


def bring_back(place: Place) -> None:
    """Have all dumps be as they were made: the newest one again that of the day before, and none missing."""
    folder = place.folder / FOLDER
    for path in folder.glob("aside-*"):
        path.rename(path.with_name(path.name.removeprefix("aside-")))
    path, before = sorted(folder.glob(f"{DATABASE}-*.dump"))[-1:-3:-1]
    path.unlink()
    shutil.copyfile(before, path)
    _write_digest(path)


def _own(path: Path) -> Path:
    """Return a backup's path, once its content is its own: the others share it."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    return path

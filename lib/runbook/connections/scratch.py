"""A cluster for practice: in a folder of its own, reached by a socket in it, and gone afterwards."""

import json
import os
import pwd
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from runbook.connections import programs
from runbook.connections.programs import Owner
from runbook.connections.server_programs import major, program
from runbook.model import ChangeFailed, CouldNotFindOut
from runbook.model.units import as_bytes
from runbook.target import Backups

PREFIX, USER, DATABASE = "runbook-drill-", "drill", "drill"
_START_SECONDS, _LOG = 60.0, "server.log"
# Between a folder's being made and its telling whose it is.
_MADE_SECONDS = 10.0
# The path of a socket may have 107 bytes.
_LONGEST = 107 - len("/.s.PGSQL.5432")
# Nothing of it is to outlive anything: it need not reach the disk.
_SETTINGS = {
    "listen_addresses": "", "unix_socket_permissions": "0700", "fsync": "off", "full_page_writes": "off",
    "synchronous_commit": "off", "autovacuum": "off", "wal_level": "minimal", "max_wal_senders": "0",
    "shared_buffers": "128MB", "maintenance_work_mem": "128MB", "max_wal_size": "4GB", "logging_collector": "off",
    "shared_preload_libraries": "",
}  # fmt: skip


@dataclass(frozen=True)
class Scratch:
    """A running cluster: its folder, which is its socket's as well, and how its programs are called."""

    folder: Path
    owner: Owner
    user: str = USER

    def connect(self, database: str = DATABASE) -> "psycopg.Connection[tuple[Any, ...]]":
        """Return a connection to it as its superuser, in autocommit."""
        return psycopg.connect(
            host=str(self.folder), user=self.user, dbname=database, autocommit=True, connect_timeout=10
        )

    @property
    def options(self) -> list[str]:
        """Return how a client program reaches it."""
        return ["-h", str(self.folder), "-U", self.user, "--no-password"]


def require_room(named: Backups, needed: int) -> Path:
    """Return the folder that scratch clusters are made in; raises `CouldNotFindOut` where its disk is too small."""
    folder = named.scratch or Path(tempfile.gettempdir())
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise CouldNotFindOut(f"{folder}, where a drill would be made, cannot be used: {error.strerror}") from error
    if free < needed:
        raise CouldNotFindOut(
            f"the disk of {folder} has {as_bytes(free)} left, and restoring this backup needs {as_bytes(needed)}: "
            "name a larger one (scratch in [backups])"
        )
    return folder


Fill = Callable[[Path, Owner], Mapping[str, str]]


@contextmanager
def scratch_cluster(
    named: Backups, inside: Path, seconds: float, *, user: str = USER, fill: Fill | None = None
) -> Iterator[Scratch]:
    """Make a cluster, start it, and take it away afterwards, whatever happens; raises `CouldNotFindOut`.

    It is empty, or ``fill`` fills its data folder and returns settings of its own; ``user`` is its superuser. What a
    drill that was killed has left there is taken away first.
    """
    forget_left(inside)
    owner = _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=inside))
    try:
        if len(str(folder)) > _LONGEST:
            raise CouldNotFindOut(f"{inside} is too long a path for a socket: name a shorter one (scratch)")
        _note_owner(folder)
        os.chown(folder, owner.uid, owner.gid) if not owner.is_us else None
        control = [str(program(named, "pg_ctl")), "-D", str(folder / "data")]
        try:
            more = fill(folder / "data", owner) if fill else _initialised(named, folder / "data", owner, seconds)
            _start(folder, owner, control, {**_SETTINGS, **more}, _START_SECONDS if fill is None else seconds)
            yield Scratch(folder, owner, user)
        except ChangeFailed as failed:
            raise CouldNotFindOut(str(failed)) from failed
        finally:
            with suppress(ChangeFailed, CouldNotFindOut):
                programs.call([*control, "-m", "immediate", "-w", "stop"], owner, _START_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _initialised(named: Backups, data: Path, owner: Owner, seconds: float) -> Mapping[str, str]:
    argv = [
        str(program(named, "initdb")), "-D", str(data), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N",
    ]  # fmt: skip
    programs.required(argv, owner, min(seconds, _START_SECONDS))
    return {}


def _start(folder: Path, owner: Owner, control: list[str], settings: Mapping[str, str], seconds: float) -> None:
    data = folder / "data"
    lines = {**settings, "unix_socket_directories": str(folder)}
    text = "".join(f"{name} = '{value}'\n" for name, value in lines.items())
    programs.required(["tee", "-a", str(data / "postgresql.conf")], owner, programs.LOOK_SECONDS, given=text)
    start = [*control, "-l", str(folder / _LOG), "-w", "-t", str(int(max(1, seconds))), "start"]
    ended = programs.call(start, owner, seconds + 10)
    if ended.returncode != 0:
        raise ChangeFailed(f"the scratch cluster did not start: {_said(folder, ended.stderr)}")


def as_scratch(data: Path, owner: Owner, *signals: str) -> dict[str, str]:
    """Have a copy of another cluster's data folder be one that a scratch cluster starts on: its own rules of access, no
    trace of where it was; return the settings that go with it. ``signals`` are files that tell it to recover.
    """
    for name, text in (
        ("pg_hba.conf", "local all all trust\n"),
        ("pg_ident.conf", ""),
        *((one, "") for one in signals),
    ):
        (data / name).write_text(text)
    for left in {"standby.signal", "recovery.signal", "postmaster.pid", "postgresql.auto.conf"} - set(signals):
        (data / left).unlink(missing_ok=True)
    (data / "postgresql.conf").touch()
    data.chmod(0o700)
    if not owner.is_us:
        for path in (data, *data.rglob("*")):
            os.chown(path, owner.uid, owner.gid, follow_symlinks=False)
    return {
        "hot_standby": "off", "archive_mode": "off", "ssl": "off", "wal_level": "replica", "port": "5432",
        "hba_file": str(data / "pg_hba.conf"), "ident_file": str(data / "pg_ident.conf"), "data_directory": str(data),
        "primary_conninfo": "", "primary_slot_name": "", "external_pid_file": "", "recovery_end_command": "",
        "archive_cleanup_command": "",
    }  # fmt: skip


def wait_until_replayed(cluster: Scratch, seconds: float) -> None:
    """Wait until a cluster takes connections, as it does when all that it is to replay is replayed; raises
    `ChangeFailed` where it ends instead, with its last words.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not (cluster.folder / "data" / "postmaster.pid").exists():
            raise ChangeFailed(f"the recovery ended before its moment: {_said(cluster.folder)}")
        try:
            with cluster.connect("postgres") as connection:
                row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
                if row is not None and not row[0]:
                    return
        except psycopg.OperationalError:
            pass  # not yet
        time.sleep(0.2)
    raise CouldNotFindOut(f"the recovery did not reach its moment within {seconds:.0f} s: {_said(cluster.folder)}")


def _said(folder: Path, *more: str) -> str:
    log = folder / _LOG
    return programs.last_words(log.read_text(errors="replace") if log.exists() else "", *more)


def _unprivileged() -> Owner:
    """Return whom the cluster belongs to: us, or, since PostgreSQL does not run as root, a user without rights."""
    if os.geteuid() != 0:
        return Owner(os.geteuid(), os.getegid())
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            found = pwd.getpwnam(name)
            return Owner(found.pw_uid, found.pw_gid)
    raise CouldNotFindOut("PostgreSQL does not run as root, and there is neither a user postgres nor nobody here")


def _note_owner(folder: Path) -> None:
    us = psutil.Process()
    (folder / "of").write_text(json.dumps({"pid": us.pid, "began": us.create_time()}))


def forget_left(inside: Path) -> int:
    """Take away scratch clusters whose makers are gone; return how many."""
    gone = 0
    for folder in inside.glob(f"{PREFIX}*"):
        try:
            if time.time() - folder.lstat().st_mtime < _MADE_SECONDS and not (folder / "of").exists():
                continue  # it is being made just now
            of = json.loads((folder / "of").read_text())
            if psutil.Process(of["pid"]).create_time() == of["began"]:
                continue
        except (OSError, ValueError, KeyError, TypeError, psutil.Error):
            pass
        with suppress(OSError, ValueError, psutil.Error):
            server = psutil.Process(int((folder / "data" / "postmaster.pid").read_text().splitlines()[0]))
            if server.cwd() == str(folder / "data"):
                server.kill()
        shutil.rmtree(folder, ignore_errors=True)
        gone += 1
    return gone


def require_version(named: Backups, server: str, dumped: int) -> None:
    """Raise `CouldNotFindOut` where the server's programs here are older than the server that a dump is from."""
    here = major(program(named, "postgres"))
    if dumped > here:
        raise CouldNotFindOut(
            f"it is from PostgreSQL {server}, and the programs here are of {here}: an older server may not take it; "
            "name the newer ones (binaries in [backups])"
        )

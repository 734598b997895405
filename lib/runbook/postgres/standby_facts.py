"""What is looked at before a standby is made or removed: the primary, the folder, the programs, the port."""

import os
import re
import shlex
import shutil
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook.connections import PostgresConnection, StandbyDatabase, programs, read_sql, streams_from
from runbook.connections.programs import Owner
from runbook.model import Asking, ChangeFailed, CouldNotFindOut, Unreachable
from runbook.postgres import receiver
from runbook.target.profile import Standby

PLAN = read_sql(__package__, "standby_plan")
START_SECONDS = 120.0
IN_RECOVERY = read_sql(__package__, "in_recovery")


def observe(asking: Asking) -> dict[str, Any]:
    """Return the facts, in plain words and numbers.

    Of the primary: system (its identifier), version, in_recovery, wal_level, senders_left, slots_left, has_slot,
    slot_active, bytes (of all databases), wal_bytes (max_wal_size), tablespaces, at_least (settings that a standby
    must not undercut), streams (the identifier of the cluster that `primary_dsn` leads to), refused (why it leads
    nowhere).
    Of this machine: data, folder (empty, standby, primary, other, or closed), owner, uid, gid, us (whether we may act
    as the owner), free (bytes), programs (their version, 0: none), state (absent, stopped, running), folder_system,
    port, port_free, receiver (what the standby's does, "" where it does not answer), answers (whether a standby of this
    cluster does), operator (whether the profile
    names one), at (a time for names).
    Raises `CouldNotFindOut` with what is missing.
    """
    settings, database = asking.target.standby, asking.target.postgres
    if settings is None or database is None:
        raise CouldNotFindOut(f"the profile of {asking.target.name} names no [standby] on this machine")
    primary = asking.connection(PostgresConnection)
    told = primary.rows(PLAN, {"slot": settings.slot}).iloc[0].to_dict()
    facts: dict[str, Any] = {str(name): value for name, value in told.items()}
    for name in ("version", "senders_left", "slots_left"):
        facts[name] = int(facts[name])
    facts |= {name: bool(facts[name]) for name in ("in_recovery", "has_slot", "slot_active")}
    facts["system"] = primary.identity["system"]
    facts["streams"], facts["refused"] = "", ""
    try:
        facts["streams"] = streams_from(asking.target)
    except CouldNotFindOut as error:
        facts["refused"] = str(error)
    owner = programs.owner_of(settings.data)
    return {
        **facts,
        **_here(settings, owner),
        "receiver": _receiver(asking),
        "answers": _answers(asking, facts["system"]),
        "at": f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}",
    }


def control(settings: Standby) -> list[str]:
    """Return the call of pg_ctl for a standby, up to what it is to do."""
    return [str(settings.binaries / "pg_ctl"), "-D", str(settings.data), "-w", "-t", f"{START_SECONDS:.0f}"]


def log_of(settings: Standby) -> str:
    """Return where a standby's log is."""
    return f"{settings.data}/standby.log"


def starting(settings: Standby) -> list[str]:
    """Return the command that starts a standby."""
    return [*control(settings), "-l", log_of(settings), "start"]


def typed(owner: Owner, argv: list[str]) -> str:
    """Return a command as one would type it who is the user that runs this."""
    return shlex.join([*([] if owner.is_us else ["runuser", "-u", owner.name, "--"]), *argv])


def _here(settings: Standby, owner: Owner) -> dict[str, Any]:
    folder = _folder(settings.data)
    system, state = "", "absent"
    if folder in ("standby", "primary"):
        system, state = _control(settings, owner), "running" if is_running(settings.data) else "stopped"
    return {
        "data": str(settings.data),
        "folder": folder,
        "owner": owner.name,
        "uid": owner.uid,
        "gid": owner.gid,
        "us": owner.is_us or os.geteuid() == 0,
        "free": _free(settings.data),
        "programs": _version(settings, owner),
        "state": state,
        "folder_system": system,
        "port": settings.port,
        "port_free": _is_free(settings.port),
    }


def _folder(data: Path) -> str:
    try:
        if not data.exists():
            return "empty"
        if not data.is_dir():
            return "other"
        if not any(data.iterdir()):
            return "empty"
        if not (data / "PG_VERSION").exists():
            return "other"
        return "standby" if (data / "standby.signal").exists() else "primary"
    except PermissionError:
        return "closed"


def is_running(data: Path) -> bool:
    """Tell whether a server runs in a folder, as its lock file says."""
    with suppress(OSError, ValueError, IndexError):
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
        os.kill(abs(pid), 0)
        return True
    with suppress(OSError, ValueError, IndexError):
        # Of another user's process one is not allowed to ask, and yet it is there.
        return Path("/proc", (data / "postmaster.pid").read_text().splitlines()[0].strip()).exists()
    return False


def _control(settings: Standby, owner: Owner) -> str:
    try:
        told = programs.call(
            [str(settings.binaries / "pg_controldata"), str(settings.data)], owner, programs.LOOK_SECONDS
        )
    except ChangeFailed:
        return ""
    found = re.search(r"system identifier:\s*(\d+)", told.stdout)
    return found[1] if found else ""


def _version(settings: Standby, owner: Owner) -> int:
    versions = []
    for name in ("pg_basebackup", "postgres"):
        try:
            told = programs.call([str(settings.binaries / name), "--version"], owner, programs.LOOK_SECONDS).stdout
        except ChangeFailed:
            return 0
        found = re.search(r"\(PostgreSQL\) (\d+)", told)
        versions.append(int(found[1]) if found else 0)
    return versions[0] if len(set(versions)) == 1 else 0


def _free(data: Path) -> int:
    for place in (data, *data.parents):
        with suppress(OSError):
            return shutil.disk_usage(place).free
    return 0


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _receiver(asking: Asking) -> str:
    try:
        told = receiver.receiver_of(asking.connection(StandbyDatabase))
    except Unreachable:
        return ""
    except CouldNotFindOut as error:
        return f"not seen: {error}"
    return str(told["state"]) if told["in_recovery"] else "promoted"


def _answers(asking: Asking, system: str) -> bool:
    """Tell whether a standby of a cluster answers where the profile says: its folder may not be ours to read."""
    try:
        standby = asking.connection(StandbyDatabase)
        return bool(standby.identity["system"] == system and standby.rows(IN_RECOVERY).iloc[0, 0])
    except CouldNotFindOut:
        return False

"""Restore to a moment: a base backup and the archived WAL after it, into a new database beside what is there."""

import os
import shlex
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from runbook.backups.listing import backups_of, found
from runbook.backups.restore import READ_SECONDS, analyze, create, creating, drop, dropping, mark, marking, owner_of
from runbook.backups.scratch import Scratch, require_room, scratch_cluster, wait_until_replayed
from runbook.backups.sound import newest_sound
from runbook.backups.wal_archive import Archived, segments
from runbook.connections import RestoringDatabase, application_database, programs, read_sql
from runbook.connections.programs import Owner
from runbook.connections.restoring import restoring_conninfo, restoring_secrets
from runbook.connections.server_programs import major, program
from runbook.model import Act, Asking, Change, ChangeFailed, CouldNotFindOut, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.units import as_bytes
from runbook.target import Backups

# The copy of the base backup, what WAL adds to it, and the dump of one database of it.
_ROOM = 2.5
_UNPACK = {".gz": "gzip -dc", ".zst": "zstd -dc", ".lz4": "lz4 -dc", ".bz2": "bzip2 -dc", ".xz": "xz -dc"}


def observe(asking: Asking, until: str = "") -> dict[str, Any]:
    """Return until (UTC, "" for no moment), base (name, path, taken, bytes, version of the newest base backup before it
    that verifies), wal, newest, gap and suffix (of its archive), the database to be made and whether it is there
    (database, exists, complete), source, owner, encoding, and of the programs here their version.

    Raises `DoesNotApply` where no moment is asked for, or the profile names no base backups or no WAL.
    """
    if not until:
        raise DoesNotApply("no moment is asked for; give `until` (2026-11-29T03:00Z) to restore to it")
    named = backups_of(asking.target)
    lacking = [kind for kind in ("base", "wal") if not any(of.kind == kind for of in named.sets)]
    if lacking:
        raise DoesNotApply(
            f"the profile names no set of kind {' and none of kind '.join(lacking)}: only whole dumps can be restored"
        )
    moment = _moment(until)
    if moment is None:
        return {"until": "", "asked": until}
    reading, broken = newest_sound(asking, "base", READ_SECONDS, before=moment)
    folder, archived = _archive(named)
    source = application_database(asking.target)
    cluster = asking.connection(RestoringDatabase)
    about = cluster.rows(read_sql(__package__, "cluster")).iloc[0]
    database = f"{source}_restored_{moment:%Y%m%d_%H%M%S}"[:63]
    path = Path(reading.of.path)
    return {
        "until": moment.isoformat(),
        "asked": until,
        "base": reading.of.name,
        "path": reading.of.path,
        "taken": reading.of.taken.isoformat(),
        "bytes": reading.of.bytes,
        "version": int((path / "PG_VERSION").read_text().strip() or 0),
        "skipped": {one.of.name: one.problem or one.unknown for one in broken},
        "wal": folder,
        "newest": archived.newest.isoformat() if archived.newest else "",
        "gap": archived.gap,
        "suffix": _suffix(Path(folder)),
        "database": database,
        "exists": database in list(about["databases"]),
        "complete": database in set(cluster.rows(read_sql(__package__, "restored"))["database"]),
        "source": source,
        "owner": owner_of(cluster, source, set()),
        "here": major(program(named, "postgres")),
        "conninfo": restoring_conninfo(asking.target, database),
    }


def _moment(text: str) -> datetime | None:
    """Return the moment that a text tells, in UTC where it names no zone; None where it tells none."""
    try:
        moment = datetime.fromisoformat(text.strip().replace(" ", "T", 1))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _archive(named: Backups) -> tuple[str, Archived]:
    listed = [one for of in named.sets if of.kind == "wal" for one in found(of)]
    if not listed:
        raise CouldNotFindOut("the WAL archive that the profile names is not there")
    return listed[0].path, segments(Path(listed[0].path))


def _suffix(folder: Path) -> str:
    """Return how the archived segments are packed: the suffix of the last one, "" for not at all."""
    last = max((path.name for path in folder.iterdir() if len(path.name.split(".")[0]) == 24), default="")
    return Path(last).suffix


def draft(facts: Mapping[str, Any], until: str = "") -> Draft:
    """Write out the new database, the replay and what comes of it; raises `NotPlanned` with what stands against it."""
    if not facts["until"]:
        raise NotPlanned(f"{facts['asked'][:40]!r} is no moment: write it as 2026-11-29T03:00Z")
    if facts["complete"]:
        raise DoesNotApply(f"it was restored to that moment already: database {facts['database']}")
    against = []
    if facts["newest"] and facts["until"] > facts["newest"]:
        against.append(f"the WAL archive ends at {facts['newest'][:16]}: name a moment before that")
    if facts["version"] != facts["here"]:
        against.append(
            f"the base backup is of PostgreSQL {facts['version']}, the programs here of {facts['here']}: only its own "
            "can replay it (binaries in [backups])"
        )
    if facts["suffix"] not in ("", *_UNPACK):
        against.append(f"the archived WAL is packed as {facts['suffix']}, which nothing here unpacks")
    if not (facts["wal"] + facts["path"]).isprintable() or "%" in facts["wal"]:
        against.append(
            f"the folder of the WAL archive has a sign in its name that no command can hold: {facts['wal']!r}"
        )
    if against:
        raise NotPlanned("; ".join(against))
    names = ("database", "owner", "path", "wal", "suffix", "until", "source", "conninfo", "bytes")
    arguments = {name: facts[name] for name in names} | {"encoding": "UTF8", "sha256": ""}
    arguments["backup"] = f"{facts['base']} and its WAL until {facts['until'][:19]}Z"
    name = facts["database"]
    reaches = [
        f"a cluster for practice replays {facts['base']} ({as_bytes(facts['bytes'])}, of {facts['taken'][:16]}) up to "
        f"{facts['until'][:19]}Z on this machine, and its database {facts['source']} goes into the new {name}; the "
        "service's own is not touched",
        "what was written after that moment is not in it: name the last one at which all was well",
    ]
    reaches += [f"{newer} is newer and does not verify: {why}" for newer, why in list(facts["skipped"].items())[:5]]
    reaches += (
        [f"the archive lacks {facts['gap']}: if it is needed, the replay says so and ends"] if facts["gap"] else []
    )
    return Draft(
        summary=f"restore {facts['source']} as it was at {facts['until'][:19]}Z into the new database {name}",
        steps=(
            Step(act="create", shown=creating(arguments).as_string(), arguments=arguments),
            Step(act="replay", shown=f"{_command(arguments)}  -- recovery_target_time = '{facts['until']}'; pg_dump | "
                 "pg_restore", arguments=arguments),
            Step(act="analyze", shown=f"ANALYZE  -- in {name}", arguments=arguments),
            Step(act="mark", shown=marking(arguments).as_string(), arguments=arguments),
        ),
        blast_radius=tuple(reaches),
        expected={"complete": True},
        inverse=(Step(act="drop", shown=dropping(arguments).as_string(), arguments=arguments),),
    )  # fmt: skip


def _command(arguments: Mapping[str, Any]) -> str:
    """Return PostgreSQL's restore_command, which it has a shell carry out; it puts name and place in."""
    folder, suffix = shlex.quote(arguments["wal"]), arguments["suffix"]
    if suffix:
        return f"{_UNPACK[suffix]} {folder}/%f{suffix} > %p"
    return f"cp {folder}/%f %p"


def _replays(asking: Asking, arguments: Mapping[str, Any]) -> str:
    """Replay into a scratch cluster, dump the database of it and restore that; a half-made one is made anew first."""
    named, cluster = backups_of(asking.target), asking.connection(RestoringDatabase)
    cluster.change(dropping(arguments), seconds=60)
    seconds = named.drill_seconds
    inside = require_room(named, int(arguments["bytes"] * _ROOM))
    user = str(psycopg.conninfo.conninfo_to_dict(arguments["conninfo"]).get("user") or "postgres")

    def fill(data: Path, owner: Owner) -> Mapping[str, str]:
        programs.required(["mkdir", "-m", "0700", str(data)], owner, programs.LOOK_SECONDS)
        shutil.copytree(arguments["path"], data, symlinks=True, dirs_exist_ok=True)
        for name, text in (("pg_hba.conf", "local all all trust\n"), ("pg_ident.conf", ""), ("recovery.signal", "")):
            (data / name).write_text(text)
        for left in ("standby.signal", "postmaster.pid", "postgresql.auto.conf"):
            (data / left).unlink(missing_ok=True)
        (data / "postgresql.conf").touch()
        data.chmod(0o700)
        if not owner.is_us:
            for path in (data, *data.rglob("*")):
                os.chown(path, owner.uid, owner.gid, follow_symlinks=False)
        return {
            "restore_command": _command(arguments).replace("'", "''"), "recovery_target_time": arguments["until"],
            "recovery_target_action": "promote", "hot_standby": "off", "archive_mode": "off", "ssl": "off",
            "wal_level": "replica", "hba_file": str(data / "pg_hba.conf"), "ident_file": str(data / "pg_ident.conf"),
            "data_directory": str(data), "port": "5432", "primary_conninfo": "", "primary_slot_name": "",
        }  # fmt: skip

    try:
        with scratch_cluster(named, inside, seconds, user=user, fill=fill) as scratch:
            wait_until_replayed(scratch, seconds)
            return _carried_over(asking, arguments, scratch, cluster, seconds)
    except CouldNotFindOut as why:
        raise ChangeFailed(f"it was not restored: {why}") from why


def _carried_over(
    asking: Asking, arguments: Mapping[str, Any], scratch: Scratch, cluster: RestoringDatabase, seconds: float
) -> str:
    named, us = backups_of(asking.target), Owner(os.geteuid(), os.getegid())
    with scratch.connect(arguments["source"]) as connection:
        row = connection.execute(read_sql(__package__, "owner"), {"database": arguments["source"]}).fetchone()
    encoding = str(row[1]) if row else "UTF8"
    cluster.change(creating({**arguments, "encoding": encoding}), seconds=60)
    dump = scratch.folder / "dump"
    dump.unlink(missing_ok=True)
    dumping = [
        str(program(named, "pg_dump")),
        *scratch.options,
        "-Fc",
        "-Z0",
        "-d",
        arguments["source"],
        "-f",
        str(dump),
    ]
    programs.required(dumping, us, seconds)
    restoring = [str(program(named, "pg_restore")), "--no-password", "--exit-on-error", "-j", "2", "-d",
                 arguments["conninfo"], str(dump)]  # fmt: skip
    programs.required(restoring, us, seconds, secrets=restoring_secrets(asking.target))
    return f"{as_bytes(dump.stat().st_size)} of {arguments['source']} as it was at {arguments['until'][:19]}Z"


replay = Change(
    name="backups.replay",
    title="Restore to a moment: a base backup and the WAL after it, into a new database",
    observe=observe,
    draft=draft,
    acts={
        "create": create,
        # Done again it begins anew: what is half there is made empty first.
        "replay": Act(_replays, lambda asking, arguments, begun: False),
        "analyze": analyze,
        "mark": mark,
        "drop": drop,
    },
    needs=(RestoringDatabase,),
    acts_on=(RestoringDatabase,),
    watched=("until", "path", "wal", "database", "exists", "conninfo"),
    restored=("exists",),
    patience=5.0,
    deadline=240.0,
)

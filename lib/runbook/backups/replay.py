"""Restore to a moment: a base backup and the archived WAL after it, into a new database beside what is there."""

import os
import shlex
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from runbook.backups.listing import backups_of, found
from runbook.backups.restore import (
    READ_SECONDS,
    analyze,
    create,
    created,
    creating,
    drop,
    dropping,
    is_of,
    locale_of,
    mark,
    marking,
    owner_of,
)
from runbook.backups.sound import newest_sound
from runbook.backups.wal_archive import Archived, segments
from runbook.connections import RestoringDatabase, application_database, programs, read_sql
from runbook.connections.programs import Owner
from runbook.connections.restoring import name_beside, restoring_conninfo, restoring_secrets
from runbook.connections.scratch import Scratch, as_scratch, require_room, scratch_cluster, wait_until_replayed
from runbook.connections.server_programs import major, program
from runbook.model import Act, Asking, Change, ChangeFailed, CouldNotFindOut, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.units import as_bytes
from runbook.target import Backups

# The copy of the base backup, what WAL adds to it, and the dump of one database of it.
_ROOM = 2.5
_UNPACK = {".gz": "gzip -dc", ".zst": "zstd -dc", ".lz4": "lz4 -dc", ".bz2": "bzip2 -dc", ".xz": "xz -dc"}


def observe(asking: Asking, until: str = "") -> dict[str, Any]:
    """Return until (UTC, "" for no moment), base (name, path, taken, bytes, version of the newest base backup before it
    that verifies), wal, newest, gap and suffix (of its archive), elsewhere (tablespaces, of the base backup or the
    cluster), the database to be made and whether it is there
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
    marked = cluster.rows(read_sql(__package__, "restored"))
    database = name_beside(source, "restored", moment)
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
        "suffix": archived.suffix,
        "elsewhere": sorted(one.name for one in (path / "pg_tblspc").glob("*"))
        + list(cluster.rows(read_sql(__package__, "tablespaces"))["name"]),
        "database": database,
        "exists": database in list(about["databases"]),
        "complete": database in set(marked["database"]),
        "in_place": is_of(marked, source, _backup(reading.of.name, moment.isoformat()), ""),
        "source": source,
        "owner": owner_of(cluster, source, {}),
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


def draft(facts: Mapping[str, Any], until: str = "") -> Draft:
    """Write out the new database, the replay and what comes of it; raises `NotPlanned` with what stands against it."""
    if not facts["until"]:
        raise NotPlanned(f"{facts['asked'][:40]!r} is no moment: write it as 2026-11-29T03:00Z")
    if facts["complete"]:
        raise DoesNotApply(f"it was restored to that moment already: database {facts['database']}")
    if facts["in_place"]:
        raise DoesNotApply(
            f"database {facts['source']} is that of this moment already: it was restored, and swapped in"
        )
    against = []
    if facts["newest"] and facts["until"] > facts["newest"]:
        against.append(f"the WAL archive ends at {facts['newest'][:16]}: name a moment before that")
    if facts["version"] != facts["here"]:
        against.append(
            f"the base backup is of PostgreSQL {facts['version']}, the programs here of {facts['here']}: only its own "
            "can replay it (binaries in [backups])"
        )
    if facts["elsewhere"]:
        against.append(
            f"there are tablespaces ({', '.join(facts['elsewhere'][:3])}): a replay would write into their folders, "
            "which may be those of the running cluster: do it by hand, on another machine"
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
    arguments = {name: facts[name] for name in names} | {"encoding": "UTF8", "locale": {}, "sha256": ""}
    arguments["backup"] = _backup(facts["base"], facts["until"])
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
            Step(act="create", shown=created(facts["exists"], arguments), arguments=arguments),
            Step(act="replay", shown=f"{_command(arguments)}  -- recovery_target_time = '{facts['until']}'; pg_dump | "
                 "pg_restore", arguments=arguments),
            Step(act="analyze", shown=f"ANALYZE  -- in {name}", arguments=arguments),
            Step(act="mark", shown=marking(arguments).as_string(), arguments=arguments),
        ),
        blast_radius=tuple(reaches),
        expected={"complete": True},
        inverse=(Step(act="drop", shown=dropping(arguments).as_string(), arguments=arguments),),
    )  # fmt: skip


def _backup(base: str, until: str) -> str:
    return f"{base} and its WAL until {until[:19]}Z"


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
        # A link, as pg_wal may be one, would have the replay write into what it leads to.
        shutil.copytree(arguments["path"], data, symlinks=False, dirs_exist_ok=True)
        return as_scratch(data, owner, "recovery.signal") | {
            "restore_command": _command(arguments).replace("'", "''"), "recovery_target_time": arguments["until"],
            "recovery_target_action": "promote",
        }  # fmt: skip

    try:
        with scratch_cluster(named, inside, seconds, user=user, fill=fill) as scratch:
            wait_until_replayed(scratch, seconds)
            return _carried_over(asking, arguments, scratch, cluster, seconds)
    except (CouldNotFindOut, OSError) as why:
        raise ChangeFailed(f"it was not restored: {str(why)[:500]}") from why


def _carried_over(
    asking: Asking, arguments: Mapping[str, Any], scratch: Scratch, cluster: RestoringDatabase, seconds: float
) -> str:
    named, us = backups_of(asking.target), Owner(os.geteuid(), os.getegid())
    with scratch.connect(arguments["source"]) as connection, connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(read_sql(__package__, "owner"), {"database": arguments["source"]}).fetchone()
    assert row is not None  # it is the one that is connected to
    made_as = {"encoding": str(row["encoding"]), "locale": locale_of(row)}
    cluster.change(creating({**arguments, **made_as}), seconds=60)
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

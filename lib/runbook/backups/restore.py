"""Restore the newest backup that verifies into a new database of the target's cluster, beside what is there."""

import os
import shlex
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from runbook.backups.listing import backups_of
from runbook.backups.packed import at_hand
from runbook.backups.reading import CUSTOM, FOLDER, PLAIN
from runbook.backups.sound import newest_sound
from runbook.connections import RestoringDatabase, application_database, programs, read_sql
from runbook.connections.programs import Owner
from runbook.connections.restoring import restoring_connection, restoring_conninfo, restoring_secrets
from runbook.connections.server_programs import major_of, program
from runbook.model import Act, Asking, Change, ChangeFailed, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.units import as_bytes, counted

# What a database takes, as a share of its dump's text: rows have heads, and indexes come to it.
ROOM = 2.5
READ_SECONDS = 200.0
_BUILTIN = {"PUBLIC", "CURRENT_USER", "SESSION_USER", "postgres"}


def observe(asking: Asking, wanted: bool = True) -> dict[str, Any]:
    """Return the newest database dump that verifies (backup, path, sha256, taken, format, server, rows, tables), the
    newer ones that do not (``skipped``), the name of the database to be made and whether it is there (database,
    exists, complete), and of the cluster version, lacking (roles that the dump names and that it does not have), owner,
    encoding, free (bytes of its disk; -1: not to be seen from here), needs.

    Raises `DoesNotApply`, before anything is read, where it is not ``wanted``.
    """
    if not wanted:
        raise DoesNotApply("it is not asked for")
    source = application_database(asking.target)
    cluster = asking.connection(RestoringDatabase)
    reading, broken = newest_sound(asking, "database", READ_SECONDS)
    of_cluster = cluster.rows(read_sql(__package__, "cluster")).iloc[0]
    database = f"{source}_restored_{reading.of.taken:%Y%m%d_%H%M}"[:63]
    marked = cluster.rows(read_sql(__package__, "restored"))
    needs = {name for name in reading.text.needs - _BUILTIN if not name.startswith("pg_")}
    data = of_cluster["data"]
    return {
        "backup": reading.of.name,
        "path": reading.of.path,
        "sha256": reading.sha256,
        "taken": reading.of.taken.isoformat(),
        "format": reading.format,
        "server": reading.text.server,
        "rows": sum(count or 0 for count in reading.text.rows.values()),
        "tables": len(reading.text.tables),
        "skipped": {one.of.name: one.problem or one.unknown for one in broken},
        "database": database,
        "exists": database in list(of_cluster["databases"]),
        "complete": database in set(marked["database"]),
        "version": int(of_cluster["version_num"]) // 10_000,
        "lacking": sorted(needs - set(of_cluster["roles"])),
        "superuser": bool(of_cluster["is_superuser"]),
        "owner": owner_of(cluster, source, needs),
        "encoding": reading.text.encoding or "UTF8",
        "free": shutil.disk_usage(data).free if data and Path(data).is_dir() else -1,
        "needs": int(reading.text.bytes * ROOM),
        "conninfo": restoring_conninfo(asking.target, database),
    }


def owner_of(cluster: RestoringDatabase, source: str, needs: set[str]) -> str:
    """Return who is to own the new database: the owner of the one that it stands for, else whom the dump names."""
    there = cluster.rows(read_sql(__package__, "owner"), {"database": source})
    return str(there["owner"].iloc[0]) if len(there) else min(needs, default="")


def draft(facts: Mapping[str, Any], wanted: bool = True) -> Draft:
    """Write out the new database, the restore into it, its statistics and the mark that says that all of it is there.

    Raises `DoesNotApply` where it is there already, `NotPlanned` with what stands against it.
    """
    if facts["complete"]:
        raise DoesNotApply(f"{facts['backup']} was restored already: database {facts['database']}")
    against = []
    if major_of(facts["server"]) > facts["version"]:
        against.append(f"the dump is from PostgreSQL {facts['server']}, and the cluster is of {facts['version']}")
    if facts["lacking"]:
        names = ", ".join(facts["lacking"][:5])
        against.append(f"the cluster lacks roles that the dump names ({names}): restore the roles first")
    if 0 <= facts["free"] < facts["needs"]:
        free, needed = as_bytes(facts["free"]), as_bytes(facts["needs"])
        against.append(f"the disk of the cluster has {free} left, and {needed} are needed")
    if not facts["superuser"]:
        against.append("the role of restore_dsn is no superuser: extensions could not be made")
    if against:
        raise NotPlanned("; ".join(against))
    name = facts["database"]
    reaches = [
        f"the cluster gets another database, {name}: about {as_bytes(facts['needs'])}, and the load of writing it; the "
        "service's own is not touched",
        f"what came since {facts['taken'][:16]} is not in it",
    ]
    reaches += [f"{newer} is newer and does not verify: {why}" for newer, why in list(facts["skipped"].items())[:5]]
    reaches += ["whether its disk has room cannot be seen from here"] if facts["free"] < 0 else []
    arguments = {
        key: facts[key] for key in ("database", "owner", "encoding", "path", "sha256", "format", "conninfo", "backup")
    }
    return Draft(
        summary=f"restore {facts['backup']} ({counted(facts['rows'], 'row')}) into the new database {name}",
        steps=(
            Step(act="create", shown=creating(arguments).as_string(), arguments=arguments),
            Step(act="restore", shown=_shown(facts), arguments=arguments),
            Step(act="analyze", shown=f"ANALYZE  -- in {name}", arguments=arguments),
            Step(act="mark", shown=marking(arguments).as_string(), arguments=arguments),
        ),
        blast_radius=tuple(reaches),
        expected={"complete": True},
        inverse=(Step(act="drop", shown=dropping(arguments).as_string(), arguments=arguments),),
    )


def creating(arguments: Mapping[str, Any]) -> sql.Composed:
    """Return the statement that makes the new database: of nobody's template, in the encoding of what goes into it."""
    owner = sql.SQL(" OWNER {}").format(sql.Identifier(arguments["owner"])) if arguments["owner"] else sql.SQL("")
    return sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {}{}").format(
        sql.Identifier(arguments["database"]), sql.Literal(arguments["encoding"]), owner
    )


def dropping(arguments: Mapping[str, Any]) -> sql.Composed:
    """Return the statement that takes it away."""
    return sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(arguments["database"]))


def marking(arguments: Mapping[str, Any]) -> sql.Composed:
    """Return the statement that says of it what it was restored from: only then all of it is there."""
    told = f"restored by the runbook from {arguments['backup']}, sha256 {arguments['sha256'] or 'not taken'}"
    return sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(arguments["database"]), sql.Literal(told))


def _argv(binaries: Mapping[str, str], arguments: Mapping[str, Any], path: str) -> list[str]:
    if arguments["format"] == PLAIN:
        return [
            binaries["psql"], "-X", "-q", "-v", "ON_ERROR_STOP=1", "--no-password", "-d", arguments["conninfo"], "-f",
            path,
        ]  # fmt: skip
    workers = ["-j", "2"] if arguments["format"] in (CUSTOM, FOLDER) else []
    return [binaries["pg_restore"], "--no-password", "--exit-on-error", *workers, "-d", arguments["conninfo"], path]


def _shown(facts: Mapping[str, Any]) -> str:
    return shlex.join(_argv({"psql": "psql", "pg_restore": "pg_restore"}, facts, facts["path"]))


# --- the acts


def _creates(asking: Asking, arguments: Mapping[str, Any]) -> str:
    asking.connection(RestoringDatabase).change(creating(arguments), seconds=60)
    return ""


def _exists(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return there(asking, arguments)


def there(asking: Asking, arguments: Mapping[str, Any]) -> bool:
    """Tell whether the database is there."""
    rows = asking.connection(RestoringDatabase).rows(
        read_sql(__package__, "owner"), {"database": arguments["database"]}
    )
    return len(rows) > 0


def _restores(asking: Asking, arguments: Mapping[str, Any]) -> str:
    """Restore into the empty database; one that a restore was cut short in is made anew first."""
    named, cluster = backups_of(asking.target), asking.connection(RestoringDatabase)
    reading, _ = newest_sound(asking, "database", READ_SECONDS)
    if (reading.of.path, reading.sha256) != (arguments["path"], arguments["sha256"]):
        raise ChangeFailed(f"{arguments['backup']} is not the newest that verifies any more; nothing was restored")
    cluster.change(dropping(arguments), seconds=60)
    cluster.change(creating(arguments), seconds=60)
    binaries = {name: str(program(named, name)) for name in ("psql", "pg_restore")}
    given = restoring_secrets(asking.target)
    seconds = named.drill_seconds
    with at_hand(reading, named, seconds) as path:
        us = Owner(os.geteuid(), os.getegid())
        programs.required(_argv(binaries, arguments, path), us, seconds, secrets=given)
    return f"{counted(sum(count or 0 for count in reading.text.rows.values()), 'row')} of {arguments['backup']}"


def _analyzes(asking: Asking, arguments: Mapping[str, Any]) -> str:
    with restoring_connection(asking.target, arguments["database"]) as connection:
        try:
            connection.execute("ANALYZE")
        except psycopg.Error as error:
            raise ChangeFailed(f"PostgreSQL refused: {error}") from error
    return ""


def _marks(asking: Asking, arguments: Mapping[str, Any]) -> str:
    asking.connection(RestoringDatabase).change(marking(arguments))
    return ""


def _is_marked(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    marked = asking.connection(RestoringDatabase).rows(read_sql(__package__, "restored"))
    return arguments["database"] in set(marked["database"])


def _drops(asking: Asking, arguments: Mapping[str, Any]) -> str:
    asking.connection(RestoringDatabase).change(dropping(arguments), seconds=60)
    return ""


create = Act(_creates, _exists)
analyze = Act(_analyzes, lambda asking, arguments, begun: False)
mark = Act(_marks, _is_marked)
drop = Act(_drops, lambda asking, arguments, begun: not there(asking, arguments))

restore = Change(
    name="backups.restore",
    title="Restore the newest backup that verifies into a new database",
    observe=observe,
    draft=draft,
    acts={
        "create": create,
        # Done again it begins anew: what is half there is made empty first.
        "restore": Act(_restores, lambda asking, arguments, begun: False),
        "analyze": analyze,
        "mark": mark,
        "drop": drop,
    },
    needs=(RestoringDatabase,),
    acts_on=(RestoringDatabase,),
    watched=("path", "sha256", "database", "exists", "version", "lacking", "conninfo"),
    restored=("exists",),
    patience=5.0,
    deadline=240.0,
)

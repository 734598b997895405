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
from runbook.backups.sql_text import SqlText
from runbook.connections import RestoringDatabase, application_database, programs, read_sql
from runbook.connections.programs import Owner
from runbook.connections.restoring import name_beside, restoring_connection, restoring_conninfo, restoring_secrets
from runbook.connections.server_programs import major_of, program
from runbook.model import Act, Asking, Change, ChangeFailed, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.units import as_bytes, counted

# What a database takes, as a share of its dump's text: rows have heads, and indexes come to it.
ROOM = 2.5
# What an empty database takes.
EMPTY = 8 << 20
READ_SECONDS = 200.0
_LOCALE_OPTIONS = {"LOCALE_PROVIDER", "LOCALE", "LC_COLLATE", "LC_CTYPE", "ICU_LOCALE", "BUILTIN_LOCALE"}
_BUILTIN = {"PUBLIC", "CURRENT_USER", "SESSION_USER", "postgres"}


def observe(asking: Asking, wanted: bool = True) -> dict[str, Any]:
    """Return the newest database dump that verifies (backup, path, sha256, taken, format, server, rows, tables), the
    newer ones that do not (``skipped``), the name of the database to be made and whether it is there (database,
    exists, complete), whether the service's own (``source``) is of it already (in_place), and of the cluster version,
    lacking (roles that the dump names and that it does not have), owner, encoding, locale, free (bytes of its disk; -1:
    not to be seen from here), needs.

    Raises `DoesNotApply`, before anything is read, where it is not ``wanted``.
    """
    if not wanted:
        raise DoesNotApply("it is not asked for: run this again with recover = True (-p recover=true)")
    source = application_database(asking.target)
    cluster = asking.connection(RestoringDatabase)
    reading, broken = newest_sound(asking, "database", READ_SECONDS)
    of_cluster = cluster.rows(read_sql(__package__, "cluster")).iloc[0]
    database = name_beside(source, "restored", reading.of.taken, "%Y%m%d_%H%M")
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
        "in_place": is_of(marked, source, reading.of.name, reading.sha256),
        "source": source,
        "version": int(of_cluster["version_num"]) // 10_000,
        "lacking": sorted(needs - set(of_cluster["roles"])),
        "superuser": bool(of_cluster["is_superuser"]),
        **_made_as(cluster, source, reading.text),
        "free": shutil.disk_usage(data).free if data and Path(data).is_dir() else -1,
        "needs": int(reading.text.bytes * ROOM) + EMPTY,
        "conninfo": restoring_conninfo(asking.target, database),
    }


def owner_of(cluster: RestoringDatabase, source: str, owners: Mapping[str, int]) -> str:
    """Return who is to own the new database: the owner of the one that it stands for, or who owns most of the dump."""
    there = cluster.rows(read_sql(__package__, "owner"), {"database": source})
    if len(there):
        return str(there["owner"].iloc[0])
    return max((name for name in owners if not name.startswith("pg_")), key=lambda name: owners[name], default="")


def _made_as(cluster: RestoringDatabase, source: str, text: SqlText) -> dict[str, Any]:
    """Return whose the new database is to be, in which encoding, and by which locale: that of the dump's own, else of
    the one that it stands for, else of the cluster (none).
    """
    encoding, locale = text.encoding or "UTF8", text.locale
    there = cluster.rows(read_sql(__package__, "owner"), {"database": source})
    if not locale and len(there) and there["encoding"].iloc[0] == encoding:
        locale = locale_of(there.iloc[0].to_dict())
    return {"owner": owner_of(cluster, source, text.owners), "encoding": encoding, "locale": locale}


def locale_of(row: Mapping[Any, Any]) -> dict[str, str]:
    """Return by which locale a database was made, in CREATE DATABASE's own words, of a row of ``sql/owner.sql``."""
    of_provider = {"i": ("icu", "ICU_LOCALE"), "b": ("builtin", "BUILTIN_LOCALE")}
    locale = {"LC_COLLATE": str(row["collate"]), "LC_CTYPE": str(row["ctype"])}
    if row["provider"] in of_provider:
        provider, name = of_provider[row["provider"]]
        locale |= {"LOCALE_PROVIDER": provider, name: str(row["locale"])}
    return locale


def draft(facts: Mapping[str, Any], wanted: bool = True) -> Draft:
    """Write out the new database, the restore into it, its statistics and the mark that says that all of it is there.

    Raises `DoesNotApply` where it is there already, `NotPlanned` with what stands against it.
    """
    if facts["complete"]:
        raise DoesNotApply(f"{facts['backup']} was restored already: database {facts['database']}")
    if facts["in_place"]:
        raise DoesNotApply(
            f"database {facts['source']} is of {facts['backup']} already: it was restored, and swapped in"
        )
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
    reaches.append("where the restore is cut short and gone on with, the new database is dropped and made anew first")
    if not facts["locale"]:
        reaches.append("nothing tells by which locale the former was made: it gets that of the cluster")
    reaches += ["whether its disk has room cannot be seen from here"] if facts["free"] < 0 else []
    arguments = {
        key: facts[key]
        for key in ("database", "owner", "encoding", "locale", "path", "sha256", "format", "conninfo", "backup")
    }
    return Draft(
        summary=f"restore {facts['backup']} ({counted(facts['rows'], 'row')}) into the new database {name}",
        steps=(
            Step(act="create", shown=created(facts["exists"], arguments), arguments=arguments),
            Step(act="restore", shown=_shown(facts), arguments=arguments),
            Step(act="analyze", shown=f"ANALYZE  -- in {name}", arguments=arguments),
            Step(act="mark", shown=marking(arguments).as_string(), arguments=arguments),
        ),
        blast_radius=tuple(reaches),
        expected={"complete": True},
        inverse=(Step(act="drop", shown=dropping(arguments).as_string(), arguments=arguments),),
    )


def created(exists: bool, arguments: Mapping[str, Any]) -> str:
    """Return how the step that makes the new database is shown; what was left half-made goes first."""
    before = f"{dropping(arguments).as_string()}; " if exists else ""
    return before + creating(arguments).as_string()


def is_of(marked: Any, database: str, backup: str, sha256: str) -> bool:
    """Tell whether a database was restored from that very backup."""
    told = marked[marked["database"] == database]["told"]
    return len(told) > 0 and str(told.iloc[0]) == _mark({"backup": backup, "sha256": sha256})


def _mark(arguments: Mapping[str, Any]) -> str:
    return f"restored by the runbook from {arguments['backup']}, sha256 {arguments['sha256'] or 'not taken'}"


def creating(arguments: Mapping[str, Any]) -> sql.Composed:
    """Return the statement that makes the new database: of nobody's template, in the encoding and the locale of what
    goes into it.
    """
    options = [sql.SQL("TEMPLATE template0 ENCODING {}").format(sql.Literal(arguments["encoding"]))]
    options += [
        sql.SQL("{} {}").format(sql.SQL(name), sql.Literal(value))
        for name, value in arguments["locale"].items()
        if name in _LOCALE_OPTIONS
    ]
    if arguments["owner"]:
        options.append(sql.SQL("OWNER {}").format(sql.Identifier(arguments["owner"])))
    name = sql.Identifier(arguments["database"])
    return sql.SQL("CREATE DATABASE {} {}").format(name, sql.SQL(" ").join(options))


def dropping(arguments: Mapping[str, Any]) -> sql.Composed:
    """Return the statement that takes it away."""
    return sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(arguments["database"]))


def marking(arguments: Mapping[str, Any]) -> sql.Composed:
    """Return the statement that says of it what it was restored from: only then all of it is there."""
    return sql.SQL("COMMENT ON DATABASE {} IS {}").format(
        sql.Identifier(arguments["database"]), sql.Literal(_mark(arguments))
    )


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
    cluster = asking.connection(RestoringDatabase)
    cluster.change(dropping(arguments), seconds=60)
    cluster.change(creating(arguments), seconds=60)
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
    with restoring_connection(asking.target, arguments["database"]) as connection:
        begun = connection.execute(read_sql(__package__, "tables")).fetchone() is not None
    if begun:  # and cut short
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

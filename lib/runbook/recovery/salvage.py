"""Save what can be read of a damaged database into the one that was restored from a backup beside it."""

import shutil
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from runbook.connections import ApiConnection, RestoringDatabase, read_sql
from runbook.connections.programs import Owner
from runbook.connections.restoring import restoring_connection, restoring_conninfo
from runbook.connections.scratch import as_scratch, require_room, scratch_cluster
from runbook.model import Act, Asking, Change, ChangeFailed, CouldNotFindOut, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.units import as_bytes, counted
from runbook.recovery.cluster import NOT_ASKED, standing
from runbook.recovery.copy_cluster import DONE, NAME
from runbook.recovery.overlay import Overlay, Saved
from runbook.recovery.pages import DAMAGE, Damage, Looked, Table
from runbook.recovery.position import may_write
from runbook.recovery.readable import tables_of
from runbook.recovery.written_down import saved_tables

# What is written anew, and the former rows of the backup until a vacuum takes them away.
_ROOM = 2.0
# A table may need hours: a plan's step is bounded by what the profile gives a restore.
_FINISH_SECONDS = 600.0
_COPY_HOURS = 48.0
_Connection = psycopg.Connection[tuple[Any, ...]]
_TARS = {"base.tar", "pg_wal.tar"}


def observe(asking: Asking, wanted: bool = True) -> dict[str, Any]:
    """Return database (the service's own), restored (the one that is saved into), backup, writes (whether the service
    still may), tables (name and bytes of each, the smallest first), absent and other (tables that the backup does not
    have, or with other columns), newer (those that only the backup has), keyless (without a primary key), saved and
    finished (what was done already), copy (the newest physical copy of two days, "" for none), free (bytes of
    the cluster's disk, -1: not to be seen from here).
    """
    if not wanted:
        raise DoesNotApply(NOT_ASKED)
    found = standing(asking)
    restored = found.restored[0] if found.restored else None
    if found.own is None or restored is None:
        why = "no restored database waits: restore one first"
        raise DoesNotApply(
            why if found.own is not None else f"database {found.name} is not there: nothing can be saved"
        )
    own = {table.written: table for table in tables_of(asking.target, found.name)}
    theirs = {table.written: table for table in tables_of(asking.target, restored.name)}
    saved, finished = saved_tables(asking.target, restored.name)
    place = str(asking.connection(RestoringDatabase).rows(read_sql(__package__, "place")).iloc[0, 0] or "")
    return {
        "database": found.name,
        "restored": restored.name,
        "backup": restored.backup,
        "writes": may_write(asking),
        "tables": [[table.written, table.bytes] for table in own.values()],
        "absent": sorted(own.keys() - theirs.keys()),
        "newer": sorted(theirs.keys() - own.keys()),
        "other": sorted(name for name in own.keys() & theirs.keys() if own[name].typed != theirs[name].typed),
        "keyless": sorted(name for name, table in own.items() if not table.key),
        "copy": _newest_copy(asking),
        "saved": saved,
        "finished": finished,
        "free": shutil.disk_usage(place).free if place and Path(place).is_dir() else -1,
    }


def _newest_copy(asking: Asking) -> str:
    named = asking.target.recovery
    if named is None or named.preserve is None:
        return ""
    # One of an earlier damage holds other rows, and its pages are those of other tables.
    since = time.time() - _COPY_HOURS * 3600
    whole = [done for done in named.preserve.glob(f"*/{NAME}/{DONE}") if done.stat().st_mtime > since]
    return str(max(whole).parent / "copy") if whole else ""


def draft(facts: Mapping[str, Any], wanted: bool = True) -> Draft:
    """Write out a step for each table; raises `NotPlanned` while the service may write, or where the two do not fit."""
    if facts["finished"]:
        raise DoesNotApply(f"what can be read was saved into {facts['restored']} already")
    if facts["writes"]:
        raise NotPlanned(
            "the service still answers, or keeps a request waiting: stop it first, or what it writes meanwhile is not "
            "saved"
        )
    if not facts["copy"]:
        raise NotPlanned(
            "there is no physical copy of the last two days, which doubtful rows are read from: copy first"
        )
    for names, why in (
        (facts["absent"], "are not in the backup"),
        (facts["other"], "have other columns in the backup"),
    ):
        if names:
            raise NotPlanned(
                f"{len(names)} tables {why} ({', '.join(names[:3])}): bring the restored database up to the service's "
                "version first (recovery.migrate)"
            )
    todo = [(name, size) for name, size in facts["tables"] if name not in facts["saved"]]
    needed = int(sum(size for _, size in todo) * _ROOM)
    if 0 <= facts["free"] < needed:
        free, room = as_bytes(facts["free"]), as_bytes(needed)
        raise NotPlanned(f"the disk of the cluster has {free} left, and up to {room} are needed")
    both = {"database": facts["database"], "restored": facts["restored"], "copy": facts["copy"]}
    steps = [Step(act="prepare", shown=f"CREATE SCHEMA runbook_salvage  -- in {facts['restored']}", arguments=both)]
    steps += [
        Step(
            act="save",
            shown=f"COPY each part of {name} that can be read, from {facts['database']} to {facts['restored']}",
            arguments={**both, "table": name},
        )
        for name, _ in todo
    ]
    steps.append(
        Step(act="finish", shown=f"SELECT setval(…) of each sequence; VACUUM ANALYZE  -- in {facts['restored']}",
             arguments=both)
    )  # fmt: skip
    reaches = [
        f"only {facts['restored']} is changed; {facts['database']} is read, and stays as it is",
        "a table that can be read to its end replaces what the backup had of it: that is gone there",
        "of a damaged table every row that can be read goes before the backup's; what cannot be read stays as the "
        "backup has it, and with it come back rows that were deleted since",
        f"rows of pages whose checksum fails are read from the physical copy ({facts['copy']}), in a scratch cluster, "
        "and taken only where the backup has none: each may be wrong, and is listed in runbook_salvage.rows",
        f"up to {as_bytes(needed)} are written"
        + ("" if facts["free"] >= 0 else "; whether there is room is not known"),
    ]
    if facts["keyless"]:
        reaches.append(f"without a primary key rows are compared whole: {', '.join(facts['keyless'][:5])}")
    if facts["newer"]:
        reaches.append(f"only the backup has {', '.join(facts['newer'][:5])}: they stay as they are in it")
    return Draft(
        summary=f"save what can be read of {facts['database']} ({counted(len(todo), 'table')}) into "
        f"{facts['restored']}, which was restored from {facts['backup']}",
        steps=tuple(steps),
        blast_radius=tuple(reaches),
        expected={"finished": True},
        irreversible=f"drop {facts['restored']} and restore the backup once more, to have it as it was",
    )


def _prepares(asking: Asking, arguments: Mapping[str, Any]) -> str:
    """Make the tables that it is written down in; they belong to whom the database does, so that it can be dumped."""
    with restoring_connection(asking.target, arguments["restored"]) as connection:
        try:
            with connection.transaction():
                connection.execute(read_sql(__package__, "salvage_schema").encode())
                for statement in connection.execute(read_sql(__package__, "salvage_owner")).fetchall():
                    connection.execute(str(statement[0]).encode())
        except psycopg.Error as error:
            raise ChangeFailed(f"PostgreSQL refused: {_first_line(error)}") from error
    return ""


def _saves(asking: Asking, arguments: Mapping[str, Any]) -> str:
    """Save one table, in one transaction of the restored database: all that is told of it, or nothing."""
    own, theirs = (_table(asking, arguments[which], arguments["table"]) for which in ("database", "restored"))
    seconds = asking.target.backups.drill_seconds if asking.target.backups else _FINISH_SECONDS
    with (
        Damage(partial(restoring_connection, asking.target, arguments["database"])) as strict,
        restoring_connection(asking.target, arguments["restored"]) as into,
    ):
        looked = strict.look(own, [own.whole], seconds)
        try:
            overlay = Overlay(into, theirs, own)
            if not looked.bad:
                saved = overlay.save(looked, Looked(), strict, strict)
            else:
                with _the_copy(asking, arguments, seconds) as lenient:
                    again = lenient.look(own, [part for part, _ in looked.bad], seconds)
                    saved = overlay.save(looked, again, strict, lenient)
        except psycopg.Error as error:
            raise ChangeFailed(f"{own.written} was not saved: {_first_line(error)}") from error
    return _in_words(saved)


@contextmanager
def _the_copy(asking: Asking, arguments: Mapping[str, Any], seconds: float) -> Iterator[Damage]:
    """Start the physical copy as a scratch cluster, and read it without heed of checksums: it is gone afterwards."""
    named, copy = asking.target.backups, Path(arguments["copy"])
    if named is None or any(path.name not in _TARS for path in copy.glob("*.tar")):
        raise ChangeFailed(f"{copy} holds tablespaces, or cannot be started here: read its damaged pages by hand")
    inside = require_room(named, int(sum(path.stat().st_size for path in copy.iterdir()) * _ROOM))
    user = str(
        psycopg.conninfo.conninfo_to_dict(restoring_conninfo(asking.target, "postgres")).get("user") or "postgres"
    )

    def fill(data: Path, owner: Owner) -> Mapping[str, str]:
        for name, into in (("base.tar", data), ("pg_wal.tar", data / "pg_wal")):
            _unpack(copy / name, into)
        return as_scratch(data, owner)

    with (
        scratch_cluster(named, inside, seconds, user=user, fill=fill) as scratch,
        Damage(partial(scratch.connect, arguments["database"]), ignoring=True) as lenient,
    ):
        yield lenient


def _unpack(path: Path, into: Path) -> None:
    """Unpack what pg_basebackup packed: files and folders only, below this folder."""
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        for one in members:
            if not (one.isfile() or one.isdir()) or one.name.startswith("/") or ".." in Path(one.name).parts:
                raise ChangeFailed(f"{path} holds {one.name!r}, which no base backup has: it is not unpacked")
        # The filter that looks for the same, and leaves owners alone, came with Python 3.11.4; Debian 12 has 3.11.2.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(into, members)  # noqa: S202 (looked through above)


def _in_words(saved: Saved) -> str:
    if not saved.why:
        return f"{counted(saved.readable, 'row')}, all of it"
    more = f"{saved.from_backup:,} more from the backup, {saved.doubtful:,} doubtful"
    return f"{counted(saved.readable, 'row')} read, {more}"


def _table(asking: Asking, database: str, written: str) -> Table:
    found = next((table for table in tables_of(asking.target, database) if table.written == written), None)
    if found is None:
        raise ChangeFailed(f"{written} is not in {database} any more")
    return found


def _is_saved(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return arguments["table"] in saved_tables(asking.target, arguments["restored"])[0]


def _finishes(asking: Asking, arguments: Mapping[str, Any]) -> str:
    """Set the sequences to where they stood, and give the planner its statistics; it does no harm twice."""
    with (
        restoring_connection(asking.target, arguments["database"]) as own,
        restoring_connection(asking.target, arguments["restored"]) as into,
    ):
        try:
            sequences = own.execute(read_sql(__package__, "sequences")).fetchall()
            damaged = [one for one in sequences if not _set(one, own, into)]
            into.execute("VACUUM ANALYZE")
            into.execute("INSERT INTO runbook_salvage.finished VALUES (now())")
        except psycopg.Error as error:
            raise ChangeFailed(f"PostgreSQL refused: {_first_line(error)}") from error
    names = ", ".join(f"{one[0]}.{one[1]}" for one in damaged)
    told = f"; not to be read, and set by its column or as the backup has it: {names}" if damaged else ""
    return counted(len(sequences), "sequence") + told


def _set(one: tuple[Any, ...], own: _Connection, into: _Connection) -> bool:
    """Have a sequence go on where it stood; where that cannot be read, behind the highest value in its column."""
    schema, name, oid, *column = one
    place = sql.Literal(sql.Identifier(schema, name).as_string())
    value: sql.Composable
    setting, read = sql.SQL("SELECT setval(to_regclass({}), {}) WHERE to_regclass({}) IS NOT NULL"), True
    try:
        row = own.execute("SELECT pg_sequence_last_value(%s)", (oid,)).fetchone()
        value = sql.Literal(row[0] if row else None)
    except (psycopg.InternalError, psycopg.errors.SystemError) as error:
        if not (error.sqlstate or "").startswith(DAMAGE):
            raise
        read, value = False, sql.SQL("NULL")
        if column[2] is not None:
            highest = sql.SQL("(SELECT greatest(max({}), pg_sequence_last_value(to_regclass({}))) FROM {})")
            value = highest.format(sql.Identifier(column[2]), place, sql.Identifier(*column[:2]))
    into.execute(setting.format(place, value, place))  # of none it stays as it is
    return read


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _is_finished(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    try:
        return saved_tables(asking.target, arguments["restored"])[1]
    except CouldNotFindOut:
        return None


salvage = Change(
    name="recovery.salvage",
    title="Save what can be read into the restored database",
    observe=observe,
    draft=draft,
    acts={
        "prepare": Act(_prepares, lambda *_: False),
        "save": Act(_saves, _is_saved),
        "finish": Act(_finishes, _is_finished),
    },
    needs=(RestoringDatabase, ApiConnection),
    acts_on=(RestoringDatabase,),
    watched=("database", "restored", "backup", "absent", "other", "writes", "copy"),
    patience=5.0,
    deadline=30.0,
    partial=True,
)

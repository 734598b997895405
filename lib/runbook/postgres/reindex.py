"""Rebuild one index while everybody goes on working."""

import os
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from psycopg import sql

from runbook.connections import OperatorDatabase, PostgresConnection, read_sql
from runbook.model import Act, Asking, Change, ChangeFailed, CouldNotFindOut, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.units import as_bytes
from runbook.postgres.tables import MOST_MINUTES, WATCHED, plain

INDEX = read_sql(__package__, "index_state")
REBUILT = read_sql(__package__, "rebuilt")
# The new index beside the old one, and as much again for the files of its sort.
ROOM = 2
_MIB = 1 << 20


def observe(asking: Asking, index: str, minutes: float, free_mib: float) -> dict[str, Any]:
    """Return the facts about an index, by its name as SQL writes it: those of ``sql/index_state.sql``, oid 0 where
    there is none, system and database, and free (bytes where it lies: ``free_mib``, or what this machine tells where
    the database runs on it; None: not known). The rights are those of the operator's role.
    """
    connection = asking.connection(OperatorDatabase)
    where = {"system": connection.identity["system"], "database": connection.identity["database"]}
    found = connection.rows(INDEX, {"index": index}) if index else pd.DataFrame()
    if found.empty:
        return {**where, "oid": 0}
    facts = plain(found)
    return {**where, **facts, "free": int(free_mib * _MIB) if free_mib else _free(asking, facts["place"])}


def _free(asking: Asking, place: str | None) -> int | None:
    """Return how many bytes are free on this machine where the database lies; None where that is not known here."""
    target = asking.target
    elsewhere = target.host.where != "here" or (target.containers is not None and target.containers.postgres)
    if elsewhere or not place or not Path(place).is_dir():
        return None
    told = os.statvfs(place)
    return told.f_bavail * told.f_frsize


def draft(facts: Mapping[str, Any], index: str, minutes: float, free_mib: float) -> Draft:
    """Write out the REINDEX INDEX CONCURRENTLY of an index, which may take so many ``minutes``."""
    _refuse(facts, index, minutes)
    needed, name = ROOM * facts["bytes"], facts["index_name"]
    if facts["free"] is None:
        raise NotPlanned(
            f"rebuilding {name} takes up to {as_bytes(needed)} of room beside it, and how much is free there is not "
            "known from here: look, and give `free_mib`"
        )
    if needed > facts["free"]:
        raise NotPlanned(
            f"rebuilding {name} takes up to {as_bytes(needed)} of room, and {as_bytes(facts['free'])} are free"
        )
    arguments = {key: facts[key] for key in ("oid", "table_oid", "schema", "name")}
    arguments |= {"index": name, "seconds": 60 * minutes}
    left = [f"left by rebuilds that failed, and to be dropped: {', '.join(facts['leftovers'])}"]
    return Draft(
        summary=f"rebuild index {name} of {facts['table_name']}",
        steps=(Step(act="reindex", shown=_statement(arguments).as_string(), arguments=arguments),),
        blast_radius=(
            "reads and writes of the table go on; what changes its definition waits, and so do vacuums of it",
            f"it reads the table twice, takes up to {as_bytes(needed)} of room ({as_bytes(facts['free'])} are free), "
            f"and waits for every transaction that is older; it is ended after {minutes:g} min",
            "where it fails the old index stays in use, and an invalid one named …_ccnew is left, to be dropped",
            *(left if facts["leftovers"] else []),
        ),
        expected={"valid": True, "table_oid": facts["table_oid"], "leftovers": facts["leftovers"]},
        irreversible="nothing is lost: the index holds what it held, on new pages",
    )


def _refuse(facts: Mapping[str, Any], index: str, minutes: float) -> None:
    if not index:
        raise DoesNotApply("no index is named; give `index` to plan its rebuild")
    if not facts["oid"]:
        raise DoesNotApply(f"there is no index {index} in database {facts['database']}")
    name = facts["index_name"]
    if re.search("_cc(new|old)[0-9]*$", facts["name"]) and not facts["valid"]:
        raise NotPlanned(f"{name} was left by a rebuild that failed: DROP INDEX CONCURRENTLY {name}")
    if facts["kind"] == "I" or facts["excludes"] or facts["of_catalog"]:
        raise NotPlanned(
            f"{name} cannot be rebuilt while others work: it is of a partitioned table (name a partition's), of an "
            "exclusion constraint, or of the catalogs"
        )
    if not facts["may_maintain"]:
        raise NotPlanned(
            f"role {facts['role']} may not rebuild {name}: it takes membership in {facts['owner']}, the owner of "
            f"{facts['table_name']}, or from PostgreSQL 17 on GRANT MAINTAIN ON {facts['table_name']}, or pg_maintain"
        )
    if facts["waits_for"]:
        raise NotPlanned(
            f"it would wait for {', '.join(facts['waits_for'])}, whose transaction is open for more than 5 s, give up "
            "and leave an invalid index: end that first"
        )
    if not 0 < minutes <= MOST_MINUTES:
        raise NotPlanned(f"{minutes:g} minutes are no time for it: give more than 0, and at most {MOST_MINUTES:g}")


def _statement(arguments: Mapping[str, Any]) -> sql.Composed:
    index = sql.Identifier(arguments["schema"], arguments["name"])
    return sql.SQL("REINDEX INDEX CONCURRENTLY {index}").format(index=index)


def _rebuild(asking: Asking, arguments: Mapping[str, Any]) -> str:
    connection = asking.connection(OperatorDatabase)
    before = plain(connection.rows(INDEX, {"index": arguments["index"]}))
    try:
        connection.change(_statement(arguments), seconds=arguments["seconds"])
    except ChangeFailed as refusal:
        raise ChangeFailed(f"{refusal}{_left(connection, arguments, before['leftovers'])}") from refusal
    after = plain(connection.rows(INDEX, {"index": arguments["index"]}))
    if after["oid"] == arguments["oid"]:
        raise ChangeFailed(f"{arguments['index']} is the same as before: nothing was rebuilt")
    return f"{as_bytes(before['bytes'])} -> {as_bytes(after['bytes'])}"


def _left(connection: OperatorDatabase, arguments: Mapping[str, Any], before: list[str]) -> str:
    """Return in words what a failed rebuild has left behind."""
    try:
        now = plain(connection.rows(INDEX, {"index": arguments["index"]}))["leftovers"]
    except CouldNotFindOut:
        return "; whether it left an invalid index is not known"
    new = [name for name in now if name not in before]
    return f"; it left {', '.join(new)}: DROP INDEX CONCURRENTLY {new[0]}" if new else "; it left nothing behind"


def _is_rebuilt(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    told = asking.connection(PostgresConnection).rows(REBUILT, dict(arguments)).iloc[0, 0]
    return None if told is None else bool(told)


reindex = Change(
    name="postgres.reindex",
    title="Rebuild an index while everybody goes on working",
    observe=observe,
    draft=draft,
    acts={"reindex": Act(_rebuild, _is_rebuilt)},
    needs=(PostgresConnection, OperatorDatabase),
    partial=True,
    watched=(*WATCHED, "valid"),
    patience=10.0,
)

"""What a plan to maintain a table looks at."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from runbook.connections import OperatorDatabase, PostgresConnection, read_sql
from runbook.model import Asking, DoesNotApply, NotPlanned
from runbook.postgres.records import records
from runbook.postgres.xmin_horizon import SQL as HORIZON
from runbook.postgres.xmin_horizon import holds_tables, told

TABLE = read_sql(__package__, "table_state")
WATCHED = ("system", "database", "oid", "filenode", "may_maintain")
# Beyond the statement itself: its wait for locks, and what the run does before and after it.
MOST_MINUTES = 24 * 60.0


def observe(asking: Asking, table: str, minutes: float) -> dict[str, Any]:
    """Return the facts about a table, by its name as SQL writes it: those of ``sql/table_state.sql``, oid 0 where there
    is none, system and database, and holder (what keeps its dead rows, in words; "" where nothing does).

    The rights are those of the operator's role.
    """
    connection = asking.connection(OperatorDatabase)
    where = {"system": connection.identity["system"], "database": connection.identity["database"]}
    found = connection.rows(TABLE, {"table": table}) if table else pd.DataFrame()
    if found.empty:
        return {**where, "oid": 0}
    facts = plain(found)
    return {**where, **facts, "holder": _holder(asking, facts)}


def plain(frame: pd.DataFrame) -> dict[str, Any]:
    """Return a frame's first row as plain data."""
    row = records(frame.head(1))[0]
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}


def _holder(asking: Asking, facts: Mapping[str, Any]) -> str:
    """Return what has kept the last vacuum of the table from removing its dead rows; "" where nothing did."""
    holders = asking.connection(PostgresConnection).rows(HORIZON)
    holders = holders[holds_tables(holders)]
    last = pd.Timestamp(facts["last_vacuum"]) if facts["last_vacuum"] else None
    came = holders[holders["since"].notna() & (holders["since"] < last)] if last is not None else holders.iloc[:0]
    return told(records(came.head(1))[0]) if len(came) and facts["dead"] else ""


def refuse(facts: Mapping[str, Any], table: str, minutes: float, verb: str) -> None:
    """Raise `DoesNotApply` or `NotPlanned` where the table cannot be maintained, with what is in the way."""
    if not table:
        raise DoesNotApply(f"no table is named; give `table` to plan {verb} of it")
    if not facts["oid"]:
        raise DoesNotApply(f"there is no table {table} in database {facts['database']}")
    if facts["kind"] not in ("r", "m", "t"):
        raise NotPlanned(f"{facts['table_name']} is no ordinary table: name one of its partitions")
    if not facts["may_maintain"]:
        raise NotPlanned(
            f"role {facts['role']} may not {verb} {facts['table_name']}: it takes membership in {facts['owner']}, its "
            f"owner, or from PostgreSQL 17 on GRANT MAINTAIN ON {facts['table_name']}, or pg_maintain"
        )
    if facts["locked_by"]:
        raise NotPlanned(f"pid {facts['locked_by']} locks {facts['table_name']} or maintains it already")
    if not 0 < minutes <= MOST_MINUTES:
        raise NotPlanned(f"{minutes:g} minutes are no time for it: give more than 0, and at most {MOST_MINUTES:g}")

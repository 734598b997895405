"""Do the foreign keys hold that are said to hold?"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from psycopg import sql

from runbook.connections import PostgresConnection, read_sql
from runbook.connections.postgres import TOO_LONG
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, first_of
from runbook.model.units import as_bytes, counted
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.privileges import grants, role_of, unknown
from runbook.postgres.records import records
from runbook.postgres.time_left import NO_TIME, TimeLeft

SQL = read_sql(__package__, "foreign_keys")
DEADLINE = 20.0
# Whether there is one row or thousands, what to do is the same.
MOST_COUNTED = 1000
_MIB = 1 << 20
# As many as the statement returns.
_MOST_KEYS = 20_000
# What is left out by the question's own bounds is told; it is no sign of anything that is wrong.
_TOO_LARGE = "its tables take"
_BOUNDS = (_TOO_LARGE, NO_TIME, TOO_LONG)


def probe(asking: Asking, most_mib: float = 256.0) -> pd.DataFrame:
    """Return a row for each validated foreign key, those of small tables first: key_name, table_name, parent_name,
    bytes (of both tables), orphans (rows that refer to none, counted up to 1000; NaN: not looked for), reason (why it
    was not looked for, and what it takes), statement (the one that looks).

    Tables of more than ``most_mib`` together are not read, nor what there is no time for.
    """
    connection = asking.connection(PostgresConnection)
    left = TimeLeft(asking, DEADLINE)
    rows = []
    for key in records(connection.rows(SQL)):
        statement = anti_join(key)
        orphans, reason = None, _why_not(key, most_mib, role_of(connection))
        if not reason:
            told = left.look(connection, statement, locked=key["locked"])
            if isinstance(told, CouldNotFindOut):
                reason = str(told)
            else:
                orphans = int(told.iloc[0, 0])  # type: ignore[arg-type]
        names = {name: key[name] for name in ("key_name", "table_name", "parent_name", "bytes")}
        rows.append({**names, "orphans": orphans, "reason": reason, "statement": statement.as_string()})
    columns = ["key_name", "table_name", "parent_name", "bytes", "orphans", "reason", "statement"]
    return pd.DataFrame(rows, columns=columns).astype({"orphans": "float64"})


def _why_not(key: Mapping[str, Any], most_mib: float, role: str) -> str:
    """Return why a key's rows are not to be looked at; "" where they are."""
    if key["over_period"] or not key["enforced"]:
        return "it is a key over a period, or one that is not enforced: this cannot compare it"
    if not key["readable"]:
        columns = [", ".join(map(_quoted, key[side])) for side in ("child_columns", "parent_columns")]
        wanted = (f"({columns[0]}) ON {key['table_name']}", f"({columns[1]}) ON {key['parent_name']}")
        return grants(role, key["closed_schema"], *wanted)
    if key["filtered"]:
        return "row security hides rows from the runbook's role, so that others would seem to be missing; BYPASSRLS"
    if key["bytes"] > most_mib * _MIB:
        return f"{_TOO_LARGE} {as_bytes(key['bytes'])}, more than the {most_mib:g} MiB that are read for one key"
    return ""


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string()


def anti_join(key: Mapping[str, Any]) -> sql.Composed:
    """Return the statement that counts the rows of a key that refer to no row, as the key itself compares them."""
    pairs = list(
        zip(key["child_columns"], key["parent_columns"], key["operators"], key["operator_schemas"], strict=True)
    )
    equal = sql.SQL(" AND ").join(
        sql.SQL("parent.{theirs} OPERATOR({schema}.{operator}) child.{ours}").format(
            theirs=sql.Identifier(theirs),
            schema=sql.Identifier(schema),
            operator=sql.SQL(operator),  # of the catalog: an operator's name is made of signs only
            ours=sql.Identifier(ours),
        )
        for ours, theirs, operator, schema in pairs
    )
    columns = [sql.SQL("child.{}").format(sql.Identifier(ours)) for ours, *_ in pairs]
    # A row refers to something when all of its columns have a value; with MATCH FULL, as soon as one has.
    word = sql.SQL(" OR " if key["match"] == "f" else " AND ")
    refers = word.join(sql.SQL("{} IS NOT NULL").format(column) for column in columns)
    return sql.SQL(
        "SELECT count(*) FROM (SELECT 1 FROM {child} AS child WHERE ({refers}) AND NOT EXISTS "
        "(SELECT 1 FROM {parent} AS parent WHERE {equal}) LIMIT {most}) AS orphan"
    ).format(
        child=_table(key, "child"),
        parent=_table(key, "parent"),
        refers=refers,
        equal=equal,
        most=sql.Literal(MOST_COUNTED),
    )


def _table(key: Mapping[str, Any], side: str) -> sql.Composed:
    # A key does not hold for tables that inherit from its own, but for its partitions.
    only = sql.SQL("" if key[f"{side}_kind"] == "p" else "ONLY ")
    return sql.Composed([only, sql.Identifier(key[f"{side}_schema"], key[side])])


def check(frame: pd.DataFrame, *, orphans: float = 0) -> list[Finding]:
    """Judge the rows that refer to none: more than ``orphans`` is CRITICAL, for a validated key promises none.

    PostgreSQL does not look again at what it has validated: rows written with ``session_replication_role = replica``,
    a disabled trigger, or on a damaged index stay as they are, and a restored dump stops at them.
    """
    found, bounded = [], []
    unseen: dict[str, str] = {}
    for row in records(frame):
        subject = f"{row['table_name']}: key {row['key_name']}"
        if row["orphans"] is None:
            if row["reason"].startswith(_BOUNDS):
                bounded.append(row)
            else:
                unseen[subject] = row["reason"]
        elif row["orphans"] > orphans:
            more = "at least " if row["orphans"] >= MOST_COUNTED else ""
            count = counted(int(row["orphans"]), "row refers", "rows refer")
            found.append(
                Finding(
                    object=subject,
                    status=Status.CRITICAL,
                    message=f"{more}{count} to no row of {row['parent_name']}, although the key is validated",
                    value=int(row["orphans"]),
                    threshold=orphans,
                    unit="rows",
                    source=row["statement"],
                )
            )
    told = first_of(unknown(unseen, "keys", "not looked at"), "keys that were not looked at")
    told += _left_out(bounded)
    if found or unseen:
        return first_of(found, "keys") + told
    looked = counted(len(frame) - len(bounded), "validated key")
    message = f"no row of any of {looked} refers to a row that is not there"
    message += "; there are more, of larger tables, that were not looked at" if len(frame) >= _MOST_KEYS else ""
    well = Finding(object="foreign keys", status=Status.OK, message=message, value=0, threshold=orphans, unit="rows")
    return [well, *told]


def _left_out(bounded: list[dict[str, Any]]) -> list[Finding]:
    """Return what is told of the keys that this question is too short for: how many, how large, and how to look."""
    if not bounded:
        return []
    largest = max(bounded, key=lambda row: row["bytes"])
    message = (
        f"{counted(len(bounded), 'key was', 'keys were')} left out, whose tables take up to "
        f"{as_bytes(largest['bytes'])} ({largest['table_name']}: key {largest['key_name']}): {largest['reason']}"
    )
    by_hand = "run the statement of each by hand, when few work (it is its source, and in the run's data)"
    return [Finding(object="large keys", status=Status.OK, message=message, next=by_hand, source=largest["statement"])]


foreign_keys = Question(
    name="postgres.foreign_keys",
    title="Do the foreign keys hold that are said to hold?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    deadline=DEADLINE,
    next="keep a copy of the rows; find out what wrote them; then restore the missing rows, or delete the orphans",
    explained_by=EXPLAINED_BY,
    caused_by={"postgres.heap_integrity": ("invalid page", "missing chunk")},
)

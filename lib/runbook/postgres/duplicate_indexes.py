"""Which indexes could be dropped, since another one does all that they do?"""

from typing import Any

import pandas as pd
from psycopg import sql

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status
from runbook.model.units import as_bytes, counted
from runbook.postgres.explanations import EXPLAINED_BY

SQL = read_sql(__package__, "duplicate_indexes")
MOST = 10
_MIB = 1 << 20


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each index that another one makes superfluous: schema, table, index, other, is_same (else: its
    columns are the first ones of the other), is_needed (it is unique, or something rests on it), of_constraint (the
    name of the constraint whose index it is), is_partitioned, bytes (as of the last vacuum).

    The same are those with the same table, method, columns, expressions, operator classes, collations, order and
    predicate.
    """
    frame = asking.connection(PostgresConnection).rows(SQL)
    return frame.sort_values("bytes", ascending=False).reset_index(drop=True)


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge each superfluous index: WARNING, whatever its size: each write pays for it, and nothing gains by it."""
    if frame.empty:
        message = "no index does what another one of its table does as well"
        return [Finding(object="indexes", status=Status.OK, message=message, value=0, unit="indexes")]
    findings = [_superfluous(row) for row in frame.head(MOST).to_dict("records")]
    if len(frame) > MOST:
        message = counted(len(frame) - MOST, "more is superfluous", "more are superfluous")
        findings.append(Finding(object="other indexes", status=Status.WARNING, message=message))
    return findings


def _superfluous(row: dict[Any, Any]) -> Finding:
    how = "the same as" if row["is_same"] else "its columns are the first ones of"
    message = f"{as_bytes(row['bytes'])} on {row['schema']}.{row['table']}; {how} {row['other']}"
    return Finding(
        object=f"index {row['schema']}.{row['index']}",
        status=Status.WARNING,
        message=message,
        value=round(float(row["bytes"]) / _MIB, 1),
        unit="MiB",
        next=_dropped(row),
    )


def _dropped(row: dict[Any, Any]) -> str:
    if pd.notna(row["of_constraint"]):
        statement = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
            sql.Identifier(row["schema"], row["table"]), sql.Identifier(row["of_constraint"])
        )
        return f"{statement.as_string()}; what refers to it, and a replica identity, need the other one first"
    return f"{drop_index(row)}, after a look whether anything names it (a hint, a migration)"


def drop_index(row: dict[Any, Any]) -> str:
    """Return the statement that drops an index while others work; that of a partitioned one locks its table."""
    how = sql.SQL("DROP INDEX {}" if row["is_partitioned"] else "DROP INDEX CONCURRENTLY {}")
    return how.format(sql.Identifier(row["schema"], row["index"])).as_string()


duplicate_indexes = Question(
    name="postgres.duplicate_indexes",
    title="Which indexes do what another one does as well?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="DROP INDEX CONCURRENTLY, after a look whether anything names it (a hint, a migration)",
    explained_by=EXPLAINED_BY,
)

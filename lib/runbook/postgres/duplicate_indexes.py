"""Which indexes could be dropped, since another one does all that they do?"""

from typing import Any

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status
from runbook.model.units import as_bytes
from runbook.postgres.explanations import EXPLAINED_BY

SQL = read_sql(__package__, "duplicate_indexes")
MOST = 10


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each index that another one makes superfluous: schema, table, index, other, is_same (else: its
    columns are the first ones of the other), is_needed (a constraint stands on it), bytes (as of the last vacuum).

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
        message = f"{len(frame) - MOST} more are superfluous"
        findings.append(Finding(object="other indexes", status=Status.WARNING, message=message))
    return findings


def _superfluous(row: dict[Any, Any]) -> Finding:
    how = "the same as" if row["is_same"] else "its columns are the first ones of"
    message = f"{as_bytes(row['bytes'])} on {row['schema']}.{row['table']}; {how} {row['other']}"
    return Finding(
        object=f"index {row['schema']}.{row['index']}",
        status=Status.WARNING,
        message=message,
        value=float(row["bytes"]),
        unit="bytes",
        next="ALTER TABLE … DROP CONSTRAINT: a constraint stands on it" if row["is_needed"] else "",
    )


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

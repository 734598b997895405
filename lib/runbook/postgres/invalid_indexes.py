"""Which indexes are not valid, so that no query uses them?"""

import re
from typing import Any

import pandas as pd
from psycopg import sql

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status
from runbook.model.units import counted
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.privileges import seeing_all

SQL = read_sql(__package__, "invalid_indexes")
MOST = 10


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each index that is not valid: schema, table, index, is_unique, is_written (each write pays for
    it), is_partitioned (parts of it are missing), bytes, in_progress (an index of its table is being built, or it is
    being dropped).
    """
    return seeing_all(asking).rows(SQL)


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge each index that is not valid: WARNING. Those of a table on which one is just being built are not judged."""
    left, building = frame[~frame["in_progress"].astype(bool)], int(frame["in_progress"].sum())
    if left.empty:
        message = "every index is valid"
        if building:
            message = (
                f"every index is valid, but for {counted(building, 'index', 'indexes')} of a build that is under way"
            )
        return [Finding(object="indexes", status=Status.OK, message=message, value=0, unit="indexes")]
    findings = [_invalid(row) for row in left.head(MOST).to_dict("records")]
    if len(left) > MOST:
        message = counted(len(left) - MOST, "more is not valid", "more are not valid")
        findings.append(Finding(object="other indexes", status=Status.WARNING, message=message))
    return findings


def _invalid(row: dict[Any, Any]) -> Finding:
    message, name = f"on {row['schema']}.{row['table']}, ", sql.Identifier(row["schema"], row["index"]).as_string()
    drop = f"DROP INDEX CONCURRENTLY {name}"
    after = f"{drop}, and CREATE INDEX CONCURRENTLY again; or at once: REINDEX INDEX CONCURRENTLY {name}"
    # What a REINDEX CONCURRENTLY leaves is beside the index that it was to replace.
    after = drop if re.search(r"_cc(new|old)\d*$", row["index"]) else after
    if row["is_partitioned"]:
        message += "not valid: not every partition has its part of it"
        after = f"see which partition lacks it, and ALTER INDEX {name} ATTACH PARTITION …"
    else:
        message += "not valid: its build failed or was broken off; no query uses it"
        message += ", though every write pays for it" if row["is_written"] else ""
    if row["is_unique"]:
        message += "; nobody can rely on its uniqueness"
        if not row["is_partitioned"]:
            after = f"{drop}, find the rows that are not unique, then build it again"
    return Finding(object=f"index {row['schema']}.{row['index']}", status=Status.WARNING, message=message, next=after)


invalid_indexes = Question(
    name="postgres.invalid_indexes",
    title="Which indexes are not valid?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="DROP INDEX CONCURRENTLY, and CREATE INDEX CONCURRENTLY again; what ends in _ccnew or _ccold is only dropped",
    explained_by=EXPLAINED_BY,
)

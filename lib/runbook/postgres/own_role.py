"""Can the runbook's own role do harm?"""

import pandas as pd

from runbook.connections import PostgresConnection, monitor_grant, read_sql
from runbook.model import Asking, Finding, Question, Status
from runbook.model.units import counted
from runbook.postgres.explanations import EXPLAINED_BY

SQL = read_sql(__package__, "own_role")


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: role, is_superuser, sees_all, writes_tables (how many it can change), powers (its others)."""
    return asking.connection(PostgresConnection).rows(SQL)


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge the role: a superuser, or one that can write, is a WARNING.

    A read-only transaction does not stop a superuser's VACUUM, REINDEX or ALTER SYSTEM.
    """
    row, after = frame.iloc[0], ""
    if row["is_superuser"]:
        message = "is a superuser: a read-only session does not stop its VACUUM, REINDEX or ALTER SYSTEM"
    elif row["writes_tables"] or row["powers"]:
        tables = f"change {counted(int(row['writes_tables']), 'table')}" if row["writes_tables"] else ""
        message = f"can do more than read statistics: {'; '.join(filter(None, [tables, row['powers']]))}"
    elif not row["sees_all"]:
        message = "lacks pg_monitor: other sessions and server settings stay hidden from the runbook"
        after = monitor_grant(row["role"])
    else:
        return [Finding(object=row["role"], status=Status.OK, message="may read statistics and change nothing")]
    return [Finding(object=row["role"], status=Status.WARNING, message=message, next=after)]


own_role = Question(
    name="postgres.own_role",
    title="Can the runbook's own role do harm?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="use a role of its own: CREATE ROLE runbook LOGIN; GRANT pg_monitor TO runbook",
    explained_by=EXPLAINED_BY,
)

"""Which maintenance runs now, and how far is it?"""

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status
from runbook.model.units import counted
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.records import records

SQL = read_sql(__package__, "maintenance_at_work")
MOST_TOLD = 10


def probe(asking: Asking) -> pd.DataFrame:
    """Return what is at work, at most 20: pid, what (its command), phase, done and total (blocks, or rows where it
    counts those), database, relation_oid, table_name, application, session_role, seconds.

    Of other roles' work a role without pg_monitor sees the pid and the database only.
    """
    return asking.connection(PostgresConnection).rows(SQL)


def check(frame: pd.DataFrame) -> list[Finding]:
    """Tell each vacuum, analyze, index build and rewrite with how far it is; none is wrong by itself."""
    if frame.empty:
        message = "no vacuum, analyze, index build or rewrite is at work"
        return [Finding(object="maintenance", status=Status.OK, message=message)]
    findings = []
    for row in records(frame.head(MOST_TOLD)):
        on = f" of {row['table_name']}" if row["table_name"] else f" in database {row['database']}"
        if row["phase"] is None:
            message = f"{row['what'] or 'maintenance'}{on}; the rest is hidden from a role without pg_monitor"
        else:
            share = f", {100 * row['done'] / row['total']:.0f}% of this phase" if row["total"] else ""
            message = f"{row['what']}{on}: {row['phase']}{share}, for {row['seconds'] or 0:.0f} s"
        findings.append(Finding(object=f"pid {row['pid']}", status=Status.OK, message=message))
    if len(frame) > MOST_TOLD:
        message = f"{counted(len(frame) - MOST_TOLD, 'further one')} at work"
        findings.append(Finding(object="maintenance", status=Status.OK, message=message))
    return findings


maintenance_at_work = Question(
    name="postgres.maintenance_at_work",
    title="Which maintenance runs now, and how far is it?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="ask again to see whether it gets on; a build that waits shows whom it waits for in pg_locks",
    explained_by=EXPLAINED_BY,
)

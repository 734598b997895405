"""How far is the database from running out of transaction ids?"""

from collections.abc import Mapping
from typing import Any

import msgspec
import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, at_most, first_of
from runbook.model.text import to_run
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.records import records

SQL = read_sql(__package__, "wraparound")
IDS = (("transactions", "transaction ids"), ("multixacts", "multixact ids"))


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each database, and for the 10 oldest tables of this one: kind, name, transactions (the age of
    its oldest transaction id that is not frozen), multixacts (the same of multixact ids), bytes, here.
    """
    return asking.connection(PostgresConnection).rows(SQL)


def check(frame: pd.DataFrame, *, warning: float = 500_000_000, critical: float = 1_200_000_000) -> list[Finding]:
    """Judge the age of each database, in transactions and in multixacts, which run out separately.

    Writes stop some three million before 2.1 billion. Autovacuum is forced at 200 million (400 million multixacts), so
    that at half a billion it is behind (the first alarm of AWS and Netdata); at 1.2 billion of 2 postgres-checkup
    (F002) asks for a VACUUM FREEZE by hand.
    """
    databases, tables = frame[frame["kind"] == "database"], frame[frame["kind"] == "table"]
    judged = []
    for column, what in IDS:
        worst = tables.sort_values(column, ascending=False, kind="stable").head(3)
        for row in records(databases):
            message = f"its oldest rows are {row[column]:,} {what} old; writes stop at 2.1 billion"
            if row["here"]:
                named = ", ".join(f"{table['name']} ({table[column]:,})" for table in records(worst))
                message += f"; the oldest tables: {named}"
            subject = f"database {row['name']} {what}"
            finding = at_most(subject, int(row[column]), warning, critical, unit=what, message=message)
            oldest_table = records(worst)[0]["name"] if len(worst) else ""
            judged.append(msgspec.structs.replace(finding, next=_next(row, oldest_table)) if finding.bad else finding)
    bad = [finding for finding in judged if finding.bad]
    if bad:
        return first_of(sorted(bad, key=lambda finding: -float(finding.value or 0)), "databases")
    told = []
    for column, what in IDS:
        oldest = int(databases[column].max())
        message = f"no database is older than {warning:,.0f} {what}; writes stop at 2.1 billion"
        told.append(at_most(what, oldest, warning, critical, unit=what, message=message))
    return told


def _next(database: Mapping[str, Any], table: str) -> str:
    if not database["here"] or not table:
        return f"ask there which tables are the oldest: a profile whose dsn leads to database {database['name']}"
    # A table's TOAST is vacuumed with it.
    again = to_run("database-maintenance", table=table.removesuffix(" (TOAST)"))
    return f"end what holds vacuum back (postgres.xmin_horizon); then vacuum the oldest table: {again}"


wraparound = Question(
    name="postgres.wraparound",
    title="How far is the database from running out of transaction ids?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="see what holds vacuum back (postgres.xmin_horizon) and end it, then VACUUM the oldest tables",
    explained_by=EXPLAINED_BY,
)

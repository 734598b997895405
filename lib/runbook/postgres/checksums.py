"""Has PostgreSQL met a damaged page?"""

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status, first_of
from runbook.model.units import counted
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.records import records

SQL = read_sql(__package__, "checksums")


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for this database, the shared catalogs and each other database with failures: database,
    data_checksums (on, off), failures, last_failure, stats_reset.
    """
    return asking.connection(PostgresConnection).rows(SQL)


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge the damaged pages that were met: any is CRITICAL; without checksums none is noticed: UNKNOWN."""
    bad = frame[frame["failures"] > 0]
    findings = [
        Finding(
            object=f"database {row['database']}",
            status=Status.CRITICAL,
            message=f"{counted(int(row['failures']), 'damaged page')} met, "
            f"the last at {row['last_failure']:%Y-%m-%d %H:%M} UTC",
            value=int(row["failures"]),
            threshold=0,
            unit="pages",
        )
        for row in records(bad)
    ]
    if findings:
        return first_of(findings, "databases")
    if frame["data_checksums"].iloc[0] != "on":
        message = "data checksums are off: a flipped byte in a row is found by nothing, and served as if it were right"
        how = "stop the server and `pg_checksums --enable`, or make the next cluster with `initdb -k`"
        return [Finding(object="data checksums", status=Status.UNKNOWN, message=message, next=how)]
    message = "data checksums are on, and no page that was read failed its own"
    return [Finding(object="data checksums", status=Status.OK, message=message, value=0, threshold=0, unit="pages")]


checksums = Question(
    name="postgres.checksums",
    title="Has PostgreSQL met a damaged page?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="copy the data folder as it is before anything else, then find the relation in the server's log; restore it",
    explained_by=EXPLAINED_BY,
)

"""What have the databases done since their statistics began?"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status
from runbook.model.units import as_bytes, counted
from runbook.postgres.explanations import EXPLAINED_BY

SQL = read_sql(__package__, "database_activity")


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each database, the busiest 100: database, sessions, commits, rollbacks, hits and reads (blocks
    of 8 KiB, from the cache and from the system), hit_percent (None: nothing was read), temp_files, temp_bytes,
    deadlocks, conflicts (queries that a standby cancelled), stats_reset (None: never).
    """
    frame = asking.connection(PostgresConnection).rows(SQL)
    read = frame["hits"] + frame["reads"]
    frame["hit_percent"] = 100 * frame["hits"] / read.where(read > 0)
    return frame


def check(frame: pd.DataFrame) -> list[Finding]:
    """Tell each database's figures; none of them is an alarm.

    A share of hits says nothing of how fast it is (what PostgreSQL does not hold, the system's cache may), and a few
    deadlocks or temporary files are usual: what they were a week ago is what they compare with.
    """
    shown = [_told(row) for row in frame.head(10).to_dict("records")]
    if len(frame) > 10:
        message = f"{counted(len(frame) - 10, 'more database')} did less"
        shown.append(Finding(object="other databases", status=Status.OK, message=message, value=len(frame) - 10))
    return shown


def _told(row: Mapping[Any, Any]) -> Finding:
    hits = f"{row['hit_percent']:.1f}% of its reads from the cache" if pd.notna(row["hit_percent"]) else "nothing read"
    since = f"since {row['stats_reset']:%Y-%m-%d %H:%M} UTC" if pd.notna(row["stats_reset"]) else "since it was made"
    rest = (
        f"{counted(row['temp_files'], 'temporary file')} ({as_bytes(row['temp_bytes'])}), "
        f"{counted(row['deadlocks'], 'deadlock')}, {counted(row['conflicts'], 'conflict')}"
    )
    value = round(row["hit_percent"], 1) if pd.notna(row["hit_percent"]) else None
    return Finding(
        object=f"database {row['database']}",
        status=Status.OK,
        message=f"{hits}, {rest}, {since}",
        value=value,
        unit="% from the cache",
    )


database_activity = Question(
    name="postgres.database_activity",
    title="What have the databases done?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="compare it with an archived run of last week",
    explained_by=EXPLAINED_BY,
)

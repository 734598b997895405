"""How many connections are left for the application?"""

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, at_most
from runbook.model.text import to_run
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.privileges import seeing_all

SQL = read_sql(__package__, "connection_slots")


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: used, usable, max_connections, reserved; the last three in connections."""
    return seeing_all(asking).rows(SQL)


def check(frame: pd.DataFrame, *, warning: float = 80, critical: float = 90) -> list[Finding]:
    """Judge the share of usable slots that is taken (%).

    The two limits are those that managed services and check_postgres alert at; slots that are reserved for superusers
    are not usable, and background workers take none.
    """
    row = frame.iloc[0]
    share = 100 * row["used"] / row["usable"] if row["usable"] else 100.0
    message = f"{row['used']} of {row['usable']} connection slots used ({row['reserved']} more are reserved)"
    return [at_most("slots", share, warning, critical, unit="%", message=message)]


connection_slots = Question(
    name="postgres.connection_slots",
    title="How many connection slots are left?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next=f"{to_run('connection-exhaustion')}: who holds them, and the plan to end idle ones",
    explained_by=EXPLAINED_BY,
)

"""Which tables are due for VACUUM ANALYZE, since autovacuum did not come to them?"""

from typing import Any

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status
from runbook.model.units import counted

# Autovacuum itself begins at 20% dead rows, and renews statistics at 10% that changed; each but for some.
SHARE, FEW = 0.2, 1000


def due(frame: pd.DataFrame, share: float = SHARE, few: float = FEW) -> pd.DataFrame:
    """Return the rows of tables that are due, by dead rows or by rows that changed since their statistics."""
    rows = frame["live"] + frame["dead"]
    dead = (frame["dead"] > few) & (frame["dead"] > share * rows)
    return frame[dead | ((frame["changed"] > few) & (frame["changed"] > share * rows))]


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each table: oid, schema, name, written (as SQL writes it), live, dead, changed (rows since its
    statistics), vacuums (how often), bytes.
    """
    return asking.connection(PostgresConnection).rows(read_sql(__package__, "due_tables"))


def check(frame: pd.DataFrame, *, share: float = SHARE, few: float = FEW) -> list[Finding]:
    """Judge by the ``share`` of rows that are dead or changed since the statistics, where they are more than ``few``.

    20% is where autovacuum begins by itself: a table beyond that is one that it does not keep up with.
    """
    late: Any = due(frame, share, few)
    if late.empty:
        message = f"none of {counted(len(frame), 'table')} has more than {share:.0%} dead or changed rows"
        return [Finding(object="tables", status=Status.OK, message=message, value=0, unit="tables")]
    row = late.iloc[0]
    message = (
        f"{counted(len(late), 'table is', 'tables are')} due: {row['written']} has {row['dead']:,} dead rows of "
        f"{row['live'] + row['dead']:,}, and {row['changed']:,} changed since its statistics"
    )
    return [Finding(object="tables", status=Status.WARNING, message=message, value=len(late), unit="tables")]


due_tables = Question(
    name="upkeep.due_tables",
    title="Which tables are due for VACUUM ANALYZE?",
    probe=probe,
    check=check,
    source=read_sql(__package__, "due_tables"),
    needs=(PostgresConnection,),
    next="the plan below vacuums them; why autovacuum did not is told by database-maintenance",
)

"""Do checkpoints come by the clock, or because the WAL is full?"""

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status
from runbook.postgres.explanations import EXPLAINED_BY

SQL = read_sql(__package__, "checkpoints")
SQL_17 = read_sql(__package__, "checkpoints_17")


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: timed, requested (checkpoints), write_seconds, sync_seconds, buffers (written), stats_reset,
    seconds (since then), max_wal_size, checkpoint_timeout.
    """
    connection = asking.connection(PostgresConnection)
    return connection.rows(SQL_17 if connection.version_num >= 170000 else SQL)


def check(frame: pd.DataFrame, *, most: float = 50, least: int = 10) -> list[Finding]:
    """Tell how many checkpoints were asked for; more than ``most`` % of them is a WARNING, of at least ``least``.

    The manual (WAL Configuration): those that come because max_wal_size is reached too soon write each page more often
    than needed. Backups and CREATE DATABASE ask for some as well, so that a few of them mean nothing.
    """
    row = frame.iloc[0]
    count = int(row["timed"] + row["requested"])
    share = 100 * row["requested"] / count if count else 0.0
    often = count >= least and share > most
    every = f", one every {row['seconds'] / count:.0f} s" if often and pd.notna(row["seconds"]) else ""
    message = f"{row['requested']} of {count} checkpoints were asked for{every}"
    message += f"; checkpoint_timeout is {row['checkpoint_timeout']}, max_wal_size {row['max_wal_size']}"
    return [
        Finding(
            object="checkpoints",
            status=Status.WARNING if often else Status.OK,
            message=message,
            value=round(share, 1),
            threshold=most,
            unit="% requested",
        )
    ]


checkpoints = Question(
    name="postgres.checkpoints",
    title="Do checkpoints come by the clock?",
    probe=probe,
    check=check,
    source=f"{SQL};\n{SQL_17}",
    needs=(PostgresConnection,),
    next="raise max_wal_size, unless it was a backup or a bulk load: then it is as it should be",
    explained_by=EXPLAINED_BY,
)

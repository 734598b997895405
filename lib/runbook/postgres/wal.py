"""Does the WAL take more room than it should?"""

import pandas as pd

from runbook.connections import PostgresConnection, monitor_grant, read_sql
from runbook.model import Asking, Finding, Question, at_most
from runbook.model.units import as_bytes, counted
from runbook.postgres.explanations import EXPLAINED_BY

SQL = read_sql(__package__, "wal")


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: files, bytes (of pg_wal), max_wal_bytes, keep_bytes (wal_keep_size), slot (the one that holds
    most) and slot_bytes, archive_mode, archiving_fails.

    Raises `CouldNotFindOut` with the missing grant.
    """
    connection = asking.connection(PostgresConnection)
    return connection.rows(SQL, grant=monitor_grant(connection.identity["role"]))


def check(frame: pd.DataFrame, *, warning: float = 1.5, critical: float = 3) -> list[Finding]:
    """Judge how often max_wal_size and wal_keep_size together fit into pg_wal.

    max_wal_size is a soft limit, as the manual says: it is passed under load, while archiving fails, and by what slots
    hold. Half as much again is a burst; three times as much is something that does not end by itself.
    """
    row = frame.iloc[0]
    allowed = row["max_wal_bytes"] + row["keep_bytes"]
    why = []
    if row["slot"] and row["slot_bytes"] > row["max_wal_bytes"]:
        why.append(f"slot {row['slot']} holds {as_bytes(row['slot_bytes'])}")
    if row["archiving_fails"] and row["archive_mode"] != "off":
        why.append("archiving fails, and nothing that is not archived is thrown away")
    keep = f" and wal_keep_size {as_bytes(row['keep_bytes'])}" if row["keep_bytes"] else ""
    message = f"pg_wal takes {as_bytes(row['bytes'])}, {counted(row['files'], 'file')}"
    message += f"; max_wal_size is {as_bytes(row['max_wal_bytes'])}{keep}"
    message += f"; {', '.join(why)}" if why else ""
    share = round(row["bytes"] / allowed, 2) if allowed else None
    return [at_most("pg_wal", share, warning, critical, unit="times its limits", message=message)]


wal = Question(
    name="postgres.wal",
    title="Does the WAL take more room than it should?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="find what holds it: an unused slot, archiving that fails, a standby far behind; never delete its files",
    explained_by=EXPLAINED_BY,
)

"""How large are the database and its tables, and how fast do they grow?"""

import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.evidence.archive import NotTrusted, RunPlace, archive_folder, runs
from runbook.evidence.records import frame_of, kept
from runbook.model import Asking, Finding, Question, Status
from runbook.model.layout import DATA_FOLDER
from runbook.model.units import as_bytes
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.records import records

SQL = read_sql(__package__, "sizes")
NAME = "postgres.sizes"
MOST_TOLD = 5
_MIB = 1 << 20
# How many archived runs are looked into for an earlier answer: each costs the reading of its record.
RUNS_READ = 200


def probe(asking: Asking) -> pd.DataFrame:
    """Return the 20 largest tables, each with the size of the database, in bytes: database, database_bytes, table_name,
    locked (another session keeps its size from being asked: total_bytes is then what the catalog knows), heap_bytes,
    index_bytes, toast_bytes, total_bytes, live_rows; and since, database_grown, grown: since the newest archived run of
    this target that asked the same (None where there is none).
    """
    frame = asking.connection(PostgresConnection).rows(SQL)
    since, before = earlier(asking.target.name, str(frame["database"].iloc[0]))
    if before is None:
        return frame.assign(since=None, database_grown=None, grown=None)
    were = before.drop_duplicates("table_name").set_index("table_name")["total_bytes"]
    return frame.assign(
        since=since,
        database_grown=frame["database_bytes"] - before["database_bytes"].iloc[0],
        grown=frame["total_bytes"] - frame["table_name"].map(were),
    )


def earlier(target: str, database: str) -> tuple[datetime | None, pd.DataFrame | None]:
    """Return when the newest archived run of a target told the sizes of a database, and its rows; None where none did.

    Which notebook ran does not matter. What cannot be read is passed over: growth is worth telling, not failing for.
    """
    own = os.environ.get("RUNBOOK_RUN_ID", "")
    with suppress(OSError, NotTrusted):
        for place in list(reversed(list(runs(archive_folder()))))[:RUNS_READ]:
            if place.run_id == own:
                continue
            with suppress(OSError, ValueError, KeyError):
                found = _of_run(place, target, database)
                if found is not None:
                    return found
    return None, None


def _of_run(place: RunPlace, target: str, database: str) -> tuple[datetime, pd.DataFrame] | None:
    if not any((place.folder / DATA_FOLDER).glob(f"*-{NAME}.parquet")):
        return None  # found out without reading its record
    record = kept(place).record
    if record is None or record.target != target or not record.started:
        return None
    rows = frame_of(place, NAME)
    if rows is None or rows.empty or rows["database"].iloc[0] != database:
        return None
    return datetime.fromisoformat(record.started).replace(tzinfo=UTC), rows


def check(frame: pd.DataFrame) -> list[Finding]:
    """Tell the sizes, and what each has grown by; a size is context and no alarm: the disk's limit is judged elsewhere.

    Only a table that another session locks is not OK: its size could not be asked.
    """
    first = frame.iloc[0]
    message = f"the database takes {_told(first['database_bytes'])}{_growth(first, 'database_grown')}"
    size = None if pd.isna(first["database_bytes"]) else round(float(first["database_bytes"]) / _MIB, 1)
    findings = [
        Finding(object=f"database {first['database']}", status=Status.OK, message=message, value=size, unit="MiB")
    ]
    tables = frame[frame["table_name"].notna()]
    for row in records(tables[~tables["locked"].astype(bool)].head(MOST_TOLD)):
        parts = f"indexes {as_bytes(row['index_bytes'])}, TOAST {as_bytes(row['toast_bytes'])}"
        message = f"{as_bytes(row['total_bytes'])} (rows {as_bytes(row['heap_bytes'])}, {parts}){_growth(row, 'grown')}"
        findings.append(
            Finding(object=f"table {row['table_name']}", status=Status.OK, message=message,
                    value=round(float(row["total_bytes"]) / _MIB, 1), unit="MiB")
        )  # fmt: skip
    for row in records(tables[tables["locked"].astype(bool)].head(MOST_TOLD)):
        message = f"another session locks it; some {as_bytes(row['total_bytes'])} when it was last vacuumed"
        findings.append(
            Finding(object=f"table {row['table_name']}", status=Status.UNKNOWN, message=message)
        )  # fmt: skip
    return findings


def _told(size: float | None) -> str:
    return "what this role may not ask" if size is None or pd.isna(size) else as_bytes(float(size))


def _growth(row: Any, column: str) -> str:
    if pd.isna(row["since"]):
        return "; no earlier run is archived to compare it with" if column == "database_grown" else ""
    if pd.isna(row[column]):
        return "; not among the largest before"
    grown = float(row[column])
    return f"; {'+' if grown >= 0 else '−'}{as_bytes(abs(grown))} since {row['since']:%Y-%m-%d %H:%M} UTC"


sizes = Question(
    name=NAME,
    title="How large are the database and its tables, and how fast do they grow?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="see who locks it and for how long (pg_locks, pg_stat_activity), and ask again",
    explained_by=EXPLAINED_BY,
)

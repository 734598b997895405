"""Is what the server writes archived?"""

from collections.abc import Mapping
from typing import Any

import msgspec
import pandas as pd

from runbook.connections import PostgresConnection, monitor_grant, read_sql
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable, at_most
from runbook.model.units import counted, length
from runbook.postgres.explanations import EXPLAINED_BY

SQL = read_sql(__package__, "archiving")
BACKLOG = read_sql(__package__, "archive_backlog")
_NEXT = "run archive_command by hand as the server's user; until it works pg_wal grows, and no backup reaches to now"
_NEXT_FILES = "see how long archive_command takes for one file, and whether its place is full or slow: pg_wal grows"
_HOUR = 3600


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: mode (archive_mode), in_recovery, has_way (a command or library is set), archived_count,
    failed_count, last_archived_time, last_failed_wal, last_failed_time, archived_seconds and failed_seconds (ago),
    stats_reset, waiting (WAL files that are not archived yet), oldest_seconds (how long the oldest waits), unseen (why
    these two are not known, "" where they are).
    """
    connection = asking.connection(PostgresConnection)
    frame = connection.rows(SQL)
    role = frame.pop("role").iloc[0]
    unseen: str = ""
    backlog: dict[Any, Any] = {"waiting": None, "oldest_seconds": None}
    if frame["mode"].iloc[0] != "off":
        try:
            backlog = connection.rows(BACKLOG, grant=monitor_grant(role)).iloc[0].to_dict()
        except Unreachable:
            raise
        except CouldNotFindOut as reason:
            unseen = str(reason)
    return frame.assign(**backlog, unseen=unseen)


def check(frame: pd.DataFrame, *, hours: float = 1, warning: float = 10, critical: float = 15) -> list[Finding]:
    """Judge whether archiving failed within ``hours``, and how many WAL files wait.

    A failure is CRITICAL while no success has come after it. The limits of the files are check_postgres' for
    archive_ready. Archiving that is off is said, and is no alarm: a base backup alone restores to its own end.
    """
    row = frame.iloc[0].to_dict()
    if row["mode"] == "off" or (row["in_recovery"] and row["mode"] != "always"):
        why = "archive_mode is off" if row["mode"] == "off" else "archive_mode is on, which a standby does not do"
        return [Finding(object="archiving", status=Status.OK, message=f"{why}: nothing is archived here", value="off")]
    found = [_failures(row, hours)]
    if row["unseen"]:
        return [*found, Finding(object="files that wait", status=Status.UNKNOWN, message=row["unseen"], unit="files")]
    oldest = f", the oldest for {row['oldest_seconds']:.0f} s" if pd.notna(row["oldest_seconds"]) else ""
    message = f"{counted(row['waiting'], 'WAL file')} not archived yet{oldest}"
    waiting = at_most("files that wait", row["waiting"], warning, critical, unit="files", message=message)
    return [*found, msgspec.structs.replace(waiting, next=_NEXT_FILES) if waiting.bad else waiting]


def _failures(row: Mapping[Any, Any], hours: float) -> Finding:
    done, failed = row["archived_seconds"], row["failed_seconds"]
    last = f"the last success {length(done)} ago" if pd.notna(done) else "nothing was archived yet"
    if not row["has_way"]:
        message = (
            f"archive_mode is {row['mode']}, and neither archive_command nor archive_library is set: all WAL is kept"
        )
        return Finding(object="archiving", status=Status.CRITICAL, message=message, next="set one, and reload")
    if pd.isna(failed) or failed > hours * _HOUR:
        message = f"no failure within {hours:g} h; {last}"
        return Finding(
            object="archiving", status=Status.OK, message=message, value=row["failed_count"], unit="failures"
        )
    since = pd.notna(done) and done < failed
    all_of_them = counted(row["failed_count"], "failure")
    message = f"failed {length(failed)} ago with {row['last_failed_wal']} ({all_of_them} in all); {last}"
    return Finding(
        object="archiving",
        status=Status.WARNING if since else Status.CRITICAL,
        message=f"{message}{', after it' if since else ''}",
        value=row["failed_count"],
        threshold=0,
        unit="failures",
    )


archiving = Question(
    name="postgres.archiving",
    title="Is the WAL archived?",
    probe=probe,
    check=check,
    source=f"{SQL};\n{BACKLOG}",
    needs=(PostgresConnection,),
    next=_NEXT,
    explained_by=EXPLAINED_BY,
)

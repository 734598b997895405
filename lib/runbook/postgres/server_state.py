"""Which server is this, may it be written to, and is it still looked after?"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status
from runbook.model.text import to_run
from runbook.postgres.explanations import EXPLAINED_BY

SQL = read_sql(__package__, "server_state")
# The last day of each version, after PostgreSQL's versioning policy (https://www.postgresql.org/support/versioning/).
SUPPORTED_UNTIL = {
    14: date(2026, 11, 12),
    15: date(2027, 11, 11),
    16: date(2028, 11, 9),
    17: date(2029, 11, 8),
    18: date(2030, 11, 14),
}
_NEXT_RECOVERY = f"see where the primary is; a restore: follow its log; a standby: {to_run('read-replica')}"
_NEXT_VERSION = "see postgresql.org/support/versioning, and plan the change of version"
# Where the runbook's role alone is read-only, as it should be, that says nothing of the application.
_OWN = ("user", "database user", "session", "client")


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: version, version_num, in_recovery, read_only (by default), read_only_by (where that is set),
    started, reloaded, pending_restart (names of settings), supported_until (None: older or newer than the table) and
    supported_days (that are left).
    """
    frame = asking.connection(PostgresConnection).rows(SQL)
    until = SUPPORTED_UNTIL.get(int(frame["version_num"].iloc[0]) // 10000)
    frame["supported_until"] = until
    frame["supported_days"] = (until - datetime.now(UTC).date()).days if until else None
    return frame


def check(frame: pd.DataFrame, *, days: float = 90) -> list[Finding]:
    """Judge whether the server takes writes, whether settings wait for a restart, how long its version is supported.

    A version gets no fixes after the day that PostgreSQL's versioning policy names, five years after its first release;
    ``days`` before it is a WARNING, since a change of version takes that long to prepare.
    """
    row = frame.iloc[0].to_dict()
    return [_writable(row), _pending(row), _supported(row, days)]


def _writable(row: Mapping[Any, Any]) -> Finding:
    up = f"up since {row['started']:%Y-%m-%d %H:%M} UTC"
    if row["in_recovery"]:
        message = f"in recovery: it is a standby, or a restore that is under way, and takes no writes; {up}"
        return Finding(
            object="server", status=Status.WARNING, message=message, value="in recovery", next=_NEXT_RECOVERY
        )
    if row["read_only"] and row["read_only_by"] not in _OWN:
        message = f"read-only: default_transaction_read_only is on, by the {row['read_only_by']}; {up}"
        after = "somebody did it, or a provider whose disk is full: find out before it is switched off"
        return Finding(object="server", status=Status.WARNING, message=message, value="read-only", next=after)
    return Finding(object="server", status=Status.OK, message=f"a primary that takes writes, {up}")


def _pending(row: Mapping[Any, Any]) -> Finding:
    names = list(row["pending_restart"])
    if not names:
        return Finding(
            object="settings", status=Status.OK, message="none waits for a restart", value=0, unit="settings"
        )
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return Finding(
        object="settings",
        status=Status.WARNING,
        message=f"what the configuration says does not hold until a restart: {shown}",
        value=len(names),
        unit="settings",
        next="restart when nobody needs the database, or take the change back: the next crash would bring it in",
    )


def _supported(row: Mapping[Any, Any], days: float) -> Finding:
    left, version = row["supported_days"], f"PostgreSQL {row['version']}"
    if left is None or pd.isna(left):
        old = row["version_num"] < min(SUPPORTED_UNTIL) * 10000
        message = f"{version} is {'out of support' if old else 'newer than the table of supported versions here'}"
        status, after = (Status.WARNING, _NEXT_VERSION) if old else (Status.OK, "")
        return Finding(object="version", status=status, message=message, value=version, next=after)
    until = f"{row['supported_until']:%Y-%m-%d}"
    message = (
        f"{version} has been out of support since {until}" if left < 0 else f"{version} is supported until {until}"
    )
    status = Status.WARNING if left < days else Status.OK
    after = _NEXT_VERSION if status is Status.WARNING else ""
    return Finding(
        object="version", status=status, message=message, value=left, threshold=days, unit="days", next=after
    )


server_state = Question(
    name="postgres.server_state",
    title="Does the server take writes, and is it looked after?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="see its log, and who changed its configuration",
    explained_by=EXPLAINED_BY,
)

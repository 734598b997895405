"""What a standby's receiver does, seen from the standby."""

import time
from collections.abc import Mapping
from typing import Any

import pandas as pd

from runbook.connections import PostgresConnection, monitor_grant, read_sql
from runbook.model import CouldNotFindOut, Finding, Status
from runbook.model.units import as_bytes
from runbook.postgres.lag import behind, judge_lag

SQL = read_sql(__package__, "receiver")
_BETWEEN_LOOKS = 0.5
_NEXT_GONE = (
    "see its log: a refused log-in, a slot that is gone or lost, a primary that was replaced; it starts by itself"
)
_NEXT_PAUSED = "SELECT pg_wal_replay_resume() on the standby, unless somebody paused it on purpose"


def receiver_of(connection: PostgresConnection, primary: str | None = None) -> dict[Any, Any]:
    """Return what one standby tells: in_recovery, state (streaming, …, or "gone"), should_stream (it has a primary to
    receive from), paused, received and replayed (positions), waiting_bytes (received, not replayed), behind_bytes
    (behind ``primary``, a position, where that is known), seconds (the age of what was replayed last, where what
    waited half a second ago still waits), silent_seconds (since the primary's last message), replayed_seconds.

    Raises `CouldNotFindOut` with the missing grant.
    """
    told = _look(connection, primary)
    if not told["sees_all"]:
        role = told["role"]
        raise CouldNotFindOut(f"role {role} may not see the receiver; {monitor_grant(role)}")
    seconds = None
    if told["waiting_bytes"] > 0 or (pd.notna(told["behind_bytes"]) and told["behind_bytes"] > 0):
        # What was replayed last may be old only because the primary was idle: what counts is whether it gets on.
        time.sleep(_BETWEEN_LOOKS)
        told = _look(connection, primary or told["received"])
        seconds = told["replayed_seconds"] if (told["behind_bytes"] or 0) > 0 else None
        if primary is None:
            told["behind_bytes"] = None
    state = (told.pop("receiver") or "starting") if told["has_receiver"] else "gone"
    return {**{k: v for k, v in told.items() if k not in ("role", "sees_all")}, "state": state, "seconds": seconds}


def _look(connection: PostgresConnection, primary: str | None) -> dict[Any, Any]:
    return connection.rows(SQL, {"primary": primary}).iloc[0].to_dict()


def judge_receiver(
    obj: str, row: Mapping[Any, Any], *, warning: float, critical: float, warning_mib: float, critical_mib: float
) -> Finding:
    """Judge a standby by its receiver first, then by whether replay is paused, then by its lag.

    A receiver that is gone is CRITICAL whatever the lag: seconds then read 0, however much was written since.
    """
    known = pd.notna(row["behind_bytes"])
    size = row["behind_bytes"] if known else row["waiting_bytes"]
    # Without the primary's position only what came and was not replayed can be told.
    lag = behind(row["behind_bytes"]) if known else f"{as_bytes(size)} received and not replayed"
    if row["state"] == "gone" and row["should_stream"]:
        last = row["replayed_seconds"]
        when = f", the last transaction that it has is {last:.0f} s old" if pd.notna(last) else ""
        unseen = "" if known else "; what the primary wrote since cannot be seen from here"
        why = f"; asked as it would: {row['refused']}" if row.get("refused") else ""
        message = f"its receiver is gone: nothing arrives; {lag}{when}{unseen}{why}"
        return Finding(
            object=obj,
            status=Status.CRITICAL,
            message=message,
            value="gone",
            threshold="streaming",
            next=_NEXT_GONE,
        )
    if row["paused"]:
        message = f"its replay is paused: {lag}, and its queries see the past"
        return Finding(object=obj, status=Status.WARNING, message=message, value="paused", next=_NEXT_PAUSED)
    how = "fed by the archive alone" if row["state"] == "gone" else f"receiver {row['state']}"
    limits = {"warning": warning, "critical": critical, "warning_mib": warning_mib, "critical_mib": critical_mib}
    judged = judge_lag(obj, size, row["seconds"], message=f"in recovery, {how}, {lag}", **limits)
    if judged.status is Status.OK and row["state"] not in ("streaming", "gone"):
        message = f"in recovery, {how}, {lag}"
        return Finding(object=obj, status=Status.WARNING, message=message, value=row["state"], threshold="streaming")
    return judged

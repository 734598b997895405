"""Does a replication slot hold WAL for nobody, or has one lost what its standby needs?"""

from collections.abc import Mapping
from typing import Any

import msgspec
import pandas as pd
from psycopg import sql

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status, at_most
from runbook.model.text import to_run
from runbook.model.units import as_bytes, counted
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.lag import MIB

SQL = read_sql(__package__, "replication_slots")
_LOST = "its standby must be made anew: what it needs is gone"


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each slot: slot, kind (physical, logical), database, active, active_pid, holds (whether it keeps
    anything), held_bytes (of WAL), wal_status (reserved, extended, unreserved, lost), safe_bytes (that may be written
    before it is in danger; None: no limit), conflicting, synced, inactive_since, invalidation_reason (None where the
    server is too old to tell).
    """
    return asking.connection(PostgresConnection).rows(SQL)


def check(frame: pd.DataFrame, *, warning_mib: float = 1024, critical_mib: float = 10240) -> list[Finding]:
    """Judge each slot: lost or about to be is CRITICAL, unused is a WARNING, and so is holding much WAL, in MiB.

    What wal_status says is the manual's (pg_replication_slots). 1024 MiB is the default max_wal_size: beyond it a slot
    is why pg_wal grows; at ten times that it is CRITICAL. A slot that is synced from a primary is never active here.
    """
    if frame.empty:
        message = "there is none, so none holds WAL"
        return [Finding(object="slots", status=Status.OK, message=message, value=0, unit="slots")]
    judged = [_judged(row, warning_mib, critical_mib) for row in frame.to_dict("records")]
    bad = sorted((f for f in judged if f.status is not Status.OK), key=lambda f: f.status is not Status.CRITICAL)
    if not bad:
        names = ", ".join(frame["slot"].head(10))
        message = f"{counted(len(frame), 'slot')}, each in use or without a claim: {names}"
        most = float(frame["held_bytes"].fillna(0).max()) / MIB
        return [Finding(object="slots", status=Status.OK, message=message, value=round(most, 1), unit="MiB")]
    if len(bad) > 10:
        message = f"{counted(len(bad) - 10, 'more slot is', 'more slots are')} not well"
        bad[10:] = [Finding(object="more slots", status=bad[10].status, message=message, value=len(bad) - 10)]
    return bad


def _judged(row: Mapping[Any, Any], warning_mib: float, critical_mib: float) -> Finding:
    obj, held = f"slot {row['slot']}", row["held_bytes"] if pd.notna(row["held_bytes"]) else 0.0
    holds = f"holds {as_bytes(held)} of WAL"
    reason = row["invalidation_reason"] or ("a conflict with recovery" if row["conflicting"] else "")
    if row["wal_status"] == "lost" or reason:
        message = f"is lost ({reason or 'more was written than max_slot_wal_keep_size lets it hold'}): {_who(row)}"
        return Finding(object=obj, status=Status.CRITICAL, message=message, value="lost", next=_drop(row, _LOST))
    since = f" since {row['inactive_since']:%Y-%m-%d %H:%M} UTC" if pd.notna(row["inactive_since"]) else ""
    used = f"in use by pid {row['active_pid']:.0f}" if row["active"] else f"is used by nobody{since}"
    left = f", {as_bytes(row['safe_bytes'])} more until it is lost" if pd.notna(row["safe_bytes"]) else ""
    message = f"{row['kind']}, {used}; {holds}{left}"
    if row["wal_status"] == "unreserved":
        message += "; what it needs goes at the next checkpoint"
        return Finding(object=obj, status=Status.CRITICAL, message=message, value="unreserved", next=_hurry(row))
    if row["synced"] or not (row["holds"] or row["active"]):
        return Finding(object=obj, status=Status.OK, message=message)
    size = at_most(obj, round(held / MIB, 1), warning_mib, critical_mib, unit="MiB", message=message)
    if not row["active"] and size.status is Status.OK:
        return Finding(
            object=obj,
            status=Status.WARNING,
            message=message,
            value=f"{as_bytes(held)} for nobody",
            next=_bring_back(row),
            threshold="in use",
        )
    if not row["active"]:
        return msgspec.structs.replace(size, next=_bring_back(row))
    return size


def drop(slot: str) -> str:
    """Return the statement that drops a slot, which fails while the slot is in use."""
    return sql.SQL("SELECT pg_drop_replication_slot({})").format(sql.Literal(slot)).as_string()


def bring_back(slot: str, kind: str) -> str:
    """Return what to do about a slot that nobody uses: its reader first; the statement that drops it comes last."""
    reader = f"standby back ({to_run('read-replica')})" if kind == "physical" else "subscriber back"
    return f"bring its {reader}; only if it never comes back: {drop(slot)}"


def _bring_back(row: Mapping[Any, Any]) -> str:
    return bring_back(row["slot"], row["kind"])


def _drop(row: Mapping[Any, Any], why: str) -> str:
    """Return the statement that drops a slot, with the reason to as its comment."""
    return f"{drop(row['slot'])}  -- {why}"


def _hurry(row: Mapping[Any, Any]) -> str:
    reader = "standby" if row["kind"] == "physical" else "subscriber"
    return (
        f"hurry: let its {reader} catch up before the next checkpoint (its log, network, a paused replay), or raise "
        "max_slot_wal_keep_size and SELECT pg_reload_conf(); drop the slot only once it is lost"
    )


def _who(row: Mapping[Any, Any]) -> str:
    return "its standby cannot go on" if row["kind"] == "physical" else "its subscriber cannot go on"


replication_slots = Question(
    name="postgres.replication_slots",
    title="Does a replication slot hold WAL for nobody?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="see what keeps its reader back: its log, its network, a replay that is paused",
    explained_by=EXPLAINED_BY,
)

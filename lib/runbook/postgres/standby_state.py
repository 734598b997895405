"""Does the standby on this machine follow its primary?"""

import pandas as pd

from runbook.connections import PostgresConnection, StandbyDatabase, read_sql, streams_from
from runbook.connections.programs import owner_of
from runbook.model import Asking, CouldNotFindOut, DoesNotApply, Finding, Question, Status, Unreachable
from runbook.model.text import to_run
from runbook.model.units import as_bytes
from runbook.postgres import receiver
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.standby_facts import log_of, starting, typed

POSITION = read_sql(__package__, "wal_position")
_NEXT_DOWN = "read its log, {log}, and start it: {start}; the plan that removes it ({removal}) drops its slot as well"
_NEXT_REFUSED = "compare the password that the standby takes with the one that the profile refers to"


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: name, port, answered (bool), kind and reason (why not), other (the system
    identifier, where another cluster answered), has_slot and slot_active (on the primary), held_bytes (what the slot
    holds), log and start (the file, and the command that starts it here); where it answered, also what
    `runbook.postgres.receiver.receiver_of` tells of it, behind_bytes counted from the primary's position, and refused
    (where nothing arrives: why the primary lets nobody in who asks as the standby would, by `primary_dsn`; or "").

    Raises `DoesNotApply` where the profile names no [standby].
    """
    primary, settings = asking.connection(PostgresConnection), asking.target.standby
    if settings is None:
        raise DoesNotApply(f"the profile of {asking.target.name} names no [standby] on this machine")
    position = primary.rows(POSITION, {"slot": settings.slot}).iloc[0]
    row = {
        "name": settings.name,
        "port": settings.port,
        "has_slot": bool(position["has_slot"]),
        "slot_active": bool(position["active"]),
        "held_bytes": position["held_bytes"],
        "log": log_of(settings),
        "start": typed(owner_of(settings.data), starting(settings)),
    }
    try:
        standby = asking.connection(StandbyDatabase)
        told = receiver.receiver_of(standby, position["position"])
        theirs = standby.identity["system"]
    except Unreachable as error:
        return pd.DataFrame([{**row, "answered": False, "kind": error.kind, "reason": error.reason}])
    other = theirs if theirs != primary.identity["system"] else ""
    gone = told["state"] == "gone" and told["should_stream"]
    refused = _refused(asking, primary.identity["system"]) if gone else ""
    return pd.DataFrame(
        [{**row, "answered": True, "kind": "", "reason": "", "other": other, **told, "refused": refused}]
    )


def _refused(asking: Asking, system: str) -> str:
    """Return why a standby gets nothing from its primary, as far as asking it the same way tells; "" where it lets in.

    What the runbook itself lacks for that (a password, say) is none of the standby's reasons.
    """
    try:
        other = streams_from(asking.target)
    except Unreachable as error:
        return error.reason
    except CouldNotFindOut:
        return ""
    return f"primary_dsn leads to another cluster ({other})" if system.isdigit() and other != system else ""


def check(
    frame: pd.DataFrame,
    *,
    warning: float = 5,
    critical: float = 60,
    warning_mib: float = 16,
    critical_mib: float = 1024,
) -> list[Finding]:
    """Judge the standby by its receiver, its replay and its lag; the limits are those of `postgres.replication`.

    One that does not answer is CRITICAL while its slot is there, which holds WAL for it. Without a slot it is not made
    yet, or was removed: that is well. One that is no standby any more (it was promoted) is CRITICAL.
    """
    row = frame.iloc[0].to_dict()
    name = f"standby {row['name']}"
    if not row["answered"]:
        if row["kind"] == "refused" and not row["has_slot"]:
            message = f"not made: nothing listens on port {row['port']}, and the primary has no slot for it"
            return [Finding(object=name, status=Status.OK, message=message, value="not made")]
        status = Status.UNKNOWN if row["kind"] in ("password", "tls-required", "not-configured") else Status.CRITICAL
        held = f"; its slot holds {as_bytes(row['held_bytes'])} of WAL" if pd.notna(row["held_bytes"]) else ""
        message = f"does not answer: {row['reason']}{held}"
        after = _NEXT_DOWN.format(log=row["log"], start=row["start"], removal=to_run("read-replica", remove="true"))
        after = _NEXT_REFUSED if row["kind"] == "password" else after
        return [Finding(object=name, status=status, message=message, value=row["kind"], next=after)]
    if row["other"]:
        message = f"another cluster answers on port {row['port']}: its system identifier is {row['other']}"
        after = "put the port right in the profile's [standby], or read_dsn"
        return [Finding(object=name, status=Status.CRITICAL, message=message, value="another cluster", next=after)]
    if not row["in_recovery"]:
        message = "is no standby: it takes writes of its own, which the primary does not have"
        after = "find out who promoted it, and which of the two the application writes to"
        return [Finding(object=name, status=Status.CRITICAL, message=message, value="promoted", next=after)]
    limits = {"warning": warning, "critical": critical, "warning_mib": warning_mib, "critical_mib": critical_mib}
    return [receiver.judge_receiver(name, row, **limits)]


standby_state = Question(
    name="postgres.standby_state",
    title="Does the standby on this machine follow its primary?",
    probe=probe,
    check=check,
    source=receiver.SQL.replace("%(primary)s", "'POSITION'"),
    needs=(PostgresConnection, StandbyDatabase),
    next="see the standby's log, and what its queries hold back: a long query on it delays the replay",
    explained_by=EXPLAINED_BY,
)

"""Can the application work with its database?"""

import time
from typing import Any

import msgspec
import pandas as pd

from runbook.connections import ApplicationDatabase, read_sql
from runbook.model import Asking, Finding, Question, Status, Unreachable, at_most
from runbook.model.text import to_run

SQL = read_sql(__package__, "reachable")
# Refused for want of the right password: the server is up, and whether the application gets in is not known.
_NEXT = {
    "slots": f"{to_run('connection-exhaustion')}: who holds them, and the plan to end idle ones; "
    "it needs a reserved slot",
    "name": "see how the profile's dsn writes the host's name, and what it resolves to here: getent hosts NAME",
    "timeout": "see whether the machine is up, and whether a firewall drops what is sent; then the server's log",
    "tls": "see the server's certificate (names, end, who signed it), and the profile's sslmode and sslrootcert",
    "other": "the reason is in the server's own words: see its log of this minute",
    "password": "compare the password that the service has with the one that the profile refers to",
    "no-database": "see whether the database was renamed or dropped, before anything creates an empty one",
    "not-configured": "add what is missing to the profile, or list the check under not_applicable",
    "tls-required": "write sslmode=require (better verify-full) into the address, or add the entry to pg_hba.conf",
    "shutting-down": "ask who stops it; as long as a session stays, a smart shutdown does not end",
    "starting": "wait, and follow the server's log: a recovery says how far it is",
}
_NOT_KNOWN = ("password", "tls-required", "not-configured")
_NEXT_SLOW = f"see what keeps it busy: {to_run('database-issues')}; then the machine and the network between"
_NEXT_STANDBY = "see where the primary is, and whether the address that the application has should lead there"
_NEXT_READ_ONLY = "somebody did it, or a provider whose disk is full: find out before it is switched off"


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: place, as_application (bool), answered (bool), kind and reason (why not), ms for the query,
    in_recovery, and read_only (what its transactions are by default).
    """
    settings = asking.target.postgres
    row = {"as_application": bool(settings and settings.application_dsn), "answered": False, "kind": "", "reason": ""}
    try:
        database = asking.connection(ApplicationDatabase)
        began = time.monotonic()
        told = database.rows(SQL).iloc[0]
    except Unreachable as error:
        return pd.DataFrame([{**row, "place": "", "kind": error.kind, "reason": error.reason, "ms": float("nan")}])
    where = f"{database.identity['database']} at {database.place} as {database.identity['role']}"
    ms = (time.monotonic() - began) * 1000
    # Of a role of the runbook's own it says nothing of the application that it may only read.
    read_only = told["read_only"] and (row["as_application"] or told["read_only_by"] not in ("user", "database user"))
    more = {"in_recovery": bool(told["in_recovery"]), "read_only": bool(read_only)}
    return pd.DataFrame([{**row, "place": where, "answered": True, "ms": ms, **more}])


def check(frame: pd.DataFrame, *, warning_ms: float = 500, critical_ms: float = 2000) -> list[Finding]:
    """Judge whether the query was answered, and how fast: `SELECT 1` touches no data, so anything slow is trouble.

    An application whose database takes no writes (a standby, or read-only) does not work: CRITICAL; a WARNING where it
    was asked with the runbook's role, since the application may connect to another server.
    """
    row = frame.iloc[0]
    if not row["answered"]:
        status = Status.UNKNOWN if row["kind"] in _NOT_KNOWN else Status.CRITICAL
        after = _NEXT.get(row["kind"], "")
        return [Finding(object="PostgreSQL", status=status, message=row["reason"], value=row["kind"], next=after)]
    own = "" if row["as_application"] else " (the runbook's own role: the profile names no application_dsn)"
    message = f"SELECT 1 in {row['place']} took {row['ms']:.0f} ms{own}"
    if row.get("in_recovery") or row.get("read_only"):
        return [_takes_no_writes(row, own)]
    judged = at_most("PostgreSQL", round(row["ms"], 1), warning_ms, critical_ms, unit="ms", message=message)
    return [msgspec.structs.replace(judged, next=_NEXT_SLOW) if judged.status is not Status.OK else judged]


def _takes_no_writes(row: "pd.Series[Any]", own: str) -> Finding:
    why, value, after = "it is in recovery (a standby, or a restore)", "in-recovery", _NEXT_STANDBY
    if not row["in_recovery"]:
        why, value, after = "its default_transaction_read_only is on", "read-only", _NEXT_READ_ONLY
    status = Status.CRITICAL if row["as_application"] else Status.WARNING
    message = f"{row['place']} answers and takes no writes: {why}{own}"
    return Finding(object="PostgreSQL", status=status, message=message, value=value, next=after)


reachable = Question(
    name="postgres.reachable",
    title="Can the application work with its database?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(ApplicationDatabase,),
    next="see whether the server runs, what its log says last, and whether its disk is full",
)

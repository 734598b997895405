"""Can the application work with its database?"""

import time

import pandas as pd

from runbook.connections import ApplicationDatabase, read_sql
from runbook.model import Asking, Finding, Question, Status, Unreachable, at_most

SQL = read_sql(__package__, "reachable")
# Refused for want of the right password: the server is up, and whether the application gets in is not known.
_NEXT = {
    "slots": "as a superuser (slots are reserved for one), see pg_stat_activity by application_name and state",
    "password": "compare the password that the service has with the one that the profile refers to",
    "no-database": "see whether the database was renamed or dropped, before anything creates an empty one",
    "not-configured": "add what is missing to the profile, or list the check under not_applicable",
    "starting": "wait, and follow the server's log: a recovery says how far it is",
}
_NOT_KNOWN = ("password", "not-configured")


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: place, as_application (bool), answered (bool), kind and reason (why not), ms for the query."""
    settings = asking.target.postgres
    row = {"as_application": bool(settings and settings.application_dsn), "answered": False, "kind": "", "reason": ""}
    try:
        database = asking.connection(ApplicationDatabase)
        began = time.monotonic()
        database.rows(SQL)
    except Unreachable as error:
        return pd.DataFrame([{**row, "place": "", "kind": error.kind, "reason": error.reason, "ms": float("nan")}])
    where = f"{database.identity['database']} at {database.place} as {database.identity['role']}"
    ms = (time.monotonic() - began) * 1000
    return pd.DataFrame([{**row, "place": where, "answered": True, "ms": ms}])


def check(frame: pd.DataFrame, *, warning_ms: float = 500, critical_ms: float = 2000) -> list[Finding]:
    """Judge whether the query was answered, and how fast: `SELECT 1` touches no data, so anything slow is trouble."""
    row = frame.iloc[0]
    if not row["answered"]:
        status = Status.UNKNOWN if row["kind"] in _NOT_KNOWN else Status.CRITICAL
        after = _NEXT.get(row["kind"], "")
        return [Finding(object="PostgreSQL", status=status, message=row["reason"], value=row["kind"], next=after)]
    own = "" if row["as_application"] else " (the runbook's own role: the profile names no application_dsn)"
    message = f"SELECT 1 in {row['place']} took {row['ms']:.0f} ms{own}"
    return [at_most("PostgreSQL", round(row["ms"], 1), warning_ms, critical_ms, unit="ms", message=message)]


reachable = Question(
    name="postgres.reachable",
    title="Can the application work with its database?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(ApplicationDatabase,),
    next="see whether the server runs, what its log says last, and whether its disk is full",
)

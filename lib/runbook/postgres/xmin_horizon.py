"""What holds vacuum back?"""

from collections.abc import Mapping
from typing import Any

import msgspec
import pandas as pd
from psycopg import sql

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, at_most, first_of
from runbook.model.text import to_run
from runbook.model.units import counted
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.privileges import seeing_all
from runbook.postgres.query_text import masked
from runbook.postgres.records import records
from runbook.postgres.replication_slots import bring_back

SQL = read_sql(__package__, "xmin_horizon")


def probe(asking: Asking) -> pd.DataFrame:
    """Return what keeps dead rows from being removed, the oldest first, at most 20: kind (session, replication slot,
    prepared transaction, standby feedback), name, application, session_role, database, state, transactions (the age of
    the oldest row version it still needs), since, backend_start, query (shortened), here (it concerns this database).

    Raises `CouldNotFindOut` for a role without pg_monitor.
    """
    return masked(seeing_all(asking).rows(SQL))


def holds_tables(frame: pd.DataFrame) -> "pd.Series[bool]":
    """Tell which rows hold back the vacuum of this database's tables, not of other databases' or of catalogs only."""
    of_catalogs = frame["state"].fillna("").str.endswith("keeps rows of the catalogs")
    return frame["transactions"].notna() & frame["here"].astype(bool) & ~of_catalogs


def told(holder: Mapping[str, Any]) -> str:
    """Return in words what a holder is: an idle transaction pid 123 of application etl …"""
    named, state = holder["name"], holder["state"] or "in another database"
    if holder["kind"] == "session":
        what = "an idle transaction" if str(state).startswith("idle in transaction") else f"a session ({state})"
        who = f"application {holder['application']}" if holder["application"] else f"role {holder['session_role']}"
        return f"{what} {named} of {who}"
    of_application = f" of {holder['application']}" if holder["kind"] == "standby feedback" else ""
    return f"the {holder['kind']} {named}{of_application} ({state})"


def release(holder: Mapping[str, Any]) -> str:
    """Return what makes a holder let go, by its kind."""
    name, kind = holder["name"], holder["kind"]
    if kind == "session":
        return f"ask its owner; then: {to_run('database-issues', pid=name.removeprefix('pid '))}"
    if kind == "prepared transaction":
        gid = sql.Literal(name).as_string().strip()
        where = sql.Identifier(holder["database"]).as_string()
        owner = holder["session_role"]
        return f"ask its owner, {owner}; in database {where}: ROLLBACK PREPARED {gid} (or COMMIT PREPARED)"
    if kind == "standby feedback":
        return (
            "see on the standby which query is long, and end it there; or hot_standby_feedback = off there, by which "
            "its long queries are cancelled instead"
        )
    if str(holder["state"]).startswith("active"):
        return "see what keeps its reader back: its log, its network, a long query on it"
    return bring_back(name, holder["application"])


def check(frame: pd.DataFrame, *, warning: float = 50_000_000, critical: float = 200_000_000) -> list[Finding]:
    """Judge how far back each holder keeps the horizon, in transactions.

    Beyond ``vacuum_freeze_min_age`` (50 million by default) it keeps an ordinary vacuum from freezing rows; beyond
    ``autovacuum_freeze_max_age`` (200 million) autovacuum is forced on every table again and again and cannot get
    ahead (PostgreSQL's manual, "Preventing Transaction ID Wraparound Failures").
    """
    judged = []
    for holder in records(frame):
        age = int(holder["transactions"])
        message = f"{told(holder)} keeps all rows that died within the last {counted(age, 'transaction')}"
        message += f": {holder['query']}" if holder["query"] else ""
        subject = f"{holder['kind']} {holder['name']}"
        finding = at_most(subject, age, warning, critical, unit="transactions", message=message)
        judged.append(msgspec.structs.replace(finding, next=release(holder)) if finding.bad else finding)
    bad = [finding for finding in judged if finding.bad]
    if bad:
        return first_of(bad, "holders")
    oldest = max((int(age) for age in frame["transactions"]), default=0)
    message = f"no session, slot, prepared transaction or standby keeps more than {warning:,.0f} transactions back"
    return [at_most("xmin horizon", oldest, warning, critical, unit="transactions", message=message)]


xmin_horizon = Question(
    name="postgres.xmin_horizon",
    title="What holds vacuum back?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="end the session (pid and backend_start); COMMIT or ROLLBACK PREPARED; drop the slot of what is gone",
    explained_by=EXPLAINED_BY,
)

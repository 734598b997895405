"""Refuse to judge from what a role cannot see."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from psycopg import conninfo, sql

from runbook.connections import PostgresConnection
from runbook.model import Asking, CouldNotFindOut

# What to do about a finding that a right is missing for.
AFTERWARDS = "give the runbook's role what is missing, or say in the profile why not, and ask again"


def role_of(connection: PostgresConnection) -> str:
    """Return the role that asks, as a GRANT names it."""
    return sql.Identifier(connection.identity["role"].removesuffix(" (superuser)")).as_string()


def grants(role: str, closed_schema: str | None, *what: str) -> str:
    """Return the statements that let a role read ``what``, in schemas of which some may be closed to it."""
    opened = [f"GRANT USAGE ON SCHEMA {closed_schema} TO {role}"] if closed_schema else []
    return "; ".join([*opened, *(f"GRANT SELECT {each} TO {role}" for each in what)])


def require_all_sessions(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame without its ``sees_all`` column; raises `CouldNotFindOut` with the missing grant.

    Without pg_monitor, pg_stat_activity hides what other roles do, and counts would be too low without a word.
    """
    if not frame["sees_all"].all():
        role = frame["role"].iloc[0]
        raise CouldNotFindOut(f"role {role} sees only its own sessions; as a superuser: GRANT pg_monitor TO {role}")
    return frame.drop(columns="sees_all")


def operator_of(asking: Asking) -> str | None:
    """Return the operator's role as the profile names it; None where only the server will know it."""
    dsn = asking.target.postgres.operator_dsn if asking.target.postgres is not None else None
    user = conninfo.conninfo_to_dict(dsn).get("user") if dsn else None
    return str(user) if user else None


def against_signalling(sessions: Iterable[Mapping[str, Any]]) -> str:
    """Return why the operator may not end sessions, or what they do, with the missing grant; "" where it may, or it is
    not known. Each session has session_role, session_is_superuser, operator, operator_may.
    """
    closed = [session for session in sessions if session["operator_may"] is False]
    if not closed:
        return ""
    operator, whose = closed[0]["operator"], ", ".join(sorted({str(session["session_role"]) for session in closed}))
    if any(session["session_is_superuser"] for session in closed):
        return f"only a superuser may end a session of a superuser ({whose}), which role {operator} is not"
    name = sql.Identifier(operator).as_string()
    return f"role {operator} may not end sessions of {whose}; as a superuser: GRANT pg_signal_backend TO {name}"

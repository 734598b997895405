"""Refuse to judge from what a role cannot see."""

import pandas as pd
from psycopg import sql

from runbook.connections import PostgresConnection
from runbook.model import CouldNotFindOut

# What to do about a finding that a right is missing for.
AFTERWARDS = "give the runbook's role what is missing, or say in the profile why not, and ask again"


LATER = "ask again, when few work"


def after(reason: str) -> str:
    """Return what to do about what could not be looked at for this reason: no grant helps against a lock."""
    return AFTERWARDS if "GRANT" in reason or "BYPASSRLS" in reason or "may not" in reason else LATER


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

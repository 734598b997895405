"""Refuse to judge from what a role cannot see."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from psycopg import conninfo, sql

from runbook.connections import PostgresConnection, monitor_grant
from runbook.model import Asking, CouldNotFindOut, Finding, Status

# What to do about a finding that a right is missing for.
AFTERWARDS = "give the runbook's role what is missing, or say in the profile why not, and ask again"


# A sequence of a schema, each of whose names may be quoted.
_NAME = r'(?:"(?:[^"]|"")+"|[^".\s]+)'
_OF_SEQUENCE = re.compile(rf"ON SEQUENCE ({_NAME})\.{_NAME} TO")
_MOST = 10
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


def unknown(reasons: Mapping[str, str], what: str, said: str) -> list[Finding]:
    """Return an UNKNOWN for each kind of reason, by the objects that it keeps from being looked at.

    One that a GRANT mends is a single kind, with all of them: those of sequences for their whole schema.
    """
    kinds: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        kinds.setdefault("GRANT" if after(reason) == AFTERWARDS and "GRANT" in reason else reason, []).append(name)
    findings = []
    for kind, names in kinds.items():
        told = kind
        if kind == "GRANT":
            told = "; ".join(_for_whole_schemas([reasons[name] for name in names]))
        subject = names[0] if len(names) == 1 else f"{len(names)} {what}"
        among = "" if len(names) == 1 else f" ({names[0]} among them)"
        message = f"{said}{among}: {told}"
        findings.append(Finding(object=subject, status=Status.UNKNOWN, message=message, next=after(reasons[names[0]])))
    return findings


def _for_whole_schemas(reasons: Sequence[str]) -> list[str]:
    each = list(dict.fromkeys(one for reason in reasons for one in reason.split("; GRANT ")))
    each = [one if one.startswith("GRANT ") else f"GRANT {one}" for one in each]
    if len(reasons) > 1:
        each = [_OF_SEQUENCE.sub(r"ON ALL SEQUENCES IN SCHEMA \1 TO", one) for one in each]
    each = list(dict.fromkeys(each))
    return each if len(each) <= _MOST else [*each[:_MOST], f"and {len(each) - _MOST} more grants"]


def seeing_all(asking: Asking, what: str = "sessions") -> PostgresConnection:
    """Return the connection of a role that sees ``what`` of all roles; raises `CouldNotFindOut` with the missing grant.

    Without pg_monitor, pg_stat_activity hides what other roles do, and counts would be too low without a word.
    """
    connection = asking.connection(PostgresConnection)
    if not connection.sees_all:
        role = connection.identity["role"]
        raise CouldNotFindOut(f"role {role} sees only its own {what}; {monitor_grant(role)}")
    return connection


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

"""Limit what one role may take: how many connections, and how long an idle one may stay."""

from collections.abc import Mapping
from typing import Any

from psycopg import sql

from runbook.connections import OperatorDatabase, PostgresConnection, read_sql
from runbook.model import Asking, Change, DoesNotApply, Draft, NotPlanned, Step
from runbook.postgres.acts import composed, plain

SQL = read_sql(__package__, "role_limits")
NO_LIMIT = -1


def observe(asking: Asking, role: str, connections: int, idle_minutes: int) -> dict[str, Any]:
    """Return database, name, connection_limit (-1: none), is_superuser, idle_session_timeout (as it is written for
    this role in this database; None: not set), connections (how many the role has now); only name without such a role.
    """
    frame = asking.connection(PostgresConnection).rows(SQL, {"name": role})
    return plain(frame) if len(frame) else {"name": role, "database": None}


def draft(facts: Mapping[str, Any], role: str, connections: int, idle_minutes: int) -> Draft:
    """Write out the limits: ``connections`` at most (0: as it is), ended after ``idle_minutes`` (0: as it is)."""
    if not role or not (connections or idle_minutes):
        raise DoesNotApply("no role is named, or no limit for it")
    if facts["database"] is None:
        raise DoesNotApply(f"there is no role {role}")
    if connections < 0 or idle_minutes < 0:
        raise NotPlanned("a limit below nothing is none")
    if connections and facts["is_superuser"]:
        raise NotPlanned(f"{role} is a superuser: PostgreSQL does not limit the connections of those")
    before = (facts["connection_limit"], facts["idle_session_timeout"])
    after = (connections or before[0], f"{idle_minutes}min" if idle_minutes else before[1])
    steps, inverse = _steps(facts, before, after), _steps(facts, after, before)
    if not steps:
        raise DoesNotApply(f"{role} has these limits already")
    radius = ["the sessions that it has stay as they are: the limits hold for those that are opened from now on"]
    if connections:
        radius.append(f"the role has {facts['connections']} connections now; beyond {connections} it is refused")
    if idle_minutes:
        radius.append(f"sessions idle for {idle_minutes} min are ended; a pool must take up with that")
    return Draft(
        summary=f"limit role {role}: " + "; ".join(step.shown for step in steps),
        steps=steps,
        blast_radius=tuple(radius),
        expected={"connection_limit": after[0], "idle_session_timeout": after[1]},
        inverse=inverse,
    )


def _steps(facts: Mapping[str, Any], before: tuple[Any, Any], after: tuple[Any, Any]) -> tuple[Step, ...]:
    """Return the steps that lead from limits to other ones: (connections, idle_session_timeout)."""
    steps = []
    if before[0] != after[0]:
        arguments = {"role": facts["name"], "limit": after[0]}
        steps.append(Step(act="connection_limit", shown=_connection_limit(arguments).as_string(), arguments=arguments))
    if before[1] != after[1]:
        arguments = {"role": facts["name"], "database": facts["database"], "timeout": after[1]}
        steps.append(Step(act="idle_timeout", shown=_idle_timeout(arguments).as_string(), arguments=arguments))
    return tuple(steps)


def _connection_limit(arguments: Mapping[str, Any]) -> sql.Composed:
    role, limit = sql.Identifier(arguments["role"]), sql.Literal(int(arguments["limit"]))
    return sql.SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(role, limit)


def _idle_timeout(arguments: Mapping[str, Any]) -> sql.Composed:
    where = sql.SQL("ALTER ROLE {} IN DATABASE {} ").format(
        sql.Identifier(arguments["role"]), sql.Identifier(arguments["database"])
    )
    if arguments["timeout"] is None:
        return where + sql.SQL("RESET idle_session_timeout")
    return where + sql.SQL("SET idle_session_timeout = {}").format(sql.Literal(arguments["timeout"]))


role_limits = Change(
    name="postgres.role_limits",
    title="Limit what a role may take",
    observe=observe,
    draft=draft,
    acts={"connection_limit": composed(_connection_limit), "idle_timeout": composed(_idle_timeout)},
    needs=(PostgresConnection,),
    acts_on=(OperatorDatabase,),
    partial=True,
    watched=("database", "name", "connection_limit", "idle_session_timeout"),
    restored=("connection_limit", "idle_session_timeout"),
    patience=5.0,
)

"""Log statements that take long, for a time: switched on by a plan, switched back by its inverse, told while it is
on."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
from psycopg import sql

from runbook.connections import OperatorDatabase, PostgresConnection, monitor_grant, read_sql
from runbook.model import Asking, Change, DoesNotApply, Draft, Finding, NotPlanned, Question, Status, Step
from runbook.model.plan import Plan
from runbook.plans.place import all_plans, journal
from runbook.postgres.acts import composed, plain
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.privileges import operator_of

SQL = read_sql(__package__, "log_slow_statements")
SQL_14 = read_sql(__package__, "log_slow_statements_14")
NAME = "postgres.log_slow_statements"
SETTING = "log_min_duration_statement"
OFF = -1
# Where ALTER SYSTEM takes effect: nothing that comes before the configuration's files has set it.
_CONFIGURED = ("default", "configuration file")
_OVERRIDES = {
    "database": "ALTER DATABASE … SET",
    "user": "ALTER ROLE … SET",
    "database user": "ALTER ROLE … IN DATABASE … SET",
    "global": "ALTER ROLE ALL SET",
}
_PER_PARAMETER = 150_000
_MOST_MINUTES = 24 * 60


def _asked(asking: Asking) -> pd.DataFrame:
    connection = asking.connection(PostgresConnection)
    text = SQL if connection.version_num >= _PER_PARAMETER else SQL_14
    return connection.rows(text, {"operator": operator_of(asking)})


def observe(asking: Asking, milliseconds: int, minutes: int) -> dict[str, Any]:
    """Return milliseconds (-1: off), by_alter_system (None: hidden), operator (its role; None: not known), may_set and
    may_reload (whether it may; None: not known), version_num, source (what sets it for this session), overrides
    (the statements that take back what takes its place for a database or a role; None: nothing does), sees_source.
    """
    facts = plain(_asked(asking))
    facts["version_num"] = asking.connection(PostgresConnection).version_num
    facts["loaded"] = str(facts["loaded"])
    return facts


def draft(facts: Mapping[str, Any], milliseconds: int, minutes: int) -> Draft:
    """Write out the logging of statements of ``milliseconds`` and more for ``minutes``; -1 switches it off again."""
    if not milliseconds:
        raise DoesNotApply("no duration is named from which on statements are to be logged")
    off = milliseconds == OFF
    if milliseconds < OFF or not (off or 0 < minutes <= _MOST_MINUTES):
        raise NotPlanned(f"give a duration in ms, and an end within {_MOST_MINUTES} minutes; -1 ms switches it off")
    if facts["source"] not in _CONFIGURED:
        raise NotPlanned(_overridden(facts))
    # Where it was set cannot be seen by all roles, but that it was not set at all can.
    if off and (facts["by_alter_system"] is False or facts["source"] == "default"):
        raise DoesNotApply("it was not switched on by ALTER SYSTEM, so there is nothing to take back")
    if not off and facts["milliseconds"] == milliseconds:
        raise DoesNotApply(f"statements of {milliseconds} ms and more are logged already")
    _require_rights(facts)
    former = facts["milliseconds"] if facts["by_alter_system"] else None
    wanted = None if off else milliseconds
    if off:
        return Draft(
            summary="log slow statements no longer: as the configuration file says",
            steps=_steps(wanted),
            blast_radius=("from the next statement of each session on, what the configuration file says holds again",),
            inverse=_steps(former),
        )
    overrides = facts["overrides"]
    elsewhere = [f"not where a database's or a role's own value stands; {overrides} ends that"] if overrides else []
    return Draft(
        summary=f"log statements of {milliseconds} ms and more for {minutes} min, then switch it back",
        steps=_steps(wanted),
        blast_radius=(
            "the texts of slow statements go into the server's log, with their literals: they can be anyone's data",
            f"the log grows by a line for each statement of {milliseconds} ms and more: mind its disk",
            f"nothing switches it back by itself: from {minutes} min on the notebook query-performance says that it is "
            "late; -1 ms plans it",
            *elsewhere,
        ),
        expected={"milliseconds": milliseconds},
        inverse=_steps(former),
    )


def _overridden(facts: Mapping[str, Any]) -> str:
    """Return why ALTER SYSTEM would have no effect on sessions such as the runbook's."""
    first = f"; first: {facts['overrides']}" if facts["overrides"] else ""
    told = f"{facts['milliseconds']} ms stands here by {_by(facts['source'])}, which comes before ALTER SYSTEM"
    return f"{told}: it would take no effect{first}"


def _by(source: str) -> str:
    """Return in words what sets a value that is not the configuration's."""
    return _OVERRIDES.get(source, f"the server's {source}")


def _require_rights(facts: Mapping[str, Any]) -> None:
    operator = facts["operator"]
    if operator is None:
        return  # a role that only the server will know
    name = sql.Identifier(operator).as_string()
    grants = []
    if facts["may_set"] is False:
        if facts["version_num"] < _PER_PARAMETER:
            raise NotPlanned(f"role {operator} may not: before 15 only a superuser may ALTER SYSTEM")
        grants.append(f"GRANT ALTER SYSTEM ON PARAMETER {SETTING} TO {name}")
    if facts["may_reload"] is False:
        grants.append(f"in this database, GRANT EXECUTE ON FUNCTION pg_reload_conf() TO {name}")
    if grants:
        raise NotPlanned(f"role {operator} may not; as a superuser: {'; '.join(grants)}")


def _steps(milliseconds: int | None) -> tuple[Step, ...]:
    arguments = {"milliseconds": milliseconds}
    return (
        Step(act="set", shown=_alter_system(arguments).as_string(), arguments=arguments),
        Step(act="reload", shown=_reload({}).as_string(), arguments={}),
    )


def _alter_system(arguments: Mapping[str, Any]) -> sql.Composed:
    name = sql.Identifier(SETTING)
    if arguments["milliseconds"] is None:
        return sql.SQL("ALTER SYSTEM RESET {}").format(name)
    return sql.SQL("ALTER SYSTEM SET {} = {}").format(name, sql.Literal(int(arguments["milliseconds"])))


def _reload(arguments: Mapping[str, Any]) -> sql.Composed:
    return sql.Composed([sql.SQL("SELECT pg_reload_conf() AS reloaded")])


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: milliseconds (from which on statements are logged; -1: none), by_alter_system, sees_source,
    source (what sets it for this session), loaded (UTC, when the configuration was last read), plan (the one that
    switched it on, or ""), since and until (UTC, as that plan says, else null), now (UTC, the time here).
    """
    frame = _asked(asking)[["milliseconds", "by_alter_system", "sees_source", "source", "loaded"]]
    now = datetime.now(UTC)
    plan, since = _by_plan(asking.target.name, int(frame["milliseconds"].iloc[0]))
    until = since + timedelta(minutes=float(plan.arguments["minutes"])) if plan is not None and since else None
    return frame.assign(plan=plan.id if plan is not None else "", since=since, until=until, now=now)


def _by_plan(target: str, milliseconds: int) -> tuple[Plan | None, datetime | None]:
    """Return the newest plan of this target that was begun and has set this, and when."""
    for plan in all_plans():
        if plan.change != NAME or plan.target != target or plan.arguments.get("milliseconds") != milliseconds:
            continue
        begun = [entry.at for entry in journal(plan) if entry.event == "intent"]
        if begun and not plan.undoes:
            return plan, datetime.fromisoformat(begun[0])
    return None, None


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge whether the logging of slow statements was left on: WARNING while it is on by ALTER SYSTEM, since that is
    for a time. What the configuration file says, or a database's or a role's own value, is meant to stay.
    """
    row = frame.iloc[0]
    name, milliseconds = SETTING, int(row["milliseconds"])
    if milliseconds < 0:
        return [Finding(object=name, status=Status.OK, message="slow statements are not logged", value=OFF, unit="ms")]
    told = f"statements of {milliseconds} ms and more are logged"
    if row["source"] not in _CONFIGURED:
        message = f"{told} here, by {_by(row['source'])}, whatever the configuration file says"
        return [Finding(object=name, status=Status.OK, message=message, value=milliseconds, unit="ms")]
    if not row["sees_source"] and not row["plan"]:
        message = f"{told}; whether for a time cannot be seen; {monitor_grant()}"
        return [Finding(object=name, status=Status.UNKNOWN, message=message, value=milliseconds, unit="ms")]
    if row["sees_source"] and not row["by_alter_system"]:
        message = f"{told}, as the configuration file says"
        return [Finding(object=name, status=Status.OK, message=message, value=milliseconds, unit="ms")]
    if row["plan"]:
        late = (row["now"] - row["until"]).total_seconds() / 60
        told += f" since {row['since']:%Y-%m-%d %H:%M} UTC, by plan {row['plan']}; to be switched back at "
        told += f"{row['until']:%Y-%m-%d %H:%M} UTC" + (f", {late:.0f} min ago" if late > 0 else "")
    else:
        told += " by ALTER SYSTEM, not by a plan that is kept here; the configuration was read last at "
        told += f"{row['loaded']:%Y-%m-%d %H:%M} UTC"
    return [Finding(object=name, status=Status.WARNING, message=told, value=milliseconds, unit="ms")]


log_slow_statements = Change(
    name=NAME,
    title="Log slow statements for a time",
    observe=observe,
    draft=draft,
    acts={
        "set": composed(_alter_system),
        "reload": composed(_reload, happened="configuration_loaded"),
    },
    needs=(PostgresConnection,),
    acts_on=(OperatorDatabase,),
    partial=True,
    watched=("milliseconds", "by_alter_system"),
    restored=("milliseconds",),
    patience=5.0,
)

slow_statement_logging = Question(
    name="postgres.slow_statement_logging",
    title="Has the logging of slow statements been left on?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="switch it back, by the plan of query-performance with -1 ms, or ALTER SYSTEM RESET and pg_reload_conf()",
    explained_by=EXPLAINED_BY,
)

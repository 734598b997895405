"""How a step is done to the database by the operator's role, and how it is found out later whether it happened."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from psycopg import sql

from runbook.connections import OperatorDatabase, PostgresConnection, read_sql
from runbook.model import Act, Asking, ChangeFailed

Arguments = Mapping[str, Any]
Statement = Callable[[Arguments], sql.Composed]

# How long a statement may take that only changes a setting or signals a session.
SECONDS = 10.0


def packaged(name: str, *, none: str, happened: str | None = None) -> Act:
    """Return an act that executes the packaged statement ``sql/NAME.sql`` with the step's arguments as its values.

    It returns a row for each thing that it did; where it returns no row, the step failed, and ``none`` says why. The
    precondition stands in the statement itself. ``happened`` is as in `composed`.
    """
    text = read_sql(__package__, name)

    def do(asking: Asking, arguments: Arguments) -> str:
        rows = asking.connection(OperatorDatabase).change(text, arguments, seconds=arguments.get("seconds", SECONDS))
        if not rows:
            raise ChangeFailed(none)
        return "; ".join(", ".join(f"{column} {value}" for column, value in row.items()) for row in rows)

    return Act(do, _found_out(happened))


def composed(statement: Statement, *, happened: str | None = None) -> Act:
    """Return an act that executes a statement composed of the step's arguments (`psycopg.sql`).

    ``happened`` is the name of a packaged question, which returns one row with one boolean, or null where it cannot be
    told, for the step's arguments and ``begun``; without it, that cannot be told later.
    """

    def do(asking: Asking, arguments: Arguments) -> str:
        seconds = arguments.get("seconds", SECONDS)
        rows = asking.connection(OperatorDatabase).change(statement(arguments), seconds=seconds)
        return "; ".join(", ".join(f"{column} {value}" for column, value in row.items()) for row in rows)

    return Act(do, _found_out(happened))


def _found_out(name: str | None) -> Callable[[Asking, Arguments, datetime], bool | None]:
    if name is None:
        return lambda asking, arguments, begun: None
    text = read_sql(__package__, name)

    def happened(asking: Asking, arguments: Arguments, begun: datetime) -> bool | None:
        frame = asking.connection(PostgresConnection).rows(text, {**arguments, "begun": begun})
        told = frame.iloc[0, 0] if len(frame) else None
        return None if told is None else bool(told)

    return happened

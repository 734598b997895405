"""Packaged statements as acts of the operator's role, and how it is found out later whether they happened."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from psycopg import sql

from runbook.connections.postgres import OperatorDatabase, PostgresConnection, read_sql
from runbook.model import Act, Asking, ChangeFailed

if TYPE_CHECKING:
    import pandas as pd

Arguments = Mapping[str, Any]
Statement = Callable[[Arguments], sql.Composed]

# How long a statement may take that only changes a setting or signals a session.
SECONDS = 10.0


def plain(frame: "pd.DataFrame") -> dict[str, Any]:
    """Return the first row of a frame as plain data, as a plan keeps it; what is null is None."""
    first = frame.astype(object).where(frame.notna(), None).iloc[0]
    return {str(name): value for name, value in first.items()}


def packaged(package: str, name: str, *, none: str, happened: str | None = None) -> Act:
    """Return an act that executes the packaged statement ``sql/NAME.sql`` of a package.

    The step's arguments are its values. It returns a row for each thing that it did; where it returns none, the step
    failed, and ``none`` says why. The precondition stands in the statement itself. ``happened`` is as in `composed`.
    """
    text = read_sql(package, name)

    def do(asking: Asking, arguments: Arguments) -> str:
        rows = asking.connection(OperatorDatabase).change(text, arguments, seconds=arguments.get("seconds", SECONDS))
        if not rows:
            raise ChangeFailed(none)
        if any(value is False for row in rows for value in row.values()):
            raise ChangeFailed(f"it was not done: {_told(rows)}")
        return _told(rows)

    return Act(do, _found_out(package, happened))


def written(package: str, name: str, arguments: Arguments) -> str:
    """Return a packaged statement with its values in place, in one line, as one would type it."""
    text = " ".join(line.strip() for line in read_sql(package, name).splitlines() if not line.startswith("--"))
    parts = re.split(r"%\((\w+)\)s", text)
    values = [sql.Literal(arguments[part]).as_string() if place % 2 else part for place, part in enumerate(parts)]
    return "".join(values)


def composed(statement: Statement, *, package: str = "", happened: str | None = None) -> Act:
    """Return an act that executes a statement composed of the step's arguments (`psycopg.sql`).

    ``happened`` is the name of a question of a ``package``, which returns one row with one boolean, or null where it
    cannot be told, for the step's arguments and ``begun``; without it, that cannot be told later.
    """

    def do(asking: Asking, arguments: Arguments) -> str:
        seconds = arguments.get("seconds", SECONDS)
        rows = asking.connection(OperatorDatabase).change(statement(arguments), seconds=seconds)
        return _told(rows)

    return Act(do, _found_out(package, happened))


def _told(rows: list[dict[str, Any]]) -> str:
    return "; ".join(", ".join(f"{column} {value}" for column, value in row.items()) for row in rows)


def _found_out(package: str, name: str | None) -> Callable[[Asking, Arguments, datetime], bool | None]:
    if name is None:
        return lambda asking, arguments, begun: None
    text = read_sql(package, name)

    def happened(asking: Asking, arguments: Arguments, begun: datetime) -> bool | None:
        frame = asking.connection(PostgresConnection).rows(text, {**arguments, "begun": begun})
        told = frame.iloc[0, 0] if len(frame) else None
        return None if told is None else bool(told)

    return happened

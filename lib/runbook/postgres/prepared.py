"""Give a statement of the statistics, whose constants are $1, $2, …, to the planner: by PREPARE, on every version.

EXPLAIN (GENERIC_PLAN), from 16 on, does the same, but only by the protocol that takes several statements at once: there
a text that somebody has put into the statistics could end the EXPLAIN and go on with something else. PREPARE takes one
statement, of a kind that has a plan, and by the other protocol nothing can stand behind it.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
from psycopg import sql

from runbook.connections import PostgresConnection, read_sql
from runbook.connections.postgres import Rows

NAME = "runbook_statement"
PARAMETERS = read_sql(__package__, "prepared_parameters")
STATEMENT = read_sql(__package__, "statement")
_TYPED = re.compile(r"\b(interval|date|time|timestamp|timestamptz)\s+(\$\d+)", re.IGNORECASE)
_DEALLOCATE = sql.Composed([sql.SQL("DEALLOCATE "), sql.Identifier(NAME)])


def prepare(text: str) -> sql.Composed:
    """Return the statement that prepares a text.

    What was written as ``interval '1 day'`` stands in the statistics as ``interval $1``, which no parser takes.
    """
    text = _TYPED.sub(r"\2::\1", text)
    return sql.Composed([sql.SQL("PREPARE "), sql.Identifier(NAME), sql.SQL(" AS "), sql.SQL(text)])


def execute(options: str, values: Sequence[str | None]) -> sql.Composed:
    """Return the EXPLAIN of what was prepared, with a value for each of its parameters."""
    call = sql.Identifier(NAME) + sql.SQL("")
    if values:
        call += sql.SQL("(") + sql.SQL(", ").join(map(sql.Literal, values)) + sql.SQL(")")
    return sql.SQL("EXPLAIN ({}) EXECUTE ").format(sql.SQL(options)) + call


@contextmanager
def prepared(connection: PostgresConnection, text: str, seconds: float = 5.0) -> Iterator[tuple[Rows, int]]:
    """Give what asks in a transaction in which a text is prepared, and how many values it takes; then forget it again.

    It outlives the transaction, and behind a pooler it would be another client's: it is forgotten also after an error.
    """
    with connection.bounded(seconds) as rows:
        rows(prepare(text))
        rows("SAVEPOINT planned")
        try:
            yield rows, int(rows(PARAMETERS, {"name": NAME})["parameters"].iloc[0])
        finally:
            rows("ROLLBACK TO SAVEPOINT planned")
            rows(_DEALLOCATE)


def nodes(plan: Any) -> pd.DataFrame:
    """Return the nodes of a plan, the outermost first: depth, node, schema, relation, filter, rows, cost."""
    found: list[dict[str, Any]] = []
    left = [(json.loads(plan)[0]["Plan"] if isinstance(plan, str) else plan[0]["Plan"], 0)]
    while left:
        node, depth = left.pop()
        found.append(
            {
                "depth": depth,
                "node": node["Node Type"],
                "schema": node.get("Schema", ""),
                "relation": node.get("Relation Name", ""),
                "filter": node.get("Filter", ""),
                "rows": float(node["Plan Rows"]),
                "cost": float(node["Total Cost"]),
            }
        )
        left += [(inner, depth + 1) for inner in reversed(node.get("Plans", []))]
    return pd.DataFrame(found)

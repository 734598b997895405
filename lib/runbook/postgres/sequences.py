"""Will an integer key run out of values?"""

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd
from psycopg import sql

from runbook.connections import PostgresConnection, read_sql
from runbook.connections.postgres import LOCKED
from runbook.model import Asking, CouldNotFindOut, Finding, Question, at_most, first_of
from runbook.model.units import counted
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.privileges import grants, role_of, unknown
from runbook.postgres.records import records
from runbook.postgres.time_left import TimeLeft

SQL = read_sql(__package__, "sequences")
KEYS = read_sql(__package__, "integer_keys")
DEADLINE = 12.0
_CUT = "; there are more, of smaller tables, that were not looked at"
# Each statement reads so many sequences: as many locks as a session holds without the server's table of locks.
BATCH = 14
# As many as the two statements return; what there is beyond them is told.
_MOST_SEQUENCES = 20_000
_MOST_KEYS = 2000
COLUMNS = ["column_name", "column_type", "sequence_name", "narrower", "value", "limit", "percent", "reason"]


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each column that a sequence feeds (serial, identity, or by its default), for each sequence that
    feeds none, and for each small integer primary key without one: column_name, column_type, sequence_name, narrower
    (a column that refers to it and holds less), value, limit (the smallest of what column, referring columns and
    sequence hold), percent, reason (why the value is not known, and the grant that tells it).

    A sequence is read as a table is, which locks it less than the functions do.
    """
    connection = asking.connection(PostgresConnection)
    left = TimeLeft(asking, DEADLINE)
    fed = records(connection.rows(SQL))
    values, reasons = _last_values(connection, fed, left)
    rows = [_of_sequence(row, values, reasons) for row in fed]
    keys = records(connection.rows(KEYS))
    rows += [_of_key(connection, row, left) for row in keys]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame = frame.sort_values(["percent", "column_name"], ascending=[False, True], ignore_index=True)
    frame.attrs["cut"] = len(fed) >= _MOST_SEQUENCES or len(keys) >= _MOST_KEYS
    return frame


def _last_values(
    connection: PostgresConnection, fed: Iterable[dict[str, Any]], left: TimeLeft
) -> tuple[dict[str, int], dict[str, str]]:
    """Return each sequence's last value, and why it is not known of the others."""
    values: dict[str, int] = {}
    reasons: dict[str, str] = {}
    open_ = {}
    for row in fed:
        name = row["sequence_name"]
        if not row["readable"]:
            reasons[name] = grants(role_of(connection), row["closed_schema"], f"ON SEQUENCE {name}")
        elif row["locked"]:
            reasons[name] = LOCKED
        else:
            open_[name] = (row["schema"], row["sequence"])
    waiting = [dict(list(open_.items())[at : at + BATCH]) for at in range(0, len(open_), BATCH)]
    while waiting:
        batch = waiting.pop(0)
        told = left.look(connection, _reading(batch))
        if not isinstance(told, CouldNotFindOut):
            values |= dict(zip(told["name"], map(int, told["last_value"]), strict=True))
        elif len(batch) == 1:
            reasons[next(iter(batch))] = str(told)
        else:
            waiting += [{name: place} for name, place in batch.items()]
    return values, reasons


def _reading(batch: dict[str, tuple[str, str]]) -> sql.Composed:
    # Without bound values: beside them a % in a name would be taken for one.
    one = sql.SQL("SELECT {name} AS name, last_value FROM {sequence}")
    parts = [one.format(name=sql.Literal(name), sequence=sql.Identifier(*names)) for name, names in batch.items()]
    return sql.SQL(" UNION ALL ").join(parts)


def _of_sequence(row: dict[str, Any], values: dict[str, int], reasons: dict[str, str]) -> tuple[Any, ...]:
    name, falling = row["sequence_name"], row["increment"] < 0
    known = [limit for limit in (row["column_max"], row["narrower_max"]) if limit is not None]
    # Beyond its own limit one that cycles goes on, with values that the column has already.
    own = [] if row["cycles"] and known else [-row["seqmin"] if falling else row["seqmax"]]
    limit = min([*map(int, known), *map(int, own)])
    value = values.get(name)
    share = math.nan
    if value is not None:
        share = 100 * max(0, -value if falling else value) / limit if limit > 0 else 100.0
    column = row["column_name"] or ""
    narrower = row["narrower"] or ""
    return (column, row["column_type"] or "", name, narrower, value, limit, share, reasons.get(name, ""))


def _of_key(connection: PostgresConnection, row: dict[str, Any], left: TimeLeft) -> tuple[Any, ...]:
    """Return what is known of a key without a sequence: its highest value, which its own index tells."""
    value, reason = None, ""
    column, table, limit = row["column_name"], row["table_name"], int(row["column_max"])
    if not row["readable"]:
        named = sql.Identifier(row["attribute"]).as_string()
        reason = grants(role_of(connection), row["closed_schema"], f"({named}) ON {table}")
    else:
        statement = sql.SQL("SELECT max({column}) AS value FROM {table}").format(
            column=sql.Identifier(row["attribute"]), table=sql.Identifier(row["schema"], row["relation"])
        )
        told = left.look(connection, statement, locked=row["locked"])
        if isinstance(told, CouldNotFindOut):
            reason = str(told)
        else:
            highest = told.iloc[0, 0]
            value = 0 if highest is None or pd.isna(highest) else int(highest)  # type: ignore[arg-type]
    share = math.nan if value is None else 100 * max(0, value) / limit
    return (column, row["column_type"], "", "", value, limit, share, reason)


def check(frame: pd.DataFrame, *, warning: float = 85, critical: float = 95) -> list[Finding]:
    """Judge how much (%) of what a column can hold is used: when it is full, every insert fails.

    The limits are those of check_postgres (``sequence``); but it is the *column* that runs out: a bigint sequence is at
    0.00000002% when the integer column that it feeds is full, and so may a column be that refers to it.
    """
    judged: list[Finding] = []
    hidden: dict[str, str] = {}
    for row in records(frame):
        subject = f"column {row['column_name']}" if row["column_name"] else f"sequence {row['sequence_name']}"
        if row["percent"] is None:
            hidden[subject] = row["reason"]
            continue
        by = f", fed by {row['sequence_name']}" if row["sequence_name"] and row["column_name"] else ""
        holds = f"{row['column_type']}{by}" if row["column_type"] else "a sequence of no column"
        message = f"{row['percent']:.2f}% used: at {int(row['value']):,} of {int(row['limit']):,} ({holds})"
        message += f"; {row['narrower']}, which refers to it, holds no more" if row["narrower"] else ""
        judged.append(at_most(subject, round(row["percent"], 2), warning, critical, unit="%", message=message))
    bad = first_of([finding for finding in judged if finding.bad], "keys")
    told = first_of(unknown(hidden, "sequences and keys", "how full it is, is not known"), "sequences and keys")
    if bad or told:
        return bad + told
    if not judged:
        message = "there is no sequence and no integer key that could run out"
        return [at_most("integer keys", 0.0, warning, critical, unit="%", message=message)]
    message = f"{counted(len(judged), 'sequence or integer key', 'sequences and integer keys')}: "
    message += f"none has used more than {warning:g}% of what its column holds"
    message += _CUT if frame.attrs.get("cut") else ""
    fullest = max((float(finding.value or 0) for finding in judged), default=0.0)
    return [at_most("integer keys", fullest, warning, critical, unit="%", message=message)]


sequences = Question(
    name="postgres.sequences",
    title="Will an integer key run out of values?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    deadline=DEADLINE,
    next="a bigint column beside it, filled in batches and swapped; ALTER COLUMN TYPE bigint rewrites the locked table",
    explained_by=EXPLAINED_BY,
)

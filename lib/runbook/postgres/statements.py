"""What PostgreSQL records of each statement that it executes, and what is needed to read it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd
from psycopg.conninfo import conninfo_to_dict

from runbook.connections import PostgresConnection, monitor_grant, read_sql
from runbook.connections.postgres import Rows
from runbook.model import Asking, CouldNotFindOut, DoesNotApply
from runbook.model.text import to_run
from runbook.postgres.query_text import masked

RECORDED = read_sql(__package__, "statements_recorded")
SINCE = read_sql(__package__, "statements_since")
TEXTS = read_sql(__package__, "statement_texts")
# A statement text is shown so far; the first words tell it from others.
SHOWN = 140
# From which mean time (ms) and number of calls on a statement is slow: pghero's limits.
MEAN_MS, CALLS = 20.0, 100.0


@dataclass(frozen=True)
class Recorded:
    """What of the statistics holds for all statements: since when they count, how many were forgotten since (how often
    entries had to make room for others), now (the server's time), database (this one), block_size (bytes).
    """

    since: pd.Timestamp
    forgotten: int
    now: pd.Timestamp
    database: str
    block_size: int

    @property
    def minutes(self) -> float:
        """Return for how many minutes the statistics have counted."""
        return float((self.now - self.since).total_seconds()) / 60


@contextmanager
def statements(connection: PostgresConnection) -> Iterator[tuple[Rows, Recorded]]:
    """Give what asks within one transaction in which the extension's own names are found, and since when it counts.

    Raises `DoesNotApply` where the server does not load pg_stat_statements, and `CouldNotFindOut` where the database
    lacks the extension, the role the right, or the server is told to record nothing; with what to do.
    """
    with connection.bounded() as rows:
        found = rows(RECORDED).iloc[0]
        _require(found, connection)
        rows("SELECT set_config('search_path', %(schema)s, true)", {"schema": found["schema"]})
        try:
            since = rows(SINCE).iloc[0]
        except Exception as error:
            if "shared_preload_libraries" in str(error):
                raise DoesNotApply(_HOW) from error
            raise
        told = Recorded(
            since["since"],
            int(since["forgotten"]),
            since["now"],
            str(found["database"]),
            int(found["block_size"]),
        )
        yield rows, told


def apart(asking: Asking) -> bool:
    """Tell whether the runbook has a role of its own, whose statements are none of the application's."""
    settings = asking.target.postgres
    if settings is None or settings.application_dsn is None:
        return False
    user, other = (conninfo_to_dict(dsn).get("user") for dsn in (settings.dsn, settings.application_dsn))
    return user is not None and other is not None and user != other


_HOW = (
    "this server does not record statements: set shared_preload_libraries = 'pg_stat_statements', restart it, and "
    "CREATE EXTENSION pg_stat_statements in this database"
)


def _require(found: "pd.Series[Any]", connection: PostgresConnection) -> None:
    role = connection.identity["role"]
    if pd.isna(found["most"]):
        raise DoesNotApply(_HOW)
    if found["schema"] is None:
        raise CouldNotFindOut(
            f"database {found['database']} has no extension pg_stat_statements, although the server loads it; as a "
            "superuser, in this database: CREATE EXTENSION pg_stat_statements"
        )
    if not connection.sees_all:
        raise CouldNotFindOut(f"role {role} sees only its own statements; {monitor_grant(role)}")
    if not found["uses_schema"]:
        grant = f"GRANT USAGE ON SCHEMA {found['schema']} TO {role}"
        raise CouldNotFindOut(f"role {role} may not use the schema of pg_stat_statements; as its owner: {grant}")
    for name, value, instead in (
        ("pg_stat_statements.track", found["track"], "top"),
        ("compute_query_id", found["query_id"], "auto"),
    ):
        if value in ("none", "off"):
            raise CouldNotFindOut(
                f"{name} is {value}, so nothing is recorded; as a superuser: ALTER SYSTEM SET {name} = {instead}, then "
                "SELECT pg_reload_conf()"
            )


def with_texts(rows: Rows, frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame of statements with database, role and query (shortened, without literals) of each, but for those
    of the runbook itself.

    Where the server has lost a text, query says so.
    """
    queryids = [int(queryid) for queryid in frame["queryid"]]
    texts = masked(rows(TEXTS, {"queryids": queryids})).rename(columns={"session_role": "role"})
    texts = texts.astype({"dbid": "int64", "queryid": "int64"}) if len(texts) else texts
    if not len(texts) or not len(frame):
        return frame.assign(database="", role="", query="").drop(columns="dbid")
    frame = frame.drop(columns=[name for name in ("database", "role") if name in frame])
    joined = frame.merge(texts, on=["dbid", "queryid"], how="left")
    joined = joined[joined["own"].ne(True)].drop(columns="own").reset_index(drop=True)
    missing = joined["query"].isna()
    joined.loc[missing, "query"] = "(its text is not kept any more)"
    return joined.fillna({"database": "", "role": ""}).drop(columns="dbid")


def subject(row: Any, database: str) -> str:
    """Return how a statement is named: by its id, and its database where that is another one."""
    name = f"statement {row['queryid']}"
    return name if row["database"] in ("", database) else f"{name} in {row['database']}"


def planned(row: Any, database: str) -> str:
    """Return what shows a statement's plan; "" where it is one of another database, which this target cannot ask."""
    if row["database"] not in ("", database):
        return ""
    return f"see its plan, and whether an index is missing: {to_run('query-performance', statement=row['queryid'])}"


def shortened(query: str) -> str:
    """Return the first words of a statement."""
    return query if len(query) <= SHOWN else f"{query[:SHOWN]}…"

"""How much of the tables and indexes is air?"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from psycopg import sql

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, first_of
from runbook.model.text import to_run
from runbook.model.units import as_bytes, counted
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.records import records
from runbook.postgres.time_left import TimeLeft

SQL = read_sql(__package__, "bloat")
DEADLINE = 12.0
# So many of each kind are measured by reading them: the largest, and only where there is something to gain.
MEASURED = 5
_NEXT_UNKNOWN = "give what is missing, and ask again"
_MIB = 1 << 20


def probe(asking: Asking, least_mib: float = 100.0) -> pd.DataFrame:
    """Return the 20 largest tables and B-tree indexes: kind, relation_oid, relation_name, table_name, bytes,
    fillfactor, wasted_bytes (what would be gone if it were written anew; NaN: not known), percent, how (an estimate,
    measured, or why it is not known), locked, role, tool_schema and callable (of pgstattuple).

    The estimate is the planner's: rows times their average width. The largest above ``least_mib`` are measured instead
    where pgstattuple may be called, as long as there is time.
    """
    connection = asking.connection(PostgresConnection)
    left = TimeLeft(asking, DEADLINE)
    frame = connection.rows(SQL)
    rows = records(frame[frame["relation_name"].notna()])
    for row in rows:
        row["how"] = _not_known(row) if row["wasted_bytes"] is None else "an estimate"
    worth = [row for row in rows if row["bytes"] > least_mib * _MIB and row["callable"] and not row["locked"]]
    for kind in ("index", "table"):
        largest = sorted((row for row in worth if row["kind"] == kind), key=lambda row: -row["bytes"])
        for row in largest[:MEASURED]:
            told = left.look(connection, _measuring(row), {"oid": int(row["relation_oid"])})
            if isinstance(told, CouldNotFindOut):
                row["how"] += f" (not measured: {told})"
            else:
                row["wasted_bytes"], row["how"] = float(told.iloc[0, 0]), "measured"  # type: ignore[arg-type]
    frame = pd.DataFrame(rows, columns=[*frame.columns, "how"])
    return frame.assign(percent=100 * frame["wasted_bytes"].astype(float) / frame["bytes"])


def _not_known(row: Mapping[str, Any]) -> str:
    """Return what it takes to know it: the view of statistics shows the columns that a role may read."""
    return (
        f"no statistics of all its columns are to be seen; ANALYZE {row['table_name']}, and GRANT SELECT ON "
        f"{row['table_name']} TO {row['role']}, or CREATE EXTENSION pgstattuple, which a role with pg_monitor may call"
    )


def _measuring(row: Mapping[str, Any]) -> sql.Composed:
    """Return the statement that reads a relation for how many of its bytes are free or dead beyond what its fill factor
    leaves free.
    """
    if row["kind"] == "table":
        statement = (
            "SELECT greatest(0, told.approx_free_space + told.dead_tuple_len)::float8 AS wasted "
            "FROM {function}(%(oid)s::oid::regclass) AS told"
        )
        function = sql.Identifier(row["tool_schema"], "pgstattuple_approx")
    else:
        statement = (
            "SELECT greatest(0, told.index_size - current_setting('block_size')::bigint * (1 + told.internal_pages "
            "+ told.leaf_pages * least(1, coalesce(nullif(told.avg_leaf_density, 'NaN'), 0) / 90)))::float8 AS wasted "
            "FROM {function}(%(oid)s::oid::regclass) AS told"
        )
        function = sql.Identifier(row["tool_schema"], "pgstatindex")
    return sql.SQL(statement).format(function=function)


def check(frame: pd.DataFrame, *, percent: float = 80, index_mib: float = 100, table_mib: float = 200) -> list[Finding]:
    """Judge what is wasted: more than ``percent`` of an index above ``index_mib``, or of a table above ``table_mib``.

    These are the limits of awesome-prometheus-alerts for bloat (80%, 100 and 200 MB); what is smaller is not worth it.
    """
    limits = {"index": index_mib * _MIB, "table": table_mib * _MIB}
    judged = [row for row in records(frame) if row["bytes"] > limits[row["kind"]]]
    findings = []
    for row in sorted(judged, key=lambda row: -(row["wasted_bytes"] or 0)):
        subject = f"{row['kind']} {row['relation_name']}"
        if row["percent"] is None:
            message = f"{as_bytes(row['bytes'])}, of which nobody knows how much is air: {row['how']}"
            findings.append(Finding(object=subject, status=Status.UNKNOWN, message=message, next=_NEXT_UNKNOWN))
        elif row["percent"] > percent:
            message = f"{row['percent']:.0f}% of {as_bytes(row['bytes'])} is air ({as_bytes(row['wasted_bytes'])})"
            of_table = f", of table {row['table_name']}" if row["kind"] == "index" else ""
            findings.append(
                Finding(
                    object=subject,
                    status=Status.WARNING,
                    message=f"{message}{of_table}: {row['how']}",
                    value=round(row["percent"], 1),
                    threshold=percent,
                    unit="%",
                    next=_rebuilt(row["relation_name"]) if row["kind"] == "index" else "",
                )
            )
    if findings:
        return first_of(findings, "tables and indexes")
    large = counted(len(judged), "table or index is", "tables and indexes are")
    message = f"none is worth it: {large} above {index_mib:g} MiB (indexes) or {table_mib:g} MiB (tables)"
    message += f", and no more than {percent:g}% of any is air"
    return [Finding(object="bloat", status=Status.OK, message=message)]


def _rebuilt(index: str) -> str:
    return f"plan its REINDEX CONCURRENTLY: {to_run('database-maintenance', index=index)}"


bloat = Question(
    name="postgres.bloat",
    title="How much of the tables and indexes is air?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    deadline=DEADLINE,
    next="first see that vacuum is not held back; pg_repack, or VACUUM FULL when nobody works, gives the space back",
    explained_by=EXPLAINED_BY,
)

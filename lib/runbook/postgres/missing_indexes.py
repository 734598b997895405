"""Where is an index missing?"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from psycopg import sql

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status
from runbook.model.text import to_run
from runbook.model.units import as_bytes, counted
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.index_statistics import counted_since

KEYS = read_sql(__package__, "foreign_keys_without_index")
SCANS = read_sql(__package__, "sequential_scans")
MOST = 10


def probe(asking: Asking, *, rows: int = 10_000) -> pd.DataFrame:
    """Return a row for each foreign key without an index on its columns, of any table, and for each table of ``rows``
    and more that was read from end to end: kind ("foreign key" or "sequential scans"), schema, table, rows (as far as
    known).

    Of a foreign key: name, columns, refers_to, statement (which makes its index). Of a table, since the statistics
    began: seq_scans, seq_rows (read by them, each worker of a parallel one counted as one), idx_scans, bytes (as of the
    last vacuum), workers (that a scan of it may have). The frame's attrs hold what `counted_since` returns, and
    ``rows``.

    pg_stats, where it is often looked for, has statistics of columns, and tells neither.
    """
    connection = asking.connection(PostgresConnection)
    keys = connection.rows(KEYS).assign(kind="foreign key")
    keys["statement"] = [
        creation(row["schema"], row["table"], row["columns"], partitioned=row["is_partitioned"])
        for row in keys.to_dict("records")
    ]
    keys["columns"] = keys["columns"].map(", ".join)
    scans = connection.rows(SCANS, {"rows": rows}).assign(kind="sequential scans")
    columns = ["kind", "schema", "table", "rows", "name", "columns", "refers_to", "statement"]
    columns += ["seq_scans", "seq_rows", "idx_scans", "bytes", "workers"]
    parts = [part.reindex(columns=columns).astype(object) for part in (keys, scans)]
    frame = pd.concat(parts, ignore_index=True).infer_objects()
    frame.attrs.update(counted_since(connection), rows=rows)
    return frame


def creation(schema: str, table: str, columns: Sequence[str], *, partitioned: bool = False) -> str:
    """Return the statement that makes an index on columns of a table.

    That of a partitioned table cannot be made while others write: it is made empty, and its parts one by one.
    """
    statement = sql.SQL("CREATE INDEX {how} {table} ({columns})").format(
        how=sql.SQL("ON ONLY" if partitioned else "CONCURRENTLY ON"),
        table=sql.Identifier(schema, table),
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
    )
    return statement.as_string()


def check(frame: pd.DataFrame, *, scans: float = 100, index_share: float = 95, part_read: float = 10) -> list[Finding]:
    """Judge what is read from end to end for want of an index; WARNING.

    A table of 10 000 rows and more of whose scans less than ``index_share`` % are by an index: both limits are
    pghero's. ``scans`` of them at least, since a dump and a report read everything by design, and ``part_read`` % of
    its rows in each: one with a LIMIT ends soon. A foreign key of such a table without an index; that of a small one
    does no harm yet.
    """
    least, since = frame.attrs["rows"], frame.attrs["since"]
    keys = frame[(frame["kind"] == "foreign key") & (frame["rows"].astype(float) >= least)]
    small = int((frame["kind"] == "foreign key").sum()) - len(keys)
    tables = frame[frame["kind"] == "sequential scans"].copy()
    total = (tables["seq_scans"] + tables["idx_scans"]).astype(float)
    by_index = 100 * tables["idx_scans"].astype(float) / total
    read = 100 * tables["seq_rows"].astype(float) / tables["seq_scans"].astype(float) / tables["rows"].astype(float)
    # With workers, each of which counts as a scan, one has read only its share.
    read *= 1 + tables["workers"].astype(float)
    tables = tables[(by_index < index_share) & (tables["seq_scans"] >= scans) & (read >= part_read)]
    findings = [_scanned(row, since, index_share) for row in tables.head(MOST).to_dict("records")]
    findings += [_key(row) for row in keys.head(MOST).to_dict("records")]
    left = max(0, len(tables) - MOST) + max(0, len(keys) - MOST)
    if left:
        findings.append(
            Finding(
                object="others",
                status=Status.WARNING,
                message=counted(left, "more lacks an index", "more lack an index"),
            )
        )
    if findings:
        return findings
    message = f"no table of {least:,} rows or more is mostly read from end to end or lacks an index on a foreign key"
    if small:
        message += f"; {counted(small, 'foreign key')} of small tables without one"
    return [Finding(object="tables", status=Status.OK, message=message, value=0, unit="tables")]


def _scanned(row: dict[Any, Any], since: str, threshold: float) -> Finding:
    scans, rows = int(row["seq_scans"]), float(row["seq_rows"])
    message = (
        f"read from end to end by {scans:,} of {scans + int(row['idx_scans']):,} scans since the statistics began "
    )
    message += (
        f"{since}: {rows / scans:,.0f} of its {float(row['rows']):,.0f} rows each time ({as_bytes(row['bytes'])}); "
        "each worker of a parallel scan counts as one"
    )
    share = 100 * int(row["idx_scans"]) / (scans + int(row["idx_scans"]))
    return Finding(
        object=f"table {row['schema']}.{row['table']}",
        status=Status.WARNING,
        message=message,
        value=share,
        threshold=threshold,
        unit="% of scans by an index",
        next=f"find what reads it ({to_run('query-performance')}), and index what it looks for: CREATE INDEX "
        f"CONCURRENTLY ON {sql.Identifier(row['schema'], row['table']).as_string()} (…)",
    )


def _key(row: dict[Any, Any]) -> Finding:
    message = f"no index begins with its columns ({row['columns']}): each row that is deleted from {row['refers_to']} "
    message += f"reads all {float(row['rows']):,.0f} rows of this table"
    return Finding(
        object=f"foreign key {row['name']} of {row['schema']}.{row['table']}",
        status=Status.WARNING,
        message=message,
        value=float(row["rows"]),
        unit="rows",
        next=_made(str(row["statement"])),
    )


def _made(statement: str) -> str:
    if not statement.startswith("CREATE INDEX ON ONLY "):
        return statement
    parts = "then the same on each partition by CREATE INDEX CONCURRENTLY, and ALTER INDEX … ATTACH PARTITION"
    return f"{statement}; {parts}"


missing_indexes = Question(
    name="postgres.missing_indexes",
    title="Where is an index missing?",
    probe=probe,
    check=check,
    source=f"{KEYS}\n;\n{SCANS}",
    needs=(PostgresConnection,),
    next="CREATE INDEX CONCURRENTLY on its columns",
    explained_by=EXPLAINED_BY,
)

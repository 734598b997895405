"""Which rows of the service's database can be read, and which pages cannot?"""

import time
from functools import partial
from typing import Any

import pandas as pd
import psycopg

from runbook.connections import RestoringDatabase, application_database, read_sql
from runbook.connections.restoring import restoring_connection
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable, first_of
from runbook.model.units import as_bytes, counted
from runbook.recovery.pages import Damage, Table
from runbook.target import Target

DEADLINE = 240.0
_SHARE, _SETTLE_SECONDS = 0.85, 0.2
_COLUMNS = ["table", "bytes", "blocks", "rows", "pages", "lines", "where", "why", "unknown"]
_NO_CATALOG = (
    "its catalog cannot be read, without which no row can be told from another: keep the physical copy, and restore "
    "the whole of it from a backup"
)


def tables_of(target: Target, database: str) -> list[Table]:
    """Return the tables of a database of the cluster, the smallest first; raises `CouldNotFindOut`."""
    with restoring_connection(target, database) as connection:
        try:
            tables = _tables(connection)
            if any(table.counted > table.blocks for table in tables):
                time.sleep(_SETTLE_SECONDS)  # a vacuum cuts a file, and only then writes down how long it is
                tables = _tables(connection)
        except psycopg.Error as error:
            raise CouldNotFindOut(f"{database}: {str(error).strip().splitlines()[0]}") from error
        return tables


def _tables(connection: "psycopg.Connection[tuple[Any, ...]]") -> list[Table]:
    cursor = connection.execute(read_sql(__package__, "tables"))
    names = [column.name for column in cursor.description or ()]
    return [Table.of(dict(zip(names, row, strict=True))) for row in cursor.fetchall()]


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each table, the smallest first: table, bytes, blocks, rows (that can be read), pages and lines
    (whole pages and single rows that cannot), where (the first of them, as block or ctid), why, and unknown (why it was
    not read to its end, or "").

    Every row is read whole, with what lies in its TOAST table, in one pass. attrs hold ``database`` and ``catalog``
    (why the tables cannot be listed, or "").
    """
    asking.connection(RestoringDatabase)  # where it is not there or has no right, that is told
    database = application_database(asking.target)
    end = time.monotonic() + _SHARE * (asking.target.deadlines.question or DEADLINE)
    rows, catalog = list[tuple[object, ...]](), ""
    try:
        tables = tables_of(asking.target, database)
    except Unreachable as reason:
        if reason.kind != "other":  # full, closed, not there: that says nothing of its pages
            raise CouldNotFindOut(str(reason)) from reason
        tables, catalog = [], str(reason)
    except CouldNotFindOut as reason:
        tables, catalog = [], str(reason)
    with Damage(partial(restoring_connection, asking.target, database)) as damage:
        for table in tables:
            try:
                looked = damage.look(table, [table.whole], max(0.0, end - time.monotonic()))
            except CouldNotFindOut as reason:
                rows.append((table.written, table.bytes, table.blocks, None, 0, 0, "", "", str(reason)))
                continue
            where, why = "", ""
            if looked.bad:
                part, why = looked.bad[0]
                where = f"block {part.first[0]}" if part.pages else "ctid ({},{})".format(*part.first)
            rows.append(
                (table.written, table.bytes, table.blocks, looked.rows, looked.pages, looked.lines, where, why, "")
            )
    frame = pd.DataFrame(rows, columns=_COLUMNS).astype({"rows": "float64"})
    frame.attrs = {"database": database, "catalog": catalog}
    return frame


def check(frame: pd.DataFrame, *, unreadable: float = 0) -> list[Finding]:
    """Judge what cannot be read: more than ``unreadable`` pages or rows of a table is CRITICAL.

    That all can be read proves the checksums right, where there are any; without them a changed value is read as if it
    were right. What there was no time for is UNKNOWN.
    """
    if frame.attrs["catalog"]:
        message = f"{frame.attrs['catalog']}; where its pages are damaged: {_NO_CATALOG}"
        return [Finding(object=f"database {frame.attrs['database']}", status=Status.CRITICAL, message=message)]
    findings = []
    for row in frame[frame["pages"] + frame["lines"] > unreadable].to_dict("records"):
        lost = [counted(int(row[name]), what) for name, what in (("pages", "page"), ("lines", "row")) if row[name]]
        message = (
            f"{' and '.join(lost)} cannot be read, the first at {row['where']}: {row['why']}; "
            f"{counted(int(row['rows']), 'row')} of its {counted(int(row['blocks']), 'page')} can"
        )
        findings.append(
            Finding(object=f"table {row['table']}", status=Status.CRITICAL, message=message,
                    value=int(row["pages"] + row["lines"]), threshold=unreadable, unit="pages and rows")
        )  # fmt: skip
    findings = first_of(findings, "tables")
    unread = frame[frame["unknown"] != ""]
    if len(unread):
        worst = unread.iloc[-1]
        message = (
            f"{counted(len(unread), 'table was', 'tables were')} not read to the end, {worst['table']} "
            f"({as_bytes(worst['bytes'])}) among them: {worst['unknown']}"
        )
        then = "give it more time (deadlines.question in the profile, --deadline), or pg_dump -f /dev/null by hand"
        findings.append(Finding(object="further tables", status=Status.UNKNOWN, message=message, next=then))
    if findings:
        return findings
    rows = int(frame["rows"].sum())
    message = f"all of {counted(len(frame), 'table')} can be read: {counted(rows, 'row')}"
    return [Finding(object="tables", status=Status.OK, message=message, value=0, threshold=unreadable, unit="pages")]


readable = Question(
    name="recovery.readable",
    title="Which rows of the service's database can be read, and which pages cannot?",
    probe=probe,
    check=check,
    source="COPY (SELECT * FROM ONLY table WHERE ctid >= '(A,0)' AND ctid < '(B,0)') TO '/dev/null', halving where it "
    "fails",
    needs=(RestoringDatabase,),
    deadline=DEADLINE,
    next="stop the service, keep a physical copy, then the plans below: restore a backup, and save into it what can be "
    "read",
)

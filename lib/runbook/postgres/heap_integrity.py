"""Are the rows of each table what rows have to be, page by page?"""

from typing import Any

import pandas as pd
from psycopg import sql

from runbook.connections import PostgresConnection, read_sql
from runbook.connections.damage import DAMAGED, page_of
from runbook.connections.postgres import TOO_LONG
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, first_of
from runbook.model.units import as_bytes, counted
from runbook.postgres.amcheck import missing
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.records import records
from runbook.postgres.time_left import NO_TIME, TimeLeft

SQL = read_sql(__package__, "heap_tables")
DEADLINE = 60.0
COLUMNS = ["table_name", "bytes", "blocks", "pages", "rows", "where", "result", "reason"]
# Behind so many damaged pages of one table the next ones change nothing about what to do.
_MOST_PAGES = 100
_BOUNDS = (NO_TIME, TOO_LONG)
_CALL = (
    "SELECT blkno, offnum, attnum, msg "
    "FROM {function}(%(table)s::oid::regclass, false, %(toast)s, 'none', %(first)s, NULL)"
)
_CALLED = sql.SQL("SELECT * FROM verify_heapam({table}, skip => 'none')")
_SIGNATURE = "verify_heapam(regclass, boolean, boolean, text, bigint, bigint)"


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each table and materialized view, the smallest first and the catalogs last: table_name, bytes,
    blocks, pages (whole ones that cannot be read), rows (that are not as they have to be), where (the first of them),
    result (ok, damaged, not looked at), reason.

    Each is read by amcheck's ``verify_heapam``, with what lies in its TOAST table. Raises `CouldNotFindOut` where the
    extension or the right to call it is missing, with how to get it.
    """
    connection = asking.connection(PostgresConnection)
    left = TimeLeft(asking, DEADLINE)
    frame = connection.rows(SQL)
    first = records(frame.head(1))[0]
    if not first["callable"] or not first["there"]:
        raise CouldNotFindOut(missing(first, _SIGNATURE))
    statement = sql.SQL(_CALL).format(function=sql.Identifier(first["tool_schema"], "verify_heapam"))
    rows = []
    for row in records(frame[frame["table_name"].notna()]):
        rows.append((row["table_name"], row["bytes"], row["blocks"], *_looked(connection, statement, row, left)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _looked(
    connection: PostgresConnection, statement: sql.Composed, row: dict[str, Any], left: TimeLeft
) -> tuple[int, int, str, str, str]:
    """Return pages, rows, where, result and reason of one table: behind a page that cannot be read it goes on."""
    pages, lines, at, why, first, toast = 0, set[tuple[int, int]](), "", "", 0, True
    while first < row["blocks"] and pages < _MOST_PAGES:
        values = {"table": int(row["table_oid"]), "first": first, "toast": toast}
        told = left.look(connection, statement, values, locked=row["locked"])
        if not isinstance(told, CouldNotFindOut):
            found = records(told)
            lines |= {(one["blkno"], one["offnum"] or 0) for one in found}
            if found and not at:
                at, why = "ctid ({blkno},{offnum})".format(**found[0]), found[0]["msg"]
            break
        words = str(told).removeprefix("PostgreSQL: ")
        if not isinstance(told.__cause__, DAMAGED):
            if not why:
                return pages, len(lines), at, "not looked at", words
            break
        page = page_of(words, row["path"])
        if page is None:  # what lies elsewhere: its TOAST table or that one's index
            if not toast:
                break
            toast, at, why = False, at or "its TOAST table", why or words
            continue
        pages, first = pages + 1, page + 1
        at, why = at or f"block {page}", why or words
    return pages, len(lines), at, "damaged" if why else "ok", why


def check(frame: pd.DataFrame, *, damaged: float = 0) -> list[Finding]:
    """Judge the tables with pages or rows that are not what they have to be: more than ``damaged`` is CRITICAL.

    A value that was changed within a row is found by a checksum only. What there was no time for is UNKNOWN.
    """
    bad = frame[frame["result"] == "damaged"]
    findings = []
    for row in records(bad):
        counts = [counted(int(row[name]), what) for name, what in (("pages", "page"), ("rows", "row")) if row[name]]
        many = " and ".join(counts) or "what lies beside it"
        message = (
            f"is damaged: {many} of {counted(int(row['blocks']), 'page')}, the first at {row['where']}: {row['reason']}"
        )
        findings.append(
            Finding(
                object=f"table {row['table_name']}",
                status=Status.CRITICAL,
                message=message,
                value=int(row["pages"] + row["rows"]),
                threshold=damaged,
                unit="pages and rows",
                source=_CALLED.format(table=sql.Literal(row["table_name"])).as_string(),
            )
        )
    findings = first_of(findings, "tables") if len(bad) > damaged else []
    unseen = frame[frame["result"] == "not looked at"]
    if len(unseen):
        largest = unseen.iloc[unseen["bytes"].argmax()]
        message = (
            f"{counted(len(unseen), 'table was', 'tables were')} not looked at, {largest['table_name']} "
            f"({as_bytes(largest['bytes'])}) among them: {largest['reason']}"
        )
        after = "pg_amcheck -j 4 of the whole database, when few work; or more time: deadlines.question in the profile"
        findings.append(Finding(object="further tables", status=Status.UNKNOWN, message=message, next=after))
    if findings:
        return findings
    message = f"each row of {counted(len(frame), 'table')} is what a row has to be"
    return [
        Finding(object="tables", status=Status.OK, message=message, value=0, threshold=damaged, unit="pages and rows")
    ]


heap_integrity = Question(
    name="postgres.heap_integrity",
    title="Are the rows of each table what rows have to be?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    deadline=DEADLINE,
    next="no REINDEX helps a table: stop the service, keep a physical copy, then restore and save what can be read",
    explained_by=EXPLAINED_BY,
)

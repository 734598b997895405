"""Do the B-tree indexes agree with their tables?"""

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

SQL = read_sql(__package__, "btree_indexes")
DEADLINE = 20.0
# As many as the statement returns.
_MOST_INDEXES = 20_000
COLUMNS = ["index_name", "table_name", "bytes", "result", "reason"]
_BOUNDS = (NO_TIME, TOO_LONG)
_SIGNATURE = "bt_index_check(regclass, boolean)"
_CALL = "SELECT {function}(%(index)s::oid::regclass, true) IS NULL AS looked"


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each B-tree index, the smallest first and those of the catalogs last: index_name, table_name,
    bytes (of index and table), result (ok, damaged, not looked at), reason.

    Each is looked at by amcheck's ``bt_index_check`` with ``heapallindexed``, which reads index and table. Raises
    `CouldNotFindOut` where the extension or the right to call it is missing, with how to get it.
    """
    connection = asking.connection(PostgresConnection)
    left = TimeLeft(asking, DEADLINE)
    frame = connection.rows(SQL)
    first = records(frame.head(1))[0]
    if not first["callable"]:
        raise CouldNotFindOut(missing(first, _SIGNATURE))
    statement = sql.SQL(_CALL).format(function=sql.Identifier(first["tool_schema"], "bt_index_check"))
    rows = []
    for row in records(frame[frame["index_name"].notna()]):
        result, reason = _looked(connection, statement, row, left)
        rows.append((row["index_name"], row["table_name"], row["bytes"], result, reason))
    return pd.DataFrame(rows, columns=COLUMNS)


def _looked(
    connection: PostgresConnection, statement: sql.Composed, row: dict[str, Any], left: TimeLeft
) -> tuple[str, str]:
    told = left.look(connection, statement, {"index": int(row["index_oid"])}, locked=row["locked"])
    if not isinstance(told, CouldNotFindOut):
        return "ok", ""
    words = str(told).removeprefix("PostgreSQL: ")
    if not isinstance(told.__cause__, DAMAGED):
        return "not looked at", words
    if page_of(words, row["table_path"]) is not None:
        return "not looked at", f"its table {row['table_name']} is damaged: {words}"
    return "damaged", words


def check(frame: pd.DataFrame, *, damaged: float = 0) -> list[Finding]:
    """Judge the indexes that do not agree with their tables: more than ``damaged`` is CRITICAL.

    With a damaged index a query finds no row, or the wrong one, while ``count(*)`` looks normal; a unique one lets
    duplicates in. After an upgrade of the operating system's collations it is the indexes of texts.
    """
    bad = frame[frame["result"] == "damaged"]
    unseen = frame[frame["result"] == "not looked at"]
    out_of_time = unseen["reason"].str.startswith(_BOUNDS)
    bounded, unseen = unseen[out_of_time], unseen[~out_of_time]
    findings = []
    if len(bad) > damaged:
        each = [
            Finding(
                object=f"index {row['index_name']}",
                status=Status.CRITICAL,
                message=f"is damaged: {row['reason']} (table {row['table_name']})",
                value="damaged",
                source=f"SELECT bt_index_check({sql.Literal(row['index_name']).as_string()}::regclass, true)",
            )
            for row in records(bad)
        ]
        findings = first_of(each, "indexes")
    if len(unseen):
        largest = unseen.iloc[-1]
        message = (
            f"{counted(len(unseen), 'index was', 'indexes were')} not looked at, "
            f"{largest['index_name']} ({as_bytes(largest['bytes'])}) among them: {largest['reason']}"
        )
        after = "pg_amcheck --heapallindexed, when few work"
        findings.append(Finding(object="further indexes", status=Status.UNKNOWN, message=message, next=after))
    if len(bounded):
        largest = bounded.iloc[bounded["bytes"].argmax()]
        message = (
            f"{counted(len(bounded), 'index was', 'indexes were')} left out for want of time, the largest "
            f"{largest['index_name']} ({as_bytes(largest['bytes'])} with its table)"
        )
        after = "pg_amcheck --heapallindexed, when few work"
        left_out = Finding(object="large indexes", status=Status.OK, message=message, next=after)
        if not findings:
            looked = len(frame) - len(bounded)
            message = f"{counted(looked, 'B-tree index agrees', 'B-tree indexes agree')} with what is in the tables"
            return [Finding(object="indexes", status=Status.OK, message=message), left_out]
        return [*findings, left_out]
    if findings:
        return findings
    message = f"{counted(len(frame), 'B-tree index agrees', 'B-tree indexes agree')} with what is in the tables"
    message += "; there are more, larger ones, that were not looked at" if len(frame) >= _MOST_INDEXES else ""
    return [Finding(object="indexes", status=Status.OK, message=message)]


index_integrity = Question(
    name="postgres.index_integrity",
    title="Do the B-tree indexes agree with their tables?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    deadline=DEADLINE,
    next="find out why (disk, memory, collations, an upgrade); then plan its REINDEX, and look at its table",
    explained_by=EXPLAINED_BY,
)

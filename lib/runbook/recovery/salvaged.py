"""What was saved into the restored database, and what came from the backup only?"""

import pandas as pd
import psycopg
from psycopg import sql

from runbook.connections import RestoringDatabase, read_sql
from runbook.connections.restoring import restoring_connection
from runbook.model import Asking, CouldNotFindOut, DoesNotApply, Finding, Question, Status, first_of
from runbook.model.units import counted
from runbook.recovery.cluster import standing
from runbook.recovery.readable import tables_of

_COLUMNS = [
    "table", "in_backup", "readable", "same", "changed", "added", "from_backup", "doubtful", "refused", "pages",
    "lines", "why",
]  # fmt: skip


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each table that something was saved of: table, and in rows in_backup, readable, same and changed
    (those of them that the backup has), added (those that it does not), from_backup (what nobody could read), doubtful,
    refused; pages and lines (that could not be read by any means), why, and now (rows that the table has now).

    attrs hold ``database`` (a restored one, or the service's own after the swap) and ``finished``. Raises
    `DoesNotApply` where nothing was saved into either.
    """
    found = standing(asking)
    names = [one.name for one in (*found.restored[:1], *((found.own,) if found.own else ()))]
    for name in names:
        with restoring_connection(asking.target, name) as connection:
            try:
                there = connection.execute(read_sql(__package__, "salvage_there")).fetchone()
                if there is None or not there[0]:
                    continue
                rows = connection.execute(read_sql(__package__, "salvage_told")).fetchall()
                finished = connection.execute("SELECT 1 FROM runbook_salvage.finished").fetchone() is not None
                frame = pd.DataFrame(rows, columns=_COLUMNS)
                frame["now"] = _now(connection, {table.written: (table.schema, table.name)
                                                 for table in tables_of(asking.target, name)}, frame)  # fmt: skip
            except psycopg.Error as error:
                raise CouldNotFindOut(f"{name} cannot be read: {str(error).strip().splitlines()[0]}") from error
        frame.attrs = {"database": name, "finished": finished}
        return frame
    raise DoesNotApply("nothing was saved of a damaged database")


def _now(
    connection: "psycopg.Connection[tuple[object, ...]]", places: dict[str, tuple[str, str]], frame: pd.DataFrame
) -> list[int]:
    counts = []
    for table in frame["table"]:
        counting = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(*places[table]))
        row = connection.execute(counting).fetchone()
        counts.append(int(str(row[0])) if row else 0)
    return counts


def check(frame: pd.DataFrame, *, lacking: float = 0) -> list[Finding]:
    """Judge what was saved: a table that has less than was saved into it, by more than ``lacking`` rows, is CRITICAL;
    one that was not read to its end is a WARNING: somebody is to look through what came from the backup.
    """
    findings = []
    for row in frame[frame["why"] != ""].to_dict("records"):
        lost = [counted(int(row[name]), what) for name, what in (("pages", "page"), ("lines", "row")) if row[name]]
        message = (
            f"{counted(int(row['readable']), 'row')} could be read ({row['same']:,} as in the backup, "
            f"{row['changed']:,} changed and {row['added']:,} added since), {row['from_backup']:,} more came from the "
            "backup, and "
            f"{row['doubtful']:,} of damaged pages are in no backup and doubtful"
        )
        message += f"; {row['refused']:,} of all these were left out (refused)" if row["refused"] else ""
        message += f"; {' and '.join(lost)} gave nothing: what came onto them since the backup is lost" if lost else ""
        then = (
            "read SELECT * FROM runbook_salvage.rows: which came from the backup, and which are doubtful; ask who knows"
        )
        findings.append(
            Finding(object=f"table {row['table']}", status=Status.WARNING, message=message, next=then,
                    value=int(row["from_backup"] + row["doubtful"]), unit="rows")
        )  # fmt: skip
    for row in frame[(frame["why"] == "") & (frame["refused"] > 0)].to_dict("records"):
        message = f"{counted(int(row['refused']), 'row')} stood there twice, against a unique index, and were left out"
        then = "read SELECT * FROM runbook_salvage.rows: they are listed as refused"
        findings.append(Finding(object=f"table {row['table']}", status=Status.WARNING, message=message, next=then))
    wanted = frame["readable"] + frame["from_backup"] + frame["doubtful"] - frame["refused"]
    for row in frame[wanted - frame["now"] > lacking].to_dict("records"):
        message = f"it has {row['now']:,} rows, fewer than were saved into it: somebody has deleted some since"
        findings.append(
            Finding(object=f"rows of {row['table']}", status=Status.CRITICAL, message=message, value=int(row["now"]))
        )
    findings = first_of(findings, "tables")
    if not frame.attrs["finished"]:
        message = f"{counted(len(frame), 'table was', 'tables were')} saved into {frame.attrs['database']}, and not all"
        findings.append(Finding(object="salvage", status=Status.WARNING, message=message, next="go on by its plan"))
        return findings
    well = frame[frame["why"] == ""]
    message = (
        f"{counted(len(well), 'table')} of {len(frame)} could be read to the end and stand in "
        f"{frame.attrs['database']} as they were: {counted(int(well['readable'].sum()), 'row')}"
    )
    return [
        *findings,
        Finding(object="whole tables", status=Status.OK, message=message, value=len(well), unit="tables"),
    ]


salvaged = Question(
    name="recovery.salvaged",
    title="What was saved into the restored database, and what came from the backup only?",
    probe=probe,
    check=check,
    source="SELECT * FROM runbook_salvage.tables",
    needs=(RestoringDatabase,),
    deadline=60.0,
    next="look through runbook_salvage.rows, then swap; afterwards DROP SCHEMA runbook_salvage CASCADE",
)

"""Is all of a backup in the database that it was restored into?"""

import re
from typing import Any

import pandas as pd
import psycopg

from runbook.backups.drill import counted_rows
from runbook.backups.listing import backups_of, found
from runbook.backups.sound import DEADLINE, Readings
from runbook.connections import RestoringDatabase, read_sql
from runbook.connections.restoring import restoring_connection
from runbook.model import Asking, CouldNotFindOut, DoesNotApply, Finding, Question, Status
from runbook.model.units import counted

_MARK = re.compile(r"restored by the runbook from (.+), sha256 ([0-9a-f]{64}|not taken)\Z")


def probe(asking: Asking, *, database: str = "") -> pd.DataFrame:
    """Return a row for each table of a restored database, the newest one without its name: table, in_dump, restored.

    attrs hold ``database``, ``backup``, and ``unknown`` (why its backup cannot be read any more, or ""). Raises
    `DoesNotApply` where no database of the cluster was restored by the runbook.
    """
    cluster = asking.connection(RestoringDatabase)
    marked = cluster.rows(read_sql(__package__, "restored"))
    own = marked[marked["database"] == database] if database else marked
    if own.empty:
        raise DoesNotApply(f"no database {database} was restored" if database else "no database was restored")
    name, told = str(own["database"].iloc[0]), _MARK.match(str(own["told"].iloc[0]))
    try:
        with restoring_connection(asking.target, name) as connection:
            rows = counted_rows(connection)
    except psycopg.Error as error:
        raise CouldNotFindOut(f"{name} cannot be counted: {error}") from error
    wanted, unknown = dict[str, int | None](), ""
    try:
        wanted = _in_backup(asking, told[1] if told else "", told[2] if told else "")
    except CouldNotFindOut as why:
        unknown = str(why)
    tables = sorted({*rows, *wanted})
    frame = pd.DataFrame(
        [(table, wanted.get(table), rows.get(table)) for table in tables], columns=["table", "in_dump", "restored"]
    ).astype({"in_dump": "float64", "restored": "float64"})
    frame.attrs = {"database": name, "backup": told[1] if told else "", "unknown": unknown}
    return frame


def _in_backup(asking: Asking, backup: str, sha256: str) -> dict[str, int | None]:
    named = backups_of(asking.target)
    for of in named.sets:
        for one in found(of) if of.kind == "database" else ():
            if one.name == backup:
                reading = Readings().of(one, named, DEADLINE / 2)
                if sha256 not in (reading.sha256, "not taken"):
                    raise CouldNotFindOut(f"{backup} is another one now than it was restored from")
                return {**dict.fromkeys(reading.text.tables, 0), **reading.text.rows}
    raise CouldNotFindOut(f"{backup} is not there any more")


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge the rows of each table beside those in the dump: any that lacks is CRITICAL."""
    attrs: dict[Any, Any] = frame.attrs
    name = attrs["database"]
    if attrs["unknown"]:
        message = f"what is to be in it is not known: {attrs['unknown']}"
        return [Finding(object=name, status=Status.UNKNOWN, message=message)]
    other = frame[frame["in_dump"].notna() & (frame["restored"].fillna(-1) < frame["in_dump"])]
    if not other.empty:
        row = other.iloc[0]
        there = "is not there" if pd.isna(row["restored"]) else f"has {row['restored']:,.0f} rows"
        message = f"{row['table']} {there}, in {attrs['backup']} are {row['in_dump']:,.0f}"
        message += f"; {len(other) - 1} more tables differ" if len(other) > 1 else ""
        return [Finding(object=name, status=Status.CRITICAL, message=message, value=len(other))]
    rows = int(frame["restored"].sum())
    message = f"all of {attrs['backup']} is in it: {counted(len(frame), 'table')}, {counted(rows, 'row')}"
    return [Finding(object=name, status=Status.OK, message=message, value=rows, unit="rows")]


restored = Question(
    name="backups.restored",
    title="Is all of the backup in the database that it was restored into?",
    probe=probe,
    check=check,
    source="select count(*) of each table, beside the rows in pg_restore -f - FILE",
    needs=(RestoringDatabase,),
    deadline=DEADLINE,
    next="drop that database, and restore once more; where it lacks the same again, the backup before",
)

"""How long has the oldest item waited?"""

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status, at_most
from runbook.model.text import to_run
from runbook.model.units import counted
from runbook.queue.pages import OLDEST, part_of
from runbook.queue.told import IN_MEMORY, waiting_elsewhere

SQL, OF_MANY = read_sql(__package__, "oldest_item"), read_sql(__package__, "oldest_of_many")
_HOUR = 3600
ELSEWHERE = "not in the table"  # in place of a status: the service tells of items that the table does not hold


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each status that still waits (pending, in_review): status, items (NaN: too many to count),
    oldest (UTC), seconds.

    A table without such rows proves nothing where the service keeps its queue elsewhere: it is asked as well, and what
    it tells of stands in one row with the status `ELSEWHERE` and no time. A target without [api] has the table only.
    """
    connection = asking.connection(PostgresConnection)
    part = part_of(connection)
    frame = part.read(
        connection, SQL if part.whole else OF_MANY, limit=OLDEST, index="triage_items (status, created_at)"
    )
    if not frame.empty:
        return frame if part.whole else frame.assign(items=float("nan"))
    items = waiting_elsewhere(asking)
    row = {"status": ELSEWHERE, "items": items, "oldest": pd.NaT, "seconds": float("nan")}
    return pd.DataFrame([row]) if items > 0 else frame


def check(frame: pd.DataFrame, *, warning_hours: float = 24, critical_hours: float = 72) -> list[Finding]:
    """Judge the age of the oldest item in each status: a working day, and three.

    Age is what users feel; a long queue that moves is well, a short one that stands is not. A time in the future is
    UNKNOWN: some clock or time zone is wrong. Items that only the service knows of are UNKNOWN too.
    """
    if frame.empty:
        return [Finding(object="waiting items", status=Status.OK, message="no item waits", value=0, unit="h")]
    findings = []
    for row in frame.to_dict("records"):
        if row["status"] == ELSEWHERE:
            message = IN_MEMORY.format(row["items"])
            after = "see what waits at /triage/queue; since when, the service does not tell"
            findings.append(Finding(object="waiting items", status=Status.UNKNOWN, message=message, next=after))
            continue
        obj = f"{row['status']} items"
        items = "too many items to count" if pd.isna(row["items"]) else counted(int(row["items"]), "item")
        if pd.isna(row["seconds"]):
            message = f"{items}, none of which tells when it was created"
            findings.append(Finding(object=obj, status=Status.UNKNOWN, message=message))
            continue
        hours = row["seconds"] / _HOUR
        if hours < -1 / 60:
            message = f"the oldest was created {-hours:.1f} h in the future: a clock or a time zone is wrong"
            findings.append(Finding(object=obj, status=Status.UNKNOWN, message=message, value=hours, unit="h"))
            continue
        message = f"{items}, the oldest waits for {max(hours, 0):.1f} h"
        findings.append(at_most(obj, round(hours, 2), warning_hours, critical_hours, unit="h", message=message))
    return findings


oldest_item = Question(
    name="queue.oldest_item",
    title="How long has the oldest item waited?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next=f"see who annotates, and whether items are stuck in review: {to_run('queue-backup')}",
    explained_by={
        "postgres.reachable": "the application's database cannot be used: see postgres.reachable",
        "redis.reachable": "the table is empty and the service, which may hold items too, lost Redis and answers 500",
        "api.liveness": "the table is empty and the service, which may hold items too, does not answer",
    },
    # Where nobody works, everything waits; where items are stuck, those do.
    caused_by={"queue.annotators": ("waits for",), "queue.stuck": ("in_review items",)},
)

"""How long has the oldest item waited?"""

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status, at_most

SQL = read_sql(__package__, "oldest_item")
_HOUR = 3600


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each status that still waits (pending, in_review): status, items, oldest (UTC), seconds."""
    return asking.connection(PostgresConnection).rows(SQL)


def check(frame: pd.DataFrame, *, warning_hours: float = 24, critical_hours: float = 72) -> list[Finding]:
    """Judge the age of the oldest item in each status: a working day, and three.

    Age is what users feel; a long queue that moves is well, a short one that stands is not. A time in the future is
    UNKNOWN: some clock or time zone is wrong.
    """
    if frame.empty:
        return [Finding(object="waiting items", status=Status.OK, message="no item waits", value=0, unit="h")]
    findings = []
    for row in frame.to_dict("records"):
        obj = f"{row['status']} items"
        if pd.isna(row["seconds"]):
            message = f"{row['items']} items, none of which tells when it was created"
            findings.append(Finding(object=obj, status=Status.UNKNOWN, message=message))
            continue
        hours = row["seconds"] / _HOUR
        if hours < -1 / 60:
            message = f"the oldest was created {-hours:.1f} h in the future: a clock or a time zone is wrong"
            findings.append(Finding(object=obj, status=Status.UNKNOWN, message=message, value=hours, unit="h"))
            continue
        message = f"{row['items']} items, the oldest waits for {max(hours, 0):.1f} h"
        findings.append(at_most(obj, round(hours, 2), warning_hours, critical_hours, unit="h", message=message))
    return findings


oldest_item = Question(
    name="queue.oldest_item",
    title="How long has the oldest item waited?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="see who annotates (annotation_events) and whether items are stuck in review",
    explained_by={"postgres.reachable": "PostgreSQL does not answer at all"},
)

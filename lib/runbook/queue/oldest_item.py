"""How long has the oldest item waited?"""

import pandas as pd

from runbook.connections import ApiConnection, PostgresConnection, read_sql
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable, at_most
from runbook.queue.size import KEYS

SQL = read_sql(__package__, "oldest_item")
_HOUR = 3600
ELSEWHERE = "not in the table"  # in place of a status: the service tells of items that the table does not hold
_SERVICE_SECONDS = 4.0


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each status that still waits (pending, in_review): status, items, oldest (UTC), seconds.

    A table without such rows proves nothing where the service keeps its queue elsewhere: it is asked as well, and what
    it tells of stands in one row with the status `ELSEWHERE` and no time. A target without [api] has the table only.
    """
    frame = asking.connection(PostgresConnection).rows(SQL)
    if not frame.empty:
        return frame
    try:
        items = _told_by_the_service(asking.connection(ApiConnection))
    except Unreachable as error:
        if error.kind == "not-configured":
            return frame
        raise CouldNotFindOut(_UNSURE.format(error)) from error
    except CouldNotFindOut as error:
        raise CouldNotFindOut(_UNSURE.format(error)) from error
    row = {"status": ELSEWHERE, "items": items, "oldest": pd.NaT, "seconds": float("nan")}
    return pd.DataFrame([row]) if items > 0 else frame


_UNSURE = "the table holds no waiting item, and whether the service knows of any is not told: {}"


def _told_by_the_service(api: ApiConnection) -> int:
    """Return how many items wait as the service tells it; raises `CouldNotFindOut` where it does not."""
    response = api.get("/triage/statistics", seconds=_SERVICE_SECONDS)
    told = response.mapping() if response.status == 200 else {}
    counted = [told[key] for key in KEYS if type(told.get(key)) is int]
    if not counted:
        raise CouldNotFindOut(f"/triage/statistics answered {response.status} without a number of items")
    # As built, only a total is told: what is done already is no waiting item.
    done = told.get("completed_items", 0) if KEYS[0] not in told else 0
    return int(counted[0]) - (done if type(done) is int else 0)


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
            message = f"the service says {row['items']} items, the table none: its queue is in its memory"
            after = "see what waits at /triage/queue; since when, the service does not tell"
            findings.append(Finding(object="waiting items", status=Status.UNKNOWN, message=message, next=after))
            continue
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
    explained_by={
        "postgres.reachable": "the application's database cannot be used: see postgres.reachable",
        "redis.reachable": "the table is empty and the service, which may hold items too, lost Redis and answers 500",
        "api.liveness": "the table is empty and the service, which may hold items too, does not answer",
    },
)

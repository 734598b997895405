"""How long does the work on an annotation take?"""

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status
from runbook.model.units import counted
from runbook.queue.annotators import GRANT

SQL = read_sql(__package__, "processing_time")


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each of the last eight days with annotations, counted back from now: days_ago (0: the last
    24 h), annotations, median_seconds, p95_seconds, newest (UTC).

    Raises `CouldNotFindOut` where the table may not be read.
    """
    return asking.connection(PostgresConnection).rows(SQL, grant=GRANT)


def check(frame: pd.DataFrame, *, times: float = 3, few: float = 20, least_seconds: float = 10) -> list[Finding]:
    """Judge the median of the last 24 h against that of the seven days before: WARNING at ``times`` as long, if that is
    ``least_seconds`` more and of ``few`` annotations or more on both sides.

    How long is usual differs by text and task, so the runbook gives no limit. Nobody at work is told: at night or on a
    holiday that is well. No annotation in eight days is UNKNOWN.
    """
    if frame.empty:
        message = "no annotation was recorded in eight days, so there is no time to tell"
        after = "see whether anybody annotates at all, and whether the service writes annotation_events"
        return [Finding(object="annotations", status=Status.UNKNOWN, message=message, next=after)]
    today, before = frame[frame["days_ago"] == 0], frame[frame["days_ago"] > 0]
    earlier_count = int(before["annotations"].sum())
    usual = float((before["median_seconds"] * before["annotations"]).sum()) / max(earlier_count, 1)
    earlier = f"{usual:.3g} s in the seven days before, of {counted(earlier_count, 'annotation')}"
    if before.empty:
        earlier = "nothing to compare with in the seven days before"
    if today.empty:
        message = f"now none in the last 24 h, the newest is of {frame.iloc[0]['newest']:%Y-%m-%d %H:%M} UTC; {earlier}"
        return [Finding(object="annotations", status=Status.OK, message=message)]
    row = today.iloc[0]
    median, count = float(row["median_seconds"]), int(row["annotations"])
    message = (
        f"now {median:.3g} s (median), {row['p95_seconds']:.3g} s (p95), of {counted(count, 'annotation')} "
        f"in 24 h; {earlier}"
    )
    slow = min(count, earlier_count) >= few and median > times * usual and median - usual > least_seconds
    status = Status.WARNING if slow else Status.OK
    if slow:
        longer = f"{median / usual:.1f} times as long as" if usual else "longer than"  # some record no time at all
        message = f"{longer} before: {message}"
    return [Finding(object="annotations", status=status, message=message, value=median, unit="s")]


processing_time = Question(
    name="queue.processing_time",
    title="How long does the work on an annotation take?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="ask the annotators: new kinds of texts, a slow page, or candidates that are worth less than before",
    explained_by={"postgres.reachable": "the application's database cannot be used: see postgres.reachable"},
)

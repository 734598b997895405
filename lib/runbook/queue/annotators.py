"""Who annotates, and how fast?"""

from typing import Any

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status, UsageError
from runbook.model.text import printable, shortened
from runbook.model.units import counted, length
from runbook.queue.pages import ANNOTATORS, NEWEST, part_of
from runbook.queue.told import waiting_elsewhere

SQL, NEWEST_SQL = read_sql(__package__, "annotators"), read_sql(__package__, "newest_annotation")
GRANT = "it takes GRANT SELECT (annotator_email, timestamp, processing_time) ON annotation_events TO the runbook's role"
MOST = 1000
_LONGEST_HOURS = 24.0
_HOUR = 3600
NOW, DAY, WEEK = "now", "a day before", "a week before"


def probe(asking: Asking, *, hours: float = 1.0) -> pd.DataFrame:
    """Return a row for each annotator of the last ``hours``, and of the same time a day and a week before: period (now,
    a day before, a week before), annotator, annotations, per_hour, median_seconds, backwards (annotations that took
    less than no time), newest (UTC).

    Attrs: ``newest`` (the last annotation at all; "": none), ``idle_seconds`` (since then), ``week_known`` (there
    are some from before a week), ``ahead`` (annotations of a time to come), ``waiting`` (whether any item waits),
    ``hours``.
    """
    if not 0 < hours <= _LONGEST_HOURS:
        raise UsageError(f"hours is more than 0 and {_LONGEST_HOURS:.0f} at most, not {hours:g}")
    connection = asking.connection(PostgresConnection)
    part = part_of(connection, "annotation_events")
    if part.whole:
        part = part_of(connection)
    more: Any = {"index": "annotation_events (timestamp)", "grant": GRANT}
    last = part.read(connection, NEWEST_SQL, limit=NEWEST, **more).iloc[0]
    frame = part.read(connection, SQL, {"hours": hours, "most": MOST}, limit=ANNOTATORS, **more)
    waiting = bool(last["waiting"]) or waiting_elsewhere(asking) > 0
    frame["per_hour"] = frame["annotations"] / hours
    frame["median_seconds"] = pd.to_numeric(frame["median_seconds"])
    frame["newest"] = pd.to_datetime(frame["newest"], utc=True)
    there = not pd.isna(last["newest"])
    frame.attrs = {
        "newest": f"{pd.Timestamp(last['newest']):%Y-%m-%d %H:%M} UTC" if there else "",
        "idle_seconds": (last["asked"] - last["newest"]).total_seconds() if there else 0.0,
        "week_known": there and last["asked"] - last["oldest"] > pd.Timedelta(days=7, hours=hours),
        "ahead": int(last["ahead"]),
        "waiting": waiting,
        "hours": hours,
    }
    return frame


def check(
    frame: pd.DataFrame,
    *,
    warning_hours: float = 4,
    critical_hours: float = 24,
    times: float = 3,
    few: float = 20,
) -> list[Finding]:
    """Judge for how long nobody has annotated while items wait, and whether those who do became slow.

    Nobody for ``warning_hours`` is a WARNING, unless nobody did a day and a week before at this time either, when
    somebody did at all; for ``critical_hours`` it is CRITICAL. WARNING too where all together do less than one in
    ``times`` of what they did a day and a week before, of ``few`` annotations or more.
    """
    told: dict[str, Any] = {str(name): value for name, value in frame.attrs.items()}
    findings = [_who(frame, told, (warning_hours, critical_hours), (times, few))]
    wrong = []
    if told.get("ahead", 0) > 0:
        wrong.append(f"{counted(told['ahead'], 'annotation has', 'annotations have')} a time to come")
    backwards = int(frame["backwards"].sum()) if len(frame) else 0
    if backwards:
        wrong.append(f"{counted(backwards, 'annotation')} took less than no time")
    if wrong:
        message = f"{'; '.join(wrong)}: a clock is wrong, or who wrote them; the figures are without them"
        after = "compare the clocks (morning-health-check), and see in the service's log who writes such times"
        findings.append(Finding(object="times", status=Status.UNKNOWN, message=message, next=after))
    return findings


def _who(frame: pd.DataFrame, told: dict[str, Any], limits: tuple[float, float], slow: tuple[float, float]) -> Finding:
    hours = float(told.get("hours", 1.0))
    now, day, week = (frame[frame["period"] == period] for period in (NOW, DAY, WEEK))
    if len(now):
        return _pace(now, day, week, hours, slow)
    if not told.get("newest"):
        message = "no annotation was ever recorded: nobody annotates, or the service does not write annotation_events"
        after = "ask the annotators; as built the service records none, and then only they know"
        status = Status.UNKNOWN if told.get("waiting") else Status.OK
        return Finding(object="annotators", status=status, message=message, next=after if told.get("waiting") else "")
    idle = float(told["idle_seconds"])
    since = f"nobody has annotated for {length(idle)}, since {told['newest']}"
    if not told.get("waiting"):
        return Finding(object="annotators", status=Status.OK, message=f"{since}; no item waits for anybody")
    earlier = (
        f"; at this time {_people(day)} did a day before, {_people(week)} a week before" if told["week_known"] else ""
    )
    away = idle / _HOUR
    status, limit = Status.OK, limits[0]
    if away > limits[1]:
        status, limit = Status.CRITICAL, limits[1]
    elif away > limits[0]:
        # With a week behind it, a time at which nobody ever works is known as such.
        quiet = bool(told.get("week_known")) and not len(day) and not len(week)
        status = Status.OK if quiet else Status.WARNING
    after = "" if status is Status.OK else "ask the annotators, and see whether they can log in and are given items"
    return Finding(
        object="annotators", status=status, message=f"{since}, while items wait{earlier}", value=round(away, 2),
        threshold=limit, unit="h", next=after,
    )  # fmt: skip


def _people(then: pd.DataFrame) -> str:
    return counted(len(then), "annotator") if len(then) else "nobody"


def _pace(now: pd.DataFrame, day: pd.DataFrame, week: pd.DataFrame, hours: float, slow: tuple[float, float]) -> Finding:
    times, few = slow
    count = int(now["annotations"].sum())
    timed = now.dropna(subset="median_seconds")
    median = float((timed["median_seconds"] * timed["annotations"]).sum() / max(int(timed["annotations"].sum()), 1))
    each = f"{median:.3g} s" if len(timed) else "a time that is not told"
    shown = ", ".join(
        f"{shortened(printable(str(row['annotator'])), 40)} {row['per_hour']:.3g}/h"
        for row in now.head(5).to_dict("records")
    )
    more = f" and {counted(len(now) - 5, 'other')}" if len(now) > 5 else ""
    earlier = [
        f"{name} {counted(int(then['annotations'].sum()), 'annotation')} of {counted(len(then), 'annotator')}"
        for name, then in ((DAY, day), (WEEK, week))
        if len(then)
    ]
    message = (
        f"{counted(len(now), 'annotator')} with {counted(count, 'annotation')} in {hours:g} h ({shown}{more}), "
        f"{each} each (median); {'; '.join(earlier) or 'nothing to compare with a day or a week before'}"
    )
    usual = min((int(then["annotations"].sum()) for then in (day, week) if len(then)), default=0)
    status = Status.WARNING if usual >= few and count * times < usual else Status.OK
    after = "see who is missing, and whether what they wait for answers" if status is Status.WARNING else ""
    value = round(count / hours, 2)
    return Finding(object="annotators", status=status, message=message, value=value, unit="annotations/h", next=after)


annotators = Question(
    name="queue.annotators",
    title="Who annotates, and how fast?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    deadline=10.0,
    next="ask the annotators, and see whether they can log in and are given items",
    explained_by={
        "postgres.reachable": "the application's database cannot be used: see postgres.reachable",
        "api.liveness": "the table is empty and the service, which may hold items too, does not answer",
    },
)

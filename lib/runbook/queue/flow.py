"""Does more come into the queue than leaves it, and when is it drained?"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, UsageError, at_most
from runbook.model.units import counted
from runbook.queue.counts import NONE_SEEN, waiting_by_index
from runbook.queue.pages import FLOW, FLOW_BY_INDEX, part_of
from runbook.queue.told import nothing_in_the_table

SQL, OF_MANY = read_sql(__package__, "flow"), read_sql(__package__, "flow_of_many")
PARTS = 12
LONGEST_HOURS = 24 * 31.0
# Student's t for the mean of twelve: it holds the truth in 95 of 100 cases.
_STUDENT = 2.201


def probe(asking: Asking, *, hours: float = 1.0) -> pd.DataFrame:
    """Return a row for each twelfth of the last ``hours``, the oldest first: begins (UTC), arrived, finished; and in
    every row what holds for all of the table: items, waiting, left_untold (completed or skipped, nobody says when),
    ahead (with a time to come), backwards (finished before they came), share (of the table that was read: what is below
    1 is estimated), counted (arrived and finished are, by an index).

    A time that is ahead or at no time at all counts as neither arrival nor end. Raises `CouldNotFindOut` where the
    table holds no waiting item and the service does.
    """
    if not 0 < hours <= LONGEST_HOURS:
        raise UsageError(f"hours is more than 0 and {LONGEST_HOURS:.0f} at most, not {hours:g}")
    connection = asking.connection(PostgresConnection)
    part = part_of(connection)
    frame = part.read(connection, SQL, {"percent": part.percent, "hours": hours}, limit=FLOW)
    if part.whole and not frame["waiting"].any():
        nothing_in_the_table(asking)
    for name in ("arrived", "finished", "items", "waiting", "left_untold", "ahead", "backwards"):
        frame[name] = frame[name].astype(float) / part.share
    frame["share"], frame["counted"] = part.share, part.whole
    frame["begins"] = pd.to_datetime(frame["begins"], utc=True)
    frame.attrs = {"hours": hours}
    if not part.whole:
        waiting = waiting_by_index(connection, part)
        if waiting is not None:
            frame["waiting"] = waiting["items"].sum()
        elif not frame["waiting"].any():
            raise CouldNotFindOut(NONE_SEEN.format(part.percent))
        frame.attrs["waiting_counted"] = waiting is not None
        try:
            exact = part.read(connection, OF_MANY, {"hours": hours}, limit=FLOW_BY_INDEX)
        except CouldNotFindOut:
            return frame  # no index leads to them: the estimate stands, and says what it is
        frame["arrived"], frame["finished"], frame["counted"] = exact["arrived"], exact["finished"], True
    return frame


@dataclass(frozen=True)
class Pace:
    """By how many items an hour the queue falls (below 0: grows), between ``low`` and ``high`` 19 times of 20."""

    falls: float
    low: float
    high: float

    def hours(self, waiting: float) -> tuple[float, float, float]:
        """Return in how many hours so many items are worked off: likely, at the earliest, at the latest."""
        likely, earliest, latest = (
            waiting / one if one > 0 else math.inf for one in (self.falls, self.high, self.low)
        )  # fmt: skip
        return likely, earliest, latest


def pace(frame: pd.DataFrame, hours: float) -> Pace:
    """Return the pace of the last hours, as sure as the twelfths are alike.

    It falls by no more than is finished and grows by no more than comes, however unlike the twelfths are.
    """
    arrived, finished = (frame[name].to_numpy(dtype=float) * len(frame) / hours for name in ("arrived", "finished"))
    falls, spread = _mean(finished - arrived)
    most_finished, most_arrived = sum(_mean(finished)), sum(_mean(arrived))
    return Pace(falls, max(falls - spread, -most_arrived), min(falls + spread, most_finished))


def _mean(values: "np.typing.NDArray[np.float64]") -> tuple[float, float]:
    """Return the mean and by how much it may be off, 19 times of 20."""
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values)) * _STUDENT


def check(
    frame: pd.DataFrame, *, few: float = 10, warning_hours: float = 24, critical_hours: float = 72
) -> list[Finding]:
    """Judge whether the queue falls, and when it is drained (h): the limits of the oldest item's age.

    WARNING where nothing was finished while items wait, and where it grows for sure: all of the interval is above 0.
    Where it may as well stand, that is told and well. Below ``few`` items in and out there is no trend.
    """
    hours = float(frame.attrs.get("hours", 1.0))
    row = frame.iloc[0]
    waiting, arrived, finished = float(row["waiting"]), float(frame["arrived"].sum()), float(frame["finished"].sum())
    now = pace(frame, hours)
    about = "" if row["share"] >= 1 or frame.attrs.get("waiting_counted") else "about "
    moved = "" if row["counted"] else "about "
    told = f"{moved}{arrived:,.0f} came and {moved}{finished:,.0f} were finished in {hours:g} h"
    findings = [_moves(told, now, waiting, finished, arrived + finished < few)]
    if not row["counted"] and (arrived + finished) * float(row["share"]) < few:
        message = f"{told}: too few were seen on the pages that were read to tell a pace"
        after = "ask for more hours, or have indexes on completed_at and on created_at: then they are counted"
        findings = [Finding(object="flow", status=Status.UNKNOWN, message=message, next=after)]
    elif waiting:
        findings.append(_drained(f"{about}{waiting:,.0f}", now, waiting, warning_hours, critical_hours))
    else:
        findings.append(Finding(object="time to drain", status=Status.OK, message="no item waits", value=0, unit="h"))
    return [*findings, *_times(row)]


def _moves(told: str, now: Pace, waiting: float, finished: float, no_trend: bool) -> Finding:
    if waiting and not finished:
        message = f"{told}: nothing was finished while items wait"
        after = "see who annotates and what is stuck: queue.annotators, queue.stuck"
        return Finding(object="flow", status=Status.WARNING, message=message, value=0, unit="items/h", next=after)
    if no_trend:
        return Finding(object="flow", status=Status.OK, message=f"{told}: too few to tell a trend")
    grows, least, most = -now.falls, -now.high, -now.low
    word = "grows" if grows > 0 else "falls"
    low, high = (least, most) if grows > 0 else (now.low, now.high)
    message = f"{told}: it {word} by {abs(grows):,.3g} an hour (95%: {low:,.3g} to {high:,.3g})"
    status = Status.WARNING if least > 0 else Status.OK
    if low <= 0 < grows:
        message += ", or stands"
    return Finding(object="flow", status=status, message=message, value=round(grows, 3), threshold=0, unit="items/h")


def _drained(waiting: str, now: Pace, items: float, warning: float, critical: float) -> Finding:
    likely, earliest, latest = now.hours(items)
    if math.isinf(likely):
        message = f"{waiting} wait, and at this pace it is never drained"
        if not math.isinf(earliest):
            message += f" (at the earliest in {_hours(earliest)})"
        after = "more annotators, or less that comes: see below which of them it is"
        return Finding(object="time to drain", status=Status.WARNING, message=message, unit="h", next=after)
    between = f"{_hours(earliest)} to {_hours(latest)}"
    message = f"{waiting} wait: drained in {_hours(likely)} at this pace (95%: {between})"
    return at_most("time to drain", round(likely, 2), warning, critical, unit="h", message=message)


def _hours(hours: float) -> str:
    if math.isinf(hours):
        return "never"
    return f"{hours:.2g} h" if hours < 99.5 else f"{hours / 24:,.0f} d"


def _times(row: "pd.Series[float]") -> list[Finding]:
    """Return a finding where times cannot be true, or are not told: what they belong to was not counted."""
    wrong = [
        counted(round(row[name]), one, many)
        for name, one, many in (
            ("ahead", "item has a time to come", "items have a time to come"),
            ("backwards", "item was finished before it came", "items were finished before they came"),
            ("left_untold", "item is done and nobody says since when", "items are done and nobody says since when"),
        )
        if np.isfinite(row[name]) and row[name] > 0
    ]
    if not wrong:
        return []
    message = f"{'; '.join(wrong)}: a clock or a time zone is wrong, or who wrote them; the figures are without them"
    after = "compare the clocks (morning-health-check), and see in the service's log who writes such times"
    return [Finding(object="times", status=Status.UNKNOWN, message=message, next=after)]


flow = Question(
    name="queue.flow",
    title="Does more come into the queue than leaves it, and when is it drained?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    deadline=10.0,
    next="see who annotates, and whether what they wait for answers",
    explained_by={"postgres.reachable": "the application's database cannot be used: see postgres.reachable"},
    caused_by={"queue.annotators": ("nothing was finished", "never drained")},
)

"""What changed at a moment: the log before and after it, or in two windows."""

from datetime import datetime, timedelta

import pandas as pd

from runbook.connections import LogsConnection
from runbook.logfiles.durations import percentile
from runbook.logfiles.entries import FAILED, as_stamp
from runbook.logfiles.tally import Period, Tally
from runbook.logs.window import DEADLINE, PASS_SECONDS, moment_of
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status
from runbook.model.units import length as length_of

MOST_TOLD = 10
# Of fewer a 95th percentile says nothing.
FEWEST_REQUESTS = 20
COLUMNS = ["what", "subject", "before", "after", "unit", "times"]


def probe(asking: Asking, *, moment: str = "", minutes: float = 60.0, with_moment: str = "") -> pd.DataFrame:
    """Return a row for each figure of two windows: what, subject, before, after, unit, times (after / before).

    The windows are the ``minutes`` before and after a moment (ISO, UTC; empty: ``minutes`` ago); with ``with_moment``
    they are those after it and after ``moment``. Figures: entries and messages of WARNING and worse per hour, requests
    per hour, 5xx (%), p95 of each path (ms); of a window that has not passed, per hour of what has. ``attrs`` say the
    ``windows``, and of the second one how much has passed (``passed``, a share, and ``passed_seconds``). Raises
    `CouldNotFindOut` where one of them has no entry.
    """
    logs = asking.connection(LogsConnection)
    length = timedelta(minutes=minutes)
    middle = moment_of(moment) if moment else logs.opened_at - length
    first = moment_of(with_moment) if with_moment else middle - length
    periods = _periods(first, middle, length)
    reading = logs.reading(periods, PASS_SECONDS)
    tallies = [reading.periods[period.name] for period in periods]
    for period, tally in zip(periods, tallies, strict=True):
        if not tally.entries:
            raise CouldNotFindOut(f"the log has no entry from {period.since[:19]} until {period.until[:19]} UTC")
    # What lies ahead has no entries yet: it is no time without any.
    passed = [min(length, logs.now() - begin).total_seconds() for begin in (first, middle)]
    before, after = (_figures(tally, max(seconds, 1.0) / 3600) for tally, seconds in zip(tallies, passed, strict=True))
    rows = []
    for what, subject, unit in sorted(set(before) | set(after)):
        if what == "p95" and not {(what, subject, unit)} <= set(before) & set(after):
            continue
        left, right = (side.get((what, subject, unit), 0.0) for side in (before, after))
        times = right / left if left else float("inf") if right else 1.0
        rows.append((what, subject, left, right, unit, times))
    frame = pd.DataFrame(rows, columns=COLUMNS).sort_values(
        ["what", "times"], ascending=[True, False], ignore_index=True
    )
    frame.attrs["windows"] = " and ".join(f"{period.since[:16]} to {period.until[:16]}" for period in periods)
    frame.attrs["passed"] = passed[1] / length.total_seconds()
    frame.attrs["passed_seconds"] = passed[1]
    return frame


def _periods(first: datetime, second: datetime, length: timedelta) -> tuple[Period, Period]:
    return (
        Period("first", as_stamp(first), as_stamp(first + length)),
        Period("second", as_stamp(second), as_stamp(second + length)),
    )


def _figures(tally: Tally, hours: float) -> dict[tuple[str, str, str], float]:
    figures = {("entries", "all", "per hour"): tally.entries / hours}
    for (level, logger, message), seen in tally.messages.items():
        key = ("error" if level in FAILED else "warning", f"{logger}: {message}", "per hour")
        figures[key] = figures.get(key, 0.0) + seen.count / hours
    if tally.requests:
        failed = sum(seen.count for key, seen in tally.refused.items() if key[0].startswith("5"))
        figures[("requests", "all", "per hour")] = tally.requests / hours
        figures[("5xx", "all requests", "%")] = 100 * failed / tally.requests
    for path, counted in tally.durations.items():
        if sum(counted.values()) >= FEWEST_REQUESTS:
            figures[("p95", path, "ms")] = percentile(counted, 0.95)
    return figures


def check(
    frame: pd.DataFrame,
    *,
    times: float = 3,
    least: float = 3,
    least_ms: float = 200,
    least_share: float = 1,
    critical_share: float = 10,
) -> list[Finding]:
    """Name what is ``times`` as much as before: errors, 5xx and durations; warnings and volume are told in the table.

    A factor of three is more than the hour of the day explains. Left out is what is small: messages of fewer than
    ``least`` an hour, 95th percentiles below ``least_ms``, 5xx below ``least_share`` (%). Above ``critical_share`` (%)
    5xx that grew are CRITICAL, the runbook's own P1. Of a window that has passed in part, messages are as many as make
    ``least`` an hour of all of it: one error in a minute is not sixty in an hour.
    """
    passed = float(frame.attrs["passed"])
    floors = {"error": least / min(max(passed, 1e-9), 1.0), "p95": least_ms, "5xx": least_share}
    floor = frame["what"].map(floors)
    worse = frame[floor.notna() & (frame["times"] >= times) & (frame["after"] >= floor)]
    findings = [
        Finding(
            object=f"{row['what']} {row['subject'][:150]}",
            status=Status.CRITICAL if row["what"] == "5xx" and row["after"] > critical_share else Status.WARNING,
            message=f"{_shown(row['before'])} → {_shown(row['after'])} {row['unit']}",
            value=row["after"],
            unit=row["unit"],
        )
        for row in worse.head(MOST_TOLD).to_dict("records")
    ]
    if len(worse) > MOST_TOLD:
        told = f"{len(worse) - MOST_TOLD:,} more figures grew as much; see the table"
        findings.append(Finding(object="others", status=Status.WARNING, message=told))
    volume = frame[frame["what"] == "entries"].iloc[0]
    told = f"{volume['before']:.0f} → {volume['after']:.0f} entries per hour ({frame.attrs['windows']} UTC)"
    if passed < 1:
        told += f"; of the later one only {length_of(frame.attrs['passed_seconds'])} have passed: per hour of that"
    return [
        *findings,
        Finding(object="volume", status=Status.OK, message=told, value=volume["after"], unit="entries/h"),
    ]


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


compared = Question(
    name="logs.compared",
    title="What changed at that moment?",
    probe=probe,
    check=check,
    source="the entries of the two windows",
    needs=(LogsConnection,),
    deadline=DEADLINE,
    caused_by={"llm.reachable": ("LLM ", "/candidates")},  # as the service logs it
    next="what grew most is the lead; see the lines around the moment",
)

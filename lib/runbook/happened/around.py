"""What else happened around a moment: whatever began, was deployed, configured or changed, the nearest first."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from runbook.connections import ContainersConnection, PostgresConnection, PrometheusConnection
from runbook.happened import sources
from runbook.happened.event import Event
from runbook.model import Asking, CouldNotFindOut, DoesNotApply, Finding, Question, Status, UsageError, first_of
from runbook.model.moments import moment as moment_of
from runbook.model.text import to_run
from runbook.model.units import counted, length
from runbook.target import Target

COLUMNS = ["time", "what", "known_from", "within", "then", "distance"]
Source = Callable[[Asking, datetime, datetime], Iterator[Event]]
# What is only known from samples is looked at closely so long before and after the moment.
NEAR = timedelta(minutes=15)
# More are the beginnings of a crash loop: the nearest tell it.
MOST, MOST_TOLD = 200, 5


def probe(asking: Asking, *, moment: str = "", hours: float = 6.0) -> pd.DataFrame:
    """Return a row for each thing that is known to have happened within ``hours`` before a moment and an hour after it:
    time (UTC), what, known_from, within (s: so much earlier or later it may have been), then (what to do where it is
    the lead), distance (s after the moment; negative: before it). The nearest comes first; without a moment (ISO, UTC)
    the newest does, and the distance is NaN.

    Attrs: ``looked_at`` and ``not_there`` (sources that the profile does not name), ``silent`` (those that could not be
    asked, with the reason), ``moment``, ``since``. Raises `CouldNotFindOut` where no source could be asked.
    """
    at = _moment(moment)
    until = at + timedelta(hours=1) if at is not None else datetime.now(UTC)
    since = (at or until) - timedelta(hours=hours)
    rows, looked_at, silent = [], [], {}
    there, not_there = _sources(asking.target)
    for name, source in there.items():
        try:
            found = [one for one in source(asking, since, until) if since <= one.at <= until]
            if at is not None and source is sources.from_prometheus:
                found = _sharper(found, list(source(asking, at - NEAR, min(at + NEAR, until))))
        except (CouldNotFindOut, DoesNotApply) as reason:
            silent[name] = str(reason)
            continue
        looked_at.append(name)
        rows += [(one.at, one.what, one.known_from, one.within, one.then) for one in found]
    if not looked_at:
        raise CouldNotFindOut("nothing tells what happened: " + ("; ".join(silent.values()) or "no source is named"))
    frame = pd.DataFrame(rows, columns=COLUMNS[:-1]).drop_duplicates(["time", "what"])
    frame["time"] = pd.to_datetime(frame["time"], utc=True)
    frame["distance"] = (frame["time"] - at).dt.total_seconds() if at is not None else float("nan")
    order = frame["distance"].abs() if at is not None else (until - frame["time"]).dt.total_seconds()
    frame = frame.loc[order.sort_values(kind="stable").index].head(MOST).reset_index(drop=True)
    frame.attrs = {
        "looked_at": looked_at, "not_there": not_there, "silent": silent, "since": since.isoformat(),
        "moment": at.isoformat() if at is not None else "",
    }  # fmt: skip
    return frame


def _sources(target: Target) -> tuple[dict[str, Source], list[str]]:
    """Return what can be asked of a target, by name, and what its profile does not name."""
    every: dict[str, tuple[bool, Source]] = {
        "process starts (Prometheus)": (target.prometheus is not None, sources.from_prometheus),
        "containers": (target.containers is not None and bool(target.containers.named), sources.from_containers),
        "PostgreSQL": (target.postgres is not None, sources.from_postgres),
        "plans of this user": (True, sources.from_plans),
        "releases (a checkout)": (bool(target.service and target.service.checkout), sources.from_checkout),
    }  # fmt: skip
    return (
        {name: source for name, (there, source) in every.items() if there},
        [name for name, (there, _) in every.items() if not there],
    )


def _sharper(far: list[Event], near: list[Event]) -> list[Event]:
    """Return events with those near the moment as they are known from a closer look, where that knows them."""
    return [one for one in far if not any(_same(one, other) for other in near)] + near


def _same(far: Event, near: Event) -> bool:
    apart = abs((far.at - near.at).total_seconds())
    return far.what == near.what and apart <= far.within + near.within


def _moment(text: str) -> datetime | None:
    try:
        return moment_of(text) if text else None
    except ValueError as error:
        raise UsageError(f"{text!r} is no time: write it as 2026-01-31T14:30, in UTC") from error


def check(frame: pd.DataFrame, *, minutes: float = 10) -> list[Finding]:
    """Name what happened within ``minutes`` before the moment, or just around it, as a WARNING: the lead.

    Most outages follow a change, and follow it at once; ten minutes hold a rolling deployment. What is farther off, or
    came after, is told; without a moment all is in the table alone. That nothing is known is no proof that nothing
    was: the last finding says what was looked at.
    """
    rows = frame.to_dict("records") if frame.attrs["moment"] else []
    findings = [_told(row, minutes) for row in rows]
    leads = [finding for finding in findings if finding.status is Status.WARNING]
    others = [finding for finding in findings if finding.status is Status.OK]
    shown = first_of(leads, "leads")
    shown += others[:MOST_TOLD]
    silent = [
        Finding(object=name, status=Status.UNKNOWN, message=f"could not be asked what happened: {reason}")
        for name, reason in frame.attrs["silent"].items()
    ]
    return [*shown, *silent, _coverage(frame, len(leads), minutes)]


def _told(row: dict[Any, Any], minutes: float) -> Finding:
    when = f"{_when(row)} UTC ({row['known_from']})"
    seconds = float(row["distance"])
    about = max(float(row["within"]), 5.0)
    side = (
        "at the same moment"
        if abs(seconds) <= about
        else f"{length(abs(seconds))} {'after' if seconds > 0 else 'before'} it"
    )
    lead = -60 * minutes <= seconds <= about
    status = Status.WARNING if lead else Status.OK
    after = str(row["then"]) if lead else ""
    return Finding(object=row["what"], status=status, message=f"{side}, {when}", value=seconds, unit="s", next=after)


def _when(row: dict[Any, Any]) -> str:
    """Return when it was: at a second, or between the two that it surely lies between."""
    if row["within"] <= 1:
        return f"at {row['time']:%Y-%m-%d %H:%M:%S}"
    within = pd.Timedelta(seconds=row["within"])
    earliest, latest = (row["time"] - within).floor("s"), (row["time"] + within).ceil("s")
    return f"between {earliest:%Y-%m-%d %H:%M:%S} and {latest:%H:%M:%S}"


def _coverage(frame: pd.DataFrame, leads: int, minutes: float) -> Finding:
    attrs = frame.attrs
    moment = pd.Timestamp(attrs["moment"]) if attrs["moment"] else None
    span = (
        f"in the {minutes:g} min before {moment:%Y-%m-%d %H:%M:%S} UTC" if moment is not None else "to be compared with"
    )
    what = counted(leads, "thing") if leads else "nothing"
    if moment is None:
        what, span = counted(len(frame), "thing"), f"since {pd.Timestamp(attrs['since']):%Y-%m-%d %H:%M} UTC"
    lacks = (
        f"; not known, since the profile does not name it: {', '.join(attrs['not_there'])}"
        if attrs["not_there"]
        else ""
    )
    message = f"{what} known {span}; looked at: {', '.join(attrs['looked_at'])}{lacks}"
    return Finding(object="what is known", status=Status.OK, message=message)


around = Question(
    name="happened.around",
    title="What else happened then?",
    probe=probe,
    check=check,
    source="docker inspect, docker events, pg_postmaster_start_time(), pg_conf_load_time(), Prometheus' "
    "process_start_time_seconds and up, the journals of plans, git reflog",
    needs=(PrometheusConnection, ContainersConnection, PostgresConnection),
    deadline=20.0,
    next=f"see the lines around that moment: {to_run('log-analysis')}",
)

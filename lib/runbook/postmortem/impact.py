"""How bad it was, in numbers: each from the data of a run, which it names."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runbook.evidence.records import frame_of
from runbook.model import Status
from runbook.model.moments import moment
from runbook.model.units import counted, length
from runbook.postmortem.changes import changes
from runbook.postmortem.course import Course, Point, courses
from runbook.postmortem.events import started
from runbook.postmortem.story import Cited, Story

if TYPE_CHECKING:
    import pandas as pd

FAILED = ("ERROR", "CRITICAL")
# How many of the times that a thing was not well are told one by one.
TOLD = 4


@dataclass(frozen=True)
class Measure:
    """One number: what it is, how it reads, its value and unit, and the run that it comes from (None: the notes)."""

    name: str
    says: str
    value: float | None = None
    unit: str = ""
    cited: Cited | None = None


def impact(story: Story) -> list[Measure]:
    """Return how long it was, what share of requests failed, how many were hit, and what was not well the longest."""
    return [*_times(story), *_probed(story), *_logged(story), *_errors(story), *_not_well(story)]


def _times(story: Story) -> Iterator[Measure]:
    began, ended = story.began, story.ended
    opening = next((c for c in story.entries if c.entry is not None and c.entry.kind == "opened"), None)
    closing = next((c for c in story.entries if c.entry is not None and c.entry.kind == "closed"), None)
    if ended is not None:
        span = (ended - began).total_seconds()
        yield Measure("duration", f"{length(span)}, from {_clock(began)} to {_clock(ended)}", span, "s", closing)
    else:
        yield Measure("duration", f"it is still open; it began at {_clock(began)}", cited=opening)
    opened = story.incident.opened
    if moment(opened) > began:
        span = (moment(opened) - began).total_seconds()
        yield Measure("until it was opened", f"{length(span)} after it began", span, "s", opening)
    seen = [c.first_bad for c in courses(story) if c.worst is Status.CRITICAL and c.first_bad is not None]
    if seen:
        first = min(seen, key=lambda point: point.at)
        span = max(0.0, (first.at - began).total_seconds())
        says = f"{length(span)} after it began: {first.finding.check}: {first.finding.object}"
        yield Measure("until a run saw it", says, span, "s", first.cited)
    first_change = next((made for made in changes(story) if made.begun is not None), None)
    if first_change is not None and first_change.begun is not None:
        span = (first_change.begun - began).total_seconds()
        says = f"{length(span)} after it began: {first_change.plan.summary}"
        yield Measure("until the first change", says, span, "s", first_change.cited)
    again = [course.well_again for course in courses(story) if course.worst is Status.CRITICAL and course.is_cause]
    if again and None not in again:
        last = max((point for point in again if point is not None), key=lambda point: point.at)
        span = max(0.0, (last.at - began).total_seconds())
        says = f"{length(span)} after it began: at {_clock(last.at)} a run found everything critical well again"
        yield Measure("until it was well again", says, span, "s", last.cited)


def _probed(story: Story) -> Iterator[Measure]:
    """Yield the worst share of requests that failed when runs tried it themselves."""
    tried: dict[str, list[tuple[datetime, Cited, int, int]]] = {}
    for cited in story.runs:
        frame = frame_of(cited.place, "api.error_rate") if cited.standing == "sealed" else None
        if frame is None or cited.record is None or not {"answered", "status"} <= set(frame.columns):
            continue
        failed = frame[~frame["answered"].astype(bool) | (frame["status"].fillna(0) >= 500)]
        tried.setdefault(cited.record.target, []).append((started(story, cited), cited, len(failed), len(frame)))
    for course in courses(story):
        # Where nothing answered at all, no run could even try.
        silent = _silent(course)
        if silent is not None:
            says = f"100% at {_clock(silent.at)}: {silent.finding.message}"
            yield Measure("worst error share", says, 100.0, "%", silent.cited)
            tried.pop(course.target, None)
    for target, rows in tried.items():
        at, cited, failed_count, asked = max(rows, key=lambda row: row[2] / max(1, row[3]))
        share = 100 * failed_count / max(1, asked)
        says = f"{share:.0f}% at {_clock(at)}: {failed_count} of {asked} requests that the run itself sent to {target}"
        yield Measure("worst error share", says, share, "%", cited)


def _silent(course: Course) -> Point | None:
    """Return when the service was first found not to answer at all; None where it always did."""
    if course.check != "api.liveness":
        return None
    # A number would be the status of an answer, or how long it took.
    silent = (p for p in course.points if p.status is Status.CRITICAL and not isinstance(p.finding.value, int | float))
    return next(silent, None)


def _logged(story: Story) -> Iterator[Measure]:
    """Yield the requests that failed as the service logged them, from the run that saw most of them."""
    found: dict[str, tuple[int, int, Cited, Any]] = {}
    for cited in story.runs:
        frame = frame_of(cited.place, "logs.server_errors") if cited.standing == "sealed" else None
        if frame is None or cited.record is None or "count" not in frame.columns:
            continue
        within = frame[(frame["last"] >= f"{story.began:%Y-%m-%d %H:%M:%S}")] if len(frame) else frame
        count, requests = int(within["count"].sum()), int(frame.attrs.get("requests", 0))
        if cited.record.target not in found or count >= found[cited.record.target][0]:
            found[cited.record.target] = (count, requests, cited, within)
    if not found:
        yield Measure("requests hit", "not known: no run of this incident counted the requests in the service's log")
    for target, (count, requests, cited, frame) in found.items():
        of = f" of {requests:,} in the log that was read" if requests else ""
        share = f", {100 * count / requests:.1f}%" if requests else ""
        most = frame.groupby("path")["count"].sum().sort_values(ascending=False) if count else None
        where = f"; most on {most.index[0]} ({int(most.iloc[0]):,})" if most is not None and len(most) else ""
        # A row tells its first and last request only: where it begins earlier, not all of it belongs here.
        most_of = "at most " if count and frame["first"].min() < f"{story.began:%Y-%m-%d %H:%M:%S}" else ""
        says = f"{most_of}{counted(count, 'request')} answered 5xx{of}{share}, on {target}{where}"
        silent = any(c.target == target and _silent(c) is not None for c in courses(story))
        says += "; while it did not answer it logged nothing, so that more were hit" if silent else ""
        yield Measure("requests hit, as logged", says, float(count), "requests", cited)


def _errors(story: Story) -> Iterator[Measure]:
    for target, (frame, cited) in errors_by_minute(story).items():
        until = story.ended or max(c.at for c in story.cited)
        during = frame[(frame.index >= story.began.replace(second=0)) & (frame.index <= until)]
        total = int(during.sum())
        says = f"{counted(total, 'error')} logged on {target} while it lasted"
        if total:
            says += f"; most in the minute {during.idxmax():%H:%M} UTC: {int(during.max()):,}"
        yield Measure("errors logged", says, float(total), "errors", cited)


def _not_well(story: Story) -> Iterator[Measure]:
    critical = [course for course in courses(story) if course.worst is Status.CRITICAL and course.is_cause]
    for course in critical[:6]:
        spells = course.spells
        name = f"{course.check}: {course.object}"
        told = [
            f"from {_clock(first.at)}" + (f" to {_clock(again.at)}" if again else ", and no run found it well again")
            for first, again in spells
        ]
        times = f" {len(spells)} times" if len(spells) > 1 else ""
        says = f"{course.worst}{times}, as runs saw it: {'; '.join(told[:TOLD])}"
        says += f"; and {len(told) - TOLD} times more" if len(told) > TOLD else ""
        over = [(again.at - first.at).total_seconds() for first, again in spells if again is not None]
        ended = spells[-1][1]
        if ended is None:
            yield Measure(name, says, cited=spells[-1][0].cited)
        else:
            yield Measure(name, f"{length(sum(over))}: {says}", sum(over), "s", ended.cited)


def errors_by_minute(story: Story) -> "dict[str, tuple[pd.Series[float], Cited]]":
    """Return for each target its logged errors by minute (UTC), and the run that saw most of them.

    Several runs read the same log; of a minute that two have seen, the higher count is taken.
    """
    import pandas as pd

    found: dict[str, list[tuple[Cited, Any]]] = {}
    for cited in story.sound:
        frame = frame_of(cited.place, "logs.timeline")
        if frame is None or cited.record is None or not {"minute", "level", "count"} <= set(frame.columns):
            continue
        failed = frame[frame["level"].isin(FAILED)].groupby("minute")["count"].sum()
        found.setdefault(cited.record.target, []).append((cited, failed))
    merged = {}
    for target, seen in found.items():
        every: Any = pd.concat([failed for _, failed in seen]).groupby(level=0).max().sort_index()
        every.index = pd.to_datetime(every.index, utc=True)
        merged[target] = (every, max(seen, key=lambda one: one[1].sum())[0])
    return merged


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"

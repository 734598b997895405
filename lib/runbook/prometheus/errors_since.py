"""Since when do requests fail: the moment at which the share of failed requests of a path stepped up."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from runbook.connections import LogsConnection, PrometheusConnection
from runbook.logfiles.empty import EMPTY_AS_500
from runbook.model import Asking, Finding, Question, Status, first_of
from runbook.model.text import to_run
from runbook.model.units import counted, length
from runbook.prometheus.change_point import Episode, episodes, failing_run, parted, segments
from runbook.prometheus.errors_by_path import NOT_SCRAPED, about, not_scraped, short, span
from runbook.prometheus.explanations import CAUSED_BY, EXPLAINED_BY
from runbook.prometheus.failing import Course, Failing, closely, failing
from runbook.prometheus.queries import read_promql
from runbook.prometheus.reading import DEADLINE
from runbook.prometheus.window import Window

COLUMNS = [
    "path", "begins", "earliest", "latest", "ends", "before", "share", "failed", "requests", "earlier",
    "from_the_start", "last_request", "previous",
]  # fmt: skip


def probe(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return a row for each path whose share of failed requests stepped up in the window (6 h where none is given).

    Columns: path; begins (UTC, the middle of the time between two scrapes in which it began), earliest and latest
    (between which it surely began, as far as counts can tell); ends (UTC; NaT: it lasts); before and share (%, NaN: it
    failed from the start of the window on), failed, requests (while it failed), earlier (how many such times there were
    before in the window), from_the_start, last_request (UTC, by when its last one was counted), previous
    (UTC, about when the time of failing before this one began; NaT: there was none). Attrs as for `errors_by_path`.

    The last such time of each path is told, the path with most failures first. No row: no path's share stepped up.
    """
    found = failing(asking, window)
    rows = [row for course in found.courses if (row := _row(asking, found, course)) is not None]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    for name in ("begins", "earliest", "latest", "ends", "last_request", "previous"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    frame = frame.sort_values(["failed", "path"], ascending=[False, True], ignore_index=True)
    frame.attrs = about(found)
    return frame


def _row(asking: Asking, found: Failing, course: Course) -> dict[str, Any] | None:
    counts = course.counts
    times = [
        part
        for one in episodes(segments(counts.failed, counts.requests))
        for part in parted(one, counts.failed, counts.requests, counts.ends - counts.begins)
    ]
    if not times:
        return None
    last = times[-1]
    calm_since = times[-2].end or 0 if len(times) > 1 else 0
    began, doubt, counted_since = _begin(asking, found, course, last, calm_since)
    ends = _end(asking, found, course, last)
    failed, requests = counted_since or (last.failed, last.requests)
    return {
        "path": course.name,
        "begins": _moment(sum(began) / 2),
        "earliest": _moment(doubt[0]),
        "latest": _moment(doubt[1]),
        "ends": _moment(ends) if ends is not None else pd.NaT,
        "before": 100 * last.before,
        "share": 100 * failed / requests,
        "failed": failed,
        "requests": requests,
        "earlier": len(times) - 1,
        "from_the_start": last.from_the_start,
        "last_request": _moment(_last_request(asking, found, course)),
        "previous": _moment(float(counts.begins[times[-2].begin])) if len(times) > 1 else pd.NaT,
    }


Span = tuple[float, float]


def _begin(
    asking: Asking, found: Failing, course: Course, episode: Episode, calm_since: int
) -> tuple[Span, Span, Span | None]:
    """Return the interval in which an episode began, all that it may have begun in, and what failed of how many
    requests since then; looked at closely.
    """
    counts, place = course.counts, episode.begin
    usual = (float(counts.begins[place]), float(counts.ends[place]))
    if episode.from_the_start:
        return usual, usual, None
    # Two intervals with requests on both sides: where nothing was scraped, they are as far off as that took.
    told = np.flatnonzero(counts.requests > 0)
    # What failed at another time before is none of it.
    first = told[(told < place) & (told >= calm_since)][-2:].min(initial=place)
    last = told[told >= place][:3].max(initial=place)
    fine = closely(asking, found, course, float(counts.begins[first]), float(counts.ends[last]))
    run = failing_run(fine.failed, fine.requests, episode.before, episode.share)
    if run is None:
        return usual, usual, None
    exact = (float(fine.begins[run.begin]), float(fine.ends[run.begin]))
    # In the interval before, it may have begun after the last request of that one: no count tells.
    doubt = (float(fine.begins[max(run.earliest - 1, 0)]), float(fine.ends[run.latest]))
    # The interval that it began in holds what came before as well.
    later, closer = slice(int(last) + 1, episode.end), slice(run.begin + 1, run.end)
    failed = float(fine.failed[closer].sum() + counts.failed[later].sum())
    requests = float(fine.requests[closer].sum() + counts.requests[later].sum())
    return exact, doubt, (failed, requests) if failed else None


def _end(asking: Asking, found: Failing, course: Course, episode: Episode) -> float | None:
    counts, place = course.counts, episode.end
    if place is None:
        return None
    usual = float(counts.begins[place])
    since, until = counts.begins[max(place - 3, 0)], counts.ends[min(place + 1, len(counts.ends) - 1)]
    fine = closely(asking, found, course, float(since), float(until))
    before = 0.0 if episode.from_the_start else episode.before
    run = failing_run(fine.failed, fine.requests, before, episode.share)
    return float(fine.ends[run.end - 1]) if run is not None else usual


def _last_request(asking: Asking, found: Failing, course: Course) -> float:
    """Return by when the last request was counted; looked at closely where it is long ago."""
    counts = course.counts
    last = int(np.flatnonzero(counts.requests > 0).max())
    usual = float(counts.ends[last])
    if found.end.timestamp() - usual < 60:
        return usual
    fine = closely(asking, found, course, float(counts.begins[last]), usual)
    told = np.flatnonzero(fine.requests > 0)
    return float(fine.ends[told.max()]) if len(told) else usual


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def check(frame: pd.DataFrame, *, warning: float = 1, critical: float = 10, minutes: float = 5) -> list[Finding]:
    """Judge the share of a path's requests (%) that fail since it stepped up: above 10% is the runbook's own P1, 1% is
    where users begin to notice. What is over is a WARNING, and so is what no request has come to for ``minutes``: it
    is not known whether it fails still.

    A step is told where more than five requests failed, a point more and three times as many as at the best of times,
    or ten points more (`change_point.episodes`).
    """
    findings = [_judged(row, frame.attrs, warning, critical, minutes) for row in frame.to_dict("records")]
    if not findings:
        where = "in the log" if frame.attrs["source"] == "log" else "from scrape to scrape"
        message = (
            f"no path's share of failed requests stepped up in {span(frame.attrs)} "
            f"(looked at {where}; {frame.attrs['requests']:,.0f} requests)"
        )
        findings = [Finding(object="all paths", status=Status.OK, message=message, source=frame.attrs["asked"])]
        if silent := not_scraped(frame.attrs):
            message = f"{silent}: whether any path fails since then is not known; before, {message}"
            findings = [Finding(object="all paths", status=Status.UNKNOWN, message=message, next=NOT_SCRAPED)]
    if frame.attrs["instead"]:
        message = f"{frame.attrs['instead']}; the moment is from the log"
        findings.append(Finding(object="Prometheus", status=Status.UNKNOWN, message=message, next=frame.attrs["after"]))
    return first_of(findings, "paths")


def _judged(row: dict[Any, Any], attrs: Mapping[Any, Any], warning: float, critical: float, minutes: float) -> Finding:
    over, share = not pd.isna(row["ends"]), float(row["share"])
    quiet = "" if over else _quiet(row, attrs, minutes)
    told = f"{share:.0f}%" if share >= 10 else f"{share:.2g}%"
    message, after = (_always if row["from_the_start"] else _stepped)(row, attrs, told, not over and not quiet)
    if over:
        message += f"; it ended at {row['ends']:%Y-%m-%d %H:%M:%S} UTC"
    message += f"{quiet} ({row['failed']:,.0f} of {row['requests']:,.0f})"
    if row["earlier"]:
        message += (
            f"; {counted(int(row['earlier']), 'such time')} before it in the window, "
            f"the last from about {row['previous']:%Y-%m-%d %H:%M} UTC on"
        )
    status = Status.CRITICAL if share > critical else Status.WARNING if share > warning else Status.OK
    if status is Status.CRITICAL and (over or quiet or row["path"].rpartition(" ")[2] in EMPTY_AS_500):
        status = Status.WARNING
    threshold = critical if share > critical else warning
    return Finding(
        object=short(row["path"]), status=status, message=message, value=round(share, 1), threshold=threshold, unit="%",
        next=after, source=attrs["asked"],
    )  # fmt: skip


def _quiet(row: dict[Any, Any], attrs: Mapping[Any, Any], minutes: float) -> str:
    """Return that no request came for so long, and since when; "" where one did, or where nothing was scraped."""
    silent = (pd.Timestamp(attrs["until"]) - row["last_request"]).total_seconds()
    if silent <= 60 * minutes or not_scraped(attrs):
        return ""
    last = row["last_request"].ceil("s")
    return (
        f"; the last request was counted by {last:%Y-%m-%d %H:%M:%S} UTC and none came since ({length(silent)}): "
        "whether it fails still is not known"
    )


def _always(row: dict[Any, Any], attrs: Mapping[Any, Any], told: str, lasts: bool) -> tuple[str, str]:
    verb = "fail" if lasts else "failed"
    if attrs["recorded"]:
        first = pd.Timestamp(attrs["recorded"])
        message = (
            f"{told} of its requests {verb} in all of the {length(3600 * attrs['hours'])} that are recorded: nothing "
            f"is known before the first sample in this time, at {first:%Y-%m-%d %H:%M:%S} UTC"
        )
        return message, f"the log may know when it began: {to_run('log-analysis')}"
    longer = ", and longer" if lasts else ", from before it on"
    message = f"{told} of its requests {verb} in all of the {span(attrs)} looked at{longer}"
    return message, f"look further back: {to_run('high-error-rate', hours=max(round(4 * attrs['hours']), 1))}"


def _stepped(row: dict[Any, Any], attrs: Mapping[Any, Any], told: str, lasts: bool) -> tuple[str, str]:
    earliest, latest = row["earliest"].floor("s"), row["latest"].ceil("s")
    message = (
        f"{told} of its requests {'fail since' if lasts else 'failed from'} {row['begins']:%Y-%m-%d %H:%M:%S} UTC "
        f"(between {earliest:%H:%M:%S} and {latest:%H:%M:%S}: {length((latest - earliest).total_seconds())}), "
        f"{row['before']:.2g}% before"
    )
    moment = row["begins"].strftime("%Y-%m-%dT%H:%M:%S")
    return message, f"see what happened then, below; {to_run('log-analysis', moment=moment)}"


def moment_of(frame: pd.DataFrame | None) -> str:
    """Return when the failing that matters most began, as notebooks take it (ISO, UTC); "" where nothing stepped up.

    It is that of the path with most failures among those that still fail, else among those that did.
    """
    if frame is None or frame.empty or "begins" not in frame:
        return ""
    known = frame[~frame["from_the_start"].astype(bool)]
    lasting = known[known["ends"].isna()]
    chosen = lasting if len(lasting) else known
    return f"{chosen.iloc[0]['begins']:%Y-%m-%dT%H:%M:%S}" if len(chosen) else ""


errors_since = Question(
    name="prometheus.errors_since",
    title="Since when do they fail?",
    probe=probe,
    check=check,
    source=read_promql("requests_of_path"),
    needs=(PrometheusConnection, LogsConnection),
    deadline=DEADLINE,
    explained_by=EXPLAINED_BY,
    caused_by=CAUSED_BY,
    next="see what else happened at that moment: a deployment, a restart, a plan",
)

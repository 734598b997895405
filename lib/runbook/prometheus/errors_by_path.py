"""Which paths fail, with which status, and how large a share of their requests?"""

from collections.abc import Hashable, Mapping
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from runbook.connections import LogsConnection, PrometheusConnection
from runbook.logfiles.empty import EMPTY_AS_500
from runbook.model import Asking, Finding, Question, Status, at_most, first_of
from runbook.model.text import printable, to_run
from runbook.model.units import counted, length
from runbook.prometheus.explanations import CAUSED_BY, EXPLAINED_BY
from runbook.prometheus.failing import Course, Failing, failing
from runbook.prometheus.queries import read_promql
from runbook.prometheus.reading import DEADLINE
from runbook.prometheus.window import Window

COLUMNS = ["path", "time", "failed", "requests", "share"]
NAME_CHARACTERS = 120
# One scrape that is late or missed is nothing; as long as this nothing is known of the present.
_SCRAPES_MISSED, _SECONDS_MISSED = 3, 60.0
# The paths that ask the language model.
_MODELS = "/candidates"


def probe(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return a row for each path that had failures and each piece of the window (6 h where none is given): path, time
    (UTC, its end), failed (answered 5xx), requests, share (%; NaN: no request).

    Attrs: ``requests`` and ``failed`` (of all paths, in the window), ``statuses`` (by path), ``hours``, ``until``
    (ISO), ``left_out``, ``source`` (prometheus or log), ``instead`` (why it is not Prometheus), ``after`` (what to do
    about that), ``interval`` (s, of scrapes), ``newest`` (ISO, the newest sample's time; "": not told), ``recorded``
    (ISO, the first sample's time where that is later than the window begins), ``asked``.
    """
    found = failing(asking, window)
    frame = pd.concat([_rows(course) for course in found.courses] or [pd.DataFrame(columns=COLUMNS)])
    frame.attrs = about(found)
    return frame.reset_index(drop=True)


def about(found: Failing) -> dict[Hashable | None, Any]:
    """Return what frames of failures say of themselves."""
    return {
        "requests": found.requests,
        "failed": found.failed,
        "statuses": {course.name: course.statuses for course in found.courses},
        "hours": (found.end - found.start).total_seconds() / 3600,
        "until": found.end.isoformat(),
        "left_out": found.left_out,
        "source": found.source,
        "instead": found.instead,
        "after": found.after,
        "interval": found.interval,
        "newest": found.newest.isoformat() if found.newest is not None else "",
        "recorded": found.recorded.isoformat() if found.recorded is not None else "",
        "asked": found.asked,
    }


def _rows(course: Course) -> pd.DataFrame:
    counts = course.counts
    with np.errstate(invalid="ignore"):
        share = np.where(counts.requests > 0, 100 * counts.failed / np.maximum(counts.requests, 1e-9), np.nan)
    return pd.DataFrame(
        {
            "path": course.name,
            "time": pd.to_datetime(counts.ends, unit="s", utc=True),
            "failed": counts.failed,
            "requests": counts.requests,
            "share": share,
        }
    )


def check(
    frame: pd.DataFrame, *, warning: float = 1, critical: float = 10, few: float = 5, minutes: float = 5
) -> list[Finding]:
    """Judge each path by the share of its requests that were answered 5xx in the last ``minutes``.

    Above 10% is the runbook's own P1, 1% is where users begin to notice. No more than ``few`` failed requests are no
    share: told with the rest. Five minutes are those of the alert HighErrorRate. Two paths say by 500 also that there
    was nothing to do; they are a WARNING at most. Where nothing was scraped for three scrapes and a minute, what fails
    now is UNKNOWN.
    """
    minutes = min(minutes, 60 * frame.attrs["hours"])
    since = pd.Timestamp(frame.attrs["until"]) - pd.Timedelta(minutes=minutes)
    recent = frame[frame["time"] > since].groupby("path", sort=False)[["failed", "requests"]].sum()
    recent = recent.sort_values("failed", ascending=False)
    findings = []
    for path, row in recent.iterrows():
        failed, requests = float(row["failed"]), max(float(row["requests"]), float(row["failed"]))
        if failed > few and 100 * failed / requests > warning:
            findings.append(_judged(str(path), failed, requests, frame.attrs, (warning, critical, minutes)))
    told = first_of(findings, "paths")
    return [*_instead(frame), *told, _all(frame, len(findings), minutes, int(recent["failed"].sum()))]


def _judged(
    path: str, failed: float, requests: float, attrs: Mapping[Any, Any], limits: tuple[float, float, float]
) -> Finding:
    warning, critical, minutes = limits
    share = 100 * failed / requests
    statuses = attrs["statuses"].get(path, {})
    told = ", ".join(f"{n:,.0f} × {printable(status)}" for status, n in sorted(statuses.items()))
    message = (
        f"{share:.0f}% of its requests failed in the last {_length(minutes)} ({failed:,.0f} of {requests:,.0f}); "
        f"in {span(attrs)}: {told}"
    )
    if path.rpartition(" ")[2] in EMPTY_AS_500:
        message += "; of this path 500 may mean only that there was nothing to do"
        critical = float("inf")
    finding = at_most(short(path), round(share, 1), warning, critical, unit="%", message=message)
    if _MODELS in path:
        after = f"it waits for the language model: see llm.reachable first; then {to_run('log-analysis')}"
        finding = msgspec.structs.replace(finding, next=after)
    return finding


def _length(minutes: float) -> str:
    return f"{minutes:g} min" if minutes == round(minutes) else length(60 * minutes)


def span(attrs: Mapping[Any, Any]) -> str:
    """Return how long the time is that was looked at, as far as it is recorded: 6 h; the 45 s that are recorded."""
    hours = float(attrs["hours"])
    if attrs["recorded"]:
        return f"the {length(3600 * hours)} that are recorded (since {pd.Timestamp(attrs['recorded']):%H:%M:%S} UTC)"
    return f"{hours:.0f} h" if hours >= 1 else length(3600 * hours)


def short(path: str) -> str:
    """Return a path as a finding names it."""
    told = printable(path)
    return told if len(told) <= NAME_CHARACTERS else f"{told[: NAME_CHARACTERS - 1]}…"


def _instead(frame: pd.DataFrame) -> list[Finding]:
    """Return what to say where Prometheus does not tell it."""
    if not frame.attrs["instead"]:
        return []
    message = f"{frame.attrs['instead']}; what stands here is from the log"
    return [Finding(object="Prometheus", status=Status.UNKNOWN, message=message, next=frame.attrs["after"])]


def not_scraped(attrs: Mapping[Any, Any]) -> str:
    """Return that nothing was scraped at the end of the window, and since when; "" where it was, and for a log."""
    if attrs["source"] != "prometheus":
        return ""
    if not attrs["newest"]:
        return "no sample for at least five minutes"
    newest = pd.Timestamp(attrs["newest"])
    silent = (pd.Timestamp(attrs["until"]) - newest).total_seconds()
    if silent <= max(_SCRAPES_MISSED * attrs["interval"], _SECONDS_MISSED):
        return ""
    day = "%H:%M" if silent < 12 * 3600 else "%Y-%m-%d %H:%M"
    return f"no sample since {newest.strftime(day)} UTC"


NOT_SCRAPED = f"see what is not scraped, and why: {to_run('key-metrics')}; whether it runs at all: {to_run('api-down')}"


def _all(frame: pd.DataFrame, bad: int, minutes: float, failed: int) -> Finding:
    attrs = frame.attrs
    looked, every = span(attrs), f"{attrs['failed']:,.0f} of {attrs['requests']:,.0f} requests"
    more = f"; {counted(attrs['left_out'], 'more path')} or more failed" if attrs["left_out"] else ""
    silent = not_scraped(attrs)
    if silent:
        message = f"{silent}: what fails now is not known; before, in {looked}, {every} failed{more}"
        return Finding(object="all paths", status=Status.UNKNOWN, message=message, next=NOT_SCRAPED)
    if attrs["recorded"] and failed and not bad and 60 * attrs["hours"] <= minutes:
        message = f"only {length(60 * minutes)} of samples: {every} failed, too few to tell whether a path fails now"
        after = f"ask again in a minute; until then: {to_run('log-analysis')}"
        return Finding(object="all paths", status=Status.UNKNOWN, message=message, next=after)
    what = "no path fails now" if not bad else f"{counted(bad, 'path')} of those that failed do so now"
    message = f"{what} ({counted(failed, 'failed request')} in {_length(minutes)}); in {looked} {every} failed{more}"
    return Finding(object="all paths", status=Status.OK, message=message, source=attrs["asked"])


errors_by_path = Question(
    name="prometheus.errors_by_path",
    title="Which paths fail?",
    probe=probe,
    check=check,
    source=read_promql("failing_paths"),
    needs=(PrometheusConnection, LogsConnection),
    deadline=DEADLINE,
    next=f"read what is logged of it: {to_run('log-analysis')}",
    explained_by=EXPLAINED_BY,
    caused_by=CAUSED_BY,
)

"""Does Prometheus reach what it is to watch, and has its history gaps?"""

from typing import Any

import pandas as pd

from runbook.connections import PrometheusConnection
from runbook.connections.prometheus import Result
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable
from runbook.prometheus.explanations import GONE, to_be_told
from runbook.prometheus.frames import times_of
from runbook.prometheus.queries import read_promql
from runbook.prometheus.reading import DEADLINE, NOW, Reading, present, reading
from runbook.prometheus.window import Window

COLUMNS = [
    "job",
    "role",
    "targets",
    "down",
    "error",
    "up",
    "newest",
    "gap_minutes",
    "gap_from",
    "seconds_ahead",
    "silent",
    "kind",
]
_DOWN = (*GONE, "starting")
_ROLES = {"api": "the service", "postgres": "PostgreSQL's exporter", "node": "the hosts"}


def probe(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return a row for each job of the profile: job, role, targets (how many are scraped now; NaN: not told), down
    (how many of them cannot be), error (the first one's), up (the lowest at the end of the window; NaN: no sample),
    newest (UTC, NaT), gap_minutes (without any sample, after the first one of the window), gap_from (of the longest
    gap), seconds_ahead (Prometheus' clock), silent and kind ("").

    A Prometheus that does not tell it has one row, with the reason in ``silent``, its `Unreachable.kind` in ``kind``.
    """
    try:
        connection = asking.connection(PrometheusConnection)
        read = reading(connection, asking.target, window or present())
        jobs: dict[str, str] = asking.target.prometheus.jobs.model_dump()
        offset = connection.clock.offset if connection.clock else 0.0
        return pd.DataFrame([_row(role, job, read, offset) for role, job in jobs.items()], columns=COLUMNS)
    except CouldNotFindOut as error:
        kind = error.kind if isinstance(error, Unreachable) else ""
        return pd.DataFrame([{"job": "", "silent": str(error), "kind": kind}], columns=COLUMNS)


def _row(role: str, job: str, read: Reading, offset: float) -> dict[str, Any]:
    targets = [one for one in read.scraped if one.labels.get("job") == job]
    down = [one for one in targets if one.health == "down"]
    row: dict[str, Any] = {
        "job": job, "role": role, "targets": len(targets) if read.scraped else float("nan"), "down": len(down),
        "error": f"{down[0].scrape_url}: {down[0].last_error}"[:300] if down else "", "up": float("nan"),
        "newest": pd.NaT, "gap_minutes": 0.0, "gap_from": "", "seconds_ahead": offset, "silent": "", "kind": "",
    }  # fmt: skip
    result = read.results["up", NOW]
    if not isinstance(result, Result):
        raise result
    for series in result.series:
        if series.labels.get("job") == job and series.values:
            times = times_of(series)
            apart = pd.Series(times[1:] - times[:-1], index=times[:-1])
            missing = apart[apart > pd.Timedelta(seconds=1.5 * read.span.step)]
            lost = missing - pd.Timedelta(seconds=read.span.step)
            row["newest"] = times[-1]
            row["up"] = (
                series.values[-1] if (read.span.end - times[-1]).total_seconds() < read.span.step else float("nan")
            )
            row["gap_minutes"] = lost.sum().total_seconds() / 60 if len(lost) else 0.0
            row["gap_from"] = f"{missing.idxmax():%Y-%m-%d %H:%M} UTC" if len(missing) else ""
    return row


def check(frame: pd.DataFrame, *, gap_minutes: float = 30, seconds: float = 5) -> list[Finding]:
    """Judge each job: one that cannot be scraped at all is CRITICAL (nothing watches it), a part of its targets
    WARNING, none of that name UNKNOWN; gaps of more than ``gap_minutes`` in the window are a WARNING, since rates and
    alerts were blind in them. A Prometheus that is down or silent is CRITICAL: no alert can fire; one that does not let
    in who asks, or that something else answers for, is UNKNOWN.

    Clocks that differ by more than ``seconds`` are a WARNING: the limit of `clock.offsets`.
    """
    silent = str(frame.iloc[0]["silent"])
    kind = str(frame.iloc[0]["kind"])
    if silent and kind not in _DOWN:
        message, after = f"could not be asked: {silent}", to_be_told(kind, silent)
        return [Finding(object="Prometheus", status=Status.UNKNOWN, message=message, next=after)]
    if silent:
        after = "bring it back first (its process or container, its disk); nothing is watched meanwhile"
        message = f"{silent}; while it is down no alert can fire"
        return [Finding(object="Prometheus", status=Status.CRITICAL, message=message, next=after)]
    findings = [_judged(row, gap_minutes) for row in frame.to_dict("records")]
    ahead = float(frame.iloc[0]["seconds_ahead"])
    if abs(ahead) > seconds:
        way = "ahead of" if ahead > 0 else "behind"
        message = f"Prometheus' clock is {abs(ahead):.0f} s {way} this machine's; the figures are asked for by its own"
        after = "have both machines synchronised (chrony, ntpd): times of logs and metrics cannot be compared"
        findings.append(
            Finding(object="clock", status=Status.WARNING, message=message, value=ahead, unit="s", next=after)
        )
    return findings


def _judged(row: dict[Any, Any], gap_minutes: float) -> Finding:
    subject, what = f'job "{row["job"]}"', _ROLES.get(row["role"], row["role"])
    count, down = row["targets"], int(row["down"])
    if (count == 0 or pd.isna(count)) and pd.isna(row["up"]):
        newest = "" if pd.isna(row["newest"]) else f"; its newest sample is of {row['newest']:%Y-%m-%d %H:%M} UTC"
        message = f"Prometheus scrapes no job of that name ({what}){newest}"
        after = (
            "add it to Prometheus' configuration, or name the job that is meant in the profile: [prometheus.jobs] "
            f"{row['role']} = …"
        )
        return Finding(object=subject, status=Status.UNKNOWN, message=message, next=after)
    if down and down == count:
        message = f"none of its {down} targets ({what}) can be scraped: {row['error']}"
        return Finding(object=subject, status=Status.CRITICAL, message=message, value=down, next=_after(row))
    if down or row["up"] == 0:
        message = (
            f"{down or 'some'} of its {count:.0f} targets ({what}) cannot be scraped: {row['error'] or 'see /targets'}"
        )
        return Finding(object=subject, status=Status.WARNING, message=message, value=down, next=_after(row))
    if row["gap_minutes"] > gap_minutes:
        message = f"{row['gap_minutes']:.0f} min without a sample of {what}, the longest gap from {row['gap_from']}"
        after = "figures and alerts were blind then: see whether Prometheus or what it scrapes was down"
        return Finding(
            object=subject, status=Status.WARNING, message=message, value=round(row["gap_minutes"], 1), unit="min",
            threshold=gap_minutes, next=after,
        )  # fmt: skip
    message = f"{what}: every target is up"
    return Finding(object=subject, status=Status.OK, message=message)


def _after(row: dict[Any, Any]) -> str:
    if row["role"] == "api":
        return (
            "the exposition is at /metrics/prometheus (/metrics is JSON, which cannot be scraped): set metrics_path; "
            "where that is right, see api-down"
        )
    return "see whether what exports it runs, and whether Prometheus may reach it"


scraping = Question(
    name="prometheus.scraping",
    title="Does Prometheus reach what it watches?",
    probe=probe,
    check=check,
    source=f"{read_promql('up')}\ncurl -sS …/api/v1/targets?state=active",
    needs=(PrometheusConnection,),
    deadline=DEADLINE,
    next="mend the scraping first: what is not scraped is not watched",
)

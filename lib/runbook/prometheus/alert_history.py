"""Did each alert fire in the last days, or would it have: how often, for how long, and did it flap?"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from runbook.connections import PrometheusConnection
from runbook.connections.prometheus import Result, Series
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable, UsageError, first_of
from runbook.model.text import printable, to_run
from runbook.model.units import counted
from runbook.prometheus.alert_record import FIRING, PENDING, Episode, merged, record_of, recorded
from runbook.prometheus.explanations import EXPLAINED_BY
from runbook.prometheus.frames import name_of
from runbook.prometheus.queries import Asked, together
from runbook.prometheus.rule_metrics import present
from runbook.prometheus.rules import Rule
from runbook.prometheus.rules.applies import rules_of, why_not
from runbook.prometheus.steps import fit_step, seconds_of

COLUMNS = [
    "alert",
    "severity",
    "state",
    "series",
    "began",
    "ended",
    "minutes",
    "open",
    "step",
    "recorded",
    "judged_from",
    "left_out",
    "runbook",
    "reason",
]
FIRED, NEVER, MISSING, FAILED, NOT_HERE = "fired", "never", "metric missing", "not told", "not of this target"
PENDED = "was pending"
MOST_DAYS = 40.0
# A look at a window of three days costs all of its samples: the longer the window, the fewer looks.
_POINTS, _LOOKS_IN_A_WINDOW = 5000, 100
# How exactly it is told since when a metric is recorded: a three-hundredth of the time.
_LOOKS_FOR_AGE = 300
_QUERIES_SECONDS = 40.0
_MOST_EPISODES = 200
_SCRAPED, _RECORD = "count(up)", "ALERTS"
# Times that are less exact than this are told with how exact they are.
_EXACT_SECONDS = 30.0


def probe(asking: Asking, *, days: float = 7) -> pd.DataFrame:
    """Return a row for each time that an alert fired in the last ``days``, or would have, had its rule been there:
    alert, severity, state (fired), series, began and ended (UTC; from when its wait was over), minutes, open (it still
    does), step (seconds between looks), recorded (Prometheus' own record tells it), judged_from (since when its metrics
    are recorded), left_out (series beyond the bound of an answer), runbook. An alert without such a time has one row,
    whose state says never, metric missing, not told (with the reason), not of this target; or a row for each time in
    which it was pending, as the record tells (was pending).

    For the last hours it is Prometheus' series ALERTS that tells. Besides, each rule's expression is evaluated over the
    range, and its wait applied. Times in which Prometheus recorded nothing at all are none in which it would have
    alerted.
    """
    if not 0 < days <= MOST_DAYS:
        raise UsageError(f"days is to be more than 0, at most {MOST_DAYS:g}")
    connection = asking.connection(PrometheusConnection)
    rules = [rule for rule in rules_of(asking.target) if rule.metrics]
    there = present(connection, rules, days)
    end = connection.now()
    asked = {
        rule.name: _asked(rule.expr, end, days)
        for rule in rules
        if not why_not(rule, asking.target) and _judgeable(rule, there)
    }
    least = min((one.step for one in asked.values()), default=60.0)
    ages = {
        f"count({metric})": Asked(f"count({metric})", end, end - timedelta(days=days), days * 86400 / _LOOKS_FOR_AGE)
        for rule in rules
        if rule.name in asked and not rule.absent
        for metric in rule.metrics
    }
    record = record_of(connection, [rule.name for rule in rules], end, days)
    others = {_RECORD: record, "": Asked(_SCRAPED, end, end - timedelta(days=days), least)}
    results = together(connection, {**others, **asked, **ages}, _QUERIES_SECONDS)
    broken = [result for result in results.values() if isinstance(result, Unreachable)]
    if broken and len(broken) == len(results):
        raise broken[0]
    scraped, told_by = results.pop(""), results.pop(_RECORD)
    known_to_fire, known_to_wait = (
        ({}, {})
        if isinstance(told_by, CouldNotFindOut)
        else [recorded(told_by, one, record) for one in (FIRING, PENDING)]
    )
    begins = {metric: _first_sample(results.pop(f"count({metric})", None)) for rule in rules for metric in rule.metrics}
    rows: list[dict[str, Any]] = []
    for rule in rules:
        told = {"alert": rule.name, "severity": rule.severity, "runbook": rule.notebook.rpartition("/")[2]}
        reason = why_not(rule, asking.target)
        result = results.get(rule.name)
        real = known_to_fire.get(rule.name, [])
        if (reason or not isinstance(result, Result) or isinstance(scraped, CouldNotFindOut)) and real:
            rows += _rows(told, real)
        elif reason:
            rows.append({**told, "state": NOT_HERE, "reason": reason})
        elif result is None:
            rows.append({**told, "state": MISSING})
        elif isinstance(result, CouldNotFindOut) or isinstance(scraped, CouldNotFindOut):
            rows.append({**told, "state": FAILED, "reason": str(result if isinstance(result, Exception) else scraped)})
        else:
            step = asked[rule.name].step
            known = [since for metric in rule.metrics if (since := begins.get(metric)) is not None]
            looked = {"left_out": result.left_out, "step": step, "judged_from": max(known, default=None)}
            found = merged(real, list(episodes(result, rule.wait, step, end, scraped)))
            rows += _rows({**told, **looked}, found, known_to_wait.get(rule.name, []))
    frame = pd.DataFrame(rows, columns=COLUMNS)
    for name in ("open", "recorded"):
        frame[name] = frame[name].eq(True)
    frame.attrs["days"] = days
    return frame.assign(**{name: pd.to_datetime(frame[name], utc=True) for name in ("began", "ended", "judged_from")})


def _first_sample(result: Result | CouldNotFindOut | None) -> datetime | None:
    times = [series.times[0] for series in getattr(result, "series", ()) if series.times]
    return _moment(min(times)) if times else None


def _judgeable(rule: Rule, found: dict[str, bool]) -> bool:
    return all(found[metric] for metric in rule.metrics) or (rule.absent and not found[rule.metrics[0]])


def _asked(expression: str, end: datetime, days: float) -> Asked:
    windows = [seconds_of(part.partition("]")[0].partition(":")[0], 0.0) for part in expression.split("[")[1:]]
    step = fit_step(days * 86400, max([15.0, *(window / _LOOKS_IN_A_WINDOW for window in windows)]), _POINTS)
    points = int(days * 86400 // step)
    return Asked(expression, end, end - timedelta(seconds=points * step), step)


def episodes(result: Result, wait: float, step: float, end: datetime, scraped: Result) -> Iterator[Episode]:
    """Yield the times in which an alert fires whose expression gave this result.

    The expression must hold for ``wait`` seconds first. A look at which Prometheus had recorded nothing (no ``scraped``
    within a step) counts for neither.
    """
    recorded = sorted(time for series in scraped.series for time in series.times)
    for series in result.series:
        for first, last in _runs(series, step, recorded):
            if last - first < wait:
                continue
            lasting = last > end.timestamp() - 0.5 * step
            yield Episode(name_of(series.labels), _moment(first + wait), _moment(last), lasting, step)


def _runs(series: Series, step: float, recorded: list[float]) -> Iterator[tuple[float, float]]:
    """Yield from when to when each unbroken run of samples lasts."""
    from bisect import bisect_left

    first = last = None
    for time in series.times:
        at = bisect_left(recorded, time - step)
        if at == len(recorded) or recorded[at] > time + step:
            continue
        if first is None or last is None:
            first = time
        elif time - last > 1.5 * step:
            yield first, last
            first = time
        last = time
    if first is not None and last is not None:
        yield first, last


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _rows(told: dict[str, Any], fired: list[Episode], waited: Sequence[Episode] = ()) -> list[dict[str, Any]]:
    """Return a row for each time in which it fired; where there is none, for each in which it was pending."""
    found = sorted(fired or waited, key=lambda episode: episode.began)
    if not found:
        return [{**told, "state": NEVER}]
    return [
        {
            **told,
            "state": FIRED if fired else PENDED,
            "series": episode.series,
            "began": episode.began,
            "ended": episode.ended,
            "minutes": (episode.ended - episode.began).total_seconds() / 60,
            "open": episode.open,
            "step": episode.step,
            "recorded": episode.recorded,
        }
        for episode in found[-_MOST_EPISODES:]
    ]


def check(frame: pd.DataFrame, *, flaps: float = 3, again_minutes: float = 60, share: float = 25) -> list[Finding]:
    """Judge each alert's past: that one fired and was resolved is what it is for.

    A WARNING is one that would fire now (CRITICAL where its severity is critical), one that flaps (``flaps`` times or
    more it came back within ``again_minutes`` of its end: nobody believes it any more), and one that fired for more
    than ``share`` % of the time (it tells a state, not an event: mend it, or change the limit).
    """
    findings: list[Finding] = []
    resolved: list[str] = []
    pended: list[str] = []
    quiet, missing, young = 0, [], []
    for alert, rows in frame.groupby("alert", sort=False):
        state = rows["state"].iloc[0]
        if state == FAILED:
            reason = str(rows["reason"].iloc[0])
            findings.append(Finding(object=str(alert), status=Status.UNKNOWN, message=reason, next=_ASK_AGAIN))
        elif state == MISSING:
            missing.append(str(alert))
        elif state == NEVER:
            quiet += 1
            young += [f"{alert} (since {since})"] if (since := _younger(rows["judged_from"].iloc[0], frame)) else []
        elif state == PENDED:
            pended.append(f"{alert} ({_how_often(rows)})")
        elif state == FIRED:
            bad = _fired(str(alert), rows, frame.attrs["days"], (flaps, again_minutes, share))
            findings += [bad] if bad is not None else []
            resolved += [f"{alert} ({_how_often(rows)})"] if bad is None else []
    findings.sort(key=lambda finding: finding.status.severity)
    days = f"{frame.attrs['days']:g} days"
    if missing:
        named = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        message = f"cannot be told of {named}: a metric of theirs does not exist here (prometheus.rule_metrics)"
        after = "have the metric scraped, as prometheus.rule_metrics says of each: until then these alerts cannot fire"
        subject = counted(len(missing), "alert")
        findings.append(Finding(object=subject, status=Status.UNKNOWN, message=message, next=after))
    if pended:
        message = f"pending without ever firing: {'; '.join(pended)}"
        findings.append(Finding(object="pending alerts", status=Status.OK, message=message, value=len(pended)))
    if resolved:
        message = f"fired or would have in the last {days}, and resolved: {'; '.join(resolved)}"
        findings.append(Finding(object="resolved alerts", status=Status.OK, message=message, value=len(resolved)))
    if quiet:
        message = f"{counted(quiet, 'alert')} would not have fired in the last {days}"
        message += f"; not recorded before, so not judged: {', '.join(young[:5])}" if young else ""
        findings.append(Finding(object="other alerts", status=Status.OK, message=message, value=quiet, unit="alerts"))
    return first_of(findings, "alerts", 12) or _none(frame)


_ASK_AGAIN = "ask again of fewer days; where Prometheus refuses the query, see its log"


def _younger(since: Any, frame: pd.DataFrame) -> str:
    """Return since when a metric is recorded; "" where it is for all of the time that was looked at, or nearly."""
    if pd.isna(since) or since - frame["judged_from"].min() <= timedelta(days=frame.attrs["days"] / 20):
        return ""
    return f"{since:%Y-%m-%d %H:%M} UTC"


def _none(frame: pd.DataFrame) -> list[Finding]:
    return [Finding(object="alerts", status=Status.SKIPPED, message=str(frame["reason"].iloc[0]))] if len(frame) else []


def _fired(alert: str, rows: pd.DataFrame, days: float, limits: tuple[float, float, float]) -> Finding | None:
    """Return what is wrong with an alert that fired; None where it only did what it is for."""
    flaps, again_minutes, share = limits
    last = rows.iloc[-1]
    pauses = (rows["began"] - rows.groupby("series")["ended"].shift()).dt.total_seconds() / 60
    back = int((pauses <= again_minutes).sum())
    minutes, notebook = float(rows["minutes"].sum()), to_run(last["runbook"])
    seen = f"in the last {days:g} days {_how_often(rows)}"
    of_all = 100 * _covered(rows) / (days * 24 * 60)
    if rows["open"].any():
        status = Status.CRITICAL if last["severity"] == "critical" else Status.WARNING
        series = printable(str(rows[rows["open"]].iloc[-1]["series"]))
        fires = "fires now" if rows[rows["open"]]["recorded"].any() else "would fire now"
        message, after = f"{fires}{f' for {series}' if series != '{}' else ''}; {seen}", notebook
    elif back >= flaps:
        status = Status.WARNING
        message = f"flaps: {counted(back, 'time')} it came back within {again_minutes:g} min of its end; {seen}"
        after = f"mend what comes and goes ({notebook}), or have it wait longer; what flaps is ignored"
    elif of_all > share:
        status = Status.WARNING
        message = f"fired for {of_all:.0f}% of the time; {seen}"
        after = f"mend what it tells ({notebook}), or set its threshold in the profile: it tells nobody anything new"
    else:
        return None
    return Finding(object=alert, status=status, message=message, value=round(minutes, 1), unit="min", next=after)


def _how_often(rows: pd.DataFrame) -> str:
    last = rows.iloc[-1]
    exact = "" if last["step"] <= _EXACT_SECONDS else f" ± {_length(last['step'] / 60)}"
    when = f"{last['began']:%Y-%m-%d %H:%M} UTC{exact}"
    more = f", {last['left_out']:.0f} more series not looked at" if last["left_out"] > 0 else ""
    more += ", as Prometheus recorded" if last["recorded"] else ""
    if len(rows) == 1:
        return f"once, at {when} for {_length(last['minutes'])}{more}"
    return f"{len(rows)} times, {_length(float(rows['minutes'].sum()))} in all, last at {when}{more}"


def _covered(rows: pd.DataFrame) -> float:
    """Return for how many minutes any series of an alert fired."""
    covered, until = 0.0, None
    for began, ended in rows.sort_values("began")[["began", "ended"]].itertuples(index=False):
        since = began if until is None else max(began, until)
        if ended > since:
            covered += (ended - since).total_seconds() / 60
            until = ended
    return covered


def _length(minutes: float) -> str:
    if minutes < 1:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


alert_history = Question(
    name="prometheus.alert_history",
    title="Did each alert fire in the last days, or would it have?",
    probe=probe,
    check=check,
    source="curl -sSG {prometheus}/api/v1/query_range --data-urlencode query=EXPR -d start=… -d end=… -d step=…",
    needs=(PrometheusConnection,),
    deadline=60.0,
    explained_by=EXPLAINED_BY,
    next="mend what the alert tells; where that is no trouble, raise its threshold in the profile; write the rules",
)

"""Which alerts are pending or firing now?"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isnan
from typing import Any

import msgspec
import pandas as pd

from runbook.connections import PrometheusConnection
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, first_of
from runbook.model.text import printable, to_run
from runbook.model.units import counted
from runbook.prometheus.explanations import EXPLAINED_BY
from runbook.prometheus.rules.applies import rules_of
from runbook.prometheus.rules.machine import DEAD_MANS_SWITCH

COLUMNS = ["alert", "state", "severity", "since", "minutes", "value", "labels", "summary", "runbook", "wait"]
FIRING, PENDING, SILENT, NOT_EVALUATED = "firing", "pending", "inactive", "not evaluated"
MOST = 500
_CHARACTERS = 200
_NAMED = 5
# Rules are evaluated each minute or more often; whoever opens the notebook is not to wait for that long.
_PATIENCE = 10.0
# A rule that is late by this many of its intervals is stuck; the clock of an answer is known to a second or two.
_INTERVALS, _CLOCK_SECONDS = 3, 5.0


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each alert that is pending or firing: alert, state, severity, since (UTC), minutes, value,
    labels (as text), summary, runbook (the notebook, where the alert is one of the package's), wait (seconds until it
    fires, of the package's rule).

    A rule whose evaluation fails, or was last made three of its intervals ago or earlier, has a row of state not
    evaluated: what it told before may not hold any more; ``summary`` says why. Without any row there is one of state
    inactive. Of more than `MOST` alerts those that matter most have one; ``attrs["left_out"]`` is how many others there
    are, ``attrs["rules"]`` how many alert rules. Raises `CouldNotFindOut` where Prometheus has no
    alert rules, or has not evaluated them yet: then nothing could be pending.
    """
    connection = asking.connection(PrometheusConnection)
    evaluated = evaluated_alerts(connection)
    now = connection.now()
    ours = {rule.name: rule for rule in rules_of(asking.target)}
    rows: list[dict[str, Any]] = [
        {"alert": name, "state": NOT_EVALUATED, "summary": why} for name, why in evaluated.not_evaluated
    ]
    for alert in worst_first(evaluated.alerts)[:MOST]:
        labels = {str(key): str(value) for key, value in (alert.get("labels") or {}).items()}
        name = labels.pop("alertname", "")
        rule = ours.get(name)
        since = moment(alert.get("activeAt"))
        annotations = alert.get("annotations")
        summary = str(annotations.get("summary", "")) if isinstance(annotations, dict) else ""
        rows.append(
            {
                "alert": name,
                "state": str(alert.get("state", "")),
                "severity": labels.pop("severity", ""),
                "since": since,
                "minutes": (now - since).total_seconds() / 60 if since is not None else float("nan"),
                "value": _number(alert.get("value")),
                "labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items()))[:_CHARACTERS],
                "summary": summary[:_CHARACTERS],
                "runbook": rule.notebook.rpartition("/")[2] if rule else "",
                "wait": rule.wait if rule else float("nan"),
            }
        )
    if not rows:
        rows.append({"alert": "", "state": SILENT})
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame = frame.assign(since=pd.to_datetime(frame["since"], utc=True))
    frame.attrs |= {"rules": evaluated.rules, "left_out": max(len(evaluated.alerts) - MOST, 0)}
    return frame


def worst_first(alerts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return alerts of Prometheus: those that fire before others, critical ones first among them, the newest first."""

    def rank(alert: dict[str, Any]) -> tuple[bool, bool, bool, float]:
        labels, since = alert.get("labels") or {}, moment(alert.get("activeAt"))
        switch = labels.get("alertname") == DEAD_MANS_SWITCH  # what tells that alerts come at all is never left out
        critical = labels.get("severity") == "critical"
        return not switch, alert.get("state") != FIRING, not critical, -since.timestamp() if since else 0.0

    return sorted(alerts, key=rank)


def beyond_the_bound(frame: pd.DataFrame, what: str, unknown: str) -> list[Finding]:
    """Return what says how many there are where a frame does not have all, and what is ``unknown`` of the others."""
    left_out = frame.attrs.get("left_out", 0)
    if not left_out:
        return []
    message = f"there are {MOST + left_out:,} {what}: the {MOST} that matter most are told, and {unknown}"
    after = "ask Prometheus or Alertmanager itself for all of them, by amtool or on its own page"
    return [Finding(object=f"{what} beyond {MOST}", status=Status.UNKNOWN, message=message, value=left_out, next=after)]


@dataclass(frozen=True)
class Evaluated:
    """What Prometheus' alert rules gave: the ``alerts`` that are pending or firing, how many ``rules`` there are, the
    names of those that are not evaluated, each with why, and for how many seconds the condition of each holds before it
    fires, by name (the longest of several of one name).
    """

    alerts: list[dict[str, Any]]
    rules: int
    not_evaluated: list[tuple[str, str]]
    waits: Mapping[str, float]


def evaluated_alerts(connection: PrometheusConnection) -> Evaluated:
    """Return what the alert rules gave, once they were evaluated: a Prometheus that has just started gets some seconds.
    Raises `CouldNotFindOut` where it has no alert rules, or did not evaluate one of them in time.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        alerting = [
            {**rule, "interval": group.get("interval")}
            for group in connection.rules()
            for rule in group.get("rules") or []
            if isinstance(rule, dict) and rule.get("type") == "alerting"
        ]
        if not alerting:
            raise CouldNotFindOut("Prometheus has no alert rule: nothing can fire (prometheus.rules_loaded)")
        waiting = [rule for rule in alerting if str(rule.get("lastEvaluation", "")).startswith("0001-")]
        if not waiting:
            now = connection.now()
            blind = [(str(rule.get("name")), why) for rule in alerting if (why := _why_not_evaluated(rule, now))]
            waits: dict[str, float] = {}
            for rule in alerting:
                wait = _number(rule.get("duration"))
                waits[str(rule.get("name"))] = max(waits.get(str(rule.get("name")), 0.0), 0.0 if isnan(wait) else wait)
            return Evaluated(connection.alerts(), len(alerting), blind, waits)
        if time.monotonic() > end:
            raise CouldNotFindOut(
                f"Prometheus has not evaluated {len(waiting)} of its {len(alerting)} alert rules since it started or "
                "read them: ask again in a minute"
            )
        time.sleep(0.5)


def _why_not_evaluated(rule: Mapping[str, Any], now: datetime) -> str:
    """Return why what a rule tells is not its present state; "" where it is."""
    health, interval = str(rule.get("health") or "ok"), _number(rule.get("interval"))
    if health != "ok":
        problem = str(rule.get("lastError") or "no reason told")[:_CHARACTERS]
        return f"its evaluation fails: {problem}" if health == "err" else f"its health is {health[:40]}: {problem}"
    evaluated = moment(rule.get("lastEvaluation"))
    age = (now - evaluated).total_seconds() if evaluated is not None else 0.0
    if age >= _INTERVALS * interval + _CLOCK_SECONDS:
        return f"it was last evaluated {age:.0f} s ago, and should be every {interval:g} s"
    return ""


def moment(text: object) -> datetime | None:
    """Return a time as Prometheus and Alertmanager write it, in UTC; None for what is none."""
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC)
    except ValueError:
        return None


def _number(text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        return float("nan")


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge each alert by its own severity: CRITICAL where a critical one fires, else a WARNING; one that is pending is
    a WARNING, since it is not yet said to last. The dead-man's switch is to fire always. Whether the alert of a rule
    fires that is not evaluated is UNKNOWN.
    """
    blind = frame[frame["state"] == NOT_EVALUATED]
    told = frame[~frame["state"].isin((SILENT, NOT_EVALUATED))]
    switch = told[told["alert"] == DEAD_MANS_SWITCH]
    others = told[(told["alert"] != DEAD_MANS_SWITCH) & (told["severity"] != "none")]
    findings = [_judged(row) for row in others.to_dict("records")]
    findings.sort(key=lambda finding: finding.status.severity)
    if not findings and (blind.empty or frame.attrs["rules"] > len(blind)):
        message = f"none {'' if blind.empty else 'of the others '}is pending or firing"
        findings = [Finding(object="alerts", status=Status.OK, message=message, value=0)]
    unknown = (blind["alert"] == DEAD_MANS_SWITCH).any()  # told with the others that are not evaluated
    if (switch["state"] == FIRING).any() and not unknown:
        findings.append(Finding(object=DEAD_MANS_SWITCH, status=Status.OK, message="it fires, as it always should"))
    elif not unknown:
        message = "it does not fire: when Prometheus dies, nobody is told"
        after = "load the rules of the package: see prometheus.rules_loaded"
        findings.append(Finding(object=DEAD_MANS_SWITCH, status=Status.WARNING, message=message, next=after))
    return [
        *first_of(_each_once(findings), "alerts", 12),
        *beyond_the_bound(frame, "alerts", "none of the others is judged"),
        *_not_evaluated(blind, frame.attrs.get("rules", 0)),
    ]


def _not_evaluated(blind: pd.DataFrame, rules: int) -> list[Finding]:
    if blind.empty:
        return []
    pairs = blind[["alert", "summary"]].head(_NAMED).to_numpy()
    named = "; ".join(f"{printable(alert)} ({printable(why)})" for alert, why in pairs)
    more = f"; and {len(blind) - _NAMED} more" if len(blind) > _NAMED else ""
    message = f"whether their alerts fire is not known, of {len(blind)} of {counted(rules, 'rule')}: {named}{more}"
    after = "see Prometheus' page /rules and its log: mend the expression, or what keeps it from evaluating"
    about = "rules that are not evaluated"
    return [Finding(object=about, status=Status.UNKNOWN, message=message, value=len(blind), next=after)]


def _judged(row: Mapping[Any, Any]) -> Finding:
    subject = printable(f"{row['alert']} {row['labels']}".strip())
    what = printable(row["summary"]).strip() or f"its value is {row['value']:.4g}"
    after = to_run(row["runbook"]) if row["runbook"] else "see its annotations in Prometheus"
    minutes = 0.0 if pd.isna(row["minutes"]) else max(row["minutes"], 0.0)
    if row["state"] == PENDING:
        wait = "" if pd.isna(row["wait"]) else f", fires after {row['wait'] / 60:g} min"
        message = f"pending for {minutes:.1f} min{wait}: {what}"
        status = Status.WARNING
    else:
        since = (
            f"since {row['since']:%Y-%m-%d %H:%M:%S} UTC"
            if not pd.isna(row["since"])
            else "since a time that is not told"
        )
        message = f"firing; its condition holds {since} ({minutes:.1f} min): {what}"
        status = Status.CRITICAL if row["severity"] == "critical" else Status.WARNING
    return Finding(object=subject, status=status, message=message, value=row["state"], next=after)


def _each_once(findings: list[Finding]) -> list[Finding]:
    """Return the findings with each object once: the labels that tell two apart may have been cut."""
    seen: dict[str, int] = {}
    told = []
    for finding in findings:
        seen[finding.object] = number = seen.get(finding.object, 0) + 1
        name = finding.object if number == 1 else f"{finding.object} #{number}"
        told.append(msgspec.structs.replace(finding, object=name))
    return told


alert_states = Question(
    name="prometheus.alert_states",
    title="Which alerts are pending or firing now?",
    probe=probe,
    check=check,
    source="curl -sS {prometheus}/api/v1/alerts",
    needs=(PrometheusConnection,),
    deadline=20.0,
    explained_by=EXPLAINED_BY,
    next="open the notebook that the alert names",
)

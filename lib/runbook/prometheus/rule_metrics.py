"""Can each alert fire here: are the metrics there that it is made of?"""

from datetime import timedelta
from typing import Any

import pandas as pd

from runbook.connections import PrometheusConnection
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, first_of
from runbook.model.text import to_run
from runbook.model.units import counted
from runbook.prometheus.explanations import EXPLAINED_BY
from runbook.prometheus.queries import at_once
from runbook.prometheus.rules import Rule
from runbook.prometheus.rules.applies import rules_of, why_not
from runbook.prometheus.rules.database import BACKUP_ALERT, BACKUP_METRIC, HOW_TO_TELL

COLUMNS = ["alert", "severity", "metric", "state", "absent", "reason"]
HERE, MISSING, NOT_HERE = "there", "missing", "not of this target"
# What the service's own log records as well, where it is JSON.
_LOGGED = ("http_requests_total", "http_request_duration_seconds")
_SECONDS = 20.0
_BY_STATUS = 'status!=""}'


def probe(asking: Asking, *, days: float = 7) -> pd.DataFrame:
    """Return a row for each metric of each rule: alert, severity, metric (the selector), state (there, missing, not of
    this target), absent (the alert fires where just that one is missing) and reason.

    A metric is there when Prometheus had a series of it within the last ``days``.
    """
    connection = asking.connection(PrometheusConnection)
    rules = rules_of(asking.target)
    found = present(connection, rules, days)
    rows: list[dict[str, Any]] = []
    for rule in rules:
        reason = why_not(rule, asking.target)
        for metric in rule.metrics:
            state = HERE if found[metric] else NOT_HERE if reason else MISSING
            absent = rule.absent and metric == rule.metrics[0]
            about = {"metric": metric, "state": state, "absent": absent, "reason": reason}
            rows.append({"alert": rule.name, "severity": rule.severity, **about})
    return pd.DataFrame(rows, columns=COLUMNS)


def present(connection: PrometheusConnection, rules: list[Rule], days: float) -> dict[str, bool]:
    """Return for each selector of the rules whether it found a series within the last ``days``.

    They are asked together; raises what Prometheus says where it does not tell one of them.
    """
    end = connection.now()
    start = end - timedelta(days=days)
    selectors = dict.fromkeys(metric for rule in rules for metric in rule.metrics)

    def names(metric: str, limit: float) -> set[str]:
        return connection.names(metric, start, end, limit)

    told = at_once(connection, {metric: metric for metric in selectors}, names, _SECONDS)
    found: dict[str, bool] = {}
    for metric, one in told.items():
        if isinstance(one, CouldNotFindOut):
            raise one
        found[metric] = bool(one)
    return found


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge each alert: UNKNOWN where a metric of it is missing, since it can never fire, which looks like being well.

    One that fires when its metric is missing is UNKNOWN too: it tells that nothing is measured, and nothing else.
    """
    findings, skipped, fine = [], [], 0
    for alert, rows in frame.groupby("alert", sort=False):
        missing = rows[rows["state"] == MISSING]
        if (rows["state"] == NOT_HERE).any():
            reason = str(rows["reason"].iloc[0])
            after = HOW_TO_TELL if str(alert) == BACKUP_ALERT else ""
            skipped.append(Finding(object=str(alert), status=Status.SKIPPED, message=reason, next=after))
        elif len(missing):
            findings.append(_cannot_fire(str(alert), missing))
        else:
            fine += 1
    if fine:
        told = f"{counted(fine, 'alert')}: each metric of theirs is recorded here"
        findings.append(Finding(object="other alerts", status=Status.OK, message=told, value=fine, unit="alerts"))
    return [*first_of(findings, "alerts", 12), *skipped]


def _cannot_fire(alert: str, missing: pd.DataFrame) -> Finding:
    metrics = [str(metric) for metric in missing["metric"]]
    unlabelled = [metric for metric in metrics if metric.endswith(_BY_STATUS)]
    if metrics != unlabelled:  # the metric itself is missing, which says it all
        metrics = [metric for metric in metrics if metric not in unlabelled]
    are = f"the metric {metrics[0]} does" if len(metrics) == 1 else f"the metrics {' and '.join(metrics)} do"
    fires = bool(missing["absent"].any())
    end = "until it does, this alert fires, and tells nothing else" if fires else "this alert cannot fire"
    message = f"{are} not exist here: {end}"
    if metrics == unlabelled:
        message = f"no series carries the label status ({metrics[0]} finds none), so that no 5xx are seen: {end}"
        after = "have the service count by `status`, or rename its label so in `metric_relabel_configs`"
        return Finding(object=alert, status=Status.UNKNOWN, message=message, value=metrics[0], next=after)
    if metrics[0].startswith(_LOGGED):
        after = f"{to_run('key-metrics')} tells the figure from the service's log; to be alerted, expose the metric"
    elif metrics[0].startswith("up{"):
        after = "add the job to `scrape_configs`, or name it in the profile: [prometheus] jobs"
    elif metrics[0].startswith("triage_"):
        after = f"{to_run('morning-health-check')} asks the queue itself; to be alerted, have the service expose it"
    elif metrics[0] == BACKUP_METRIC:
        after = HOW_TO_TELL
    else:
        after = "have its exporter scraped, or acknowledge in the profile that it is not there"
    return Finding(object=alert, status=Status.UNKNOWN, message=message, value=metrics[0], next=after)


rule_metrics = Question(
    name="prometheus.rule_metrics",
    title="Can each alert fire here?",
    probe=probe,
    check=check,
    source="curl -sSG {prometheus}/api/v1/label/__name__/values --data-urlencode match[]=METRIC",
    needs=(PrometheusConnection,),
    deadline=30.0,
    explained_by=EXPLAINED_BY,
    next="have the metric scraped, at /metrics/prometheus: until then the alert stays silent whatever happens",
)

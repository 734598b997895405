"""Does Prometheus run these rules, and does it run them as they are meant?"""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from runbook.connections import PrometheusConnection
from runbook.model import Asking, Finding, Question, Status, first_of
from runbook.model.text import TARGET, printable
from runbook.model.units import counted
from runbook.prometheus.explanations import EXPLAINED_BY
from runbook.prometheus.rules import AS_WRITTEN
from runbook.prometheus.rules.applies import rules_of, why_not

COLUMNS = [
    "alert",
    "severity",
    "state",
    "loaded",
    "wanted",
    "wait",
    "wanted_wait",
    "told_severity",
    "problem",
    "reason",
]
SAME, OTHER, AS_THE_RUNBOOK, MISSING, NOT_HERE = "same", "other", "as the runbook writes it", "missing", "not needed"
WRONG = {
    "HighErrorRate": "it takes requests a second for a share: it fires at 1% errors, and never at one request in 20 s",
    "HighResponseTime": "it judges each series by itself: it fires for one slow pod in a hundred",
    "DatabaseConnectionFailure": "up is the exporter: it stays silent with PostgreSQL down",
}
_CHARACTERS = 300
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_SELECTOR = re.compile(rf'\{{((?:[^{{}}"]|{_QUOTED})*)\}}')
_MATCHER = re.compile(rf"\w+\s*(?:=~|!~|!=|=)\s*{_QUOTED}")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.])")
_MOST_RULES = 5000


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each rule of the package: alert, severity, state (same, other, as the runbook writes it,
    missing, not needed), the expression that is loaded and the one that is wanted, wait and wanted_wait (seconds),
    told_severity (the label that is loaded), problem (why its evaluation fails) and reason (why it is not needed).
    """
    loaded = _loaded(asking.connection(PrometheusConnection).rules())
    written = _as_written()
    rows: list[dict[str, Any]] = []
    for rule in rules_of(asking.target):
        found = loaded.get(rule.name, [])
        wanted = plain(rule.expr)
        # Of several of one name the one that is right counts.
        found = sorted(found, key=lambda one: plain(one["query"]) != wanted)
        row = {"alert": rule.name, "severity": rule.severity, "wanted": rule.expr, "wanted_wait": rule.wait}
        reason = why_not(rule, asking.target)
        if not found:
            state = NOT_HERE if reason else MISSING
            rows.append({**row, "state": state, "loaded": "", "told_severity": "", "problem": "", "reason": reason})
            continue
        one = found[0]
        query = plain(one["query"])
        state = SAME if query == wanted else AS_THE_RUNBOOK if query == written.get(rule.name) else OTHER
        rows.append({**row, "state": state, **one["told"], "reason": ""})
    return pd.DataFrame(rows, columns=COLUMNS)


def plain(expression: str) -> str:
    """Return an expression as it can be compared: Prometheus spaces it in its own way, sorts the matchers of a selector
    and writes large numbers with an exponent.
    """
    sorted_matchers = _SELECTOR.sub(lambda found: "{" + ",".join(sorted(_MATCHER.findall(found[1]))) + "}", expression)
    return re.sub(r"\s+", "", _NUMBER.sub(lambda found: repr(float(found[0])), sorted_matchers))


def _as_written() -> dict[str, str]:
    from ruamel.yaml import YAML  # in the kernel only where it is needed: it brings filters of warnings

    groups = YAML(typ="safe").load(AS_WRITTEN.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: plain(rule["expr"]) for group in groups for rule in group["rules"]}


def _loaded(groups: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the alerts that Prometheus evaluates, by name; whatever has another shape is left out."""
    loaded: dict[str, list[dict[str, Any]]] = {}
    rules = [rule for group in groups for rule in group.get("rules") or [] if isinstance(rule, dict)]
    for rule in rules[:_MOST_RULES]:
        query, labels, wait = rule.get("query"), rule.get("labels"), rule.get("duration")
        if rule.get("type") != "alerting" or not isinstance(query, str):
            continue
        severity = labels.get("severity", "") if isinstance(labels, dict) else ""
        told = {
            "loaded": query[:4000],
            "wait": float(wait) if isinstance(wait, int | float) else float("nan"),
            "told_severity": str(severity)[:40],
            "problem": str(rule.get("lastError") or "")[:_CHARACTERS],
        }
        loaded.setdefault(str(rule.get("name")), []).append({"query": query, "told": told})
    return loaded


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge each rule: a WARNING where it is not loaded or another one than it should be, CRITICAL where no rule is
    loaded at all or its evaluation fails: then nobody is told of anything.
    """
    needed = frame[frame["state"] != NOT_HERE]
    if (needed["state"] == MISSING).all():
        message = f"none of the {len(needed)} alerts is loaded: whatever breaks, Prometheus tells nobody"
        return [Finding(object="alert rules", status=Status.CRITICAL, message=message, value=0, next=_LOAD)]
    findings = [finding for row in needed.to_dict("records") for finding in _judged(row)]
    same = int((needed["state"] == SAME).sum())
    if same:
        message = f"{counted(same, 'alert')} loaded as the package makes them for this profile"
        findings.append(Finding(object="alert rules", status=Status.OK, message=message, value=same, unit="alerts"))
    return first_of(findings, "alerts", 12)


_LOAD = (
    f"write them: `runbook alerts rules {TARGET} --base URL --output shrimp.rules.yml` (URL: where this repository is "
    "seen, for whole links to notebooks); name the file in `rule_files`, reload"
)


def _judged(row: Mapping[Any, Any]) -> list[Finding]:
    alert = row["alert"]
    if row["problem"]:
        message = f"its evaluation fails, so that it cannot fire: {printable(row['problem'])}"
        return [Finding(object=alert, status=Status.CRITICAL, message=message)]
    if row["state"] == MISSING:
        return [Finding(object=alert, status=Status.WARNING, message="not loaded: it cannot fire here", next=_LOAD)]
    if row["state"] == AS_THE_RUNBOOK and alert in WRONG:
        message = f"loaded as the runbook writes it: {WRONG[alert]}"
        return [Finding(object=alert, status=Status.WARNING, message=message, value=row["loaded"], next=_LOAD)]
    if row["state"] in (OTHER, AS_THE_RUNBOOK):
        shown = printable(row["loaded"])
        message = f"another expression is loaded: {shown[:_CHARACTERS]}{'…' if len(shown) > _CHARACTERS else ''}"
        after = f"see which of the two is meant (in the table); {_LOAD}"
        return [Finding(object=alert, status=Status.WARNING, message=message, value=shown, next=after)]
    differing = []
    if row["wait"] != row["wanted_wait"]:
        differing.append(f"it waits {row['wait']:g} s instead of {row['wanted_wait']:g} s")
    if row["told_severity"] != row["severity"]:
        differing.append(
            f"its severity is {printable(row['told_severity']) or 'not told'} instead of {row['severity']}"
        )
    if not differing:
        return []
    return [Finding(object=alert, status=Status.WARNING, message="; ".join(differing), next=_LOAD)]


rules_loaded = Question(
    name="prometheus.rules_loaded",
    title="Does Prometheus run these rules?",
    probe=probe,
    check=check,
    source="curl -sS {prometheus}/api/v1/rules?type=alert",
    needs=(PrometheusConnection,),
    deadline=15.0,
    explained_by=EXPLAINED_BY,
    next="runbook alerts rules --target {target} --base URL --output shrimp.rules.yml, name it in rule_files, reload",
)

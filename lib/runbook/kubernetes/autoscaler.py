"""Does an autoscaler govern the deployment, and does it see what it goes by?"""

from typing import Any

import pandas as pd

from runbook.connections import KubernetesConnection
from runbook.kubernetes.asked import autoscalers_of, condition, connected, words
from runbook.kubernetes.explanations import EXPLAINED_BY
from runbook.model import Asking, Finding, Question, Status

COLUMNS = [
    "deployment", "autoscaler", "least", "most", "current", "desired", "able", "able_said", "active", "active_said",
    "limited", "limited_reason", "metrics",
]  # fmt: skip


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each autoscaler of the deployment: deployment and autoscaler (with their cluster), least, most,
    current, desired (numbers of pods), able, active, limited (what its conditions say: True, False or "") with their
    words, metrics (each that it goes by, as it sees it). One row without an autoscaler where there is none.

    Raises `DoesNotApply` where the profile names no cluster.
    """
    connection = connected(asking)
    of = {"deployment": f"{connection.named.deployment} ({connection.cluster})"}
    rows = [{**of, **_state(one, connection.cluster)} for one in autoscalers_of(connection)]
    return pd.DataFrame(rows or [{**of, "autoscaler": ""}], columns=COLUMNS)


def _state(found: dict[str, Any], cluster: str) -> dict[str, Any]:
    spec, status = found["spec"], found.get("status") or {}
    able, active, limited = (condition(found, kind) for kind in ("AbleToScale", "ScalingActive", "ScalingLimited"))
    return {
        "autoscaler": f"{words(found['metadata']['name'])} ({cluster})",
        "least": int(spec.get("minReplicas", 1)),
        "most": int(spec["maxReplicas"]),
        "current": int(status.get("currentReplicas") or 0),
        "desired": int(status.get("desiredReplicas") or 0),
        "able": words(able.get("status")),
        "able_said": words(able.get("message")),
        "active": words(active.get("status")),
        "active_said": words(active.get("message")),
        "limited": words(limited.get("status")),
        "limited_reason": words(limited.get("reason")),
        "metrics": ", ".join(_metric(one, status.get("currentMetrics") or []) for one in spec.get("metrics") or []),
    }


def _metric(wanted: dict[str, Any], seen: list[dict[str, Any]]) -> str:
    """Return a metric in words: its name, what it is, and what it is to be."""
    of = wanted.get("resource") or {}
    if wanted.get("type") != "Resource":
        return f"a metric of type {words(wanted.get('type'))}"
    name, target = words(of.get("name")), of.get("target") or {}
    now = next(
        (
            (one["resource"].get("current") or {}).get("averageUtilization")
            for one in seen
            if (one.get("resource") or {}).get("name") == name
        ),
        None,
    )
    to_be = f"{target['averageUtilization']}%" if "averageUtilization" in target else words(target.get("averageValue"))
    return f"{name} {f'{now}%' if now is not None else 'not seen'} of {to_be}"


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge the autoscaler: it must see its metrics and be able to scale; at its most it helps no further (WARNING).

    Two of one deployment fight each other (CRITICAL); without any, nobody adds a pod but you (WARNING).
    """
    rows = [row for row in frame.to_dict("records") if row["autoscaler"]]
    subject = frame["deployment"].iloc[0]
    if not rows:
        told = "no autoscaler governs it: under load nobody adds a pod but you"
        return [Finding(object=subject, status=Status.WARNING, message=told, next="the plan of autoscaling makes one")]
    found = [_judged(row) for row in rows]
    if len(rows) > 1:
        told = f"{len(rows)} autoscalers govern it, each against the others: {', '.join(r['autoscaler'] for r in rows)}"
        found.insert(0, Finding(object=subject, status=Status.CRITICAL, message=told, next="remove all but one"))
    return found


def _judged(row: dict[Any, Any]) -> Finding:
    have = f"{row['current']:g} pods, wants {row['desired']:g}, between {row['least']:g} and {row['most']:g}"
    have += f"; {row['metrics']}" if row["metrics"] else "; goes by no metric"
    status, told, then = Status.OK, have, ""
    if row["active"] == "False":
        status, told = Status.CRITICAL, f"does not scale: {row['active_said']}; {have}"
        then = "metrics-server must run, and each container have requests"
    elif row["able"] == "False":
        status, told = Status.CRITICAL, f"is not able to scale: {row['able_said']}; {have}"
    elif row["limited"] == "True" and row["limited_reason"] == "TooManyReplicas":
        status, told = Status.WARNING, f"is at its most and wants more than that; {have}"
        then = "see what its bounds mean, and raise the upper one where the database bears it"
    elif row["active"] == "":
        status, told = Status.UNKNOWN, f"no controller has looked at it yet; {have}"
        then = "look again in a minute"
    most = float(row["most"])
    return Finding(
        object=row["autoscaler"], status=status, message=told, value=float(row["current"]), threshold=most,
        unit="pods", next=then,
    )  # fmt: skip


autoscaler = Question(
    name="kubernetes.autoscaler",
    title="Does an autoscaler govern the deployment, and does it see what it goes by?",
    probe=probe,
    check=check,
    source="kubectl get hpa --output yaml",
    needs=(KubernetesConnection,),
    explained_by=EXPLAINED_BY,
    deadline=8,
    next="kubectl describe hpa NAME",
)

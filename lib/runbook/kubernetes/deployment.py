"""Has the deployment as many pods as it wants, and do they serve?"""

from typing import Any

import pandas as pd

from runbook.connections import KubernetesConnection
from runbook.kubernetes.asked import condition, connected, moment, words
from runbook.kubernetes.explanations import EXPLAINED_BY
from runbook.model import Asking, Finding, Question, Status
from runbook.model.units import counted

COLUMNS = [
    "deployment", "exists", "wanted", "updated", "ready", "available", "paused", "seen", "progress", "progress_said",
    "failure", "image", "changed", "source",
]  # fmt: skip


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: deployment (with its cluster), exists, wanted, updated, ready, available (numbers of pods),
    paused, seen (whether the controller has seen the last change), progress and progress_said (reason and words of the
    rollout), failure (why pods cannot be made), image, changed (UTC), source.

    Raises `DoesNotApply` where the profile names no cluster.
    """
    connection = connected(asking)
    name = connection.named.deployment
    row = {
        "deployment": f"{name} ({connection.cluster})",
        "source": connection.shown("get", "deployment", name, "--output", "yaml"),
    }
    found = connection.read("deployments", name)
    if found is None:
        return pd.DataFrame([{**row, "exists": False}], columns=COLUMNS)
    return pd.DataFrame([{**row, "exists": True, **_state(found)}], columns=COLUMNS)


def _state(found: dict[str, Any]) -> dict[str, Any]:
    spec, status = found["spec"], found.get("status") or {}
    progress, failure = condition(found, "Progressing"), condition(found, "ReplicaFailure")
    containers = spec["template"]["spec"]["containers"]
    generation = found["metadata"].get("generation", 0)
    return {
        "wanted": int(spec.get("replicas", 1)),
        "updated": int(status.get("updatedReplicas") or 0),
        "ready": int(status.get("readyReplicas") or 0),
        "available": int(status.get("availableReplicas") or 0),
        "paused": bool(spec.get("paused")),
        "seen": int(status.get("observedGeneration") or 0) >= int(generation),
        "progress": words(progress.get("reason")),
        "progress_said": words(progress.get("message")),
        "failure": words(failure.get("message")) if failure.get("status") == "True" else "",
        "image": words(", ".join(str(one.get("image", "")) for one in containers)),
        "changed": moment(progress.get("lastUpdateTime")),
    }


def check(frame: pd.DataFrame, *, wanted: float = 0) -> list[Finding]:
    """Judge whether the deployment has its pods: ``wanted`` (0: as many as it asks for itself), all of them serving.

    With none that serves it is an outage; a rollout that stands still does not go on by itself.
    """
    (row,) = frame.to_dict("records")
    status, message, then = _told(row, wanted)
    value = None if not row["exists"] else float(row["available"])
    threshold = None if not row["exists"] else float(wanted or row["wanted"])
    return [
        Finding(
            object=row["deployment"],
            status=status,
            message=message,
            value=value,
            threshold=threshold,
            unit="pods",
            source=row["source"],
            next=then,
        )
    ]


def _told(row: dict[Any, Any], wanted: float) -> tuple[Status, str, str]:
    if not row["exists"]:
        return Status.CRITICAL, "there is no such deployment in this namespace", "is the profile right? else deploy it"
    have = f"{row['available']:g} of {counted(int(row['wanted']), 'pod')} serve, from {row['image']}"
    if row["wanted"] == 0:
        return Status.CRITICAL, "it is scaled to no pod at all: nothing serves", "find out who did it, then scale it"
    if row["failure"]:
        return Status.CRITICAL, f"{have}; pods cannot be made: {row['failure']}", "a quota or a policy forbids them"
    if row["progress"] == "ProgressDeadlineExceeded":
        told = f"{have}; its rollout stands still: {row['progress_said']}"
        return Status.CRITICAL, told, "see its pods; kubectl rollout undo goes back to what it ran before"
    if row["available"] == 0:
        return Status.CRITICAL, f"{have}: an outage", ""
    if row["available"] < row["wanted"]:
        return Status.WARNING, have + (f"; {row['progress_said']}" if row["progress_said"] else ""), ""
    if row["paused"]:
        return Status.WARNING, f"{have}; its rollout is paused: changes of it do nothing", "kubectl rollout resume"
    if not row["seen"]:
        told = f"{have}; no controller has looked at its last change yet"
        return Status.WARNING, told, "look again in a minute; if it stays so, the control plane is not well"
    if row["updated"] < row["wanted"]:
        return Status.WARNING, f"{have}; {row['updated']:g} of them run what was deployed last: a rollout goes on", ""
    if wanted and row["wanted"] != wanted:
        return Status.WARNING, f"{have}; wanted: {wanted:g}", ""
    return Status.OK, have, ""


deployment = Question(
    name="kubernetes.deployment",
    title="Has the deployment its pods, and do they serve?",
    probe=probe,
    check=check,
    source="kubectl get deployment NAME --output yaml",
    needs=(KubernetesConnection,),
    explained_by=EXPLAINED_BY,
    deadline=8,
    next="see the pods that do not serve, and the events",
)

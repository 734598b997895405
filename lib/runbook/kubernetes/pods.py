"""Is each pod of the deployment ready, and if not, why not?"""

from datetime import UTC, datetime
from typing import Any

import pandas as pd

from runbook.connections import KubernetesConnection
from runbook.kubernetes.asked import condition, connected, deployment_of, moment, pods_of, words
from runbook.kubernetes.explanations import EXPLAINED_BY
from runbook.model import Asking, Finding, Question, Status, first_of
from runbook.model.units import counted

COLUMNS = [
    "cluster", "pod", "node", "phase", "ready", "container", "waiting", "waiting_said", "restarts", "last_reason",
    "last_code", "last_ended", "unschedulable", "gone", "reason", "created", "since", "now",
]  # fmt: skip
_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_CONFIG = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
_MOST_SHOWN = 10


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each pod: cluster, pod, node, phase, ready, container (the one that is worst off), waiting and
    waiting_said (why it does not run), restarts, last_reason, last_code, last_ended (of its last end), unschedulable
    (the scheduler's words), gone (when it was told to end), reason (of a pod that failed), created, since (when it
    began to run), now.

    Raises `DoesNotApply` where the profile names no cluster.
    """
    connection = connected(asking)
    now = datetime.now(UTC)
    found = pods_of(connection, deployment_of(connection))
    rows = [{"cluster": connection.cluster, **_state(pod), "now": now} for pod in found]
    nothing = {"cluster": connection.cluster, "pod": "", "now": now}
    return pd.DataFrame(rows or [nothing], columns=COLUMNS)


def _state(pod: dict[str, Any]) -> dict[str, Any]:
    status, metadata = pod.get("status") or {}, pod["metadata"]
    told = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    worst = min(told, key=_well) if told else {}
    waiting = (worst.get("state") or {}).get("waiting") or {}
    ended = (worst.get("lastState") or {}).get("terminated") or (worst.get("state") or {}).get("terminated") or {}
    scheduled = condition(pod, "PodScheduled")
    return {
        "pod": words(metadata["name"]),
        "node": words((pod.get("spec") or {}).get("nodeName")),
        "phase": words(status.get("phase")),
        "ready": condition(pod, "Ready").get("status") == "True",
        "container": words(worst.get("name")),
        "waiting": words(waiting.get("reason")),
        "waiting_said": words(waiting.get("message")),
        "restarts": max((int(one.get("restartCount") or 0) for one in told), default=0),
        "last_reason": words(ended.get("reason")),
        "last_code": float(ended["exitCode"]) if "exitCode" in ended else None,
        "last_ended": moment(ended.get("finishedAt")),
        "unschedulable": words(scheduled.get("message")) if scheduled.get("reason") == "Unschedulable" else "",
        "gone": moment(metadata.get("deletionTimestamp")),
        "reason": words(status.get("reason")),
        "created": moment(metadata.get("creationTimestamp")),
        "since": moment(((worst.get("state") or {}).get("running") or {}).get("startedAt")),
    }


def _well(told: dict[str, Any]) -> tuple[bool, bool, int]:
    """Return what sorts a pod's containers, the worst first: of an init container that is done nothing is wrong."""
    state = told.get("state") or {}
    done = (state.get("terminated") or {}).get("exitCode") == 0
    return "waiting" not in state, bool(told.get("ready")) or done, -int(told.get("restartCount") or 0)


def check(
    frame: pd.DataFrame, *, restarts: float = 3, minutes: float = 10, start_minutes: float = 5, killed_hours: float = 24
) -> list[Finding]:
    """Judge each pod; one that was restarted ``restarts`` times, the last within ``minutes``, is in a crash loop.

    A pod may take ``start_minutes`` to become ready. One whose memory limit killed it within ``killed_hours`` is a
    WARNING although it runs: it comes again. At most ten are told one by one, the worst first.
    """
    rows = frame[frame["pod"] != ""].to_dict("records")
    cluster = frame["cluster"].iloc[0]
    if not rows:
        message = "there is no pod of this deployment"
        return [Finding(object=f"pods ({cluster})", status=Status.CRITICAL, message=message, value=0)]
    limits = {"restarts": restarts, "minutes": minutes, "start": start_minutes, "hours": killed_hours}
    # What ended for good was replaced: it counts neither as one that serves nor as one that does not.
    judged = [(row, *_judged(row, limits)) for row in rows]
    found = [
        Finding(object=f"{row['pod']} ({cluster})", status=status, message=message, next=then, value=row["phase"])
        for row, status, message, then in judged
        if status is not Status.OK
    ]
    ready = sum(bool(row["ready"]) for row in rows)
    nodes = sorted({row["node"] for row in rows if row["node"]})
    on = f" on {counted(len(nodes), 'node')} ({', '.join(nodes[:5])}{' …' if len(nodes) > 5 else ''})" if nodes else ""
    message = f"{ready} of {counted(len(rows), 'pod is', 'pods are')} ready{on}"
    status = Status.OK if ready else Status.CRITICAL
    whole = Finding(object=f"pods ({cluster})", status=status, message=message, value=ready, unit="pods")
    worst_first = sorted(found, key=lambda finding: finding.status.severity)
    return [whole, *first_of(worst_first, "pods", _MOST_SHOWN)]


def _judged(row: dict[Any, Any], limits: dict[str, float]) -> tuple[Status, str, str]:
    name, on = row["pod"], f" on {row['node']}" if row["node"] else ""
    see = f"kubectl logs {name} --previous"
    age = _minutes(row["now"], row["created"])
    if row["unschedulable"]:
        return Status.CRITICAL, f"no node takes it: {row['unschedulable']}", "more nodes, or smaller requests"
    if row["waiting"] in _IMAGE:
        told = f"its image cannot be had ({row['waiting']}): {row['waiting_said']}"
        return Status.CRITICAL, told, "mend the image's name, or its pull secret; kubectl rollout undo goes back"
    if row["waiting"] in _CONFIG:
        told = f"its container cannot be made ({row['waiting']}): {row['waiting_said']}"
        return Status.CRITICAL, told, "a secret, a config map or a volume is missing: mend it"
    recently = _minutes(row["now"], row["since"]) < limits["minutes"]
    if row["waiting"] == "CrashLoopBackOff" or (row["restarts"] >= limits["restarts"] and recently):
        told = f"in a crash loop{on}: {counted(int(row['restarts']), 'restart')}; {_ended(row)}"
        return Status.CRITICAL, told, see
    if row["phase"] == "Failed":
        return Status.WARNING, f"failed ({row['reason'] or _ended(row)}){on}; it was or will be replaced", see
    if row["phase"] == "Unknown":
        return Status.CRITICAL, f"nothing is known of it: its node {row['node']} does not tell", "see the node"
    if pd.notna(row["gone"]):
        late = _minutes(row["now"], row["gone"])
        if late > limits["start"]:
            told = f"should have ended {late:.0f} min ago{on}, and does not"
            return Status.WARNING, told, "see its node, and its volumes"
        return Status.OK, "is ending", ""
    if row["phase"] == "Succeeded":
        return Status.OK, "ended", ""
    if not row["ready"]:
        status = Status.CRITICAL if age > limits["start"] else Status.WARNING
        why = f": {row['waiting']}" if row["waiting"] else ""
        told = f"is {row['phase'].lower()} and not ready{on} for {age:.0f} min{why}"
        return status, told, f"its readiness probe fails: kubectl describe pod {name}; kubectl logs {name}"
    if row["last_reason"] == "OOMKilled" and _minutes(row["now"], row["last_ended"]) < 60 * limits["hours"]:
        told = f"runs{on}, and was killed at its memory limit at {row['last_ended']:%Y-%m-%d %H:%M} UTC: it comes again"
        return Status.WARNING, told, "raise its limit, or find what grew: ../7-troubleshooting/high-memory-usage.ipynb"
    return Status.OK, "is ready", ""


def _ended(row: dict[Any, Any]) -> str:
    if not row["last_reason"] and pd.isna(row["last_code"]):
        return "how it ended is not told"
    code = f" (exit {row['last_code']:.0f})" if pd.notna(row["last_code"]) else ""
    if row["last_reason"] == "OOMKilled":
        return f"it was killed at its memory limit{code}"
    return f"it ended{code}: {row['last_reason'] or 'without a reason'}"


def _minutes(now: Any, then: Any) -> float:
    return float("inf") if pd.isna(then) else float((now - then).total_seconds() / 60)


pods = Question(
    name="kubernetes.pods",
    title="Is each pod ready, and if not, why not?",
    probe=probe,
    check=check,
    source="kubectl get pods --selector SELECTOR --output yaml",
    needs=(KubernetesConnection,),
    explained_by=EXPLAINED_BY,
    deadline=10,
    next="kubectl describe pod NAME; kubectl logs NAME --previous",
)

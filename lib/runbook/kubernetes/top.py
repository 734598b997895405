"""How much memory and processor time do the pods use, of what they are given?"""

import math
from typing import Any

import pandas as pd

from runbook.connections import KubernetesConnection
from runbook.kubernetes.asked import connected, deployment_of, pods_of, words
from runbook.kubernetes.explanations import EXPLAINED_BY
from runbook.kubernetes.quantities import number, together
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, at_most, first_of
from runbook.model.units import as_bytes

COLUMNS = [
    "cluster", "pod", "cpu", "memory", "cpu_request", "memory_request", "cpu_limit", "memory_limit", "measured",
]  # fmt: skip
NO_METRICS = (
    "the cluster has no metrics API (metrics.k8s.io), so nobody knows what pods use, and no autoscaler can go by it: "
    "metrics-server is not installed"
)


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each pod that runs: cluster, pod, cpu (processors in use), memory (bytes), their requests and
    limits (NaN: a container of it has none), measured (whether the metrics API has figures of it).

    Raises `CouldNotFindOut` where the cluster has no metrics API, `DoesNotApply` where the profile names no cluster.
    """
    connection = connected(asking)
    rows = usage(connection)
    if not rows:
        raise CouldNotFindOut("no pod of the deployment runs")
    return pd.DataFrame([{"cluster": connection.cluster, **row} for row in rows], columns=COLUMNS)


def usage(connection: KubernetesConnection) -> list[dict[str, Any]]:
    """Return what each pod that runs uses and is given; raises `CouldNotFindOut` where there is no metrics API."""
    measured = connection.items("usage")
    if measured is None:
        raise CouldNotFindOut(NO_METRICS)
    by_name = {str(one["metadata"]["name"]): one.get("containers") or [] for one in measured}
    rows = []
    for pod in pods_of(connection, deployment_of(connection)):
        if (pod.get("status") or {}).get("phase") != "Running":
            continue
        name, containers = str(pod["metadata"]["name"]), pod["spec"]["containers"]
        figures = by_name.get(name, [])
        used = {
            resource: math.fsum(number((one.get("usage") or {}).get(resource)) for one in figures)
            if figures else math.nan
            for resource in ("cpu", "memory")
        }  # fmt: skip
        given = {
            f"{resource}_{which[:-1]}": together(containers, which, resource)
            for which in ("requests", "limits") for resource in ("cpu", "memory")
        }  # fmt: skip
        rows.append({"pod": words(name), **used, **given, "measured": bool(figures)})
    return rows


def check(frame: pd.DataFrame, *, warning: float = 80, critical: float = 90) -> list[Finding]:
    """Judge each pod's memory as a share (%) of its limit, where the kernel kills; and its processors likewise.

    A pod without a limit may take what its node has: that is told, and not judged. One without figures is UNKNOWN.
    """
    found: list[Finding] = []
    for row in frame.to_dict("records"):
        if not row["measured"]:
            told = "the metrics API has no figures of it yet"
            found.append(Finding(object=f"{row['pod']} ({row['cluster']})", status=Status.UNKNOWN, message=told))
            continue
        for resource, unit in (("memory", as_bytes), ("cpu", _processors)):
            limit = row[f"{resource}_limit"]
            subject = f"{'processors' if resource == 'cpu' else 'memory'} of {row['pod']} ({row['cluster']})"
            if pd.isna(limit) or limit <= 0:
                text = f"{unit(row[resource])}, without a limit"
                found.append(Finding(object=subject, status=Status.OK, message=text, value=float(row[resource])))
                continue
            share = 100 * row[resource] / limit
            text = f"{unit(row[resource])} of {unit(limit)} ({share:.0f}%)"
            found.append(at_most(subject, share, warning, critical, unit="%", message=text))
    worst_first = sorted(found, key=lambda finding: finding.status.severity)
    return first_of(worst_first, "pods", 20)


def _processors(count: float) -> str:
    return f"{1000 * count:.0f}m"


top = Question(
    name="kubernetes.top",
    title="How much do the pods use of what they are given?",
    probe=probe,
    check=check,
    source="kubectl top pods --containers",
    needs=(KubernetesConnection,),
    explained_by=EXPLAINED_BY,
    deadline=10,
    next="at its memory limit a pod is killed: raise the limit, or have more pods",
)

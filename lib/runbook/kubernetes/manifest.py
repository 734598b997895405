"""Has the cluster the autoscaler that the manifest says?"""

import io
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import pandas as pd

from runbook.connections import KubernetesConnection
from runbook.kubernetes.asked import connected, words
from runbook.kubernetes.explanations import EXPLAINED_BY
from runbook.model import Asking, Finding, Question, Status
from runbook.target import Kubernetes

COLUMNS = ["autoscaler", "exists", "field", "in_cluster", "in_manifest", "problem"]
LEAST, MOST, CPU, MEMORY = 2, 10, 70, 80


def autoscaler_manifest(
    named: Kubernetes, *, least: int = LEAST, most: int = MOST, cpu: int = CPU, memory: int = MEMORY
) -> dict[str, Any]:
    """Return the HorizontalPodAutoscaler of the target's deployment: bounds, and the use (%) of what pods request that
    it holds.
    """
    metrics = [
        {"type": "Resource", "resource": {"name": name, "target": {"type": "Utilization", "averageUtilization": share}}}
        for name, share in (("cpu", cpu), ("memory", memory))
    ]
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": named.autoscaler, "namespace": named.namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": named.deployment},
            "minReplicas": least,
            "maxReplicas": most,
            "metrics": metrics,
        },
    }


def as_yaml(manifest: Mapping[str, Any]) -> str:
    """Return a manifest as a file that kubectl takes."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.default_flow_style = False
    text = io.StringIO()
    yaml.dump(dict(manifest), text)
    return text.getvalue()


def problems(manifest: Mapping[str, Any]) -> list[str]:
    """Return what the API server would not take of a manifest, in words."""
    spec = manifest["spec"]
    least, most = spec["minReplicas"], spec["maxReplicas"]
    told = []
    if least < 1:
        told.append(f"at least {least} pods: an autoscaler keeps 1 or more")
    if most < max(1, least):
        told.append(f"at most {most} pods are fewer than at least {least}")
    for one in spec["metrics"]:
        share = one["resource"]["target"]["averageUtilization"]
        if share < 1:
            told.append(f"{share}% of what is requested of {one['resource']['name']}: 1% or more")
    return told


def differences(found: Mapping[str, Any] | None, manifest: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return each field of the manifest that the cluster has otherwise: its name, how it is there, how here.

    What only the cluster has, such as defaults and a behaviour, is not the manifest's.
    """
    if found is None:
        return []
    there, here = (dict(_fields(one["spec"])) for one in (found, manifest))
    metrics = {name for name in there if name.startswith("metrics ")} - set(here)
    changed = [(name, there.get(name, "nothing"), value) for name, value in here.items() if there.get(name) != value]
    return changed + [(name, there[name], "nothing") for name in sorted(metrics)]


def _fields(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    target = spec["scaleTargetRef"]
    yield "scaleTargetRef", f"{words(target.get('kind'))} {words(target.get('name'))}"
    yield "minReplicas", str(spec.get("minReplicas", 1))
    yield "maxReplicas", str(spec["maxReplicas"])
    for one in spec.get("metrics") or []:
        if one.get("type") == "Resource":
            of = one["resource"]
            share = of["target"].get("averageUtilization")
            told = f"{share}%" if share is not None else words(of["target"].get("averageValue"))
            yield f"metrics {words(of['name'])}", told
        else:
            yield f"metrics {words(one.get('type'))}", "a metric of its own"


def probe(asking: Asking, least: int = LEAST, most: int = MOST, cpu: int = CPU, memory: int = MEMORY) -> pd.DataFrame:
    """Return a row for each field of the manifest that the cluster has otherwise: autoscaler, exists, field,
    in_cluster, in_manifest; and for each problem of the manifest itself. One row without either where both are the
    same. The frame's attrs hold the ``manifest`` as YAML.

    Raises `DoesNotApply` where the profile names no cluster.
    """
    connection = connected(asking)
    manifest = autoscaler_manifest(connection.named, least=least, most=most, cpu=cpu, memory=memory)
    found = connection.read("horizontalpodautoscalers", connection.named.autoscaler)
    name = f"{connection.named.autoscaler} ({connection.cluster})"
    of = {"autoscaler": name, "exists": found is not None, "field": "", "problem": ""}
    rows: list[dict[str, Any]] = [{**of, "problem": problem} for problem in problems(manifest)]
    rows += [
        {**of, "field": field, "in_cluster": there, "in_manifest": here}
        for field, there, here in differences(found, manifest)
    ]
    frame = pd.DataFrame(rows or [of], columns=COLUMNS)
    frame.attrs = {"manifest": as_yaml(manifest)}
    return frame


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge the manifest, and how the cluster differs from it: each field that does is a WARNING.

    One that the API server would refuse is CRITICAL: there is nothing to compare then.
    """
    row = frame.iloc[0]
    name = row["autoscaler"]
    wrong = [problem for problem in frame["problem"] if problem]
    if wrong:
        told = f"the manifest is not valid: {'; '.join(wrong)}"
        return [Finding(object=name, status=Status.CRITICAL, message=told, next="give other bounds or shares")]
    if not row["exists"]:
        told = "the manifest is valid; the cluster has no such autoscaler"
        return [Finding(object=name, status=Status.WARNING, message=told, next="the plan of this notebook makes it")]
    changed = frame[frame["field"] != ""].to_dict("records")
    if not changed:
        return [Finding(object=name, status=Status.OK, message="the manifest is valid, and the cluster has it so")]
    return [
        Finding(
            object=f"{name} {each['field']}",
            status=Status.WARNING,
            message=f"in the cluster {each['in_cluster']}, in the manifest {each['in_manifest']}",
            value=each["in_cluster"],
            threshold=each["in_manifest"],
        )
        for each in changed
    ]


class Manifest:
    """Shows the manifest that an answer of `kubernetes.manifest` was about, as a file that kubectl takes."""

    def __init__(self, frame: pd.DataFrame | None) -> None:
        self.text = str(frame.attrs.get("manifest", "")) if frame is not None else ""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        shown = self.text or "no manifest: nothing was asked of a cluster"
        return {"text/plain": shown, "text/html": f"<pre>{escape(shown)}</pre>"}


manifest = Question(
    name="kubernetes.manifest",
    title="Has the cluster the autoscaler that the manifest says?",
    probe=probe,
    check=check,
    source="kubectl diff --filename hpa.yaml",
    needs=(KubernetesConnection,),
    explained_by=EXPLAINED_BY,
    deadline=8,
    next="find out who changed it; the plan of this notebook makes it as the manifest says",
)

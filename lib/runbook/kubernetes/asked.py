"""What several questions ask of the cluster: the target's deployment, its pods, and the autoscalers that govern it."""

from datetime import UTC, datetime
from typing import Any

from runbook.connections import KubernetesConnection
from runbook.model import Asking, CouldNotFindOut, DoesNotApply
from runbook.model.text import printable


def connected(asking: Asking) -> KubernetesConnection:
    """Return the connection to the target's cluster; raises `DoesNotApply` where its profile names none."""
    if lacking := KubernetesConnection.lacking(asking.target):
        raise DoesNotApply(lacking)
    return asking.connection(KubernetesConnection)


def changing(asking: Asking) -> KubernetesConnection:
    """Return the connection for what a change looks at; raises `CouldNotFindOut` where the profile names no cluster."""
    if lacking := KubernetesConnection.lacking(asking.target):
        raise CouldNotFindOut(lacking)
    return asking.connection(KubernetesConnection)


def deployment_of(connection: KubernetesConnection) -> dict[str, Any]:
    """Return the target's deployment; raises `CouldNotFindOut` where there is none of that name."""
    found = connection.read("deployments", connection.named.deployment)
    if found is None:
        named = connection.named
        raise CouldNotFindOut(f"{connection.cluster} has no deployment {named.deployment} in {named.namespace}")
    return found


def pods_of(connection: KubernetesConnection, deployment: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the pods that the deployment's selector matches, by name."""
    found = connection.items("pods", labelSelector=_selector(deployment)) or []
    return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))


def _selector(deployment: dict[str, Any]) -> str:
    """Return a deployment's selector as a query has it."""
    selector = deployment["spec"].get("selector") or {}
    words = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for one in selector.get("matchExpressions") or []:
        key, values = one["key"], ",".join(one.get("values") or [])
        operators = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
        words.append(operators.get(one["operator"], f"!{key}"))
    return ",".join(words)


def autoscalers_of(connection: KubernetesConnection) -> list[dict[str, Any]]:
    """Return the autoscalers that govern the target's deployment, by name."""
    found = connection.items("horizontalpodautoscalers") or []
    wanted = ("Deployment", connection.named.deployment)
    governs = [
        one
        for one in found
        if (one["spec"]["scaleTargetRef"].get("kind"), one["spec"]["scaleTargetRef"].get("name")) == wanted
    ]
    return sorted(governs, key=lambda one: str(one["metadata"]["name"]))


def moment(text: Any) -> datetime | None:
    """Return a time as Kubernetes writes it; None for none."""
    try:
        return datetime.fromisoformat(str(text)[:19]).replace(tzinfo=UTC) if text else None
    except ValueError:
        return None


def words(text: Any, most: int = 300) -> str:
    """Return what the cluster says as it can be shown."""
    return printable(str(text or "").strip())[:most]


def condition(found: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return a condition of an object's status by its type; empty where it has none of it."""
    conditions = (found.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one.get("type") == kind), {})

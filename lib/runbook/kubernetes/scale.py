"""Have more or fewer pods of the deployment, by its scale subresource."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runbook.connections import KubernetesConnection
from runbook.kubernetes.asked import autoscalers_of, changing, deployment_of, words
from runbook.kubernetes.quantities import together
from runbook.model import Act, Asking, Change, ChangeFailed, CouldNotFindOut, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.units import as_bytes, counted

# More than this is a mistake of typing, not a plan.
MOST = 100


def observe(asking: Asking, replicas: int) -> dict[str, Any]:
    """Return cluster (the API server), deployment, uid, generation (it counts the changes of what is wanted), replicas
    (how many are wanted), autoscalers (that govern it, with their bounds), memory and cpu (requests of a pod; -1:
    none), by_hand (the call of kubectl without the numbers).
    """
    connection = changing(asking)
    found = deployment_of(connection)
    containers = found["spec"]["template"]["spec"]["containers"]
    governing = [
        f"{words(one['metadata']['name'])} ({one['spec'].get('minReplicas', 1)} to {one['spec']['maxReplicas']})"
        for one in autoscalers_of(connection)
    ]
    requests = {name: together(containers, "requests", name) for name in ("memory", "cpu")}
    return {
        "cluster": connection.identity["where"],
        "deployment": connection.named.deployment,
        "uid": found["metadata"]["uid"],
        "generation": int(found["metadata"].get("generation", 0)),
        "replicas": int(found["spec"].get("replicas", 1)),
        "autoscalers": governing,
        **{name: -1 if math.isnan(value) else value for name, value in requests.items()},
        "by_hand": connection.shown("scale", "deployment", connection.named.deployment),
    }


def draft(facts: Mapping[str, Any], replicas: int) -> Draft:
    """Write out the change to so many pods.

    Raises `NotPlanned` for a number that cannot be; `DoesNotApply` where there are so many, or an autoscaler governs
    the deployment, which would set it back.
    """
    name, now = facts["deployment"], facts["replicas"]
    if replicas < 1:
        raise NotPlanned(f"{replicas} pods of {name} would leave nobody to answer: at least 1")
    if replicas > MOST:
        raise NotPlanned(f"{replicas} pods of {name} are no plan: at most {MOST}")
    if facts["autoscalers"] and now:  # one of a deployment that is scaled to 0 is switched off
        governed = " and ".join(facts["autoscalers"])
        raise DoesNotApply(f"{governed} governs {name} and would set it back: change its bounds, with autoscaling")
    if now == replicas:
        raise DoesNotApply(f"{name} wants {counted(replicas, 'pod')} already")
    return Draft(
        summary=f"have {counted(replicas, 'pod')} of {name} instead of {now}",
        steps=(_step(facts, now, replicas),),
        blast_radius=(_cost(facts, replicas - now), _AS_BUILT),
        expected={"replicas": replicas},
        inverse=(_step(facts, replicas, now),),
    )


_AS_BUILT = (
    "as built each pod has a queue and rate limits of its own in its memory: what one was given the others do not know,"
    " and a client's limit is multiplied"
)


def _cost(facts: Mapping[str, Any], more: int) -> str:
    if more < 0:
        ending = counted(-more, "pod ends", "pods end")
        return f"{ending}: what they hold in memory is lost; open requests have their grace"
    asks = []
    if facts["memory"] >= 0:
        asks.append(as_bytes(more * facts["memory"]))
    if facts["cpu"] >= 0:
        asks.append(f"{more * facts['cpu']:g} processors")
    room = (
        f"nodes must have {' and '.join(asks)} to spare" if asks else "they ask for nothing, so nodes may be overfull"
    )
    return f"{counted(more, 'more pod opens', 'more pods open')} connections of their own to PostgreSQL; {room}"


def _step(facts: Mapping[str, Any], before: int, after: int) -> Step:
    shown = f"{facts['by_hand']} --current-replicas={before} --replicas={after}"
    return Step(act="scale", shown=shown, arguments={"uid": facts["uid"], "before": before, "after": after})


def _scale(asking: Asking, arguments: Mapping[str, Any]) -> str:
    connection = changing(asking)
    name = connection.named.deployment
    told = connection.read("deployments", name, "scale")
    if told is None or told["metadata"]["uid"] != arguments["uid"]:
        raise ChangeFailed(f"the deployment {name} is another one now; nothing was changed")
    if told["spec"].get("replicas", 0) != arguments["before"]:
        raise ChangeFailed(f"{name} wants {told['spec'].get('replicas', 0)} pods by now; nothing was changed")
    # It still holds the version that was read: whoever came between is told as a conflict.
    told["spec"]["replicas"] = arguments["after"]
    connection.change("PUT", "deployments", name, "scale", body=told)
    return ""


def _is_scaled(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    found = deployment_of(changing(asking))
    if found["metadata"]["uid"] != arguments["uid"]:
        raise CouldNotFindOut("the deployment is another one now")
    return bool(found["spec"].get("replicas", 1) == arguments["after"])


scale = Change(
    name="kubernetes.scale",
    title="Have more or fewer pods of the deployment",
    observe=observe,
    draft=draft,
    acts={"scale": Act(_scale, _is_scaled)},
    needs=(KubernetesConnection,),
    watched=("cluster", "deployment", "uid", "generation", "autoscalers"),
    restored=("replicas",),
    patience=120.0,
    deadline=15.0,
)

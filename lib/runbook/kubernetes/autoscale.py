"""Have the autoscaler as the manifest says: made where there is none, else changed."""

import json
import math
import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runbook.connections import KubernetesConnection
from runbook.kubernetes.asked import autoscalers_of, changing, deployment_of, words
from runbook.kubernetes.manifest import CPU, LEAST, MEMORY, MOST, as_yaml, autoscaler_manifest, differences, problems
from runbook.kubernetes.quantities import together
from runbook.model import Act, Asking, Change, ChangeFailed, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.units import counted

_KIND = "horizontalpodautoscalers"
# What the manifest decides; a behaviour that somebody gave it stays.
_OURS = ("scaleTargetRef", "minReplicas", "maxReplicas", "metrics")


def observe(
    asking: Asking, least: int = LEAST, most: int = MOST, cpu: int = CPU, memory: int = MEMORY
) -> dict[str, Any]:
    """Return cluster, autoscaler, manifest, uid and version of the one that is there ("" without one), spec (what it
    says of what the manifest decides), differs (in words), invalid (what is wrong with the manifest), others (that
    govern the deployment too), requested (what pods request none of), pods (that are wanted), connections (that a pod
    may hold; 0: not known), refused (the API server's words in a dry run; "": it would take it), where (for kubectl).
    """
    connection = changing(asking)
    named = connection.named
    wanted = autoscaler_manifest(named, least=least, most=most, cpu=cpu, memory=memory)
    found, deployment = connection.read(_KIND, named.autoscaler), deployment_of(connection)
    containers = deployment["spec"]["template"]["spec"]["containers"]
    others = [words(one["metadata"]["name"]) for one in autoscalers_of(connection)]
    changed = [f"{field} {there} to {here}" for field, there, here in differences(found, wanted)]
    invalid = problems(wanted)
    facts = {
        "cluster": connection.identity["where"],
        "autoscaler": named.autoscaler,
        "deployment": named.deployment,
        "manifest": wanted,
        "uid": found["metadata"]["uid"] if found else "",
        "version": found["metadata"]["resourceVersion"] if found else "",
        "spec": {name: found["spec"].get(name) for name in _OURS} if found else {},
        "differs": ", ".join(changed) if found else "it is not there",
        "invalid": "; ".join(invalid),
        "others": [name for name in others if name != named.autoscaler],
        "requested": [name for name in ("cpu", "memory") if math.isnan(together(containers, "requests", name))],
        "pods": int(deployment["spec"].get("replicas", 1)),
        "connections": _connections(asking),
        "refused": "",
        "where": connection.shown(),
    }
    if facts["differs"] and not invalid:
        facts["refused"] = _tried(connection, facts)
    return facts


def _connections(asking: Asking) -> int:
    """Return how many connections to PostgreSQL the profile says that a pod may hold; 0 where it does not say it."""
    service = asking.target.service
    if service is None or service.pool_size is None:
        return 0
    return int((service.workers or 1) * (service.pool_size + (service.max_overflow or 0)))


def _tried(connection: KubernetesConnection, facts: Mapping[str, Any]) -> str:
    """Return why the API server would not take it, in a dry run that keeps nothing; "" where it would."""
    try:
        _send(connection, facts["uid"], facts["manifest"], facts["version"], dry_run=True)
    except ChangeFailed as refusal:
        return str(refusal)
    return ""


def _send(
    connection: KubernetesConnection, uid: str, manifest: Mapping[str, Any], version: str, *, dry_run: bool = False
) -> None:
    if uid:
        body = {"metadata": {"uid": uid, "resourceVersion": version}, "spec": manifest["spec"]}
        connection.change("PATCH", _KIND, connection.named.autoscaler, body=body, dry_run=dry_run)
    else:
        connection.change("POST", _KIND, body=manifest, dry_run=dry_run)


def draft(
    facts: Mapping[str, Any], least: int = LEAST, most: int = MOST, cpu: int = CPU, memory: int = MEMORY
) -> Draft:
    """Write out the autoscaler as the manifest says.

    Raises `NotPlanned` where the manifest is not valid, the API server would refuse it, another one governs the
    deployment, or pods request nothing; `DoesNotApply` where the cluster has it so.
    """
    name, manifest = facts["autoscaler"], facts["manifest"]
    if facts["invalid"]:
        raise NotPlanned(f"the manifest is not valid: {facts['invalid']}")
    if facts["others"]:
        raise NotPlanned(f"{', '.join(facts['others'])} governs {facts['deployment']} too: two fight; remove one first")
    if not facts["differs"]:
        raise DoesNotApply(f"the cluster has {name} as the manifest says")
    if facts["refused"]:
        raise NotPlanned(f"in a dry run {facts['refused']}")
    if facts["requested"]:
        asked = " and ".join(facts["requested"])
        raise NotPlanned(f"a container of {facts['deployment']} requests no {asked}: give it requests first")
    spec = manifest["spec"]
    between = f"{spec['minReplicas']} and {spec['maxReplicas']}"
    if not facts["uid"]:
        return Draft(
            summary=f"have {name} keep {facts['deployment']} between {between} pods",
            steps=(_made(facts),),
            blast_radius=_reach(facts),
            expected={"differs": ""},
            inverse=(_removed(facts),),
        )
    before = {**manifest, "spec": facts["spec"]}
    return Draft(
        summary=f"change {name}: {facts['differs']}",
        steps=(_changed(facts, manifest),),
        blast_radius=_reach(facts),
        expected={"differs": ""},
        inverse=(_changed(facts, before),),
    )


def _reach(facts: Mapping[str, Any]) -> tuple[str, ...]:
    spec, now = facts["manifest"]["spec"], facts["pods"]
    told = ["a server-side dry run was taken by the API server: it is valid there, admission included"]
    if now < spec["minReplicas"] or now > spec["maxReplicas"]:
        to = min(max(now, spec["minReplicas"]), spec["maxReplicas"])
        told.append(f"at once {facts['deployment']} goes from {counted(now, 'pod')} to {to}")
    told.append("from then on it sets the number of pods each 15 s; what was set by hand does not stay")
    most = spec["maxReplicas"]
    if facts["connections"]:
        told.append(f"{most} pods may hold {most * facts['connections']} connections to PostgreSQL: it must bear them")
    else:
        told.append(f"{most} pods open connections of their own to PostgreSQL: it must bear them")
    told.append("as built each pod has a queue and rate limits of its own in its memory")
    return tuple(told)


def _made(facts: Mapping[str, Any]) -> Step:
    shown = f"{facts['where']} create --filename - <<'YAML'\n{as_yaml(facts['manifest'])}YAML"
    return Step(act="make", shown=shown, arguments={"manifest": facts["manifest"]})


def _removed(facts: Mapping[str, Any]) -> Step:
    return Step(act="remove", shown=f"{facts['where']} delete hpa {facts['autoscaler']}", arguments={})


def _changed(facts: Mapping[str, Any], manifest: Mapping[str, Any]) -> Step:
    patch = json.dumps({"spec": manifest["spec"]}, separators=(",", ":"))
    shown = f"{facts['where']} patch hpa {facts['autoscaler']} --type=merge --patch {shlex.quote(patch)}"
    return Step(act="change", shown=shown, arguments={"uid": facts["uid"], "manifest": dict(manifest)})


def _make(asking: Asking, arguments: Mapping[str, Any]) -> str:
    _send(changing(asking), "", arguments["manifest"], "")
    return ""


def _remove(asking: Asking, arguments: Mapping[str, Any]) -> str:
    connection = changing(asking)
    found = connection.read(_KIND, connection.named.autoscaler)
    if found is not None:
        body = {"preconditions": {"uid": found["metadata"]["uid"]}}
        connection.change("DELETE", _KIND, connection.named.autoscaler, body=body)
    return ""


def _change(asking: Asking, arguments: Mapping[str, Any]) -> str:
    connection = changing(asking)
    found = connection.read(_KIND, connection.named.autoscaler)
    if found is None or found["metadata"]["uid"] != arguments["uid"]:
        raise ChangeFailed(f"{connection.named.autoscaler} is another one now; nothing was changed")
    # Its status changes each 15 s, and its version with it: what was read just now must still be so.
    _send(connection, arguments["uid"], arguments["manifest"], found["metadata"]["resourceVersion"])
    return ""


def _is_there(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    connection = changing(asking)
    found = connection.read(_KIND, connection.named.autoscaler)
    return found is not None and not differences(found, arguments["manifest"])


def _is_gone(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    connection = changing(asking)
    return connection.read(_KIND, connection.named.autoscaler) is None


autoscale = Change(
    name="kubernetes.autoscale",
    title="Have the autoscaler as the manifest says",
    observe=observe,
    draft=draft,
    acts={"make": Act(_make, _is_there), "remove": Act(_remove, _is_gone), "change": Act(_change, _is_there)},
    needs=(KubernetesConnection,),
    watched=("cluster", "autoscaler", "deployment", "uid", "differs", "others"),
    restored=("spec",),
    patience=60.0,
    deadline=25.0,
)

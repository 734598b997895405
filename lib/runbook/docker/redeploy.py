"""Write new limits into the Compose file and make the service's containers anew: limits that stay."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runbook.connections import ContainersConnection
from runbook.docker import compose_edit
from runbook.docker.compose_text import edited
from runbook.docker.sizing import propose
from runbook.model import Asking, Change, DoesNotApply, Draft, NotPlanned
from runbook.model.units import as_bytes

_MIB = 1 << 20


def observe(asking: Asking, memory: int, cpus: float) -> dict[str, Any]:
    """Return the facts of `compose_edit.seen`, and in bytes peak (the most any container ever used) and machine."""
    there = compose_edit.seen(asking)
    return {
        **there.facts,
        "peak": max([there.facts["used"], *(int(seen.get("max_usage", 0)) for seen in there.memories)]),
        "machine": asking.connection(ContainersConnection).machine()[0],
    }


def draft(facts: Mapping[str, Any], memory: int, cpus: float) -> Draft:
    """Write out the lines of the file that change, and the Compose call: ``memory`` in MiB (0: what fits the use that
    was seen), ``cpus`` (0: as it is)."""
    if not facts["containers"]:
        raise DoesNotApply(f"no container of {facts['service']} runs: what fits it cannot be seen")
    if memory < 0 or cpus < 0:
        raise NotPlanned("a limit below nothing is none: give memory in MiB and cpus, 0 for what fits")
    limit = memory * _MIB if memory else propose(facts["used"], facts["peak"])[0]
    if limit <= facts["used"]:
        raise NotPlanned(
            f"{as_bytes(limit)} is less than the {as_bytes(facts['used'])} in use: the kernel would kill it"
        )
    if limit * len(facts["containers"]) > facts["machine"]:
        raise NotPlanned(f"{as_bytes(limit)} for each container is more than the machine has in all")
    after = rewritten(facts["text"], facts["service"], limit, cpus)
    if after == facts["text"]:
        raise DoesNotApply("the Compose file says so already")
    return compose_edit.drafted(
        facts,
        after,
        summary=f"give {facts['service']} a limit of {as_bytes(limit)} in {Path(facts['file']).name}, and make it anew",
        arguments={"limit": limit, "cpus": cpus},
        expected={"limit": limit},
    )


def rewritten(text: str, service: str, limit: int, cpus: float) -> str:
    """Return a Compose file with a service's limits, every other line as it was; raises as `compose_text.edited`."""

    def edit(body: Any) -> None:
        at = body
        for key in ("deploy", "resources", "limits"):
            at = at.setdefault(key, type(body)())
        at["memory"] = f"{limit // _MIB}M"
        if cpus:
            at["cpus"] = f"{cpus:g}"

    return edited(text, service, edit, _BY_HAND.format(limit=limit // _MIB))


_BY_HAND = "write `deploy: resources: limits: memory: {limit}M` into it by hand"


def _as_planned(text: str, arguments: Mapping[str, Any]) -> str:
    return rewritten(text, arguments["service"], arguments["limit"], arguments["cpus"])


redeploy = Change(
    name="docker.redeploy",
    title="Write limits into the Compose file and make the service anew",
    observe=observe,
    draft=draft,
    acts=compose_edit.acts(_as_planned),
    needs=(ContainersConnection,),
    watched=("engine", "service", "file", "sha256", "containers", "limit", "up"),
    restored=("limit", "sha256"),
    patience=compose_edit.PATIENCE,
    deadline=compose_edit.DEADLINE,
)

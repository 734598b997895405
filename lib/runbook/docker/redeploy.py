"""Write new limits into the Compose file and make the service's containers anew: limits that stay."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runbook.connections import ContainersConnection
from runbook.docker import compose
from runbook.docker.compose_text import changed_lines, digest, edited, read, restores, writes
from runbook.docker.sizing import propose
from runbook.model import Act, Asking, Change, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.units import as_bytes
from runbook.procfs.engine import without_cache

_MIB = 1 << 20


def observe(asking: Asking, memory: int, cpus: float) -> dict[str, Any]:
    """Return engine, service, file (the last one of the project), text and sha256 of it, containers (ids of those that
    run, sorted), in bytes limit, used, peak (the most of any of them) and machine, and up (the Compose argv).
    """
    connection, named = asking.connection(ContainersConnection), asking.target.compose
    up = compose.argv(asking.target, "up", "--detach", "--no-deps", "--no-build")
    assert named is not None
    compose.config(asking)  # Compose's own words where it cannot read its files
    text = read(named.files[-1])
    running = [told for told in connection.containers_of(named.name, named.service) if told["State"]["Running"]]
    memories = [told["memory_stats"] for told in (connection.stats(facts["Id"]) for facts in running) if told]
    used = max(map(without_cache, memories), default=0)
    return {
        "engine": connection.engine(),
        "service": named.service,
        "file": str(named.files[-1]),
        "text": text,
        "sha256": digest(text),
        "containers": sorted(told["Id"] for told in running),
        "limit": max((int(told["HostConfig"].get("Memory") or 0) for told in running), default=0),
        "used": used,
        "peak": max([used, *(int(seen.get("max_usage", 0)) for seen in memories)]),
        "machine": connection.machine()[0],
        "up": [*up, named.service],
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
    file, kept = facts["file"], f"{facts['file']}.before-{facts['sha256'][:8]}"
    write = {"file": file, "kept": kept, "before": facts["sha256"], "after": digest(after)}
    up = list(facts["up"])
    return Draft(
        summary=f"give {facts['service']} a limit of {as_bytes(limit)} in {Path(file).name}, and make it anew",
        steps=(
            Step(
                act="write",
                shown=f"edit {file} (kept as {Path(kept).name}): {'; '.join(changed_lines(facts['text'], after))}",
                arguments={**write, "service": facts["service"], "limit": limit, "cpus": cpus},
            ),
            Step(act="up", shown=compose.shown(up), arguments={"argv": up}),
        ),
        blast_radius=(
            f"each of the {len(facts['containers'])} containers is made anew: nobody is served by it until it is ready",
            "whatever else was changed in the Compose files since they were made comes with it",
            "what the service holds only in its memory is lost: as built, its queue, and the counts of its rate limits",
        ),
        expected={"limit": limit},
        inverse=(
            Step(act="restore", shown=f"mv {kept} {file}", arguments=write),
            Step(act="up", shown=compose.shown(up), arguments={"argv": up}),
        ),
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
    acts={"write": writes(_as_planned), "restore": restores, "up": Act(compose.ups)},
    needs=(ContainersConnection,),
    watched=("engine", "service", "file", "sha256", "containers", "limit", "up"),
    restored=("limit", "sha256"),
    patience=60.0,
    deadline=20.0,
)

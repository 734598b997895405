"""Have more or fewer containers of the service, by Compose."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runbook.connections import ContainersConnection
from runbook.docker import compose
from runbook.docker.compose_file import obstacles
from runbook.model import Act, Asking, Change, CouldNotFindOut, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.units import as_bytes

# More than this on one machine is a mistake of typing, not a plan.
MOST = 32


def observe(asking: Asking, replicas: int) -> dict[str, Any]:
    """Return project, service, engine, containers (ids of those that run, sorted), running (their number), obstacles
    (what in the Compose files limits their number, with its line), limit (memory of each, bytes; 0: none), machine
    (memory of the machine, bytes), up (the Compose argv without the number).
    """
    named = asking.target.compose
    connection = asking.connection(ContainersConnection)
    up = compose.argv(asking.target, "up", "--detach", "--no-deps", "--no-build", "--no-recreate")
    assert named is not None
    running = [told for told in connection.containers_of(named.name, named.service) if told["State"]["Running"]]
    return {
        "project": named.name,
        "service": named.service,
        "engine": connection.engine(),
        "containers": sorted(told["Id"] for told in running),
        "running": len(running),
        "obstacles": obstacles(asking),
        "limit": max((int(told["HostConfig"].get("Memory") or 0) for told in running), default=0),
        "machine": connection.machine()[0],
        "up": up,
    }


def draft(facts: Mapping[str, Any], replicas: int) -> Draft:
    """Write out the change from the containers that run to so many."""
    service, now = facts["service"], facts["running"]
    if replicas < 1:
        raise NotPlanned(f"{replicas} containers of {service} would leave nobody to answer: at least 1")
    if replicas > MOST:
        raise NotPlanned(f"{replicas} containers of {service} on one machine are no plan: at most {MOST}")
    for obstacle in facts["obstacles"]:
        if obstacle["most"] < replicas:
            where = f" ({obstacle['where']})" if obstacle["where"] else ""
            raise NotPlanned(f"{replicas} containers cannot be: {obstacle['obstacle']}{where}")
    if facts["limit"] * replicas > facts["machine"]:
        raise NotPlanned(
            f"{replicas} containers of {as_bytes(facts['limit'])} each are more than the machine's "
            f"{as_bytes(facts['machine'])}"
        )
    if now == replicas:
        raise DoesNotApply(f"{replicas} of {service} run already")
    if not now:
        raise DoesNotApply(f"no container of {service} runs: see why first, with api-down")
    return Draft(
        summary=f"have {replicas} containers of {service} instead of {now}",
        steps=(_step(facts, replicas),),
        blast_radius=(*(_more(facts, replicas) if replicas > now else _fewer(now - replicas)), _AS_BUILT),
        expected={"running": replicas},
        inverse=(_step(facts, now),),
    )


_AS_BUILT = (
    "as built each container has a queue and rate limits of its own in its memory: what one was given the others do not"
    " know, and a client's limit is multiplied"
)


def _more(facts: Mapping[str, Any], replicas: int) -> tuple[str, ...]:
    memory = f", up to {as_bytes(facts['limit'])} of memory" if facts["limit"] else ", and has no memory limit"
    return (
        f"each more opens connections of its own to PostgreSQL and Redis{memory}",
        "users reach the new ones only where a proxy shares requests out",
        f"those that run stay as they are ({replicas} in all)",
    )


def _fewer(less: int) -> tuple[str, ...]:
    return (f"{less} of them end: their requests in progress break off, and what they hold in memory is lost",)


def _step(facts: Mapping[str, Any], replicas: int) -> Step:
    call = [*facts["up"], "--scale", f"{facts['service']}={replicas}", facts["service"]]
    arguments = {"argv": call, "project": facts["project"], "service": facts["service"], "replicas": replicas}
    return Step(act="scale", shown=compose.shown(call), arguments=arguments)


def _is_scaled(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    found = asking.connection(ContainersConnection).containers_of(arguments["project"], arguments["service"])
    if not found:
        raise CouldNotFindOut("the service has no container")
    return bool(sum(bool(told["State"]["Running"]) for told in found) == arguments["replicas"])


scale = Change(
    name="docker.scale",
    title="Have more or fewer containers of the service",
    observe=observe,
    draft=draft,
    acts={"scale": Act(compose.ups, _is_scaled)},
    needs=(ContainersConnection,),
    watched=("engine", "project", "service", "containers", "up"),
    restored=("running",),
    patience=60.0,
    deadline=20.0,
)

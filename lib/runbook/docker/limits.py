"""Set a running container's limits: at once, and until it is made anew."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runbook.connections import ContainersConnection
from runbook.docker.named import observed, short
from runbook.docker.sizing import propose
from runbook.model import Act, Asking, Change, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.units import as_bytes
from runbook.procfs.engine import without_cache

_SECONDS = 30
_MIB = 1 << 20
_NANO = 1_000_000_000


def observe(asking: Asking, part: str, memory: int, cpus: float) -> dict[str, Any]:
    """Return the facts about a part's container (see `runbook.docker.named.observed`), and in bytes: used, peak, limit,
    swap (limit of memory and swap together; -1: none), reservation, machine; cpus (0: no limit), processors.
    """
    facts = observed(asking, part)
    told = facts.pop("inspected", None)
    if told is None:
        return facts
    connection, host = asking.connection(ContainersConnection), told["HostConfig"]
    stats = connection.stats(facts["container"])
    machine, processors = connection.machine()
    used = without_cache(stats["memory_stats"]) if stats else 0
    return {
        **facts,
        "used": used,
        "peak": max(used, int(stats["memory_stats"].get("max_usage", 0))) if stats else 0,
        "limit": int(host.get("Memory") or 0),
        "swap": int(host.get("MemorySwap") or 0),
        "reservation": int(host.get("MemoryReservation") or 0),
        "cpus": _cpus(host),
        "machine": machine,
        "processors": processors,
    }


def _cpus(host: Mapping[str, Any]) -> float:
    if host.get("NanoCpus"):
        return float(host["NanoCpus"]) / _NANO
    quota, period = host.get("CpuQuota") or 0, host.get("CpuPeriod") or 100_000
    return float(quota) / float(period) if quota > 0 else 0.0


def draft(facts: Mapping[str, Any], part: str, memory: int, cpus: float) -> Draft:
    """Write out new limits: ``memory`` in MiB (0: what fits the use that was seen), ``cpus`` (0: as it is)."""
    name = facts["container"]
    if facts["state"] != "running":
        raise DoesNotApply(f"{name} does not run (it is {facts['state']}): what fits it cannot be seen")
    if memory < 0 or cpus < 0:
        raise NotPlanned("a limit below nothing is none: give memory in MiB and cpus, 0 for what fits")
    limit, reservation = (memory * _MIB, facts["reservation"]) if memory else propose(facts["used"], facts["peak"])
    reservation = min(reservation, limit)
    if limit <= facts["used"]:
        raise NotPlanned(
            f"{as_bytes(limit)} is less than the {as_bytes(facts['used'])} that {name} uses: the kernel would kill it"
        )
    if limit > facts["machine"]:
        raise NotPlanned(f"{as_bytes(limit)} is more than the machine has ({as_bytes(facts['machine'])})")
    if cpus > facts["processors"]:
        raise NotPlanned(f"{cpus:g} processors are more than the machine has ({facts['processors']})")
    wanted = {"limit": limit, "reservation": reservation, "cpus": cpus or facts["cpus"]}
    if all(facts[key] == value for key, value in wanted.items()):
        raise DoesNotApply(f"{name} has these limits already: {_told(wanted)}")
    before = {key: facts[key] for key in wanted}
    if not before["limit"]:
        # The engine cannot take a limit away again: all that the machine has is as good as none.
        before["limit"] = facts["machine"]
    return Draft(
        summary=f"give {name} {_told(wanted)}",
        steps=(_step(facts, wanted, _swap(facts, limit)),),
        blast_radius=(
            "it goes on running; nothing is restarted",
            "when it is made anew, what its Compose file or its `docker run` says holds again",
        ),
        expected=wanted,
        inverse=(_step(facts, before, facts["swap"] if facts["limit"] else before["limit"]),),
    )


def _swap(facts: Mapping[str, Any], limit: int) -> int:
    """Return the limit of memory and swap together that leaves as much swap as before; without a limit before, none."""
    if facts["swap"] < 0:
        return -1
    return limit + max(0, facts["swap"] - facts["limit"]) if facts["limit"] else limit


def _told(limits: Mapping[str, Any]) -> str:
    told = f"a limit of {as_bytes(limits['limit'])}, {as_bytes(limits['reservation'])} reserved"
    return told + (f", {limits['cpus']:g} processors" if limits["cpus"] else "")


def _step(facts: Mapping[str, Any], limits: Mapping[str, Any], swap: int) -> Step:
    options = ["--memory", str(limits["limit"]), "--memory-swap", str(swap)]
    if limits["reservation"]:
        options += ["--memory-reservation", str(limits["reservation"])]
    if limits["cpus"]:
        options += ["--cpus", f"{limits['cpus']:g}"]
    return Step(
        act="update",
        shown=" ".join(["docker", "update", *options, short(facts["id"])]),
        arguments={"id": facts["id"], **limits, "swap": swap},
    )


def _updates(asking: Asking, arguments: Mapping[str, Any]) -> str:
    connection = asking.connection(ContainersConnection)
    told = connection.inspect(arguments["id"]) or {}
    body = {
        "Memory": arguments["limit"],
        "MemorySwap": arguments["swap"],
        "MemoryReservation": arguments["reservation"],
    }
    if arguments["cpus"]:
        # The engine takes processors only as it was given them before: as a quota, or as their number.
        by_quota = bool((told.get("HostConfig") or {}).get("CpuQuota"))
        period = {"CpuPeriod": 100_000, "CpuQuota": int(arguments["cpus"] * 100_000)}
        body |= period if by_quota else {"NanoCpus": int(arguments["cpus"] * _NANO)}
    return "; ".join(connection.update(arguments["id"], body, _SECONDS))


def _is_updated(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    told = asking.connection(ContainersConnection).inspect(arguments["id"])
    return int(told["HostConfig"].get("Memory") or 0) == arguments["limit"] if told is not None else None


limits = Change(
    name="docker.limits",
    title="Set a running container's limits",
    observe=observe,
    draft=draft,
    acts={"update": Act(_updates, _is_updated)},
    needs=(ContainersConnection,),
    watched=("engine", "container", "id", "state", "limit", "swap", "reservation", "cpus"),
    restored=("limit", "reservation", "cpus"),
    patience=10.0,
)

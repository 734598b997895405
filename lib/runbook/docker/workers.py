"""Write another number of workers into the Compose file and make the service's containers anew."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runbook.connections import ContainersConnection
from runbook.docker import compose
from runbook.docker.compose_text import changed_lines, digest, edited, read, restores, writes
from runbook.model import Act, Asking, Change, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.units import as_bytes
from runbook.procfs.engine import without_cache

# uvicorn and gunicorn both read it; what stands on the command line counts more.
VARIABLE = "WEB_CONCURRENCY"
MOST = 64
_OPTION = re.compile(r"(?<!\S)(--workers(?:=|\s+)|-w\s*)(\d+)(?!\S)")
_BY_HAND = "set `--workers` or WEB_CONCURRENCY in it by hand"


def observe(asking: Asking, workers: int) -> dict[str, Any]:
    """Return engine, service, file (the last one of the project), text and sha256 of it, containers (ids of those that
    run, sorted), workers (of each container; 0: neither file nor profile says), used (the most memory of any of them,
    bytes), limit (0: none), pool (connections that each worker may open; 0: not told), up (the Compose argv).
    """
    connection, named = asking.connection(ContainersConnection), asking.target.compose
    up = compose.argv(asking.target, "up", "--detach", "--no-deps", "--no-build")
    assert named is not None
    told = compose.mapping(compose.mapping(compose.config(asking).get("services")).get(named.service))
    text = read(named.files[-1])
    running = [one for one in connection.containers_of(named.name, named.service) if one["State"]["Running"]]
    memories = [one["memory_stats"] for one in (connection.stats(facts["Id"]) for facts in running) if one]
    service = asking.target.service
    return {
        "engine": connection.engine(),
        "service": named.service,
        "file": str(named.files[-1]),
        "text": text,
        "sha256": digest(text),
        "containers": sorted(one["Id"] for one in running),
        "workers": workers_of(told) or (service.workers if service is not None else 0) or 0,
        "used": max(map(without_cache, memories), default=0),
        "limit": max((int(one["HostConfig"].get("Memory") or 0) for one in running), default=0),
        "pool": ((service.pool_size or 0) + (service.max_overflow or 0)) if service is not None else 0,
        "up": [*up, named.service],
    }


def workers_of(service: Mapping[str, Any]) -> int:
    """Return the number of workers that a service of a Compose configuration says; 0 where it says none."""
    command = service.get("command") or ""
    found = _OPTION.search(" ".join(map(str, command)) if isinstance(command, list) else str(command))
    if found is not None:
        return int(found[2])
    environment = service.get("environment") or {}
    if isinstance(environment, list):
        environment = dict(str(one).partition("=")[::2] for one in environment)
    value = str(environment.get(VARIABLE) or "")
    return int(value) if value.isdigit() else 0


def draft(facts: Mapping[str, Any], workers: int) -> Draft:
    """Write out the lines of the file that change, and the Compose call."""
    if not 1 <= workers <= MOST:
        raise NotPlanned(f"{workers} workers are no number of processes: 1 to {MOST}")
    if not facts["containers"]:
        raise DoesNotApply(f"no container of {facts['service']} runs: what a worker needs cannot be seen")
    now = facts["workers"]
    if now == workers:
        raise DoesNotApply(f"{facts['service']} has {workers} in each container already")
    each = facts["used"] / now if now else 0
    if each and facts["limit"] and each * workers > facts["limit"]:
        raise NotPlanned(
            f"{workers} workers of about {as_bytes(each)} each do not fit into the limit of {as_bytes(facts['limit'])}"
        )
    after = rewritten(facts["text"], facts["service"], workers)
    file, kept = facts["file"], f"{facts['file']}.before-{facts['sha256'][:8]}"
    write = {"file": file, "kept": kept, "before": facts["sha256"], "after": digest(after)}
    up = list(facts["up"])
    needs = f"each worker needs about {as_bytes(each)}" if each else "what a worker needs is not known"
    pool = f"; each may open {facts['pool']} connections to the database" if facts["pool"] else ""
    return Draft(
        summary=f"give {facts['service']} {workers} workers in each container, instead of {now or 'what it has'}",
        steps=(
            Step(
                act="write",
                shown=f"edit {file} (kept as {Path(kept).name}): {'; '.join(changed_lines(facts['text'], after))}",
                arguments={**write, "service": facts["service"], "workers": workers},
            ),
            Step(act="up", shown=compose.shown(up), arguments={"argv": up}),
        ),
        blast_radius=(
            f"each of the {len(facts['containers'])} containers is made anew: nobody is served by it until it is ready",
            f"{needs}{pool}; fewer workers answer fewer requests at once",
            "whatever else was changed in the Compose files since they were made comes with it",
            "what the service holds only in its memory is lost: as built, its queue, and the counts of its rate limits",
        ),
        expected={"workers": workers},
        inverse=(
            Step(act="restore", shown=f"mv {kept} {file}", arguments=write),
            Step(act="up", shown=compose.shown(up), arguments={"argv": up}),
        ),
    )


def rewritten(text: str, service: str, workers: int) -> str:
    """Return a Compose file with so many workers of a service: where it says how many, else as WEB_CONCURRENCY.

    Every other line stays as it was; raises `NotPlanned` as `compose_text.edited`.
    """

    def edit(body: Any) -> None:
        command = body.get("command")
        if isinstance(command, str) and _OPTION.search(command):
            body["command"] = _OPTION.sub(rf"\g<1>{workers}", command)
            return
        for place, word in enumerate(command if isinstance(command, list) else ()):
            if word in ("--workers", "-w") and place + 1 < len(command):
                command[place + 1] = str(workers)
                return
            if _OPTION.fullmatch(str(word)):
                command[place] = _OPTION.sub(rf"\g<1>{workers}", str(word))
                return
        environment = body.setdefault("environment", type(body)())
        if isinstance(environment, list):
            kept = [one for one in environment if not str(one).startswith(f"{VARIABLE}=")]
            environment[:] = [*kept, f"{VARIABLE}={workers}"]
        else:
            environment[VARIABLE] = str(workers)

    return edited(text, service, edit, _BY_HAND)


def _as_planned(text: str, arguments: Mapping[str, Any]) -> str:
    return rewritten(text, arguments["service"], arguments["workers"])


workers = Change(
    name="docker.workers",
    title="Write another number of workers into the Compose file and make the service anew",
    observe=observe,
    draft=draft,
    acts={"write": writes(_as_planned), "restore": restores, "up": Act(compose.ups)},
    needs=(ContainersConnection,),
    watched=("engine", "service", "file", "sha256", "containers", "workers", "up"),
    restored=("workers", "sha256"),
    patience=60.0,
    deadline=20.0,
)

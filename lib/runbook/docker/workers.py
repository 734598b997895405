"""Write another number of workers into the Compose file and make the service's containers anew."""

import re
from collections.abc import Mapping
from typing import Any

from runbook.connections import ContainersConnection
from runbook.docker import compose_edit
from runbook.docker.compose_text import edited
from runbook.model import Asking, Change, DoesNotApply, Draft, NotPlanned
from runbook.model.units import as_bytes

# uvicorn and gunicorn both read it; what stands on the command line counts more.
VARIABLE = "WEB_CONCURRENCY"
MOST = 64
_OPTION = re.compile(r"(?<!\S)(--workers(?:=|\s+)|-w\s*)(\d+)(?!\S)")
_BY_HAND = "set `--workers` or WEB_CONCURRENCY in it by hand"


def observe(asking: Asking, workers: int) -> dict[str, Any]:
    """Return the facts of `compose_edit.seen`, workers (of each container; 0: neither file nor profile says), and pool
    (connections that each worker may open; 0: not told).
    """
    there, service = compose_edit.seen(asking), asking.target.service
    return {
        **there.facts,
        "workers": workers_of(there.told) or (service.workers if service is not None else 0) or 0,
        "pool": ((service.pool_size or 0) + (service.max_overflow or 0)) if service is not None else 0,
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
    needs = f"each worker needs about {as_bytes(each)}" if each else "what a worker needs is not known"
    pool = f"; each may open {facts['pool']} connections to the database" if facts["pool"] else ""
    return compose_edit.drafted(
        facts,
        after,
        summary=f"give {facts['service']} {workers} workers in each container, instead of {now or 'what it has'}",
        arguments={"workers": workers},
        expected={"workers": workers},
        reaches=(f"{needs}{pool}; fewer workers answer fewer requests at once",),
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
    acts=compose_edit.acts(_as_planned),
    needs=(ContainersConnection,),
    watched=("engine", "service", "file", "sha256", "containers", "workers", "up"),
    restored=("workers", "sha256"),
    patience=compose_edit.PATIENCE,
    deadline=compose_edit.DEADLINE,
)

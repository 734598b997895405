"""Restart the service's containers one after another, each when the one before answers again."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import httpx

from runbook.connections import ContainersConnection
from runbook.docker import acts
from runbook.docker.named import short
from runbook.docker.replicas import answer_of
from runbook.docker.restart import STOP_SECONDS
from runbook.model import Act, Asking, Change, ChangeFailed, CouldNotFindOut, DoesNotApply, Draft, NotPlanned, Step

# How long one may take until it answers.
READY_SECONDS = 60.0
_EVERY = 0.5


def observe(asking: Asking) -> dict[str, Any]:
    """Return engine, service, containers (of each that runs its id, name and since when, sorted by name), others (how
    many do not run), silent (names of those that do not answer by themselves).
    """
    named, connection = asking.target.compose, asking.connection(ContainersConnection)
    if named is not None:
        found = sorted(connection.containers_of(named.name, named.service), key=lambda told: str(told["Name"]))
    elif "api" in connection.named:
        told = connection.inspect(connection.named["api"])
        found = [told] if told is not None else []
    else:
        raise CouldNotFindOut(
            f"the profile of {asking.target.name} names neither a [compose] project nor a container api"
        )
    running = [told for told in found if told["State"]["Running"]]
    answers = [(told["Name"].lstrip("/"), _problem(asking, told)) for told in running]
    return {
        "engine": connection.engine(),
        "service": named.service if named is not None else "api",
        "containers": [
            {"id": told["Id"], "name": told["Name"].lstrip("/"), "started": told["State"]["StartedAt"]}
            for told in running
        ],
        "others": len(found) - len(running),
        "silent": [name for name, problem in answers if problem],
    }


def draft(facts: Mapping[str, Any]) -> Draft:
    """Write out a restart of each container, and that it must answer before the next one's turn."""
    service, running = facts["service"], facts["containers"]
    if not running:
        raise DoesNotApply(f"no container of {service} runs: see why first, with api-down")
    if facts["silent"]:
        raise NotPlanned(
            f"{', '.join(facts['silent'])} does not answer by itself: whether a restart is over could not be seen"
        )
    others = len(running) - 1
    serve = (
        f"the other {others} serve meanwhile, where a proxy shares requests out"
        if others
        else "nobody serves meanwhile"
    )
    return Draft(
        summary=f"restart the {len(running)} containers of {service}, one after another",
        steps=tuple(
            Step(
                act="restart",
                shown=f"docker restart --time {STOP_SECONDS} {one['name']}, and wait until it answers "
                f"(at most {READY_SECONDS:.0f} s)",
                arguments={"id": one["id"], "name": one["name"], "seconds": STOP_SECONDS},
            )
            for one in running
        ),
        blast_radius=(
            f"each is gone for up to {STOP_SECONDS} s for its end, then its start; {serve}",
            "where one does not answer again, the others are left as they are",
            "what the service holds only in its memory is lost: as built, its queue, and the counts of its rate limits",
            "a leak begins anew: it gains time, and mends nothing",
        ),
        irreversible="a process that was ended does not come back with what it held in its memory",
    )


def _problem(asking: Asking, told: dict[str, Any]) -> str:
    """Return why a container does not answer; of the only one, as users reach it."""
    if asking.target.compose is not None:
        return str(answer_of(asking, told)["problem"])
    api = asking.target.api
    if api is None:
        return "the profile says nowhere where it answers ([api])"
    try:
        answer = httpx.get(f"{api.url.rstrip('/')}/health", timeout=3.0, trust_env=False)
    except httpx.HTTPError as error:
        return f"no answer at {api.url} ({type(error).__name__})"
    return "" if answer.status_code < 500 else f"it answered {answer.status_code}"


def _restarts(asking: Asking, arguments: Mapping[str, Any]) -> str:
    connection = asking.connection(ContainersConnection)
    with connection.changing(acts.SECONDS + arguments["seconds"]) as engine:
        engine.restart(arguments["id"], timeout=arguments["seconds"])
    end, problem = time.monotonic() + READY_SECONDS, ""
    while time.monotonic() < end:
        told = connection.inspect(arguments["id"])
        if told is None or not told["State"]["Running"]:
            state = told["State"]["Status"] if told else "gone"
            raise ChangeFailed(
                f"{arguments['name']} did not come back (it is {state}); the others were left as they are"
            )
        problem = _problem(asking, told)
        if not problem:
            return ""
        time.sleep(_EVERY)
    raise ChangeFailed(
        f"{short(arguments['id'])} does not answer {READY_SECONDS:.0f} s after its restart ({problem}); the others "
        "were left as they are"
    )


def _is_restarted(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return acts.restart.happened(asking, arguments, begun)


restart_in_turn = Change(
    name="docker.restart_in_turn",
    title="Restart the service's containers one after another",
    observe=observe,
    draft=draft,
    acts={"restart": Act(_restarts, _is_restarted)},
    needs=(ContainersConnection,),
    watched=("engine", "service", "containers"),
    repairs=True,
    partial=True,
    patience=30.0,
    deadline=20.0,
)

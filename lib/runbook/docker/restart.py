"""Restart a container: the least that lets it run again."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runbook.connections import ContainersConnection
from runbook.docker.containers import BROKEN_IMAGE, in_crash_loop
from runbook.docker.named import observed, short
from runbook.model import Act, Asking, Change, DoesNotApply, Draft, Step
from runbook.model.units import as_bytes

# How long the service may take to end by itself before the engine kills it: the engine's own default.
STOP_SECONDS = 10
# How much longer the engine may take for the whole of it.
_ENGINE_SECONDS = 30
_LOSES = "what the service holds only in its memory is lost: as built, its queue, and the counts of its rate limits"


def observe(asking: Asking, part: str) -> dict[str, Any]:
    """Return the facts about a part's container; see `runbook.docker.named.observed`."""
    facts = observed(asking, part)
    facts.pop("inspected", None)
    return {**facts, "loops": in_crash_loop(facts, 3, 10) if facts["id"] else False}


def draft(facts: Mapping[str, Any], part: str) -> Draft:
    """Write out a restart, or a start, or letting a paused container go on: whatever its state needs."""
    name, state = facts["container"], facts["state"]
    if state == "absent":
        raise DoesNotApply(f"there is no container {name} to restart: make it, with `docker compose up -d`")
    if facts["exit_code"] in BROKEN_IMAGE or (state == "created" and facts["error"]):
        why = facts["error"] or f"exit code {facts['exit_code']}"
        raise DoesNotApply(f"{name} cannot run from its image ({why}): a restart ends the same; go back to the former")
    if facts["loops"]:
        raise DoesNotApply(f"{name} is restarted again and again already: mend what ends it, or go back an image")
    who = {"id": facts["id"], "container": name}
    if state == "paused":
        return Draft(
            summary=f"let {name} go on, which is paused",
            steps=(Step(act="unpause", shown=f"docker unpause {short(facts['id'])}", arguments=who),),
            blast_radius=("requests that hang since it was paused are answered, or have been given up",),
            expected={"state": "running", "id": facts["id"]},
            inverse=(Step(act="pause", shown=f"docker pause {short(facts['id'])}", arguments=who),),
        )
    if state == "running":
        return Draft(
            summary=f"restart {name}",
            steps=(
                Step(
                    act="restart",
                    shown=f"docker restart --time {STOP_SECONDS} {short(facts['id'])}",
                    arguments={**who, "seconds": STOP_SECONDS},
                ),
            ),
            blast_radius=(
                f"nobody is served by it from now until it is ready again: up to {STOP_SECONDS} s for its end, then "
                "its start",
                _LOSES,
            ),
            expected={"state": "running", "id": facts["id"]},
            irreversible="a process that was ended does not come back with what it held in its memory",
        )
    again = ""
    if facts["oom_killed"]:
        again = f"; it was killed at its memory limit of {as_bytes(facts['memory_limit'])}, and will be again"
    return Draft(
        summary=f"start {name}, which is {state}",
        steps=(Step(act="start", shown=f"docker start {short(facts['id'])}", arguments=who),),
        blast_radius=(f"none: it does not run{again}",),
        expected={"state": "running", "id": facts["id"]},
        inverse=(
            Step(
                act="stop",
                shown=f"docker stop --time {STOP_SECONDS} {short(facts['id'])}",
                arguments={**who, "seconds": STOP_SECONDS},
            ),
        ),
    )


def restarts(asking: Asking, arguments: Mapping[str, Any]) -> str:
    """Restart the container of that id."""
    with asking.connection(ContainersConnection).changing(arguments["seconds"] + _ENGINE_SECONDS) as engine:
        engine.restart(arguments["id"], timeout=arguments["seconds"])
    return ""


def starts(asking: Asking, arguments: Mapping[str, Any]) -> str:
    """Start the container of that id."""
    with asking.connection(ContainersConnection).changing(_ENGINE_SECONDS) as engine:
        engine.start(arguments["id"])
    return ""


def stops(asking: Asking, arguments: Mapping[str, Any]) -> str:
    """Stop the container of that id."""
    with asking.connection(ContainersConnection).changing(arguments["seconds"] + _ENGINE_SECONDS) as engine:
        engine.stop(arguments["id"], timeout=arguments["seconds"])
    return ""


def _pauses(asking: Asking, arguments: Mapping[str, Any]) -> str:
    with asking.connection(ContainersConnection).changing(_ENGINE_SECONDS) as engine:
        engine.pause(arguments["id"])
    return ""


def _goes_on(asking: Asking, arguments: Mapping[str, Any]) -> str:
    with asking.connection(ContainersConnection).changing(_ENGINE_SECONDS) as engine:
        engine.unpause(arguments["id"])
    return ""


def was_started(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    """Tell whether the container of that id was started since a moment."""
    told = asking.connection(ContainersConnection).inspect(arguments["id"])
    if told is None:
        return None
    started = datetime.fromisoformat(told["State"]["StartedAt"][:23].rstrip("Z") + "+00:00")
    return bool(told["State"]["Running"]) and started >= begun


def does_not_run(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    """Tell whether the container of that id does not run any more."""
    told = asking.connection(ContainersConnection).inspect(arguments["id"])
    return not told["State"]["Running"] if told is not None else None


def _is_paused(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    told = asking.connection(ContainersConnection).inspect(arguments["id"])
    return bool(told["State"]["Paused"]) if told is not None else None


def _is_not_paused(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    paused = _is_paused(asking, arguments, begun)
    return None if paused is None else not paused


restart = Change(
    name="docker.restart",
    title="Restart a container",
    observe=observe,
    draft=draft,
    acts={
        "restart": Act(restarts, was_started),
        "start": Act(starts, was_started),
        "stop": Act(stops, does_not_run),
        "pause": Act(_pauses, _is_paused),
        "unpause": Act(_goes_on, _is_not_paused),
    },
    needs=(ContainersConnection,),
    watched=("engine", "container", "id", "state", "started", "restarts"),
    restored=("id", "state"),
    repairs=True,
)

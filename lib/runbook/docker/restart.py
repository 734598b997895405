"""Restart a container: the least that lets it run again."""

from collections.abc import Mapping
from typing import Any

from runbook.connections import ContainersConnection
from runbook.docker import acts
from runbook.docker.containers import BROKEN_IMAGE, in_crash_loop
from runbook.docker.named import observed, short
from runbook.model import Asking, Change, DoesNotApply, Draft, Step
from runbook.model.units import as_bytes

# How long the service may take to end by itself before the engine kills it: the engine's own default.
STOP_SECONDS = 10
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
            steps=(stopping(facts, "restart"),),
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
        inverse=(stopping(facts),),
    )


def stopping(facts: Mapping[str, Any], act: str = "stop") -> Step:
    """Return the step that stops, or restarts, the container, which has some time to end by itself."""
    return Step(
        act=act,
        shown=f"docker {act} --time {STOP_SECONDS} {short(facts['id'])}",
        arguments={"id": facts["id"], "container": facts["container"], "seconds": STOP_SECONDS},
    )


restart = Change(
    name="docker.restart",
    title="Restart a container",
    observe=observe,
    draft=draft,
    acts={
        "restart": acts.restart,
        "start": acts.start,
        "stop": acts.stop,
        "pause": acts.pause,
        "unpause": acts.unpause,
    },
    needs=(ContainersConnection,),
    watched=("engine", "container", "id", "state", "started", "restarts"),
    restored=("id", "state"),
    repairs=True,
)

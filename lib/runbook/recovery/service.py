"""Stop and start the service: its container, or by the commands of the profile."""

import os
import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runbook.connections import ApiConnection, ContainersConnection, programs
from runbook.connections.programs import Owner
from runbook.model import Act, Asking, Change, CouldNotFindOut, DoesNotApply, Draft, NotPlanned, Step, Unreachable
from runbook.recovery.cluster import NOT_ASKED, standing
from runbook.recovery.position import answers, may_write
from runbook.target import Target

_STOP_SECONDS, _ENGINE_SECONDS = 30, 30
_NO_WAY = "the profile names neither a container api nor the commands stop and start in [recovery]: do it by hand"


def observe(asking: Asking, wanted: bool = True) -> dict[str, Any]:
    """Return whether the service answers and why not, whether it may write, its container (id, running, policy; "" for
    none), and the commands.
    """
    if not wanted:
        raise DoesNotApply(NOT_ASKED)
    why = answers(asking)
    facts: dict[str, Any] = {"answers": not why, "why": why, "writes": may_write(asking)}
    facts |= {"container": "", "id": "", "running": False, "policy": ""}
    name = _container(asking.target)
    if name:
        told = asking.connection(ContainersConnection).inspect(name)
        if told is None:
            raise CouldNotFindOut(f"there is no container {name}")
        policy = told["HostConfig"].get("RestartPolicy") or {}
        facts |= {"container": name, "id": told["Id"], "running": bool(told["State"]["Running"]),
                  "policy": policy.get("Name") or "no"}  # fmt: skip
    named = asking.target.recovery
    facts["commands"] = {
        "stop": list(named.stop or ()) if named else [], "start": list(named.start or ()) if named else [],
    }  # fmt: skip
    return facts


def _container(target: Target) -> str:
    return target.containers.named.get("api", "") if target.containers is not None else ""


def draft_stop(facts: Mapping[str, Any], wanted: bool = True) -> Draft:
    """Write out how the service is stopped, so that nothing writes any more, and does not start by itself again."""
    if not facts["writes"] and not facts["running"]:
        raise DoesNotApply(f"it does not answer already: {facts['why']}")
    reaches = ("nobody is served from now until it is started again", "what it holds only in its memory is lost")
    if facts["container"]:
        short = facts["id"][:12]
        who, before = {"id": facts["id"], "policy": "no"}, {"id": facts["id"], "policy": facts["policy"]}
        return Draft(
            summary=f"stop {facts['container']}, and keep it stopped",
            steps=(
                Step(act="policy", shown=f"docker update --restart no {short}", arguments=who),
                Step(act="stop", shown=f"docker stop --time {_STOP_SECONDS} {short}", arguments=who),
            ),
            blast_radius=reaches,
            expected={"running": False},
            inverse=(
                Step(act="policy", shown=f"docker update --restart {facts['policy']} {short}", arguments=before),
                Step(act="start", shown=f"docker start {short}", arguments=who),
            ),
        )
    return _by_command(facts, "stop", reaches, {"writes": False}, inverse="start")


def observe_start(asking: Asking, wanted: bool = True) -> dict[str, Any]:
    """Return what `observe` does, and database, there (whether the service has one; None: not known), and restored (the
    name of one that waits for the swap, or "").
    """
    facts = observe(asking, wanted)
    try:
        found = standing(asking)
    except (Unreachable, CouldNotFindOut):
        return {**facts, "database": "", "there": None, "restored": ""}
    restored = found.restored[0].name if found.restored else ""
    return {**facts, "database": found.name, "there": found.own is not None, "restored": restored}


def draft_start(facts: Mapping[str, Any], wanted: bool = True) -> Draft:
    """Write out how the service is started; raises `NotPlanned` where its database is not the right one yet."""
    if facts["answers"]:
        raise DoesNotApply("it answers already")
    if facts["there"] is False:
        raise NotPlanned(f"its database {facts['database']} is not there: restore and swap first")
    if facts["restored"]:
        raise NotPlanned(
            f"{facts['restored']} was restored and waits for the swap; to start on the former all the same, drop it: "
            f"DROP DATABASE {facts['restored']}"
        )
    reaches = ("users come back as soon as it is ready: the database is to be the right one by then",)
    if facts["container"]:
        short, who = facts["id"][:12], {"id": facts["id"], "policy": "unless-stopped"}
        return Draft(
            summary=f"start {facts['container']}",
            steps=(
                Step(act="start", shown=f"docker start {short}", arguments=who),
                Step(act="policy", shown=f"docker update --restart unless-stopped {short}", arguments=who),
            ),
            blast_radius=reaches,
            expected={"running": True, "answers": True},
            inverse=(Step(act="stop", shown=f"docker stop --time {_STOP_SECONDS} {short}", arguments=who),),
        )
    return _by_command(facts, "start", reaches, {"answers": True}, inverse="stop")


def _by_command(
    facts: Mapping[str, Any], which: str, reaches: tuple[str, ...], expected: dict[str, Any], *, inverse: str
) -> Draft:
    argv, back = facts["commands"][which], facts["commands"][inverse]
    if not argv:
        raise NotPlanned(_NO_WAY)
    return Draft(
        summary=f"{which} the service",
        steps=(Step(act="command", shown=shlex.join(argv), arguments={"argv": argv}),),
        blast_radius=reaches,
        expected=expected,
        inverse=(Step(act="command", shown=shlex.join(back), arguments={"argv": back}),) if back else (),
        irreversible="" if back else f"the profile names no command to {inverse} it",
    )


def called(asking: Asking, argv: list[str]) -> str:
    """Call a command of the profile's as who runs this; raises `ChangeFailed` with its last words."""
    named = asking.target.recovery
    seconds = named.seconds if named is not None else 60.0
    us = Owner(os.geteuid(), os.getegid())
    programs.required(argv, us, seconds, secrets=dict(os.environ), stays=True)
    return ""


def _engine(call: Any) -> Any:
    def do(asking: Asking, arguments: Mapping[str, Any]) -> str:
        with asking.connection(ContainersConnection).changing(_ENGINE_SECONDS + _STOP_SECONDS) as engine:
            call(engine, arguments)
        return ""

    return do


def _runs(wanted: bool) -> Any:
    def happened(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
        try:
            told = asking.connection(ContainersConnection).inspect(arguments["id"])
        except Unreachable:
            return None
        return bool(told["State"]["Running"]) is wanted if told is not None else None

    return happened


def _never(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return False  # done again it does no harm


_ACTS = {
    "policy": Act(
        _engine(lambda engine, step: engine.update_container(step["id"], restart_policy={"Name": step["policy"]})),
        _never,
    ),
    "stop": Act(_engine(lambda engine, step: engine.stop(step["id"], timeout=_STOP_SECONDS)), _runs(wanted=False)),
    "start": Act(_engine(lambda engine, step: engine.start(step["id"])), _runs(wanted=True)),
    "command": Act(lambda asking, arguments: called(asking, list(arguments["argv"])), _never),
}

stop_service = Change(
    name="recovery.stop_service",
    title="Stop the service, and keep it stopped",
    observe=observe,
    draft=draft_stop,
    acts=_ACTS,
    needs=(ApiConnection, ContainersConnection),
    watched=("container", "id", "commands"),
    restored=("answers",),
    patience=20.0,
    deadline=20.0,
    partial=True,
)

start_service = Change(
    name="recovery.start_service",
    title="Start the service",
    observe=observe_start,
    draft=draft_start,
    acts=_ACTS,
    needs=(ApiConnection, ContainersConnection),
    watched=("container", "id", "commands", "database", "there", "restored"),
    restored=("answers",),
    patience=40.0,
    deadline=20.0,
    partial=True,
)

"""How a step is done to a container by the engine, and how it is found out later whether it happened."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from runbook.connections import ContainersConnection
from runbook.model import Act, Asking

# How long the engine may take for anything that waits for no process; and beyond the time that one may take to end.
SECONDS = 30

Arguments = Mapping[str, Any]


def act(call: Callable[[Any, Arguments], Any], holds: Callable[[dict[str, Any], Arguments, datetime], bool]) -> Act:
    """Return an act that calls the engine's client with the step's arguments.

    Where it is to be found out later, ``holds`` judges the container of the argument ``id``, as the engine inspects it.
    A step's ``seconds``, which its process may take to end, are added to what the engine may take.
    """

    def do(asking: Asking, arguments: Arguments) -> str:
        with asking.connection(ContainersConnection).changing(SECONDS + arguments.get("seconds", 0)) as engine:
            call(engine, arguments)
        return ""

    def happened(asking: Asking, arguments: Arguments, begun: datetime) -> bool | None:
        told = asking.connection(ContainersConnection).inspect(arguments["id"])
        return holds(told, arguments, begun) if told is not None else None

    return Act(do, happened)


def _started_since(told: dict[str, Any], arguments: Arguments, begun: datetime) -> bool:
    started = datetime.fromisoformat(told["State"]["StartedAt"][:23].rstrip("Z") + "+00:00")
    return bool(told["State"]["Running"]) and started >= begun


start = act(lambda engine, step: engine.start(step["id"]), _started_since)
stop = act(
    lambda engine, step: engine.stop(step["id"], timeout=step["seconds"]),
    lambda told, step, begun: not told["State"]["Running"],
)
restart = act(lambda engine, step: engine.restart(step["id"], timeout=step["seconds"]), _started_since)
pause = act(lambda engine, step: engine.pause(step["id"]), lambda told, step, begun: bool(told["State"]["Paused"]))
unpause = act(lambda engine, step: engine.unpause(step["id"]), lambda told, step, begun: not told["State"]["Paused"])
rename = act(
    lambda engine, step: engine.rename(step["id"], step["name"]),
    lambda told, step, begun: bool(told["Name"].lstrip("/") == step["name"]),
)
policy = act(
    lambda engine, step: engine.update_container(step["id"], restart_policy={"Name": step["policy"]}),
    lambda told, step, begun: bool(told["HostConfig"]["RestartPolicy"]["Name"] == step["policy"]),
)

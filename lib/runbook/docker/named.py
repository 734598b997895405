"""The container of one part of the target, as a change looks at it."""

from datetime import UTC, datetime
from typing import Any

from runbook.connections import ContainersConnection
from runbook.docker.containers import state_of
from runbook.model import Asking, CouldNotFindOut


def observed(asking: Asking, part: str) -> dict[str, Any]:
    """Return the facts about a part's container that changes go by: container (its name), engine, id ("" where it does
    not exist), and what `docker.containers` knows of its state; raises `CouldNotFindOut` for a part without a name.
    """
    connection = asking.connection(ContainersConnection)
    name = connection.named.get(part)
    if name is None:
        raise CouldNotFindOut(f"the profile names no container for {part}")
    told = connection.inspect(name)
    facts = {"part": part, "container": name, "engine": connection.engine(), "now": datetime.now(UTC)}
    if told is None:
        return {**facts, "id": "", "state": "absent"}
    labels = told.get("Config", {}).get("Labels") or {}
    return {
        **facts,
        **state_of(told),
        "id": told["Id"],
        "image_id": told["Image"],
        "project": labels.get("com.docker.compose.project", ""),
        "service": labels.get("com.docker.compose.service", ""),
        "inspected": told,
    }


def short(identity: str) -> str:
    """Return an id as the engine's own commands show it."""
    return identity.removeprefix("sha256:")[:12]

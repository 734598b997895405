"""What the changes share that write something into the Compose file and make the service's containers anew."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook.connections import ContainersConnection
from runbook.docker import compose
from runbook.docker.compose_text import changed_lines, digest, read, restores, writes
from runbook.model import Act, Asking, Draft, Step
from runbook.procfs.engine import without_cache

PATIENCE, DEADLINE = 60.0, 20.0
_ANEW = (
    "whatever else was changed in the Compose files since they were made comes with it",
    "what the service holds only in its memory is lost: as built, its queue, and the counts of its rate limits",
)


@dataclass(frozen=True)
class Seen:
    """The service as Compose and the engine tell it: ``facts`` that every edit needs, ``told`` (its part of the
    configuration), ``memories`` (the engine's account of each container that runs).
    """

    facts: dict[str, Any]
    told: Mapping[str, Any]
    memories: list[Mapping[str, Any]]


def seen(asking: Asking) -> Seen:
    """Return the target's service. Facts: engine, service, file (the last one of the project), text and sha256 of it,
    containers (ids of those that run, sorted), in bytes used (the most of any of them) and limit (0: none), up (the
    Compose argv). Raises what `compose.config` does, in Compose's own words, where it cannot read its files.
    """
    connection, named = asking.connection(ContainersConnection), asking.target.compose
    up = compose.argv(asking.target, "up", "--detach", "--no-deps", "--no-build")
    assert named is not None
    told = compose.mapping(compose.mapping(compose.config(asking).get("services")).get(named.service))
    text = read(named.files[-1])
    running = [one for one in connection.containers_of(named.name, named.service) if one["State"]["Running"]]
    memories = [one["memory_stats"] for one in (connection.stats(facts["Id"]) for facts in running) if one]
    facts = {
        "engine": connection.engine(),
        "service": named.service,
        "file": str(named.files[-1]),
        "text": text,
        "sha256": digest(text),
        "containers": sorted(one["Id"] for one in running),
        "used": max(map(without_cache, memories), default=0),
        "limit": max((int(one["HostConfig"].get("Memory") or 0) for one in running), default=0),
        "up": [*up, named.service],
    }
    return Seen(facts, told, memories)


def drafted(
    facts: Mapping[str, Any],
    after: str,
    *,
    summary: str,
    arguments: Mapping[str, Any],
    expected: Mapping[str, Any],
    reaches: tuple[str, ...] = (),
) -> Draft:
    """Return the draft that makes the file's text ``after``, and the containers anew; the file as it was is kept, and
    the inverse puts it back. ``arguments`` are those by which the text is made again when it is carried out.
    """
    file, kept = facts["file"], f"{facts['file']}.before-{facts['sha256'][:8]}"
    write = {"file": file, "kept": kept, "before": facts["sha256"], "after": digest(after)}
    up = list(facts["up"])
    make_anew = Step(act="up", shown=compose.shown(up), arguments={"argv": up})
    changed = "; ".join(changed_lines(facts["text"], after))
    return Draft(
        summary=summary,
        steps=(
            Step(
                act="write",
                shown=f"edit {file} (kept as {Path(kept).name}): {changed}",
                arguments={**write, "service": facts["service"], **arguments},
            ),
            make_anew,
        ),
        blast_radius=(
            f"each of the {len(facts['containers'])} containers is made anew: nobody is served by it until it is ready",
            *reaches,
            *_ANEW,
        ),
        expected=dict(expected),
        inverse=(Step(act="restore", shown=f"mv {kept} {file}", arguments=write), make_anew),
    )


def acts(as_planned: Callable[[str, Mapping[str, Any]], str]) -> dict[str, Act]:
    """Return what such a change does: write (the text made again as planned), restore, up."""
    return {"write": writes(as_planned), "restore": restores, "up": Act(compose.ups)}

"""Write new limits into the Compose file and make the service's containers anew: limits that stay."""

import difflib
import hashlib
import io
import os
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook.connections import ContainersConnection
from runbook.docker import compose
from runbook.docker.sizing import propose
from runbook.model import Act, Asking, Change, ChangeFailed, CouldNotFindOut, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.units import as_bytes
from runbook.procfs.engine import without_cache

_MIB = 1 << 20


def observe(asking: Asking, memory: int, cpus: float) -> dict[str, Any]:
    """Return engine, service, file (the last one of the project), text and sha256 of it, containers (ids of those that
    run, sorted), in bytes limit, used, peak (the most of any of them) and machine, and up (the Compose argv).
    """
    connection, named = asking.connection(ContainersConnection), asking.target.compose
    up = compose.argv(asking.target, "up", "--detach", "--no-deps", "--no-build")
    assert named is not None
    compose.config(asking)  # Compose's own words where it cannot read its files
    text = _read(named.files[-1])
    running = [told for told in connection.containers_of(named.name, named.service) if told["State"]["Running"]]
    memories = [told["memory_stats"] for told in (connection.stats(facts["Id"]) for facts in running) if told]
    used = max(map(without_cache, memories), default=0)
    return {
        "engine": connection.engine(),
        "service": named.service,
        "file": str(named.files[-1]),
        "text": text,
        "sha256": _digest(text),
        "containers": sorted(told["Id"] for told in running),
        "limit": max((int(told["HostConfig"].get("Memory") or 0) for told in running), default=0),
        "used": used,
        "peak": max([used, *(int(seen.get("max_usage", 0)) for seen in memories)]),
        "machine": connection.machine()[0],
        "up": [*up, named.service],
    }


def draft(facts: Mapping[str, Any], memory: int, cpus: float) -> Draft:
    """Write out the lines of the file that change, and the Compose call: ``memory`` in MiB (0: what fits the use that
    was seen), ``cpus`` (0: as it is)."""
    if not facts["containers"]:
        raise DoesNotApply(f"no container of {facts['service']} runs: what fits it cannot be seen")
    if memory < 0 or cpus < 0:
        raise NotPlanned("a limit below nothing is none: give memory in MiB and cpus, 0 for what fits")
    limit = memory * _MIB if memory else propose(facts["used"], facts["peak"])[0]
    if limit <= facts["used"]:
        raise NotPlanned(
            f"{as_bytes(limit)} is less than the {as_bytes(facts['used'])} in use: the kernel would kill it"
        )
    if limit * len(facts["containers"]) > facts["machine"]:
        raise NotPlanned(f"{as_bytes(limit)} for each container is more than the machine has in all")
    after = rewritten(facts["text"], facts["service"], limit, cpus)
    if after == facts["text"]:
        raise DoesNotApply("the Compose file says so already")
    file, kept = facts["file"], f"{facts['file']}.before-{facts['sha256'][:8]}"
    write = {"file": file, "kept": kept, "before": facts["sha256"], "after": _digest(after)}
    up = list(facts["up"])
    return Draft(
        summary=f"give {facts['service']} a limit of {as_bytes(limit)} in {Path(file).name}, and make it anew",
        steps=(
            Step(
                act="write",
                shown=f"edit {file} (kept as {Path(kept).name}): {'; '.join(changed_lines(facts['text'], after))}",
                arguments={**write, "service": facts["service"], "limit": limit, "cpus": cpus},
            ),
            Step(act="up", shown=compose.shown(up), arguments={"argv": up}),
        ),
        blast_radius=(
            f"each of the {len(facts['containers'])} containers is made anew: nobody is served by it until it is ready",
            "whatever else was changed in the Compose files since they were made comes with it",
            "what the service holds only in its memory is lost: as built, its queue, and the counts of its rate limits",
        ),
        expected={"limit": limit},
        inverse=(
            Step(act="restore", shown=f"mv {kept} {file}", arguments=write),
            Step(act="up", shown=compose.shown(up), arguments={"argv": up}),
        ),
    )


def rewritten(text: str, service: str, limit: int, cpus: float) -> str:
    """Return a Compose file with a service's limits, every other line as it was.

    Raises `NotPlanned` where that cannot be done without changing others: the service is written by an anchor, or the
    file would come out formatted anew.
    """
    for indent in ((2, 4, 2), (2, 2, 0), (4, 6, 4), (4, 4, 0)):
        yaml = _yaml(*indent)
        if _dumped(yaml, yaml.load(text)) == text:
            break
    else:
        raise NotPlanned(_BY_HAND.format(why="the file would come out formatted anew", limit=limit // _MIB))
    document = yaml.load(text)
    body = compose.mapping(compose.mapping(document.get("services")).get(service))
    if not body or getattr(body, "merge", None):
        raise NotPlanned(_BY_HAND.format(why=f"{service} is written by an anchor or elsewhere", limit=limit // _MIB))
    at = body
    for key in ("deploy", "resources", "limits"):
        at = at.setdefault(key, type(body)())
    at["memory"] = f"{limit // _MIB}M"
    if cpus:
        at["cpus"] = f"{cpus:g}"
    return _dumped(yaml, document)


_BY_HAND = "{why}: write `deploy: resources: limits: memory: {limit}M` into it by hand"


def _yaml(mapping: int, sequence: int, offset: int) -> Any:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 16
    yaml.indent(mapping=mapping, sequence=sequence, offset=offset)
    return yaml


def _dumped(yaml: Any, document: Any) -> str:
    held = io.StringIO()
    yaml.dump(document, held)
    return held.getvalue()


def changed_lines(before: str, after: str) -> list[str]:
    """Return the lines that differ, with their numbers: ``-12 'memory: 512M'``, ``+12 'memory: 768M'``."""
    told = []
    old, new = 0, 0
    for line in difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm=""):
        if line.startswith(("---", "+++")):
            continue
        if line.startswith("@@"):
            start = re.match(r"@@ -(\d+)(?:,\d+)? \+(\d+)", line)
            assert start is not None
            old, new = int(start[1]), int(start[2])
        elif line.startswith("-"):
            told.append(f"-{old} {line[1:].strip()!r}")
            old += 1
        else:
            told.append(f"+{new} {line[1:].strip()!r}")
            new += 1
    return told


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CouldNotFindOut(f"the Compose file {path} cannot be read: {type(error).__name__}") from error


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _writes(asking: Asking, arguments: Mapping[str, Any]) -> str:
    file = Path(arguments["file"])
    text = _read(file)
    if _digest(text) != arguments["before"]:
        raise ChangeFailed(f"{file} is another one than was planned for; it was not changed")
    after = rewritten(text, arguments["service"], arguments["limit"], arguments["cpus"])
    if _digest(after) != arguments["after"]:
        raise ChangeFailed(f"{file} would come out otherwise than planned; it was not changed")
    _replace(Path(arguments["kept"]), text, file)
    _replace(file, after, file)
    return ""


def _restores(asking: Asking, arguments: Mapping[str, Any]) -> str:
    file, kept = Path(arguments["file"]), Path(arguments["kept"])
    if _digest(_read(file)) == arguments["after"]:
        _replace(file, _read(kept), file)
        kept.unlink()
    elif _digest(_read(file)) != arguments["before"]:
        raise ChangeFailed(f"{file} was changed by somebody else meanwhile; it was left as it is, and {kept} too")
    return ""


def _replace(path: Path, text: str, like: Path) -> None:
    """Write a file whole or not at all, with the rights of another."""
    new = path.with_name(f".{path.name}.new")
    try:
        with new.open("w", encoding="utf-8") as file:
            new.chmod(like.stat().st_mode & 0o777)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise ChangeFailed(f"{path} cannot be written: {error.strerror}") from error


def _is_written(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return bool(_digest(_read(Path(arguments["file"]))) == arguments["after"])


def _is_restored(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return bool(_digest(_read(Path(arguments["file"]))) == arguments["before"])


redeploy = Change(
    name="docker.redeploy",
    title="Write limits into the Compose file and make the service anew",
    observe=observe,
    draft=draft,
    acts={"write": Act(_writes, _is_written), "restore": Act(_restores, _is_restored), "up": Act(compose.ups)},
    needs=(ContainersConnection,),
    watched=("engine", "service", "file", "sha256", "containers", "limit", "up"),
    restored=("limit", "sha256"),
    patience=60.0,
    deadline=20.0,
)

"""What in the Compose files keeps the service from having several containers?"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from runbook.connections import ContainersConnection
from runbook.docker import compose
from runbook.docker.explanations import EXPLAINED_BY
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status
from runbook.target import Compose

COLUMNS = ["project", "service", "obstacle", "where", "most"]
# The ports of a mapping, after an address: a fixed one, or a range.
_PUBLISHED = re.compile(r"^(?:.*:)?(\d+)(?:-(\d+))?:\d+(?:-\d+)?(?:/\w+)?$")


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each thing that limits how many containers the service can have: project, service, obstacle (in
    words), where (file and line), most (how many it allows). One row without an obstacle where there is none.

    Raises `CouldNotFindOut` where the profile names no project, or Compose cannot read its files, with its own words.
    """
    named = asking.target.compose
    found = obstacles(asking)
    rows = [{"project": named.name, "service": named.service, **obstacle} for obstacle in found]
    nothing = {"project": named.name, "service": named.service, "obstacle": "", "where": "", "most": None}
    return pd.DataFrame(rows or [nothing], columns=COLUMNS)


def obstacles(asking: Asking) -> list[dict[str, Any]]:
    """Return obstacle, where and most of each thing that limits how many containers the service can have."""
    told = compose.config(asking)
    named = asking.target.compose
    services = compose.mapping(told.get("services"))
    if named.service not in services:
        there = ", ".join(services) or "none"
        raise CouldNotFindOut(f"the Compose project {named.name} has no service {named.service}; it has {there}")
    service = compose.mapping(services[named.service])
    found: list[dict[str, Any]] = []
    if service.get("container_name"):
        words = f"container_name: {service['container_name']}: there can be one container of a name"
        found.append({"obstacle": words, "where": _line(named, "container_name"), "most": 1})
    if service.get("network_mode") == "host":
        words = "network_mode: host: a second container would find the port taken"
        found.append({"obstacle": words, "where": _line(named, "network_mode"), "most": 1})
    for place, (text, most) in enumerate(map(_published, service.get("ports") or [])):
        if most is not None:
            words = f"ports: {text}: " + (
                "a fixed port of the machine, which one container can have"
                if most == 1
                else f"a range of {most} ports of the machine, one for each container"
            )
            found.append({"obstacle": words, "where": _line(named, "ports", place), "most": most})
    return found


def _published(port: Any) -> tuple[str, int | None]:
    """Return a published port as text, and for how many containers it is enough (None: for any number)."""
    if isinstance(port, dict):
        first, _, last = str(port.get("published", "")).partition("-")
        text = f"{port.get('published', '')}:{port.get('target', '')}"
    else:
        match = _PUBLISHED.match(str(port))
        first, last = (match[1], match[2] or "") if match else ("", "")
        text = str(port)
    if not first.isdigit() or first == "0":
        return text, None
    return text, int(last) - int(first) + 1 if last.isdigit() else 1


def _line(named: Compose, key: str, place: int = 0) -> str:
    """Return the file and line that set a key of the service, of the last file that does; "" where none is found."""
    for path in reversed(named.files):
        node = next(_set_by(path, named.service, key, depth=0), None)
        if node is not None:
            file, value = node
            items = value.value if key == "ports" and isinstance(value.value, list) else []
            at = items[place] if place < len(items) else value
            return f"{file}, line {at.start_mark.line + 1}"
    return ""


def _set_by(path: Path, service: str, key: str, *, depth: int) -> Iterator[tuple[Path, Any]]:
    """Yield the nodes that set a key of a service: its own, those merged into it, those of what it extends."""
    if depth > 5:
        return
    body = _child(_child(_document(path), "services"), service)
    for node in [body, *_merged(body)]:
        value = _child(node, key)
        if value is not None:
            yield path, value
    extends = _child(body, "extends")
    if extends is not None:
        file, other = _child(extends, "file"), _child(extends, "service")
        elsewhere = path.parent / str(file.value) if file is not None else path
        name = str(other.value) if other is not None else str(extends.value)
        yield from _set_by(elsewhere, name, key, depth=depth + 1)


def _document(path: Path) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML().compose(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError):
        return None  # Compose itself has read it, or has said why not


def _child(node: Any, key: str) -> Any:
    pairs = getattr(node, "value", None)
    for pair in pairs if isinstance(pairs, list) else []:
        if isinstance(pair, tuple) and pair[0].value == key:
            return pair[1]
    return None


def _merged(node: Any) -> list[Any]:
    merged = _child(node, "<<")
    if merged is None:
        return []
    return list(merged.value) if not isinstance(merged.value[0], tuple) else [merged]


def check(frame: pd.DataFrame, *, wanted: float = 2) -> list[Finding]:
    """Judge whether the service can have ``wanted`` containers; each thing that keeps it from that is a WARNING."""
    findings = []
    for row in frame.to_dict("records"):
        subject = f"{row['service']} of {row['project']}"
        if not row["obstacle"]:
            told = "nothing in the Compose files limits how many containers it can have"
            findings.append(Finding(object=subject, status=Status.OK, message=told))
            continue
        enough = row["most"] >= wanted
        told = row["obstacle"] + (f" ({row['where']})" if row["where"] else "")
        findings.append(
            Finding(
                object=f"{subject}: {row['obstacle'].partition(':')[0]}",
                status=Status.OK if enough else Status.WARNING,
                message=told if enough else f"{told}: not enough for {wanted:g}",
                value=float(row["most"]),
                threshold=wanted,
                unit="containers",
            )
        )
    return findings


compose_file = Question(
    name="docker.compose_file",
    title="What in the Compose files keeps the service from having several containers?",
    probe=probe,
    check=check,
    source="docker compose config",
    needs=(ContainersConnection,),
    explained_by=EXPLAINED_BY,
    deadline=20,
    next="take that line out, or make the port a range, and put a proxy before the containers",
)

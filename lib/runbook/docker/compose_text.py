"""Edit a Compose file for one service: every other line stays as it was, and the file as it was is kept beside it."""

import difflib
import hashlib
import io
import os
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook.docker import compose
from runbook.model import Act, Asking, ChangeFailed, CouldNotFindOut, NotPlanned


def edited(text: str, service: str, edit: Callable[[Any], None], by_hand: str) -> str:
    """Return a Compose file whose service ``edit`` has changed in place.

    Raises `NotPlanned`, with what to do ``by_hand``, where that cannot be done without changing others: the service is
    written by an anchor, or the file would come out formatted anew.
    """
    for indent in ((2, 4, 2), (2, 2, 0), (4, 6, 4), (4, 4, 0)):
        yaml = _yaml(*indent)
        if _dumped(yaml, yaml.load(text)) == text:
            break
    else:
        raise NotPlanned(f"the file would come out formatted anew: {by_hand}")
    document = yaml.load(text)
    body = compose.mapping(compose.mapping(document.get("services")).get(service))
    if not body or getattr(body, "merge", None):
        raise NotPlanned(f"{service} is written by an anchor or elsewhere: {by_hand}")
    edit(body)
    return _dumped(yaml, document)


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


def read(path: Path) -> str:
    """Return the file's text; raises `CouldNotFindOut`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CouldNotFindOut(f"the Compose file {path} cannot be read: {type(error).__name__}") from error


def digest(text: str) -> str:
    """Return what tells one text from another."""
    return hashlib.sha256(text.encode()).hexdigest()


def writes(as_planned: Callable[[str, Mapping[str, Any]], str]) -> Act:
    """Return the act that writes the file as a step's arguments say: ``as_planned`` makes its text of what it was."""

    def do(asking: Asking, arguments: Mapping[str, Any]) -> str:
        file = Path(arguments["file"])
        text = read(file)
        if digest(text) != arguments["before"]:
            raise ChangeFailed(f"{file} is another one than was planned for; it was not changed")
        after = as_planned(text, arguments)
        if digest(after) != arguments["after"]:
            raise ChangeFailed(f"{file} would come out otherwise than planned; it was not changed")
        _replace(Path(arguments["kept"]), text, file)
        _replace(file, after, file)
        return ""

    return Act(do, _is_written)


def _restores(asking: Asking, arguments: Mapping[str, Any]) -> str:
    file, kept = Path(arguments["file"]), Path(arguments["kept"])
    if digest(read(file)) == arguments["after"]:
        _replace(file, read(kept), file)
        kept.unlink()
    elif digest(read(file)) != arguments["before"]:
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
    return bool(digest(read(Path(arguments["file"]))) == arguments["after"])


def _is_restored(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return bool(digest(read(Path(arguments["file"]))) == arguments["before"])


restores = Act(_restores, _is_restored)

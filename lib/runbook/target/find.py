"""Find and read profiles: one TOML file each, named after its target."""

import difflib
import os
import re
import tomllib
from pathlib import Path

import platformdirs
from pydantic import ValidationError

from runbook.model import UsageError
from runbook.target.profile import Target

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
# It lies among the profiles and is none.
GROUPS_FILE = "groups.toml"


def profile_folders() -> list[Path]:
    """Return the folders searched, in order: those in RUNBOOK_TARGETS, then the user's configuration folder."""
    named = [Path(folder) for folder in os.environ.get("RUNBOOK_TARGETS", "").split(os.pathsep) if folder]
    return [*named, platformdirs.user_config_path("runbook") / "targets"]


def target_names() -> list[str]:
    """Return the names of all targets that have a profile, sorted."""
    found = {path for folder in profile_folders() for path in folder.glob("*.toml") if path.is_file()}
    return sorted({path.stem for path in found if path.name != GROUPS_FILE})


def is_target_name(text: str) -> bool:
    """Tell whether a text may be the name of a target; there need not be one."""
    return _NAME.fullmatch(text) is not None


def load_target(name: str) -> Target:
    """Return the profile of a target; raises `UsageError` saying what is wrong in which line, never a secret."""
    return read_profile(find_profile(name))


def read_profile(path: Path) -> Target:
    """Return the target whose profile a file is; raises `UsageError` as `load_target` does."""
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The parser's message may quote what follows; its place is enough to find it.
        place = re.search(r"\(at (.*?)\)$", str(error))
        raise UsageError(f"profile {path} is not TOML: {place[1] if place else 'syntax error'}") from None
    except UnicodeDecodeError:
        raise UsageError(f"profile {path} is not UTF-8 text") from None
    except OSError as error:
        raise UsageError(f"profile {path} cannot be read: {error.strerror}") from error
    if "name" in data:
        raise UsageError(f"profile {path}: name: the file's name is the target's name; take this line out")
    try:
        return Target.model_validate({**data, "name": path.stem})
    except ValidationError as error:
        raise UsageError(_explain(path, text, error)) from None


def find_profile(name: str) -> Path:
    """Return the file of a target's profile; raises `UsageError` with the known ones and the near one."""
    if is_target_name(name) and f"{name}.toml" != GROUPS_FILE:
        for folder in profile_folders():
            path = folder / f"{name}.toml"
            if path.is_file():
                return path
    names = target_names()
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    known = f"known targets: {', '.join(names)}" if names else "there is no profile yet; `sandbox up` makes one"
    searched = ", ".join(map(str, profile_folders()))
    raise UsageError(f"unknown target {name!r}; {known}.{hint} Searched: {searched}")


def _explain(path: Path, text: str, error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        place = problem["loc"]
        message = "unknown key" if problem["type"] == "extra_forbidden" else problem["msg"]
        number = _line_of(text, place)
        where = f"line {number}: " if number else ""
        lines.append(f"{where}{'.'.join(map(str, place))}: {message}")
    return f"profile {path}: " + "; ".join(lines)


def _line_of(text: str, place: tuple[int | str, ...]) -> int | None:
    """Return the line that sets a key, as far as one can tell from the text; tomllib keeps no positions."""
    wanted = [str(part) for part in place if isinstance(part, str)]
    index = next((part for part in place if isinstance(part, int)), 0)
    section: list[str] = []
    tables: dict[str, int] = {}
    header_line = None
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?", line)
        if header:
            section = [part.strip().strip("\"'") for part in re.findall(r'"[^"]*"|\'[^\']*\'|[^.]+', header[2])]
            tables[header[2]] = tables.get(header[2], -1) + 1
            in_turn = header[1] == "[" or tables[header[2]] == index
            if in_turn and wanted[: len(section)] == section:
                header_line = number
            if not in_turn:
                section = ["\0"]
            continue
        key = re.match(r"\s*([\"']?)([A-Za-z0-9_.-]+)\1\s*=", line)
        if key and [*section, *key[2].split(".")] == wanted[: len(section) + len(key[2].split("."))]:
            return number
    return header_line

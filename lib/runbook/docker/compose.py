"""Docker Compose, called by argv: version 2 (`docker compose`) where it is, else 1.29 (`docker-compose`)."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from runbook.model import Asking, ChangeFailed, CouldNotFindOut
from runbook.target import Target

_LOOK_SECONDS = 8
# To make containers takes as long as the service takes to end and to start, one after another.
UP_SECONDS = 90


@cache
def program() -> tuple[str, ...]:
    """Return the argv that calls Compose; raises `CouldNotFindOut` where there is none."""
    if shutil.which("docker"):
        told = subprocess.run(
            ["docker", "compose", "version", "--short"], capture_output=True, check=False, timeout=_LOOK_SECONDS
        )
        if told.returncode == 0:
            return ("docker", "compose")
    if shutil.which("docker-compose"):
        return ("docker-compose",)
    raise CouldNotFindOut("neither `docker compose` nor `docker-compose` is installed here")


def argv(target: Target, *arguments: str) -> list[str]:
    """Return the argv of a Compose command on the target's project; raises `CouldNotFindOut` without one."""
    if target.compose is None:
        raise CouldNotFindOut(f"the profile of {target.name} names no [compose] project")
    files = [part for path in target.compose.files for part in ("--file", str(path))]
    return [*program(), *files, "--project-name", target.compose.name, *arguments]


def config(asking: Asking) -> dict[str, Any]:
    """Return the project as Compose itself reads it: anchors, extends and variables resolved.

    Raises `CouldNotFindOut` with Compose's own words where it cannot read it. What it holds may be secret.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    call = argv(asking.target, "config")
    try:
        ended = subprocess.run(
            call, capture_output=True, text=True, check=False, timeout=_LOOK_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise CouldNotFindOut(f"Compose did not read its files within {_LOOK_SECONDS} s") from None
    if ended.returncode != 0:
        raise CouldNotFindOut(f"Compose cannot read its files: {_last_words(ended.stderr)}")
    try:
        told = YAML(typ="safe").load(ended.stdout)
    except YAMLError as error:
        raise CouldNotFindOut(f"Compose told no YAML ({type(error).__name__})") from error
    return told if isinstance(told, dict) else {}


def ups(asking: Asking, arguments: Mapping[str, Any]) -> str:
    """Have Compose make the service as its files, and the argv of a step, say; an act of a plan.

    Raises `ChangeFailed` where Compose ends with an error, with its last words.
    """
    call = arguments["argv"]
    try:
        ended = subprocess.run(
            list(call), capture_output=True, text=True, check=False, timeout=UP_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise CouldNotFindOut(f"Compose did not end within {UP_SECONDS} s") from None
    except OSError as error:
        raise ChangeFailed(f"Compose could not be called: {error.strerror}") from error
    if ended.returncode != 0:
        told = _last_words(ended.stderr)
        raise ChangeFailed(f"Compose ended with {ended.returncode}: {told}; part of it may have been done")
    return ""


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(lines[-2:])[:400] or "without a word"


def shown(call: Sequence[str]) -> str:
    """Return an argv as one would type it."""
    import shlex

    return shlex.join(call)


def mapping(value: Any) -> dict[str, Any]:
    """Return a part of a configuration that should be a mapping, empty where it is something else."""
    return value if isinstance(value, dict) else {}

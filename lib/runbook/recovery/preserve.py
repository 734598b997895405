"""Preserve what is there before anything is changed: copies of the folders that the profile names."""

import os
import shlex
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook.connections import programs
from runbook.connections.programs import Owner
from runbook.model import Act, Asking, Change, ChangeFailed, CouldNotFindOut, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.units import as_bytes, counted
from runbook.recovery.cluster import NOT_ASKED

_DONE = "complete"
_ROOM = 1.1


def observe(asking: Asking, wanted: bool = True) -> dict[str, Any]:
    """Return folders (path and bytes of each), absent (those that are not there), into (where to), free (bytes), and
    done (whether a copy of today is there).
    """
    if not wanted:
        raise DoesNotApply(NOT_ASKED)
    named = asking.target.recovery
    if named is None or named.preserve is None or not named.folders:
        raise DoesNotApply("the profile names no folders and preserve in [recovery]: copy by hand what is to be kept")
    there = [path for path in named.folders if path.is_dir()]
    into = named.preserve / f"{datetime.now(UTC):%Y-%m-%d}"
    nearest = next(path for path in (into, *into.parents) if path.is_dir())
    return {
        "folders": [[str(path), _size(path)] for path in there],
        "absent": [str(path) for path in named.folders if path not in there],
        "into": str(into),
        "free": shutil.disk_usage(nearest).free,
        "done": [str(path) for path in there if (into / _name(path) / _DONE).exists()],
        "paths": [str(path) for path in there],
    }


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # Redis writes files that it takes away again
            about = path.lstat()
            total += about.st_size if stat.S_ISREG(about.st_mode) else 0
    return total


def _name(folder: Path) -> str:
    return str(folder).strip("/").replace("/", "_")


def draft(facts: Mapping[str, Any], wanted: bool = True) -> Draft:
    """Write out a copy of each folder; raises `NotPlanned` where the disk has no room for them."""
    todo = [(path, size) for path, size in facts["folders"] if path not in facts["done"]]
    if not todo:
        raise DoesNotApply(f"all are preserved already, in {facts['into']}; rename that to copy once more")
    needed = int(sum(size for _, size in todo) * _ROOM)
    if facts["free"] < needed:
        free, room = as_bytes(facts["free"]), as_bytes(needed)
        raise NotPlanned(
            f"the disk of {facts['into']} has {free} left, and {room} are needed: name a larger one (preserve)"
        )
    steps = []
    for path, _ in todo:
        aim = f"{facts['into']}/{_name(Path(path))}"
        shown = shlex.join(_argv(path, aim))
        steps.append(Step(act="copy", shown=shown, arguments={"path": path, "aim": aim}))
    reaches = [f"{as_bytes(needed)} of {as_bytes(facts['free'])} are taken from the disk of {facts['into']}"]
    reaches += [f"{path} is not there, and is not copied" for path in facts["absent"]]
    reaches.append("what is written while it is copied may be half in the copy: stop the service first")
    return Draft(
        summary=f"preserve {counted(len(todo), 'folder')} in {facts['into']}",
        steps=tuple(steps),
        blast_radius=tuple(reaches),
        expected={"done": facts["paths"]},
        irreversible="a copy harms nothing; rm -r takes it away again",
    )


def _argv(path: str, aim: str) -> list[str]:
    """Return what copies a folder with its owners, which Redis goes by, to a place that is not there yet."""
    return ["cp", "-a", "--", f"{path}/.", f"{aim}/copy"]


def _copies(asking: Asking, arguments: Mapping[str, Any]) -> str:
    """Copy a folder whole; one that was cut short is begun anew, a whole one is never overwritten."""
    path, aim, named = Path(arguments["path"]), Path(arguments["aim"]), asking.target.recovery
    if (aim / _DONE).exists():
        return "it was there already"
    try:
        shutil.rmtree(aim, ignore_errors=True)
        aim.mkdir(mode=0o700, parents=True)
        us = Owner(os.geteuid(), os.getegid())
        programs.required(_argv(str(path), str(aim)), us, named.seconds if named else 120.0)
        (aim / _DONE).touch()
    except (OSError, ChangeFailed, CouldNotFindOut) as error:
        raise ChangeFailed(f"{path} could not be copied whole: {str(error)[:300]}") from error
    return f"{as_bytes(_size(aim))} in {aim}"


def _is_copied(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return (Path(arguments["aim"]) / _DONE).exists()


preserve = Change(
    name="recovery.preserve",
    title="Preserve what is there",
    observe=observe,
    draft=draft,
    acts={"copy": Act(_copies, _is_copied)},
    needs=(),
    watched=("into", "paths"),
    patience=2.0,
    deadline=60.0,
    partial=True,
)

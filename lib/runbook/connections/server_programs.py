"""PostgreSQL's own programs that read and restore backups: found, and called as a user who may."""

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from runbook.model import CouldNotFindOut
from runbook.target import Backups

_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql*/bin",
)
_INSTALL = (
    "install PostgreSQL's client programs (Debian: postgresql-client), or name their folder: binaries in [backups]"
)
LOOK_SECONDS = 10.0


def program(named: Backups, name: str) -> Path:
    """Return the path of a program: from the profile's folder, else the newest on this machine.

    Raises `CouldNotFindOut` where it is not there.
    """
    if named.binaries is not None:
        path = named.binaries / name
        if os.access(path, os.X_OK):
            return path
        raise CouldNotFindOut(f"{path} is not there, or may not be started: it is what the profile names (binaries)")
    installed = [folder / name for pattern in _FOLDERS for folder in Path("/").glob(pattern.lstrip("/"))]
    usable = sorted((path for path in installed if os.access(path, os.X_OK)), key=major)
    on_path = shutil.which(name)
    if usable:
        return usable[-1]
    if on_path is not None:
        return Path(on_path)
    raise CouldNotFindOut(f"{name} is not on this machine: {_INSTALL}")


@cache
def major(path: Path) -> int:
    """Return the major version of a program of PostgreSQL's; 0 where it does not tell one."""
    try:
        told = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=LOOK_SECONDS, stdin=subprocess.DEVNULL,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r"\(PostgreSQL\) (\d+)", told.stdout)
    return int(found[1]) if found else 0


def major_of(version: str) -> int:
    """Return the major version of what a server calls itself, as dumps tell it; 0 where nothing is told."""
    found = re.match(r"(\d+)", version)
    return int(found[1]) if found else 0

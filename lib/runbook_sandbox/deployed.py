"""What a deployment has beside its servers: a tree of files, jobs and units, and the repository that it came from."""

import os
import secrets
import shutil
import subprocess
from pathlib import Path

from runbook_sandbox.place import Place, SandboxError

TREE, UNITS, REPOSITORY, TAG = "deployed", "units", "repository.git", "v1.0"
CHANGED, ADDED, STARTED, JOB = "api/auth.py", "api/session_cache.py", "start.sh", "cron.d/cache-warmer"
# A few lines of each: what is compared is whether they are the same.
_FILES = {
    "api/__init__.py": '"""The HTTP interface."""\n',
    "api/auth.py": '"""Log in and out."""\n\nALGORITHM = "HS256"\nMINUTES = 30\n',
    "api/triage.py": '"""The queue of what is to be annotated."""\n\nLEVELS = ("CRITICAL", "HIGH", "MEDIUM", "LOW")\n',
    "services/__init__.py": '"""What the interface calls."""\n',
    "services/candidates.py": '"""Find candidates with the language model."""\n\nTIMEOUT = 30.0\n',
    "main.py": '"""Start the service."""\n\nfrom api import auth, triage\n',
    "requirements.txt": "fastapi\nuvicorn\nsqlalchemy\nredis\n",
    STARTED: "#!/bin/sh\nexec python3 main.py\n",
}
_UNITS = {
    "cron.d/shrimp-backup": "15 2 * * * shrimp /usr/bin/pg_dump -Fc -f /var/backups/shrimp.dump shrimp_annotation\n",
    "system/shrimp-api.service": "[Service]\nUser=shrimp\nExecStart=/opt/shrimp/start.sh\n",
}
_SECONDS = 20


def deploy(place: Place) -> None:
    """Write the tree, the jobs and units, and, where git is installed, the repository."""
    for folder, files in ((TREE, _FILES), (UNITS, _UNITS)):
        for name, content in files.items():
            _write(place.folder / folder / name, content)
    (place.folder / TREE / "current").symlink_to("api")
    settings = place.folder / TREE / ".env"
    settings.touch(mode=0o600)
    settings.write_text(f"JWT_SECRET_KEY={secrets.token_urlsafe(32)}\n")
    if shutil.which("git") is not None:
        _commit(place.folder / REPOSITORY, place.folder / TREE)


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o755 if path.suffix == ".sh" else 0o644)


def _commit(repository: Path, tree: Path) -> None:
    """Commit the tree, but for its settings, as one author at one time: the same files are the same commit."""
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in _WHO.items()}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment = {**kept, **who, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    at = ["git", f"--git-dir={repository}", f"--work-tree={tree}"]
    for argv in (
        ["git", "init", "--quiet", "--bare", "--template=", "--initial-branch=main", str(repository)],
        [*at, "add", "--", *_FILES, "current"],
        [*at, "commit", "--quiet", "--no-gpg-sign", "--message=The service"],
        [*at, "tag", TAG],
    ):
        subprocess.run(argv, check=True, capture_output=True, text=True, cwd=tree, env=environment, timeout=_SECONDS)


_WHO = {"NAME": "sandbox", "EMAIL": "sandbox@localhost", "DATE": "2026-01-01T00:00:00Z"}


def profile(place: Place) -> str:
    """Return what the target file says of all that."""
    repository = place.folder / REPOSITORY
    told = f'checkout = "{repository}"\ncommit = "{TAG}"\n' if repository.exists() else ""
    lacking = ""
    if not told:
        why = "git is not installed here, so this practice stack has no repository"
        lacking = f'[[not_applicable]]\ncheck = "integrity.commit"\nreason = "{why}"\n\n'
    return (
        f'{lacking}[integrity]\nunits = ["{place.folder / UNITS}"]\n\n'
        f'[[integrity.trees]]\npath = "{place.folder / TREE}"\n{told}\n'
    )


def record(target_name: str, images: dict[str, str]) -> str:
    """Declare the files of a sandbox good, which were written just now; return the record in the archive.

    It is the sandbox that says so, and the record names it. Raises `SandboxError` where it cannot be recorded.
    """
    # Late: what only practises needs neither the archive nor its keys.
    from runbook.integrity import declare_good
    from runbook.model import CouldNotFindOut, RunbookError
    from runbook.target import load_target

    try:
        return declare_good(load_target(target_name), "sandbox up", images)
    except (CouldNotFindOut, RunbookError, OSError) as error:
        raise SandboxError(f"no baseline of the sandbox's files could be recorded: {error}") from error


def change_file(place: Place) -> None:
    """Have somebody who can write there change a file of the service."""
    with (place.folder / TREE / CHANGED).open("a") as file:
        file.write('BACK_DOOR = "opened"\n')


def restore_file(place: Place) -> None:
    """Write the file as it was deployed."""
    _write(place.folder / TREE / CHANGED, _FILES[CHANGED])


def add_file(place: Place) -> None:
    """Have somebody put a file of their own beside those of the service."""
    _write(place.folder / TREE / ADDED, "import socket\n")


def remove_file(place: Place) -> None:
    """Take that file away."""
    (place.folder / TREE / ADDED).unlink()


def give_rights(place: Place) -> None:
    """Have somebody make a program of the service set-uid."""
    (place.folder / TREE / STARTED).chmod(0o4755)


def take_rights(place: Place) -> None:
    """Make it an ordinary one again."""
    (place.folder / TREE / STARTED).chmod(0o755)


def add_job(place: Place) -> None:
    """Have somebody leave a job that starts their file again and again."""
    _write(place.folder / UNITS / JOB, f"* * * * * root /usr/bin/python3 {place.folder / TREE / ADDED}\n")


def remove_job(place: Place) -> None:
    """Take that job away."""
    (place.folder / UNITS / JOB).unlink()

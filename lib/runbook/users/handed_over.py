"""The file by which a new user's password is handed over: written once, readable by its owner alone."""

from pathlib import Path

from runbook.evidence.archive import state_folder, write_whole
from runbook.model import CouldNotFindOut
from runbook.target import resolve
from runbook.users.names import require_reference

FOLDER = "handed-over"


def place_of(target: str, username: str) -> Path:
    """Return where the first password of a user is kept until it was handed over; both names are plain ones."""
    return state_folder() / FOLDER / target / f"{username}.txt"


def write(target: str, username: str, first: str) -> Path:
    """Write a user's first password, and return where; raises OSError. The file and its folder are their owner's."""
    path = place_of(target, username)
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    write_whole(path, first.encode() + b"\n")
    return path


def at_hand(target: str, username: str, credentials: str) -> str:
    """Return the reference by which a user's password is at hand: the one given, else the file; "" where there is none.

    Raises `CouldNotFindOut` for what is given and is no reference.
    """
    require_reference(credentials)
    if credentials:
        return credentials
    path = place_of(target, username)
    return f"file:{path}" if "/" not in username and path.is_file() else ""


def read(reference: str) -> str:
    """Return a user's password; raises `CouldNotFindOut` saying what is missing where, "" for no reference."""
    try:
        return resolve(reference) if reference else ""
    except CouldNotFindOut as reason:
        raise CouldNotFindOut(f"the user's password is not at hand: {reason}") from reason

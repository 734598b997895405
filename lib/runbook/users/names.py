"""Which names and addresses a new user may have: those that nobody takes for another's, in no log and no command."""

import re

from runbook.model import CouldNotFindOut
from runbook.model.change import NotPlanned
from runbook.target.secret import is_reference

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{1,31}", re.ASCII)
_MAIL = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}", re.ASCII
)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}", re.ASCII)
MAIL_LENGTH = 254


def require_name(name: str) -> None:
    """Raise `NotPlanned` for a name that no new user is given."""
    if not _NAME.fullmatch(name):
        raise NotPlanned(
            f"{shortened(name)} is no name for a user: 2 to 32 of A-Z, a-z, 0-9, dot, _ and -, the first one a letter"
        )


def require_mail(mail: str) -> None:
    """Raise `NotPlanned` for what is no plain mail address."""
    if len(mail) > MAIL_LENGTH or not _MAIL.fullmatch(mail):
        raise NotPlanned(
            f"{shortened(mail)} is no mail address as new_user@example.com: of A-Z, a-z, 0-9, . _ + - and @"
        )


def require_id(identity: str) -> None:
    """Raise `NotPlanned` for an id that must not stand in a path."""
    if not _ID.fullmatch(identity):
        raise NotPlanned(f"the service tells {shortened(identity)} as the user's id, which no path should hold")


def require_reference(credentials: str) -> None:
    """Raise `CouldNotFindOut`, without repeating it, for what is no reference to a secret; nothing ("") is well."""
    if credentials and not is_reference(credentials):
        raise CouldNotFindOut(
            "credentials is to say where the user's password is (env:NAME, file:/PATH, keyring:SERVICE/NAME), and "
            "something else stands there; if it is the password itself, change it: it is written in this notebook now"
        )


def shortened(text: str) -> str:
    """Return a text of anybody's, to be told: in quotes, with escapes, its first 40 signs."""
    told = ascii(text[:40])
    return told if len(text) <= 40 else f"{told} and {len(text) - 40} more"


def same(one: str, other: str) -> bool:
    """Tell whether two names differ in nothing but small and large letters."""
    return one.casefold() == other.casefold()

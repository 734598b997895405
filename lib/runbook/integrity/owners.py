"""Whose a file is, in words."""

import grp
import pwd
from functools import cache

from runbook.integrity.listing import Entry


def owner(entry: Entry) -> str:
    """Return the user and group that something belongs to, by name where this machine knows one."""
    return f"{_user(entry.uid)}:{_group(entry.gid)}"


@cache
def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)


@cache
def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OverflowError):
        return str(gid)

"""The token that confirms one plan: made from the frozen plan and this user's own key, and kept nowhere.

It guards against accidents and stale state: a token is right for just these steps on just this target. Who may act at
all is decided by the Docker socket, the database's roles and the like.
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from runbook.evidence.archive import state_folder, write_whole
from runbook.model import RunFailed
from runbook.model.layout import ALPHABET, make_private
from runbook.model.plan import Plan
from runbook.plans.place import all_plans, encoded

START, LENGTH = "tok_", 20


def token_of(plan: Plan) -> str:
    """Return the token that confirms a plan; raises `RunFailed` where this user's key can be neither read nor made."""
    digest = hmac.digest(_key(), encoded(plan), hashlib.sha256)
    number = int.from_bytes(digest, "big")
    signs = []
    for _ in range(LENGTH):
        number, place = divmod(number, len(ALPHABET))
        signs.append(ALPHABET[place])
    return START + "".join(signs)


def plan_of(token: str) -> Plan | None:
    """Return the stored plan that a token confirms, whatever became of it; None where it is none of this user's."""
    if not token.startswith(START):
        return None
    return next((plan for plan in all_plans() if hmac.compare_digest(token_of(plan), token)), None)


def _key() -> bytes:
    path = state_folder() / "keys" / "plans.key"
    try:
        make_private(path.parent)
        if not path.exists():
            write_whole(path, secrets.token_bytes(32), replace=False)
        return _read(path)
    except OSError as error:
        raise RunFailed(f"the key that makes tokens cannot be read or made: {path}: {error.strerror}") from error


def _read(path: Path) -> bytes:
    if path.stat().st_uid != os.geteuid():
        raise RunFailed(f"the key that makes tokens is another user's: {path}")
    return path.read_bytes()

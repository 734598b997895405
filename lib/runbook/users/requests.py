"""Requests that change a user: what the service answered, and whether that means anything happened."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from runbook.connections import Response
from runbook.model import ChangeFailed, CouldNotFindOut, Unreachable
from runbook.users.administrator import Administrator
from runbook.users.listing import PATH

# Where these keep a request from being made, nothing of it has arrived.
_NOT_SENT = ("refused", "name", "tls", "not-configured")
_TOLD = 200


def change(admin: Administrator, method: str, path: str, body: dict[str, Any], *, hidden: str = "") -> dict[str, Any]:
    """Return what the service tells of the user after a request that changes it, as a JSON object.

    Raises `ChangeFailed` where it refused or never got it, `CouldNotFindOut` where nobody knows; neither repeats what
    is ``hidden``.
    """
    try:
        response = admin.ask(method, path, body)
    except Unreachable as error:
        if error.kind in _NOT_SENT:
            raise ChangeFailed(f"the request was not sent: {error.reason}") from error
        raise
    if response.status in (200, 201):
        try:
            return response.mapping()
        except CouldNotFindOut as problem:
            raise CouldNotFindOut(f"{problem}: is this the service?") from problem
    said = f"{admin.refusal(response)}{_detail(response, hidden)}"
    if 400 <= response.status < 500:
        if method == "PATCH" and response.status in (404, 405):
            said += (
                "; it has no such request or no such user, and the access was NOT changed: see the plan in the database"
            )
        raise ChangeFailed(f"the service refused: {said}")
    raise CouldNotFindOut(said)


def by_hand(where: str, method: str, path: str, body: Mapping[str, Any]) -> str:
    """Return a request as one would type it; its token is named, not shown."""
    words = [
        "curl",
        "-sS",
        "-X",
        method,
        f"{where}{path}",
        "-H",
        "content-type: application/json",
        "-d",
        json.dumps(body),
    ]
    return f'{shlex.join(words)} -H "Authorization: Bearer $ADMIN_TOKEN"'


def path_of(identity: str) -> str:
    """Return the path of one user, whose id was found to be a plain one."""
    return f"{PATH}/{identity}"


def _detail(response: Response, hidden: str) -> str:
    """Return what an error says of itself, without what is hidden, which a service may repeat."""
    try:
        detail = response.mapping().get("detail", "")
    except CouldNotFindOut:
        return ""
    told = detail if isinstance(detail, str) else json.dumps(detail, default=str)
    if not told or (hidden and hidden in told):
        return ""
    return f" ({told[:_TOLD]})"

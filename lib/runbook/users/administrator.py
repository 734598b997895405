"""The administrator that the profile names: asks the service on its behalf, and says why it is refused."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Any

import msgspec

from runbook.connections import ApiConnection, Response
from runbook.model import Asking, CouldNotFindOut
from runbook.target import resolve
from runbook.users.log_in import log_in

_LACKING = (
    "the profile names no administrator of the service: in [api], admin_username and admin_password, or "
    "admin_token, by reference"
)


class Administrator:
    """Asks with the administrator's token; ``how`` says where that is from.

    The token opens everything: it is handed to nobody that keeps it.
    """

    def __init__(self, api: ApiConnection, token: str, how: str) -> None:
        self._api, self._token = api, token
        self.how = how

    def token(self) -> str:
        """Return the token, for what looks at how it is made and keeps nothing of it."""
        return self._token

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Response:
        """Return the answer to a request of the administrator's; raises `Unreachable` where none came."""
        return self._api.send(method, path, token=self._token, body=body)

    def told(self, path: str) -> Any:
        """Return what a path tells, as JSON; raises `CouldNotFindOut` with what it is that refuses, and what to do."""
        response = self.ask("GET", path)
        if response.status != 200:
            raise CouldNotFindOut(self.refusal(response))
        return response.json()

    def name(self) -> str:
        """Return the administrator's own name in the service; raises `CouldNotFindOut`."""
        told = self.told("/auth/me")
        name = told.get("username") if isinstance(told, dict) else None
        if not isinstance(name, str) or not name:
            raise CouldNotFindOut("/auth/me does not tell a username: is this the service?")
        return name

    def refusal(self, response: Response) -> str:
        """Return in words why an answer is none, and what to do."""
        where = f"{response.path} answered {response.status}"
        if response.status == 401:
            return f"{where}: {self._why_not_known()}"
        if response.status == 403:
            return f"{where}: {self.how} is known, and its user has no right to manage users; name an administrator's"
        if response.status == 429:
            return f"{where}: too many requests; wait, and ask again"
        if response.status == 404:
            return f"{where}: the service has no such path"
        return where

    def _why_not_known(self) -> str:
        ended = expired_at(self._token)
        if ended is not None and ended <= datetime.now(UTC):
            minutes = (datetime.now(UTC) - ended).total_seconds() / 60
            return (
                f"{self.how} expired {minutes:.0f} min ago ({ended:%Y-%m-%d %H:%M} UTC); get a new one, or name "
                "admin_password in [api], with which the runbook logs in by itself"
            )
        return f"{self.how} is not accepted (wrong, revoked, or signed with another key); name a new one"


def administrator(asking: Asking) -> Administrator:
    """Return the profile's administrator, logged in where that takes it.

    Raises `CouldNotFindOut` where the profile names none or the service does not let it in.
    """
    named = asking.target.api
    api = asking.connection(ApiConnection)
    if named.admin_token is not None:
        return Administrator(api, _for_a_header(resolve(named.admin_token)), "the profile's admin_token")
    if named.admin_password is not None:
        came = log_in(api, named.admin_username, resolve(named.admin_password))
        if came.token:
            return Administrator(api, came.token, f"the log-in of {named.admin_username}")
        why = "; its name or password in [api] is wrong, or it is deactivated" if came.refused else ""
        raise CouldNotFindOut(f"the administrator of the profile was not let in: {came.problem}{why}")
    if named.token is not None:
        return Administrator(api, _for_a_header(resolve(named.token)), "the profile's token")
    raise CouldNotFindOut(_LACKING)


def expired_at(token: str) -> datetime | None:
    """Return until when a token says that it holds; None where it does not say."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return datetime.fromtimestamp(float(claims["exp"]), UTC)
    except (ValueError, KeyError, TypeError, OverflowError, OSError, RecursionError, binascii.Error):
        return None


def _for_a_header(token: str) -> str:
    if not (token.isascii() and token.isprintable()):
        raise CouldNotFindOut("the administrator's token of the profile holds signs that no header may carry")
    return token

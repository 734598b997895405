"""Log in to the service, and say what came of it without believing more than was told."""

from dataclasses import dataclass, field

from runbook.connections import ApiConnection
from runbook.model import CouldNotFindOut

PATH = "/auth/login"
REFUSED = (401, 403)
TOKEN_LENGTH = 8192


@dataclass(frozen=True)
class LogIn:
    """What a log-in came to: the HTTP status, the token where there was one, else why there was none."""

    status: int
    token: str = field(default="", repr=False)
    problem: str = ""

    @property
    def refused(self) -> bool:
        """Tell whether the service knows the request and will not have it."""
        return self.status in REFUSED


def log_in(api: ApiConnection, username: str, password: str) -> LogIn:
    """Return what a log-in came to; raises `Unreachable` where nobody answered."""
    response = api.send("POST", PATH, body={"username": username, "password": password})
    if response.status in REFUSED:
        return LogIn(response.status, problem=f"{PATH} refused it ({response.status})")
    if response.status == 429:
        return LogIn(429, problem=f"{PATH} answered 429: too many requests; wait, and ask again")
    if response.status not in (200, 201):
        return LogIn(response.status, problem=f"{PATH} answered {response.status}")
    try:
        token = response.mapping().get("access_token")
    except CouldNotFindOut as problem:
        return LogIn(response.status, problem=f"{problem}: is this the service?")
    if not isinstance(token, str) or not 0 < len(token) <= TOKEN_LENGTH or not _is_plain(token):
        return LogIn(
            response.status, problem=f"{PATH} answered {response.status} without a token: is this the service?"
        )
    return LogIn(response.status, token)


def _is_plain(token: str) -> bool:
    return token.isascii() and token.isprintable() and " " not in token

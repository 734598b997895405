"""Users as built: two fixed ones. Who is added is told to be there, and is not; nothing can be changed or revoked."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import jwt
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel

from runbook_sandbox.frame import PERMISSIONS, TOKEN_MINUTES, now
from runbook_sandbox.passwords import is_password

_USERS = {"admin": (1, "admin"), "annotator1": (2, "annotator")}
_REFRESH_DAYS = 7


class Login(BaseModel):
    """Who wants in."""

    username: str
    password: str


class Refresh(BaseModel):
    """A token that gets another one."""

    refresh_token: str


class NewUser(BaseModel):
    """A user to be added; nothing of it is looked at."""

    username: str
    email: str
    password: str
    role: str = "annotator"


def _told(username: str, created_at: str, last_login: str | None = None) -> dict[str, Any]:
    number, role = _USERS[username]
    return {
        "id": number,
        "username": username,
        "email": f"{username}@example.com",
        "role": role,
        "is_active": True,
        "created_at": created_at,
        "last_login": last_login,
    }


class Tokens:
    """Tokens of the fixed users: whoever holds one is let in until it ends."""

    def __init__(self, key: str) -> None:
        self._key = key

    def make(self, username: str, kind: str, lasts: timedelta) -> str:
        """Return a token."""
        claims = {"sub": username, "type": kind, "exp": datetime.now(UTC) + lasts}
        return jwt.encode(claims, self._key, algorithm="HS256")

    def read(self, token: str, kind: str) -> dict[str, Any]:
        """Return a token's claims; raises the service's 401."""
        try:
            claims: dict[str, Any] = jwt.decode(token, self._key, algorithms=["HS256"])
        except jwt.InvalidTokenError as error:
            raise HTTPException(401, "Invalid token") from error
        if claims.get("type") != kind:
            raise HTTPException(401, "Invalid token")
        return claims

    def pair(self, username: str) -> dict[str, Any]:
        """Return what a log-in gives."""
        return {
            "access_token": self.make(username, "access", timedelta(minutes=TOKEN_MINUTES)),
            "refresh_token": self.make(username, "refresh", timedelta(days=_REFRESH_DAYS)),
            "token_type": "bearer",
            "expires_in": TOKEN_MINUTES * 60,
        }


def add_users(app: FastAPI, key: str, passwords: dict[str, str]) -> None:
    """Add /auth; ``passwords`` holds the hash of each fixed user's."""
    tokens = Tokens(key)

    def caller(authorization: Annotated[str, Header()] = "") -> dict[str, Any]:
        if not authorization.startswith("Bearer "):
            raise HTTPException(401, "Not authenticated")
        return tokens.read(authorization.removeprefix("Bearer "), "access")

    who = Depends(caller)

    def only(permitted: Callable[[str], bool], refusal: str) -> Any:
        def check(claims: Annotated[dict[str, Any], who]) -> None:
            if not permitted(_USERS[claims["sub"]][1]):
                raise HTTPException(403, refusal)

        return Depends(check)

    @app.post("/auth/login")
    def login(wanted: Login) -> dict[str, Any]:
        kept = passwords.get(wanted.username)
        if kept is None or not is_password(wanted.password, kept):
            raise HTTPException(401, "Incorrect username or password")
        return {**tokens.pair(wanted.username), "user": _told(wanted.username, now(), now())}

    @app.post("/auth/refresh")
    def refresh(given: Refresh) -> dict[str, Any]:
        return tokens.pair(tokens.read(given.refresh_token, "refresh")["sub"])

    @app.post("/auth/logout")
    def logout(_: Annotated[dict[str, Any], who]) -> dict[str, Any]:
        return {"message": "Successfully logged out"}  # the token stays good

    @app.get("/auth/me")
    def me(claims: Annotated[dict[str, Any], who]) -> dict[str, Any]:
        return _told(claims["sub"], now())

    @app.get("/auth/verify-token")
    def verify(claims: Annotated[dict[str, Any], who]) -> dict[str, Any]:
        number, role = _USERS[claims["sub"]]
        until = datetime.fromtimestamp(claims["exp"], UTC).replace(tzinfo=None)
        return {
            "valid": True,
            "user_id": number,
            "username": claims["sub"],
            "role": role,
            "permissions": PERMISSIONS[role],
            "expires_at": until.isoformat(),
        }

    @app.get("/auth/permissions")
    def permissions(claims: Annotated[dict[str, Any], who]) -> dict[str, Any]:
        role = _USERS[claims["sub"]][1]
        return {"role": role, "permissions": PERMISSIONS[role]}

    @app.get("/auth/users", dependencies=[only(lambda role: role == "admin", "Access denied. Required roles: admin")])
    def users() -> list[dict[str, Any]]:
        return [_told("admin", "2024-01-01T00:00:00"), _told("annotator1", "2024-01-02T00:00:00")]

    may_manage = only(lambda role: "manage:users" in PERMISSIONS[role], "Missing required permissions: manage:users")

    @app.post("/auth/users", dependencies=[may_manage])
    def add(new: NewUser) -> dict[str, Any]:
        told = {"username": new.username, "email": new.email, "role": new.role}
        return {"id": 1, **told, "is_active": True, "created_at": now(), "last_login": None}

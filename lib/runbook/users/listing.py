"""Who the service's users are: as its own list tells it, and as the database holds it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
from psycopg import sql

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, CouldNotFindOut, Unreachable
from runbook.users.administrator import Administrator
from runbook.users.names import same, shortened
from runbook.users.roles import ADMIN

PATH = "/auth/users"
SQL = read_sql(__package__, "users")
COLUMNS = "id, username, email, role, is_active, created_at, last_login"
# More than any list of the service's users has; the statement asks for one more.
MOST = 5000
ABSENT = "absent"


@dataclass(frozen=True)
class User:
    """One user as either side tells it."""

    id: str
    username: str
    email: str
    role: str
    is_active: bool
    created_at: datetime | None
    last_login: datetime | None

    @property
    def standing(self) -> str:
        """Return role and whether it may enter, in words."""
        return f"{self.role}, {'active' if self.is_active else 'deactivated'}"


def from_service(admin: Administrator) -> list[User]:
    """Return the users that the service lists; raises `CouldNotFindOut` for an answer that is no list of users."""
    told = admin.told(PATH)
    if not isinstance(told, list) or not all(map(_is_user, told)):
        raise CouldNotFindOut(f"{PATH} answered 200, but not with a list of users: is this the service?")
    if not told:
        raise CouldNotFindOut(f"{PATH} lists nobody, not even the administrator who asks: is this the service?")
    if len(told) > MOST:
        raise CouldNotFindOut(f"{PATH} lists more than {MOST} users: who is not among them cannot be told")
    return [_user(one) for one in told]


def from_database(asking: Asking) -> list[User]:
    """Return the users that the database holds; raises `CouldNotFindOut` with the missing grant."""
    connection = asking.connection(PostgresConnection)
    try:
        frame = connection.rows(SQL, {"most": MOST + 1})
    except Unreachable:
        raise
    except CouldNotFindOut as reason:
        if "may not" not in str(reason):
            raise
        role = sql.Identifier(connection.identity["role"].removesuffix(" (superuser)")).as_string()
        raise CouldNotFindOut(f"{reason}; GRANT SELECT ({COLUMNS}) ON users TO {role}") from reason
    if len(frame) > MOST:
        raise CouldNotFindOut(f"the database holds more than {MOST} users: who is not among them cannot be told")
    return [_user(row) for row in frame.to_dict("records")]


def named(users: list[User], name: str) -> User | None:
    """Return the user of just that name."""
    return next((user for user in users if user.username == name), None)


def standing(user: User | None) -> str:
    """Return a user's standing; of nobody, that it is absent."""
    return ABSENT if user is None else user.standing


def taken(users: list[User], name: str, email: str) -> list[str]:
    """Return what of a new user's is taken already, small and large letters being the same."""
    return [
        *(f"the name of {shortened(user.username)}" for user in users if same(user.username, name)),
        *(f"the address of {shortened(user.username)}" for user in users if same(user.email, email)),
    ]


def other_admins(users: list[User], name: str) -> int:
    """Return how many administrators may enter beside that user."""
    return sum(user.role == ADMIN and user.is_active and user.username != name for user in users)


def _is_user(one: Any) -> bool:
    return (
        isinstance(one, dict)
        and isinstance(one.get("id"), int | str)
        and isinstance(one.get("username"), str)
        and isinstance(one.get("role"), str)
        and isinstance(one.get("is_active"), bool)
    )


def _user(one: Mapping[Any, Any]) -> User:
    return User(
        id=str(one["id"]),
        username=one["username"],
        email=str(one.get("email") or ""),
        role=one["role"],
        is_active=bool(one["is_active"]),
        created_at=_moment(one.get("created_at")),
        last_login=_moment(one.get("last_login")),
    )


def _moment(told: Any) -> datetime | None:
    """Return a moment in UTC, which the service means without saying so; None for what is none."""
    moment = pd.to_datetime(told, utc=True, errors="coerce") if isinstance(told, str | datetime) else None
    return moment.to_pydatetime() if isinstance(moment, pd.Timestamp) else None

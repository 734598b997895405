"""Who are the service's users, and do its list and the database agree?"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from runbook.connections import ApiConnection, PostgresConnection
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, first_of
from runbook.model.units import counted
from runbook.users.administrator import administrator
from runbook.users.explanations import EXPLAINED_BY
from runbook.users.listing import PATH, SQL, User, from_database, from_service, standing
from runbook.users.roles import ADMIN, PERMISSIONS

# What is longer is nobody's name, and is not told whole.
NAME_LENGTH = 80
_COLUMNS = (
    "username", "role", "is_active", "last_login", "created_at", "idle_days", "age_days", "service", "database", "asks"
)  # fmt: skip


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each user: username, role, is_active, last_login, created_at, idle_days (since the last log-in
    that either side tells), age_days (since it was made), service and database (its standing there), asks (whether the
    runbook itself logs in as it).

    ``attrs`` tell why a side could not be asked (service, database), and with which HTTP status the service answers
    the list to one who does not log in (open). Raises `CouldNotFindOut` where neither could be asked.
    """
    listed: dict[str, User] = {}
    held: dict[str, User] = {}
    reasons = {"service": "", "database": ""}
    asks, opened = "", 0
    try:
        opened = asking.connection(ApiConnection).send("GET", PATH).status
        admin = administrator(asking)
        listed = {user.username: user for user in from_service(admin)}
        asks = admin.name()
    except CouldNotFindOut as reason:
        reasons["service"] = str(reason)
    try:
        held = {user.username: user for user in from_database(asking)}
    except CouldNotFindOut as reason:
        reasons["database"] = str(reason)
    if all(reasons.values()):
        raise CouldNotFindOut(f"the service: {reasons['service']}; the database: {reasons['database']}")
    now = datetime.now(UTC)
    rows = [_row(name, listed.get(name), held.get(name), asks, now) for name in sorted({*listed, *held})]
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    frame["last_login"] = pd.to_datetime(frame["last_login"], utc=True)
    frame["created_at"] = pd.to_datetime(frame["created_at"], utc=True)
    frame.attrs.update(reasons, open=opened)
    return frame


def _row(name: str, listed: User | None, held: User | None, asks: str, now: datetime) -> dict[str, Any]:
    user = listed or held
    assert user is not None
    logins = [one.last_login for one in (listed, held) if one is not None and one.last_login is not None]
    last = max(logins, default=None)
    return {
        "username": name[:NAME_LENGTH],
        "role": user.role[:NAME_LENGTH],
        "is_active": user.is_active,
        "last_login": last,
        "created_at": user.created_at,
        "idle_days": (now - last).total_seconds() / 86400 if last is not None else float("nan"),
        "age_days": (now - user.created_at).total_seconds() / 86400 if user.created_at is not None else float("nan"),
        "service": standing(listed)[-NAME_LENGTH:],
        "database": standing(held)[-NAME_LENGTH:],
        "asks": name == asks,
    }


def check(frame: pd.DataFrame, *, days: float = 90, admins: float = 5) -> list[Finding]:
    """Judge who may enter: an administrator who has not for ``days``, more than ``admins`` of them, none at all, a role
    that the service does not know, a user on whom list and database disagree. 90 days are those of CIS control 5.3
    (disable what is not used) doubled; the number is what a team of its size needs.
    """
    reasons = frame.attrs
    findings = _sides(reasons)
    if not reasons["service"] and not reasons["database"]:
        findings += first_of(
            [_apart(row) for row in frame.to_dict("records") if row["service"] != row["database"]], "users"
        )
    strange = frame[~frame["role"].isin(list(PERMISSIONS))]
    findings += first_of([_strange(row) for row in strange.to_dict("records")], "users", 3)
    active = frame[(frame["role"] == ADMIN) & frame["is_active"]]
    # The runbook's own log-ins say nothing of whether anybody uses that account.
    idle = active[~active["asks"] & (active["idle_days"] > days)]
    never = active[~active["asks"] & active["last_login"].isna() & (active["age_days"] > days)]
    if active["last_login"].notna().any():  # else nothing records it, which is told below
        findings += first_of([_never(row) for row in never.to_dict("records")], "administrators", 5)
    findings += first_of(
        [_idle(row, days) for row in idle.sort_values("idle_days").to_dict("records")], "administrators", 5
    )
    findings += _number(frame, active, admins)
    return findings


def _sides(reasons: Mapping[Any, Any]) -> list[Finding]:
    findings = []
    if reasons["open"] == 200:
        message = f"{PATH} is answered to one who did not log in: everybody reads it, or all is answered 200"
        findings.append(
            Finding(object="list of users", status=Status.CRITICAL, message=message, value=200, unit="HTTP status")
        )
    if reasons["service"]:
        message = f"the service's own list could not be read: {reasons['service']}"
        findings.append(Finding(object="service", status=Status.UNKNOWN, message=message))
    if reasons["database"]:
        message = f"the users in the database could not be read: {reasons['database']}"
        findings.append(Finding(object="database", status=Status.UNKNOWN, message=message))
    return findings


def _apart(row: Mapping[Any, Any]) -> Finding:
    enters = row["service"].endswith(", active") and not row["database"].endswith(", active")
    message = f"the service lists it as {row['service']}, the database holds it as {row['database']}"
    if enters:
        message += "; who is not in the database, or deactivated there, may still enter"
    return Finding(
        object=f"user {row['username']}", status=Status.CRITICAL if enters else Status.WARNING, message=message
    )


def _strange(row: Mapping[Any, Any]) -> Finding:
    message = f"has the role {row['role']!r:.60}, which the service does not know"
    return Finding(object=f"role of {row['username']}", status=Status.WARNING, message=message)


def _idle(row: Mapping[Any, Any], days: float) -> Finding:
    message = f"an administrator who may enter and has not logged in for {row['idle_days']:.0f} days"
    after = "ask whether it is still needed; where not, revoke it by the plan below"
    return Finding(
        object=f"log-ins of {row['username']}", status=Status.WARNING, message=message,
        value=round(float(row["idle_days"]), 1), threshold=days, unit="days", next=after,
    )  # fmt: skip


def _never(row: Mapping[Any, Any]) -> Finding:
    message = f"an administrator who may enter and has never logged in, made {row['created_at']:%Y-%m-%d}"
    after = "ask whether it is needed at all; where not, revoke it by the plan below"
    return Finding(
        object=f"log-ins of {row['username']}", status=Status.WARNING, message=message, value="never", next=after
    )


def _number(frame: pd.DataFrame, active: pd.DataFrame, admins: float) -> list[Finding]:
    told = f"{counted(len(frame), 'user')}, {counted(int(frame['is_active'].sum()), 'may enter', 'may enter')}"
    names = ", ".join(active["username"].head(10)) or "none"
    message = f"{told}; {counted(len(active), 'administrator')} of them: {names}"
    status = Status.OK
    if active.empty:
        status, message = Status.WARNING, f"{told}, and no administrator: nobody can manage users"
    elif len(active) > admins:
        status = Status.WARNING
    found = [
        Finding(
            object="administrators", status=status, message=message, value=len(active), threshold=admins, unit="users"
        )
    ]
    others = active[~active["asks"]]
    if len(others) and others["last_login"].isna().all():
        message = "when they logged in last is recorded nowhere: who is not needed any more cannot be told"
        found.append(Finding(object="last log-ins", status=Status.UNKNOWN, message=message))
    return found


accounts = Question(
    name="users.accounts",
    title="Who are the service's users, and do its list and the database agree?",
    probe=probe,
    check=check,
    source=f'curl -sS {{api}}{PATH} -H "Authorization: Bearer $ADMIN_TOKEN"\n{SQL}',
    needs=(ApiConnection, PostgresConnection),
    deadline=15.0,
    next="see who it is, and revoke whom nobody needs by the plan below",
    explained_by=EXPLAINED_BY,
)

"""Can a user log in, and do just what its role may?"""

from typing import Any

import pandas as pd

from runbook.connections import ApiConnection
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status
from runbook.users.administrator import administrator
from runbook.users.explanations import EXPLAINED_BY
from runbook.users.handed_over import at_hand, read
from runbook.users.held import hold
from runbook.users.listing import PATH, from_service, named, standing
from runbook.users.log_in import log_in
from runbook.users.roles import PERMISSIONS

GIVE = "give credentials: a reference (env:NAME, file:/PATH, keyring:SERVICE/NAME) to the user's password"


def probe(asking: Asking, name: str, role: str, credentials: str = "") -> pd.DataFrame:
    """Return one row: name, role (as wanted), listed (its standing in the service's list, or why that is not known),
    tried (whether its password was at hand), status and problem of the log-in, let_in, is_name, is_role (as /auth/me
    tells them), permissions (as /auth/permissions tells them), list_status (of the users' list, asked as it).
    """
    api = asking.connection(ApiConnection)
    reference = at_hand(asking.target.name, name, credentials)
    row: dict[str, Any] = {"name": name, "role": role, "listed": _listed(asking, name), "tried": bool(reference)}
    row |= {
        "status": 0,
        "let_in": False,
        "problem": "",
        "is_name": "",
        "is_role": "",
        "permissions": "",
        "list_status": 0,
    }
    if not reference:
        return pd.DataFrame([row])
    came = log_in(api, name, read(reference))
    row |= {"status": came.status, "let_in": bool(came.token), "problem": came.problem}
    if came.token:
        me = _mapping(api, "/auth/me", came.token)
        allowed = _mapping(api, "/auth/permissions", came.token).get("permissions")
        row |= {"is_name": str(me.get("username", "")), "is_role": str(me.get("role", ""))}
        row["permissions"] = ", ".join(sorted(map(str, allowed))) if isinstance(allowed, list) else ""
        listing = api.send("GET", PATH, token=came.token)
        row["list_status"] = listing.status
        hold(asking.target.name, name, came.token)
    return pd.DataFrame([row])


def _listed(asking: Asking, name: str) -> str:
    try:
        return standing(named(from_service(administrator(asking)), name))
    except CouldNotFindOut as reason:
        return f"not known ({reason})"


def _mapping(api: ApiConnection, path: str, token: str) -> dict[str, Any]:
    response = api.send("GET", path, token=token)
    try:
        return response.mapping() if response.status == 200 else {}
    except CouldNotFindOut:
        return {}


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge the log-in, then who the service takes the user for, and whether it may do just what its role may."""
    row = frame.iloc[0]
    name, listed = row["name"], row["listed"]
    if not row["tried"]:
        message = f"whether {name} can log in is not known (the service's list: {listed}): its password is not at hand"
        return [Finding(object="log-in", status=Status.UNKNOWN, message=message, next=GIVE)]
    if not row["let_in"]:
        refused = row["status"] in (401, 403)
        message = f"{name} cannot log in ({row['status']}), and the service's list says: {listed}"
        if refused and listed == "absent":
            message = (
                f"{name} cannot log in ({row['status']}), and the service's list does not show it: whatever it "
                "answered, it added nobody"
            )
        if not refused:
            message = f"whether {name} can log in is not known: {row['problem']}"
        return [Finding(object="log-in", status=Status.CRITICAL if refused else Status.UNKNOWN, message=message)]
    findings = [Finding(object="log-in", status=Status.OK, message=f"{name} can log in"), _who(row)]
    return [*findings, *_rights(row)]


def _who(row: "pd.Series[Any]") -> Finding:
    told, wanted = (row["is_name"], row["is_role"]), (row["name"], row["role"])
    if told == wanted:
        return Finding(object="identity", status=Status.OK, message=f"the service takes it for {told[0]}, {told[1]}")
    if not all(told):
        message = "/auth/me does not tell who it is: is this the service?"
        return Finding(object="identity", status=Status.UNKNOWN, message=message)
    message = f"the service takes {wanted[0]} ({wanted[1]}) for {told[0]} ({told[1]})"
    return Finding(object="identity", status=Status.CRITICAL, message=message)


def _rights(row: "pd.Series[Any]") -> list[Finding]:
    role, may = row["role"], set(filter(None, row["permissions"].split(", ")))
    wanted = set(PERMISSIONS.get(role, ()))
    if not may or not wanted:
        findings = [Finding(object="permissions", status=Status.UNKNOWN, message="what it may do is not told")]
    elif may == wanted:
        told = f"just those of the role {role}: {row['permissions']}"
        findings = [Finding(object="permissions", status=Status.OK, message=told)]
    else:
        parts = [("too many", may - wanted), ("missing", wanted - may)]
        told = "; ".join(f"{word}: {', '.join(sorted(those))[:200]}" for word, those in parts if those)
        findings = [
            Finding(object="permissions", status=Status.CRITICAL, message=f"not those of the role {role}: {told}")
        ]
    manages, status = "manage:users" in wanted, int(row["list_status"])
    if status == (200 if manages else 403):
        told = "may read the list of users" if manages else "is refused the list of users (403)"
        return [*findings, Finding(object="list of users", status=Status.OK, message=f"{row['name']} {told}")]
    told = f"{PATH} answers {status} to {row['name']}, whose role {role} should get {200 if manages else 403}"
    worst = Status.CRITICAL if status in (200, 401, 403) else Status.UNKNOWN
    return [*findings, Finding(object="list of users", status=worst, message=told, value=status, unit="HTTP status")]


can_log_in = Question(
    name="users.can_log_in",
    title="Can the user log in, and do just what its role may?",
    probe=probe,
    check=check,
    source=(
        "curl -sS {api}/auth/login -H 'content-type: application/json' -d @-   # the user's name and password\n"
        'for path in me permissions users; do curl -sS {api}/auth/$path -H "Authorization: Bearer $TOKEN"; done'
    ),
    needs=(ApiConnection,),
    deadline=20.0,
    next="see what the service's list and the table users say of this user",
    explained_by=EXPLAINED_BY,
)

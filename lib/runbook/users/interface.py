"""Can users be added, changed and revoked through the service?"""

import re
from contextlib import suppress

import pandas as pd

from runbook.connections import ApiConnection, Response
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status
from runbook.users.administrator import administrator
from runbook.users.explanations import EXPLAINED_BY

OPENAPI = "/openapi.json"
# What is asked where the service does not publish its description: no user has this id.
NOBODY = "/auth/users/0"
OFFERED, NOT_OFFERED, NOT_TOLD = "offered", "not offered", "not told"
_ONE_USER = re.compile(r"/auth/users/\{[^{}/]+\}")
_WANTED = (
    ("POST", "/auth/users", "add a user"),
    ("PATCH", "/auth/users/{id}", "revoke a user's access, or change its role"),
)


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each request that managing users takes: method, path, purpose, offered (as `offers` tells)."""
    told = offers(asking)
    rows = [(method, path, purpose, told[method]) for method, path, purpose in _WANTED]
    return pd.DataFrame(rows, columns=["method", "path", "purpose", "offered"])


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge what is missing: without PATCH nobody's access can be revoked through the service, which is CRITICAL."""
    findings = []
    for row in frame.to_dict("records"):
        request = f"{row['method']} {row['path']}"
        message, status, after = f"the service offers it, to {row['purpose']}", Status.OK, ""
        if row["offered"] == NOT_OFFERED:
            status = Status.CRITICAL
            message = f"the service has no such request: to {row['purpose']} through it is not possible"
            after = "revoke in the database by the plan of this notebook, and see there whether the service minds it"
        elif row["offered"] == NOT_TOLD:
            status = Status.UNKNOWN
            message = (
                f"whether the service has it, to {row['purpose']}, is not told: neither {OPENAPI} nor OPTIONS says so"
            )
            after = "only a plan's act will tell; its outcome is verified"
        findings.append(Finding(object=request, status=status, message=message, value=row["offered"], next=after))
    return findings


def offers(asking: Asking) -> dict[str, str]:
    """Return for POST and PATCH of users whether they are offered, not offered or not told; nothing is changed.

    A service that keeps its description from strangers may show it to its administrator.
    """
    api = asking.connection(ApiConnection)
    paths = _paths(api.get(OPENAPI))
    if paths is None:
        with suppress(CouldNotFindOut):
            paths = _paths(administrator(asking).ask("GET", OPENAPI))
    if isinstance(paths, dict) and "/auth/login" in paths:  # otherwise it describes something else
        one = next((path for path in paths if isinstance(path, str) and _ONE_USER.fullmatch(path)), "")
        return {"POST": _described(paths, "/auth/users", "post"), "PATCH": _described(paths, one, "patch")}
    return {"POST": _by_options(api, "/auth/users", "POST"), "PATCH": _by_options(api, NOBODY, "PATCH")}


def _paths(described: Response) -> object:
    try:
        return described.mapping().get("paths") if described.status == 200 else None
    except CouldNotFindOut:
        return None


def _described(paths: dict[str, object], path: str, method: str) -> str:
    found = paths.get(path)
    return OFFERED if isinstance(found, dict) and method in found else NOT_OFFERED


def _by_options(api: ApiConnection, path: str, method: str) -> str:
    """Return what OPTIONS tells; where nothing answers it with what it allows, that is nothing."""
    answer = api.send("OPTIONS", path)
    if answer.status == 404:
        return NOT_OFFERED
    if not answer.allows:
        return NOT_TOLD
    # A router names the methods of the first of its routes that fits: that another is missing is not told.
    return OFFERED if method in answer.allows else NOT_TOLD


interface = Question(
    name="users.interface",
    title="Can users be added, changed and revoked through the service?",
    probe=probe,
    check=check,
    source=(
        'curl -sS {api}/openapi.json | jq \'.paths | to_entries[] | select(.key | startswith("/auth/users")) | '
        "[.key, (.value | keys)]'"
    ),
    needs=(ApiConnection,),
    deadline=10.0,
    explained_by=EXPLAINED_BY,
    next="revoke by the plan in the database, and see there whether the service minds it",
)

"""Add a user: its password is made when the plan is carried out, and written to one file for its owner's eyes."""

import secrets
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook.connections import ApiConnection, PostgresConnection
from runbook.model import Act, Asking, Change, ChangeFailed, CouldNotFindOut, DoesNotApply, Draft, NotPlanned, Step
from runbook.users import handed_over
from runbook.users.administrator import administrator
from runbook.users.interface import NOT_OFFERED, offers
from runbook.users.listing import PATH, from_database, from_service, named, standing, taken
from runbook.users.names import require_id, require_mail, require_name
from runbook.users.requests import by_hand, change, path_of
from runbook.users.roles import PERMISSIONS

GENERATED = "<generated when carried out>"
BYTES = 24
_NOT_TOLD = "not told"


def observe(asking: Asking, name: str, email: str, role: str) -> dict[str, Any]:
    """Return where the service is, listed and held (the user's standing in its list and in the database), taken (what
    another user has already), can_enter, file (where its password would be handed over), holds_file, offered.

    Raises `NotPlanned` for a name, an address or a role that no user is given, before anything is asked.
    """
    if not name:
        raise DoesNotApply("nobody is named who is to be added")
    require_name(name)
    require_mail(email)
    if role not in PERMISSIONS:
        raise NotPlanned(f"there is no role {role[:40]!r}; there are: {', '.join(PERMISSIONS)}")
    api = asking.connection(ApiConnection)
    users = from_service(administrator(asking))
    listed, found, held = named(users, name), taken(users, name, email), _NOT_TOLD
    try:
        kept = from_database(asking)
        held = standing(named(kept, name))
        found += [f"{one}, in the database" for one in taken(kept, name, email) if one not in found]
    except CouldNotFindOut:
        pass  # the list that the service itself tells is asked in any case
    path = handed_over.place_of(asking.target.name, name)
    return {
        "where": api.place,
        "listed": standing(listed),
        "held": held,
        "taken": found,
        "can_enter": listed is not None and listed.is_active,
        "file": str(path),
        "holds_file": path.exists(),
        "offered": offers(asking)["POST"],
    }


def draft(facts: Mapping[str, Any], name: str, email: str, role: str) -> Draft:
    """Write out the request that adds a user, without its password, which is made in the act and goes to a file."""
    if facts["taken"]:
        raise NotPlanned(f"taken already: {'; '.join(facts['taken'][:5])}; nothing was asked of the service")
    if facts["offered"] == NOT_OFFERED:
        raise NotPlanned(f"the service has no POST {PATH}: nobody can be added through it")
    # Nobody of this name is there, so it opens nothing: it was left by a try that failed, or by a user of long ago.
    left = (f"what {facts['file']} holds from an earlier try opens nothing, and is overwritten",)
    body = {"username": name, "email": email, "password": GENERATED, "role": role}
    by_request = by_hand(facts["where"], "POST", PATH, body)
    return Draft(
        summary=f"add user {name} ({role})",
        steps=(
            Step(
                act="add",
                shown=f"write a new password to {facts['file']} (0600), then {by_request}",
                arguments={"username": name, "email": email, "role": role},
            ),
        ),
        blast_radius=(
            f"{name} can log in from then on, with what the role {role} may: {', '.join(PERMISSIONS[role])}",
            f"its first password lies in {facts['file']}, for you alone: hand it over by a way that nobody else reads, "
            "have it changed, and delete the file",
            *(left if facts["holds_file"] else ()),
        ),
        expected={"listed": f"{role}, active"},
        inverse=(
            Step(
                act="take_back",
                shown=by_hand(facts["where"], "PATCH", path_of("<id in the list>"), {"is_active": False}),
                arguments={"username": name},
            ),
        ),
    )


def _add(asking: Asking, arguments: Mapping[str, Any]) -> str:
    name = arguments["username"]
    try:
        admin = administrator(asking)
    except CouldNotFindOut as reason:
        raise ChangeFailed(f"nothing was sent: {reason}") from reason
    first = secrets.token_urlsafe(BYTES)
    try:
        path = handed_over.write(asking.target.name, name, first)
    except OSError as error:
        raise ChangeFailed(f"nothing was sent: its password could not be written ({error.strerror})") from error
    body = {"username": name, "email": arguments["email"], "password": first, "role": arguments["role"]}
    try:
        told = change(admin, "POST", PATH, body, hidden=first)
    except ChangeFailed:
        Path(path).unlink(missing_ok=True)  # it opens nothing
        raise
    if told.get("username") != name:
        raise ChangeFailed(f"{PATH} answered as if all were well, but tells of no {name}: is this the service?")
    return (
        f"the service says that it added {name}; its password is in {path}: where it can log in (see below), hand it "
        "over, then delete the file; where it cannot, only delete it"
    )


def _added(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return named(from_service(administrator(asking)), arguments["username"]) is not None


def _take_back(asking: Asking, arguments: Mapping[str, Any]) -> str:
    admin = administrator(asking)
    user = named(from_service(admin), arguments["username"])
    if user is None:
        return f"the service lists no {arguments['username']}: there is nothing to take back"
    try:
        require_id(user.id)
    except NotPlanned as refusal:
        raise ChangeFailed(str(refusal)) from refusal
    change(admin, "PATCH", path_of(user.id), {"is_active": False})
    return f"the service says that {user.username} is deactivated"


add = Change(
    name="users.add",
    title="Add a user",
    observe=observe,
    draft=draft,
    acts={"add": Act(_add, _added), "take_back": Act(_take_back)},
    needs=(ApiConnection, PostgresConnection),
    watched=("where", "listed", "held", "taken", "can_enter", "holds_file"),
    restored=("can_enter",),
    patience=1.0,
    deadline=20.0,
)

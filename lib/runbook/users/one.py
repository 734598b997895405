"""One user, as a change of it looks at it."""

from collections.abc import Mapping
from typing import Any

from runbook.connections import ApiConnection
from runbook.model import Act, Asking, ChangeFailed, CouldNotFindOut, NotPlanned, Step
from runbook.users.administrator import administrator
from runbook.users.handed_over import at_hand
from runbook.users.interface import NOT_OFFERED, offers
from runbook.users.listing import from_service, named, other_admins, standing
from runbook.users.names import require_id, shortened
from runbook.users.requests import by_hand, change, path_of
from runbook.users.roles import ADMIN

IN_DATABASE = "it is left to the plan in the database, below"


def observed(asking: Asking, name: str, credentials: str) -> dict[str, Any]:
    """Return where the service is, and of the user: id ("" where it is not listed), username, role, is_active, listed
    (its standing); others (whether another administrator may enter), is_own (whether the runbook logs in as it),
    offered (PATCH), reference (by which its password is at hand, or "").
    """
    api = asking.connection(ApiConnection)
    reference = at_hand(asking.target.name, name, credentials)
    admin = administrator(asking)
    users = from_service(admin)
    user = named(users, name)
    return {
        "where": api.place,
        "id": user.id if user is not None else "",
        "username": name,
        "role": user.role if user is not None else "",
        "is_active": user is not None and user.is_active,
        "listed": standing(user),
        "others": other_admins(users, name) > 0,
        "is_own": admin.name() == name,
        "offered": offers(asking)["PATCH"],
        "reference": reference,
    }


def require_changeable(facts: Mapping[str, Any], what: str) -> None:
    """Raise where a user must not, or cannot, be changed through the service; ``what`` says what would be done."""
    name = shortened(facts["username"])
    if not facts["id"]:
        raise NotPlanned(f"the service lists no user {name}: nobody was changed; mind how it is spelt")
    if facts["is_own"]:
        raise NotPlanned(f"{name} is the administrator that the runbook itself asks as: {what} it as another one")
    if facts["role"] == ADMIN and facts["is_active"] and not facts["others"]:
        raise NotPlanned(f"{name} is the last administrator who may enter: nobody could manage users afterwards")
    if facts["offered"] == NOT_OFFERED:
        raise NotPlanned(f"the service has no PATCH of users, so it cannot {what} {name}: {IN_DATABASE}")
    require_id(facts["id"])


def patching(facts: Mapping[str, Any], body: dict[str, Any]) -> Step:
    """Return the step that changes a user by PATCH."""
    path = path_of(facts["id"])
    arguments = {"id": facts["id"], "username": facts["username"], "body": body}
    return Step(act="patch", shown=by_hand(facts["where"], "PATCH", path, body), arguments=arguments)


def _patch(asking: Asking, arguments: Mapping[str, Any]) -> str:
    try:
        admin = administrator(asking)
        user = named(from_service(admin), arguments["username"])
    except CouldNotFindOut as reason:
        raise ChangeFailed(f"nothing was sent: {reason}") from reason
    if user is None or user.id != arguments["id"]:
        raise ChangeFailed("nothing was sent: the user of that id and name is not listed any more")
    told = change(admin, "PATCH", path_of(user.id), arguments["body"])
    apart = [key for key, value in arguments["body"].items() if told.get(key) != value]
    if apart or told.get("username") != user.username:
        raise ChangeFailed(
            f"the service answered as if all were well, but not with {', '.join(apart) or 'that user'} as asked"
        )
    return f"the service says that {user.username} has {', '.join(f'{k} {v}' for k, v in arguments['body'].items())}"


def _patched(asking: Asking, arguments: Mapping[str, Any], *_: Any) -> bool | None:
    user = named(from_service(administrator(asking)), arguments["username"])
    return user is not None and all(getattr(user, key) == value for key, value in arguments["body"].items())


patch = Act(_patch, _patched)

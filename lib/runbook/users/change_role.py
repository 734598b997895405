"""Give a user another role through the service."""

from collections.abc import Mapping
from typing import Any

from runbook.connections import ApiConnection
from runbook.model import Asking, Change, DoesNotApply, Draft, NotPlanned
from runbook.users.one import observed, patch, patching, require_changeable
from runbook.users.roles import PERMISSIONS


def observe(asking: Asking, name: str, role: str, credentials: str = "") -> dict[str, Any]:
    """Return the facts about the user; see `runbook.users.one.observed`."""
    if not name or not role:
        raise DoesNotApply("nobody is named who is to have another role, or no role is")
    if role not in PERMISSIONS:
        raise NotPlanned(f"there is no role {role[:40]!r}; there are: {', '.join(PERMISSIONS)}")
    return observed(asking, name, credentials)


def draft(facts: Mapping[str, Any], name: str, role: str, credentials: str = "") -> Draft:
    """Write out the request that gives the user the role."""
    require_changeable(facts, "give another role to")
    if facts["role"] == role:
        raise DoesNotApply(f"it has the role {role} already")
    more = sorted(set(PERMISSIONS[role]) - set(PERMISSIONS.get(facts["role"], ())))
    less = sorted(set(PERMISSIONS.get(facts["role"], ())) - set(PERMISSIONS[role]))
    told = [f"it may from then on: {', '.join(more)}"] if more else []
    told += [f"it may no more: {', '.join(less)}"] if less else []
    return Draft(
        summary=f"change the role of {name} from {facts['role']} to {role}",
        steps=(patching(facts, {"role": role}),),
        blast_radius=tuple(told) or ("what it may stays the same",),
        expected={"role": role, "id": facts["id"]},
        inverse=(patching(facts, {"role": facts["role"]}),),
    )


change_role = Change(
    name="users.change_role",
    title="Give a user another role",
    observe=observe,
    draft=draft,
    acts={"patch": patch},
    needs=(ApiConnection,),
    watched=("where", "id", "username", "role", "is_active", "others", "is_own"),
    restored=("role",),
    patience=1.0,
    deadline=20.0,
)

"""Revoke a user's access through the service."""

from collections.abc import Mapping
from typing import Any

from runbook.connections import ApiConnection
from runbook.model import Asking, Change, DoesNotApply, Draft
from runbook.users.held import ACT, hold_token, steps_for
from runbook.users.one import observed, patch, patching, require_changeable


def observe(asking: Asking, name: str, credentials: str = "") -> dict[str, Any]:
    """Return the facts about the user; see `runbook.users.one.observed`."""
    if not name:
        raise DoesNotApply("nobody is named whose access is to be revoked")
    return observed(asking, name, credentials)


def draft(facts: Mapping[str, Any], name: str, credentials: str = "") -> Draft:
    """Write out the request that deactivates the user, after a log-in that leaves a token to be refused afterwards."""
    require_changeable(facts, "revoke")
    if not facts["is_active"]:
        raise DoesNotApply("the service lists it as deactivated already")
    radius = ["whatever it is doing ends with its next request; what it did stays"]
    if not facts["reference"]:
        radius.append("whether its log-in and its token are refused will not be known: its password is not at hand")
    return Draft(
        summary=f"revoke the access of {name} ({facts['role']})",
        steps=(*steps_for(name, facts["reference"]), patching(facts, {"is_active": False})),
        blast_radius=tuple(radius),
        expected={"is_active": False, "id": facts["id"]},
        inverse=(patching(facts, {"is_active": True}),),
    )


revoke = Change(
    name="users.revoke",
    title="Revoke a user's access",
    observe=observe,
    draft=draft,
    acts={ACT: hold_token, "patch": patch},
    needs=(ApiConnection,),
    watched=("where", "id", "username", "role", "is_active", "others", "is_own"),
    restored=("is_active",),
    patience=1.0,
    deadline=20.0,
)

"""Deactivate a user in the database, where the service has no request that does it."""

from collections.abc import Mapping
from typing import Any

from runbook.connections import ApiConnection, OperatorDatabase, PostgresConnection
from runbook.connections.statements import packaged, written
from runbook.model import Asking, Change, DoesNotApply, Draft, NotPlanned, Step
from runbook.users.handed_over import at_hand
from runbook.users.held import ACT, hold_token, steps_for
from runbook.users.interface import OFFERED, offers
from runbook.users.listing import from_database, named, other_admins
from runbook.users.names import shortened
from runbook.users.roles import ADMIN


def observe(asking: Asking, name: str, credentials: str = "") -> dict[str, Any]:
    """Return of the user in the database: id ("" where there is none), username, role, is_active; others (whether
    another administrator may enter), is_own, offered (PATCH, by the service), reference (to its password, or "").
    """
    if not name:
        raise DoesNotApply("nobody is named whose access is to be revoked")
    reference = at_hand(asking.target.name, name, credentials)
    offered = offers(asking)["PATCH"]
    users = from_database(asking)
    user = named(users, name)
    return {
        "id": user.id if user is not None else "",
        "username": name,
        "role": user.role if user is not None else "",
        "is_active": user is not None and user.is_active,
        "others": other_admins(users, name) > 0,
        "is_own": asking.target.api is not None and asking.target.api.admin_username == name,
        "offered": offered,
        "reference": reference,
    }


def draft(facts: Mapping[str, Any], name: str, credentials: str = "") -> Draft:
    """Write out the statement, after a log-in that leaves a token to be refused afterwards."""
    who = shortened(name)
    if facts["offered"] == OFFERED:
        raise DoesNotApply("the service revokes it by itself: by the plan above")
    if not facts["id"]:
        raise NotPlanned(f"the database holds no user {who}: nobody was changed; mind how it is spelt")
    if not facts["is_active"]:
        raise DoesNotApply(f"the database holds {who} as deactivated already")
    if facts["is_own"]:
        raise NotPlanned(f"{who} is the administrator that the runbook itself asks as: name another one in [api] first")
    if facts["role"] == ADMIN and not facts["others"]:
        raise NotPlanned(f"{who} is the last administrator who may enter: nobody could manage users afterwards")
    arguments = {"id": facts["id"], "username": name}
    return Draft(
        summary=f"deactivate {name} ({facts['role']}) in the database",
        steps=(*steps_for(name, facts["reference"]), _step("deactivate", arguments)),
        blast_radius=(
            "a service that asks the table for its users lets it in no more; the service as built does not ask it, and "
            "then this changes nothing: what is verified is whether it is refused",
        ),
        expected={"is_active": False, "id": facts["id"]},
        inverse=(_step("reactivate", arguments),),
    )


def _step(name: str, arguments: dict[str, Any]) -> Step:
    return Step(act=name, shown=written(__package__, name, arguments), arguments=arguments)


deactivate = Change(
    name="users.deactivate",
    title="Deactivate a user in the database",
    observe=observe,
    draft=draft,
    acts={
        ACT: hold_token,
        "deactivate": packaged(
            __package__,
            "deactivate",
            none="nothing was changed: it is deactivated, gone, or the last administrator by now",
        ),
        "reactivate": packaged(__package__, "reactivate", none="nothing was changed: it is active, or gone"),
    },
    needs=(ApiConnection, PostgresConnection),
    acts_on=(OperatorDatabase,),
    watched=("id", "username", "role", "is_active", "others"),
    restored=("is_active",),
    patience=1.0,
    deadline=20.0,
)

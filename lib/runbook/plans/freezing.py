"""Turn a draft into a plan: frozen, with the target as it was found and the time until which it holds."""

import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from runbook.model.change import Change, Draft
from runbook.model.plan import Plan, PostCheck
from runbook.plans.place import keep, new_plan_id, stamp, whoami
from runbook.plans.silence import silencing
from runbook.target import Target

# Long enough to read it and ask a colleague, short enough that the world is still the one that was looked at.
MINUTES = 30.0


def freeze(
    change: Change,
    draft: Draft,
    observed: Mapping[str, Any],
    *,
    notebook: str,
    target: Target,
    identity: dict[str, dict[str, str]],
    arguments: Mapping[str, Any],
    checks: Sequence[PostCheck],
    incident: str = "",
) -> Plan:
    """Store a draft as a plan and return it; raises `RunFailed` where it cannot be stored.

    Where the target has an Alertmanager, its alerts are silenced as the first step of a change of it.
    """
    now = datetime.now(UTC)
    plan = Plan(
        id=new_plan_id(),
        change=change.name,
        summary=draft.summary,
        notebook=notebook,
        target=target.name,
        identity=identity,
        user=whoami(),
        host=socket.gethostname(),
        made=stamp(now),
        expires=stamp(now + timedelta(minutes=MINUTES)),
        arguments=dict(arguments),
        observed={name: observed.get(name) for name in change.watched},
        expected=dict(draft.expected),
        steps=[*(silencing(target, draft.summary) if change.of_target else []), *draft.steps],
        blast_radius=list(draft.blast_radius),
        inverse=list(draft.inverse),
        irreversible=draft.irreversible,
        restored={name: observed.get(name) for name in change.restored},
        checks=list(checks),
        patience=change.patience,
        partial=change.partial,
        of_target=change.of_target,
        incident=incident,
    )
    keep(plan)
    return plan


def freeze_inverse(plan: Plan, change: Change, observed: Mapping[str, Any]) -> Plan:
    """Store the plan that undoes another one, from what is observed after it, and return it.

    Its reach and what verifies it are the facts that it brings back: what the other one was to reach, and the questions
    that were to tell whether it helped, are those of the opposite.
    """
    now = datetime.now(UTC)
    inverse = msgspec.structs.replace(
        plan,
        id=new_plan_id(),
        summary=f"undo {plan.id}: {plan.summary}",
        user=whoami(),
        host=socket.gethostname(),
        made=stamp(now),
        expires=stamp(now + timedelta(minutes=MINUTES)),
        observed={name: observed.get(name) for name in change.watched},
        expected=plan.restored,
        steps=plan.inverse,
        blast_radius=[f"brings back what was before {plan.id}: {in_words(plan.restored)}"] if plan.restored else [],
        checks=[],
        inverse=[],
        irreversible="to do it again, plan it anew",
        restored={},
        undoes=plan.id,
    )
    keep(inverse)
    return inverse


def in_words(facts: Mapping[str, Any]) -> str:
    """Return facts as a sentence names them: role admin, is_active True."""
    return ", ".join(f"{name} {'none' if value in (None, '') else value}" for name, value in facts.items())

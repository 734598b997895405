"""Whether a token confirms a plan here and now: asked before anything starts, and again under the lock."""

from runbook.model import UsageError
from runbook.model.plan import Plan, PlanState
from runbook.plans.place import journal, whoami
from runbook.plans.progress import is_expired, is_going_on, is_half_done, state_of, to_end
from runbook.plans.token import plan_of
from runbook.target import Target


class Refused(UsageError):
    """A token that confirms nothing here; the text says why, and that nothing was changed."""


def admitted(token: str, notebook: str, target: Target) -> Plan:
    """Return the plan that a token confirms; raises `Refused` for one of another plan, target, notebook or user, one
    that was used, and one whose time has passed.

    A token is used up when its plan has come to an end; one that was cut short may be gone on with.
    """
    if target.read_only:
        raise Refused(read_only(target))
    plan = plan_of(token)
    if plan is None:
        raise Refused(
            "this token is of no plan of yours on this machine; nothing was changed. `runbook plans list` shows them"
        )
    here = f"{notebook} on {target.name}"
    if plan.target != target.name or plan.notebook != notebook:
        there = f"{plan.notebook} on {plan.target}"
        raise Refused(f"this token is of plan {plan.id}, of {there}, not of {here}; nothing was changed")
    if plan.user != whoami():
        raise Refused(f"plan {plan.id} is {plan.user}'s, and you are {whoami()}; nothing was changed")
    entries = journal(plan)
    state = state_of(plan, entries)
    if state is PlanState.PLANNED or is_half_done(plan, entries):
        if is_expired(plan) and state is not PlanState.PLANNED:
            raise Refused(
                f"plan {plan.id} was cut short, and it expired at {plan.expires}; nothing more was "
                f"changed; {to_end(plan, entries)}"
            )
        if is_expired(plan):
            raise Refused(
                f"plan {plan.id} expired at {plan.expires}; nothing was changed. Run {notebook} again for a new one"
            )
        return plan
    if is_going_on(plan):
        raise Refused(f"plan {plan.id} is being carried out at this moment; nothing more was changed")
    at = entries[-1].at
    raise Refused(
        f"this token was used: plan {plan.id} ended as {state} at {at}; nothing was changed. "
        f"Run {notebook} again for a new plan"
    )


def read_only(target: Target) -> str:
    """Return why a target takes no change at all."""
    return f"the profile of {target.name} says read_only: it takes no change; nothing was changed"

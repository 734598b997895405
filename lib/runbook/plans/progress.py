"""How far a plan came, as its journal tells."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from runbook.model.plan import Entry, Plan, PlanState, Step
from runbook.model.protocol import PlanRecord
from runbook.plans.lock import holder, name_of
from runbook.plans.place import journal

CANNOT_BE_TOLD = "it cannot be told from here"
# Longer than this a step is named by what it does.
BRIEF = 200

StepState = Literal["not begun", "done", "failed", "unknown"]


def step_states(plan: Plan, entries: Sequence[Entry]) -> list[StepState]:
    """Return what is known of each step: an intent without an outcome is unknown."""
    states: list[StepState] = ["not begun"] * len(plan.steps)
    for entry in entries:
        if entry.event == "intent":
            states[entry.step - 1] = "unknown"
        elif entry.event == "outcome":
            states[entry.step - 1] = entry.result or "unknown"
    return states


def state_of(plan: Plan, entries: Sequence[Entry]) -> PlanState:
    """Return what became of a plan. One that is being carried out at this moment is CONFIRMED."""
    last = [entry for entry in entries if entry.event in ("ended", "rolled-back")]
    if last:
        return PlanState.ROLLED_BACK if last[-1].event == "rolled-back" else PlanState(last[-1].state)
    if not any(entry.event == "confirmed" for entry in entries):
        return PlanState.PLANNED
    states = step_states(plan, entries)
    if "unknown" in states and not is_going_on(plan):
        return PlanState.UNKNOWN
    return PlanState.APPLIED if set(states) == {"done"} else PlanState.CONFIRMED


def record_of(plan: Plan, entries: Sequence[Entry], **more: Any) -> PlanRecord:
    """Return a plan and what became of it, as runs and the command line tell it; ``more`` are fields of the record."""
    known = {"state": state_of(plan, entries), **more}
    steps = [step.shown for step in plan.steps]
    return PlanRecord(id=plan.id, summary=plan.summary, steps=steps, plan=plan, journal=list(entries), **known)


def is_going_on(plan: Plan) -> bool:
    """Tell whether a plan is being carried out at this moment on this machine, by another process."""
    held, live = holder(name_of(plan))
    return live and held is not None and held.plan == plan.id and held.pid != os.getpid()


def is_expired(plan: Plan) -> bool:
    """Tell whether a plan's time has passed."""
    return datetime.fromisoformat(plan.expires) < datetime.now(UTC)


def is_half_done(plan: Plan, entries: Sequence[Entry]) -> bool:
    """Tell whether a plan was begun and its runner died: it has no end, and nobody works on it."""
    begun = any(entry.event == "confirmed" for entry in entries)
    ended = any(entry.event in ("ended", "rolled-back", "closed") for entry in entries)
    return begun and not ended and not is_going_on(plan)


def how_far(plan: Plan, entries: Sequence[Entry]) -> str:
    """Return which steps happened, in words."""
    told = []
    for number, (step, state) in enumerate(zip(plan.steps, step_states(plan, entries), strict=True), start=1):
        words = "whether it happened is not known" if state == "unknown" else state
        told.append(f"step {number} ({in_brief(step)}): {words}")
    return "; ".join(told)


def in_brief(step: Step) -> str:
    """Return a step as it is named in a sentence; the plan holds the whole of it."""
    return step.shown if len(step.shown) <= BRIEF else step.act


def can_go_on(plan: Plan, entries: Sequence[Entry]) -> bool:
    """Tell whether the token of a plan that was cut short goes on with it.

    It does not once its time has passed, nor where only a person can find out what happened: of a message always.
    """
    untold = bool(entries) and entries[-1].event == "refused" and CANNOT_BE_TOLD in entries[-1].told
    return plan.of_target and not untold and not is_expired(plan)


def to_end(plan: Plan, entries: Sequence[Entry]) -> str:
    """Return what is to be done about a plan that was cut short."""
    close = f"`runbook plans close {plan.id} WHAT-YOU-FOUND`"
    if can_go_on(plan, entries):
        return f"its token goes on with it (`runbook plans show {plan.id}`), or look, and close it: {close}"
    looked = "look whether it happened" if plan.of_target else "look there whether it arrived"
    return f"{looked}, then close it: {close}; only then plan anew what is still to be done"


def half_done(plans: Sequence[Plan]) -> list[tuple[Plan, list[Entry]]]:
    """Return the plans that were begun and have no end, each with its journal."""
    found = [(plan, journal(plan)) for plan in plans]
    return [(plan, entries) for plan, entries in found if is_half_done(plan, entries)]

"""Which messages about an incident were posted: as the sealed runs tell it, and this user's own plans."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from runbook.evidence.records import Kept
from runbook.model.plan import Entry, Plan
from runbook.plans.place import all_plans, journal

CHANGE = "communication.post"
ACT = "post"


@dataclass(frozen=True)
class Sent:
    """A message that the other side took: its kind, when, where to, by which plan."""

    kind: str
    at: datetime
    host: str
    plan: str


def sent(incident: str, runs: Iterable[Kept] = ()) -> list[Sent]:
    """Return the messages about an incident that were posted, the oldest first.

    Only those are among them of which the other side said that it has them. ``runs`` are those of the incident: by them
    what others have posted is known.
    """
    if not incident:
        return []
    told = [(plan, journal(plan)) for plan in all_plans() if plan.change == CHANGE]
    told += [(record.plan, record.journal) for run in runs if run.record is not None for record in run.record.plans]
    found = {message for plan, entries in told for message in _sent(plan, entries, incident)}
    return sorted(found, key=lambda message: message.at)


def _sent(plan: Plan, entries: Iterable[Entry], incident: str) -> list[Sent]:
    if plan.change != CHANGE or plan.arguments.get("message", {}).get("facts", {}).get("incident") != incident:
        return []
    done = [entry for entry in entries if entry.event == "outcome" and entry.result == "done"]
    return [
        Sent(str(step.arguments["kind"]), datetime.fromisoformat(entry.at), str(step.arguments["host"]), plan.id)
        for entry, step in ((entry, plan.steps[entry.step - 1]) for entry in done)
        if step.act == ACT
    ]

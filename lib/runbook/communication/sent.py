"""Which messages about an incident were posted: as the sealed runs tell it, and this user's own plans."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from runbook.model.plan import Entry, Plan
from runbook.model.protocol import RunRecord
from runbook.plans.place import all_plans, journal

CHANGE = "communication.post"
ACT = "post"


@dataclass(frozen=True)
class Sent:
    """A message that the other side took: its kind, when, where to, by which plan, and the facts that it told."""

    kind: str
    at: datetime
    host: str
    plan: str
    facts: Mapping[str, str] = field(default_factory=dict)


def sent(incident: str, runs: Iterable[RunRecord] = ()) -> list[Sent]:
    """Return the messages about an incident that were posted, the oldest first.

    Only those are among them of which the other side said that it has them. ``runs`` are those of the incident: by
    them what others have posted is known.
    """
    if not incident:
        return []
    told = [(plan, journal(plan)) for plan in all_plans() if plan.change == CHANGE]
    told += [(record.plan, record.journal) for run in runs for record in run.plans]
    # A plan of this user stands in the archive as well.
    found = {
        (message.plan, message.at): message for plan, entries in told for message in _sent(plan, entries, incident)
    }
    return sorted(found.values(), key=lambda message: message.at)


def _sent(plan: Plan, entries: Iterable[Entry], incident: str) -> list[Sent]:
    facts = plan.arguments.get("message", {}).get("facts", {}) if plan.change == CHANGE else {}
    if facts.get("incident") != incident:
        return []
    done = [entry for entry in entries if entry.event == "outcome" and entry.result == "done"]
    return [
        Sent(str(step.arguments["kind"]), datetime.fromisoformat(entry.at), str(step.arguments["host"]), plan.id, facts)
        for entry, step in ((entry, plan.steps[entry.step - 1]) for entry in done)
        if step.act == ACT
    ]

"""Which messages about an incident were posted, as the journals of the plans tell it."""

from dataclasses import dataclass
from datetime import datetime

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


def sent(incident: str) -> list[Sent]:
    """Return the messages about an incident that this user's plans have posted, the oldest first.

    Only those are among them of which the other side said that it has them.
    """
    found = []
    for plan in all_plans():
        if not incident or plan.change != CHANGE or plan.arguments.get("incident") != incident:
            continue
        for entry in journal(plan):
            if entry.event == "outcome" and entry.result == "done" and plan.steps[entry.step - 1].act == ACT:
                where = plan.steps[entry.step - 1].arguments
                found.append(Sent(str(where["kind"]), datetime.fromisoformat(entry.at), str(where["host"]), plan.id))
    return sorted(found, key=lambda message: message.at)

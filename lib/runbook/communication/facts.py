"""What is known about an incident, and from where: what was said, the incident itself, its runs, the profile."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from runbook.communication.moments import read, shown
from runbook.communication.sent import sent
from runbook.communication.severities import every
from runbook.model import Asking, Finding, Findings, UsageError

UPDATES = "communication.updates"
# What an operator may say of an incident; the rest is found out.
SAID = (
    "severity", "component", "issue", "started", "impact", "doing", "owner", "ended", "resolution", "root_cause",
    "updated",
)  # fmt: skip
_FOUND_KEPT = 3


@dataclass(frozen=True)
class Fact:
    """One thing that is known, and who says so."""

    name: str
    value: str
    source: str


def gather(asking: Asking, incident: str, said: Mapping[str, str]) -> pd.DataFrame:
    """Return a row for each fact that is known: fact, value, source (who says so); what is not known has none.

    No row at all says that there is no incident: none is named, and nothing is said of one. Moments are UTC. Raises
    `UsageError` for a fact that nobody may say, and `CouldNotFindOut` for a moment that is none.
    """
    unknown = sorted(set(said) - set(SAID))
    if unknown:
        raise UsageError(f"nobody says {', '.join(unknown)} of an incident; what is said: {', '.join(SAID)}")
    given = {name: str(value).strip() for name, value in said.items() if str(value).strip()}
    facts: dict[str, Fact] = {}
    if incident or given:
        for fact in _all(asking, incident, given, datetime.now(UTC)):
            facts.setdefault(fact.name, fact)  # who is asked first is believed
    rows = [(fact.name, fact.value, fact.source) for fact in facts.values()]
    return pd.DataFrame(rows, columns=["fact", "value", "source"]).astype(str)


def _all(asking: Asking, incident: str, given: Mapping[str, str], now: datetime) -> Iterator[Fact]:
    target = asking.target
    if incident:
        yield Fact("incident", incident, "the run's parameter")
    for name, value in given.items():
        moment = read(value, name) if name in ("started", "ended", "updated") else None
        told = shown(moment) if moment else value.upper() if name == "severity" else value
        yield Fact(name, told, "the operator")
    yield Fact("component", target.communication.component, "the profile")
    messages = sent(incident)
    if messages:
        yield Fact("told", str(len(messages)), "the plans that posted them")
    minutes = every(given.get("severity", "").upper(), target.thresholds.get(UPDATES, {}))
    if minutes:
        yield Fact("every", f"{minutes:g}", "the runbook")
        yield Fact("next_update", shown(now + timedelta(minutes=minutes)), "one interval from now")
    for number, contact in enumerate(target.contacts, start=1):
        when = f" ({contact.when})" if contact.when else ""
        yield Fact(f"contact_{number}", f"{contact.name}, by {contact.how}{when}", "the profile")
    if target.communication.status_page:
        yield Fact("status_page", target.communication.status_page, "the profile")
    yield Fact("asked", shown(now), "this machine's clock")


def worst(findings: list[Finding]) -> list[Finding]:
    """Return the few that are worst of what is not well, what explains others first."""
    return [finding for finding in Findings(findings).worst_first() if finding.bad and not finding.explained_by][
        :_FOUND_KEPT
    ]


def as_known(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the facts of a frame by name."""
    return dict(zip(frame["fact"], frame["value"], strict=True))

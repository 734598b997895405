"""What operators have said for former messages about an incident, whether or not those were delivered."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbook.communication.moments import read, shown
from runbook.communication.sent import CHANGE
from runbook.evidence.incidents import Incident
from runbook.evidence.standing import Stood
from runbook.model import CouldNotFindOut, UsageError
from runbook.model.plan import Plan
from runbook.plans.place import all_plans

# What an operator may say of an incident; the rest is found out.
SAID = (
    "severity", "component", "issue", "started", "impact", "doing", "owner", "ended", "resolution", "root_cause",
    "updated",
)  # fmt: skip
MOMENTS = ("started", "ended", "updated")
# Who says what is given to a run.
OPERATOR = "the operator"
NOTEBOOK = "incident-communication"
# Said of a fact, it takes back what was said of it before.
TAKEN_BACK = "-"


@dataclass(frozen=True)
class Said:
    """One thing that was said: when, and for which run or plan."""

    value: str
    at: datetime
    source: str


def said_of(said: Mapping[str, str]) -> dict[str, str]:
    """Return what the operator says, without what is empty.

    What is taken back is "-". Raises `UsageError` for a fact that nobody may say, and `CouldNotFindOut` for a moment
    that is none.
    """
    unknown = sorted(set(said) - set(SAID))
    if unknown:
        raise UsageError(f"nobody says {', '.join(unknown)} of an incident; what is said: {', '.join(SAID)}")
    given = {name: str(value).strip() for name, value in said.items() if str(value).strip()}
    for name in MOMENTS:
        said_so = given.get(name, "")
        moment = read(said_so, name) if said_so != TAKEN_BACK else None
        if moment is not None:
            given[name] = shown(moment)
    return {name: value.upper() if name == "severity" else value for name, value in given.items()}


def said_before(incident: Incident, runs: Iterable[Stood]) -> dict[str, Said]:
    """Return what was said last of each fact: to the sealed runs of the notebook, and for messages that were planned.

    What was taken back since is not among it.
    """
    found: dict[str, Said] = {}
    for at, told, source in sorted(_occasions(incident.id, list(runs)), key=lambda occasion: occasion[0]):
        found |= {name: Said(value, at, source) for name, value in told.items()}
    return {name: one for name, one in found.items() if one.value != TAKEN_BACK}


def _occasions(incident: str, runs: list[Stood]) -> Iterator[tuple[datetime, Mapping[str, str], str]]:
    plans = {plan.id: plan for plan in all_plans()}
    for run in runs:
        plans |= {record.id: record.plan for record in run.record.plans} if run.record is not None else {}
        if run.facts is not None and run.record is not None and run.record.notebook == NOTEBOOK and run.facts.started:
            at = datetime.fromisoformat(run.facts.started)
            yield at, _checked(run.facts.parameters), f"said in {run.place.run_id}"
    for plan in plans.values():
        if _incident_of(plan) == incident:
            yield datetime.fromisoformat(plan.made), _checked(plan.arguments["message"].get("said", {})), _for(plan)


def _for(plan: Plan) -> str:
    return f"said for the message of {plan.id}"


def _incident_of(plan: Plan) -> str:
    if plan.change != CHANGE:
        return ""
    return str(plan.arguments.get("message", {}).get("facts", {}).get("incident", ""))


def _checked(told: Mapping[str, Any]) -> dict[str, str]:
    """Return what of that may be said; a moment that is none is as if it had not been said."""
    found: dict[str, str] = {}
    for name in SAID:
        if isinstance(told.get(name), str):
            with suppress(CouldNotFindOut):
                found |= said_of({name: told[name]})
    return found

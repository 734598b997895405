"""What is known about an incident, and from where: what the operator says, the incident, its runs, the profile."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pandas as pd

from runbook.communication.moments import read, shown
from runbook.communication.sent import CHANGE, Sent, sent
from runbook.communication.severities import every
from runbook.evidence.incidents import Incident, find, runs_of
from runbook.evidence.records import Kept
from runbook.model import Asking, CouldNotFindOut, Findings, RunbookError, Status, UsageError
from runbook.target import Target

UPDATES = "communication.updates"
# What an operator may say of an incident; the rest is found out.
SAID = (
    "severity", "component", "issue", "started", "impact", "doing", "owner", "ended", "resolution", "root_cause",
    "updated",
)  # fmt: skip
MOMENTS = ("started", "ended", "updated")
FOUND_KEPT = 3
HELPED = "helped"
# What is told of the telling itself belongs into no message.
_OWN = ("communication.", "plan.", "plans.")


@dataclass(frozen=True)
class Fact:
    """One thing that is known, and who says so."""

    name: str
    value: str
    source: str


@dataclass(frozen=True)
class Story:
    """An incident (None where none is named), its sealed runs, and which messages about it were posted."""

    incident: Incident | None
    runs: list[Kept]
    sent: list[Sent]


def story(name: str) -> Story:
    """Return an incident by its id, its end or "open"; raises `CouldNotFindOut` where it cannot be read."""
    if not name:
        return Story(None, [], [])
    try:
        incident = find(name)
        runs = [run for run in runs_of(incident) if run.state == "sealed"]
    except OSError as error:
        raise CouldNotFindOut(f"the archive cannot be read: {error.strerror}") from error
    except RunbookError as error:
        raise CouldNotFindOut(str(error)) from error
    return Story(incident, runs, sent(incident.id, runs))


def said_of(said: Mapping[str, str]) -> dict[str, str]:
    """Return what the operator says, without what is empty.

    Raises `UsageError` for a fact that nobody may say, and `CouldNotFindOut` for a moment that is none.
    """
    unknown = sorted(set(said) - set(SAID))
    if unknown:
        raise UsageError(f"nobody says {', '.join(unknown)} of an incident; what is said: {', '.join(SAID)}")
    given = {name: str(value).strip() for name, value in said.items() if str(value).strip()}
    for name in MOMENTS:
        moment = read(given.get(name, ""), name)
        if moment is not None:
            given[name] = shown(moment)
    return {name: value.upper() if name == "severity" else value for name, value in given.items()}


def gather(asking: Asking, told: Story, given: Mapping[str, str]) -> pd.DataFrame:
    """Return a row for each fact that is known: fact, value, source (who says so); what is not known has none.

    No row at all says that there is no incident: none is named, and nothing is said of one. Moments are UTC.
    """
    facts: dict[str, Fact] = {}
    if told.incident is not None or given:
        for fact in _all(asking.target, told, given):
            if fact.value:
                facts.setdefault(fact.name, fact)  # who is asked first is believed
    rows = [(fact.name, fact.value, fact.source) for fact in facts.values()]
    return pd.DataFrame(rows, columns=["fact", "value", "source"]).astype(str)


def known(frame: pd.DataFrame) -> dict[str, str]:
    """Return the facts of a frame by name."""
    return dict(zip(frame["fact"], frame["value"], strict=True))


def _all(target: Target, told: Story, given: Mapping[str, str]) -> Iterator[Fact]:
    for name, value in given.items():
        yield Fact(name, value, "the operator")
    severity = given.get("severity", "")
    if told.incident is not None:
        severity = severity or told.incident.severity
        yield from _of_incident(told.incident)
        yield from _of_messages(told.sent)
        yield from _of_runs(told.runs)
        yield Fact("evidence", _evidence(target, told.incident), "the archive")
    yield Fact("component", target.communication.component, "the profile")
    if told.sent:
        yield Fact("told", str(len(told.sent)), ", ".join(message.plan for message in told.sent))
    now = datetime.now(UTC)
    minutes = every(severity, target.thresholds.get(UPDATES, {}))
    if minutes:
        yield Fact("every", f"{minutes:g}", "the runbook, by severity")
        yield Fact("next_update", shown(now + timedelta(minutes=minutes)), "that long from now")
    for number, contact in enumerate(target.contacts, start=1):
        when = f" ({contact.when})" if contact.when else ""
        yield Fact(f"contact_{number:02}", f"{contact.name}, by {contact.how}{when}", "the profile")
    yield Fact("status_page", target.communication.status_page or "", "the profile")
    yield Fact("asked", shown(now), "this machine's clock")


def _of_incident(incident: Incident) -> Iterator[Fact]:
    source = incident.id
    yield Fact("incident", incident.id, "the run's parameter")
    yield Fact("severity", incident.severity, source)
    yield Fact("issue", incident.title, source)
    yield Fact("started", _moment(incident.began), source)
    yield Fact("answered", _moment(incident.opened), f"{source} was opened then")
    yield Fact("owner", incident.owner, source)
    yield Fact("ended", _moment(incident.closed), f"{source} was closed then")
    yield Fact("resolution", incident.resolution, source)
    notes = [noted.entry for noted in incident.notes if noted.entry.kind == "note" and noted.entry.text]
    if notes:
        newest = max(notes, key=lambda note: note.at)
        yield Fact("doing", f"{newest.text} ({_moment(newest.at)})", f"the last note, by {newest.author}")


def _of_messages(messages: Iterable[Sent]) -> Iterator[Fact]:
    """Yield what was told before, and need not be said again."""
    for message in sorted(messages, key=lambda one: one.at, reverse=True):
        for name in ("impact", "component", "root_cause"):
            yield Fact(name, message.facts.get(name, ""), f"the {message.kind} of {message.plan}")


def _of_runs(runs: Iterable[Kept]) -> Iterator[Fact]:
    """Yield what is not well by the last look of each check, and the last change that helped."""
    last: dict[str, Findings] = {}
    seen_in: dict[tuple[str, str], str] = {}
    helped: Fact | None = None
    for run in runs:
        record = run.record
        if record is None:
            continue
        of_target = last.setdefault(record.target, Findings())
        for check in {finding.check for finding in record.findings if not finding.check.startswith(_OWN)}:
            of_target.replace(check, [finding for finding in record.findings if finding.check == check])
            seen_in[record.target, check] = record.run_id
        for plan in record.plans:
            if plan.plan.change != CHANGE and plan.helped is not None and plan.helped.answer == HELPED:
                told = f"{plan.summary} ({plan.state}; it {HELPED})"
                helped = Fact("resolution", told, f"{plan.id} in {record.run_id}")
    bad = [
        (finding, target)
        for target, findings in last.items()
        for finding in findings
        if finding.bad and finding.status in (Status.CRITICAL, Status.WARNING) and not finding.explained_by
    ]
    ordered = sorted(bad, key=lambda pair: pair[0].status.severity)
    for number, (finding, target) in enumerate(ordered[:FOUND_KEPT], start=1):
        told = f"{finding.status} {finding.check}: {finding.object}: {finding.message}"
        yield Fact(f"found_{number}", told, seen_in[target, finding.check])
    if helped is not None:
        yield helped


def _evidence(target: Target, incident: Incident) -> str:
    served = target.communication.evidence_url
    return f"{served.rstrip('/')}/{incident.page}" if served else f"{incident.id} (runbook incident show {incident.id})"


def _moment(stamp: str) -> str:
    moment = read(stamp, "a moment of the incident")
    return shown(moment) if moment else ""

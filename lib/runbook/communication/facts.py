"""What is known about an incident, and from where: what the operator says, the incident, its runs, the profile."""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pandas as pd

from runbook.communication.moments import read, shown
from runbook.communication.said import OPERATOR, TAKEN_BACK, Said, said_before
from runbook.communication.sent import CHANGE, Sent, sent
from runbook.communication.severities import every
from runbook.evidence.incidents import Incident, find
from runbook.evidence.standing import Stood, verified_runs
from runbook.evidence.unnamed import open_ones
from runbook.model import Asking, CouldNotFindOut, Finding, Findings, RunbookError, Status
from runbook.model.protocol import RunRecord
from runbook.target import Target

UPDATES = "communication.updates"
FOUND_KEPT = 3
HELPED = "helped"
# What is wrong with runs of which it is said that nothing is told; others are not over yet, or were pruned.
UNTOLD = ("broken", "unknown key")
# What is told of the telling itself belongs into no message: neither these findings, nor any of this notebook.
_OWN = ("communication.", "postmortem.", "plan.", "plans.")
_OF_THE_TELLING = "post-mortem"
# By these the runbook's own examples of a P0 are seen: "API completely down", "Database unavailable".
_DOWN = ("api.liveness", "api.user_request", "postgres.reachable")


@dataclass(frozen=True)
class Fact:
    """One thing that is known, and who says so."""

    name: str
    value: str
    source: str


@dataclass(frozen=True)
class Story:
    """An incident (None where none is named), its runs whose seals hold, and which messages about it were posted.

    ``broken`` are runs of which nothing is told: they are not what was sealed. ``unnamed`` holds the titles of
    incidents that are open, by their ids, where none is named.
    """

    incident: Incident | None
    runs: list[Stood]
    sent: list[Sent]
    broken: list[Stood]
    unnamed: Mapping[str, str] = field(default_factory=dict)


def story(name: str) -> Story:
    """Return an incident by its id, its end or "open"; raises `CouldNotFindOut` where it cannot be read."""
    try:
        if not name:
            return Story(None, [], [], [], open_ones())
        incident = find(name)
        found = verified_runs(incident)
    except OSError as error:
        raise CouldNotFindOut(f"the archive cannot be read: {error.strerror}") from error
    except RunbookError as error:
        raise CouldNotFindOut(str(error)) from error
    runs = [run for run in found if run.standing == "sealed"]
    records = [run.record for run in runs if run.record is not None]
    return Story(incident, runs, sent(incident.id, records), [run for run in found if run.standing in UNTOLD])


def gather(asking: Asking, told: Story, given: Mapping[str, str], seen: Iterable[Finding] = ()) -> pd.DataFrame:
    """Return a row for each fact that is known: fact, value, source (who says so); what is not known has none.

    No row at all says that there is no incident: none is named, and nothing is said of one. Moments are UTC. Of runs
    that are not what was sealed nothing is told; ``attrs["broken"]`` names them, each with its standing and what is
    wrong. ``attrs["unnamed"]`` are the incidents that are open, where none is named; ``attrs["down"]`` says by a
    sentence each what the runbook calls a P0, as it was seen last: by the runs, or now (``seen``).
    """
    looks = _Looks(told.runs, asking.target.name, list(seen))
    facts: dict[str, Fact] = {}
    if told.incident is not None or given:
        for fact in _all(asking.target, told, given, looks):
            if fact.value:
                facts.setdefault(fact.name, fact)  # who is asked first is believed
    rows = [(fact.name, fact.value, fact.source) for fact in facts.values()]
    frame = pd.DataFrame(rows, columns=["fact", "value", "source"]).astype(str)
    frame.attrs = {
        "broken": {run.place.run_id: (run.standing, run.why) for run in told.broken},
        "unnamed": dict(told.unnamed),
        "down": looks.down(),
    }
    return frame


def known(frame: pd.DataFrame) -> dict[str, str]:
    """Return the facts of a frame by name."""
    return dict(zip(frame["fact"], frame["value"], strict=True))


def _all(target: Target, told: Story, given: Mapping[str, str], looks: "_Looks") -> Iterator[Fact]:
    stated = [Fact(name, value, OPERATOR) for name, value in given.items() if value != TAKEN_BACK]
    if told.incident is not None:
        stated += _of_story(told.incident, said_before(told.incident, told.runs), given.keys())
    yield from stated
    if told.incident is not None:
        yield from looks.facts()
        yield Fact("evidence", _evidence(target, told.incident), "the archive")
    yield Fact("component", target.communication.component, "the profile")
    if told.sent:
        yield Fact("told", str(len(told.sent)), ", ".join(message.plan for message in told.sent))
    now = datetime.now(UTC)
    severity = next((fact.value for fact in stated if fact.name == "severity" and fact.value), "")
    minutes = every(severity, target.thresholds.get(UPDATES, {}))
    if minutes:
        yield Fact("every", f"{minutes:g}", "the runbook, by severity")
        yield Fact("next_update", shown(now + timedelta(minutes=minutes)), "that long from now")
    for number, contact in enumerate(target.contacts, start=1):
        when = f" ({contact.when})" if contact.when else ""
        yield Fact(f"contact_{number:02}", f"{contact.name}, by {contact.how}{when}", "the profile")
    yield Fact("status_page", target.communication.status_page or "", "the profile")
    yield Fact("asked", shown(now), "this machine's clock")


def _of_story(incident: Incident, said: Mapping[str, Said], given: Set[str]) -> list[Fact]:
    """Return what was said for former messages, and what the incident says; of both what is newer goes first."""
    noted = _noted(incident)
    newer: list[Fact] = []
    older: list[Fact] = []
    for name, one in said.items():
        # What is being done is of its hour.
        value = f"{one.value} ({shown(one.at)})" if name == "doing" else one.value
        place = newer if name not in noted or noted[name] < one.at else older
        if name not in given:
            place.append(Fact(name, value, one.source))
    return [*newer, *_of_incident(incident), *older]


def _noted(incident: Incident) -> dict[str, datetime]:
    """Return when each fact was written down in the incident last."""
    found: dict[str, datetime] = {}
    for entry in (noted.entry for noted in incident.notes):
        told = {"severity": entry.severity, "owner": entry.owner, "started": entry.began, "issue": entry.title}
        if entry.kind == "closed":
            told |= {"ended": entry.at, "resolution": entry.text}
        found |= {name: datetime.fromisoformat(entry.written) for name, value in told.items() if value}
    return found


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


class _Looks:
    """What each check found last on each target: in the runs of the incident, the oldest first, and in this one."""

    def __init__(self, runs: Iterable[Stood], here: str, seen: list[Finding]) -> None:
        self._last: dict[str, Findings] = {}
        self._seen_in: dict[tuple[str, str], str] = {}
        self._helped: Fact | None = None
        for run in runs:
            if run.record is not None and run.record.notebook != _OF_THE_TELLING:
                self._take(run.record)
        self._now = {(here, finding.check) for finding in seen}
        for check in {finding.check for finding in seen}:
            self._replace(here, check, seen, "this run")

    def _take(self, record: RunRecord) -> None:
        for check in {finding.check for finding in record.findings if not finding.check.startswith(_OWN)}:
            self._replace(record.target, check, record.findings, record.run_id)
        for plan in record.plans:
            if plan.plan.change != CHANGE and plan.helped is not None and plan.helped.answer == HELPED:
                told = f"{plan.summary} ({plan.state}; it {HELPED})"
                self._helped = Fact("resolution", told, f"{plan.id} in {record.run_id}")

    def _replace(self, target: str, check: str, findings: Iterable[Finding], source: str) -> None:
        found = [finding for finding in findings if finding.check == check]
        self._last.setdefault(target, Findings()).replace(check, found)
        self._seen_in[target, check] = source

    def _bad(self) -> list[tuple[Finding, str]]:
        return [
            (finding, target)
            for target, findings in self._last.items()
            for finding in findings
            if finding.bad and finding.status in (Status.CRITICAL, Status.WARNING) and not finding.explained_by
        ]

    def facts(self) -> Iterator[Fact]:
        """Yield what runs have found not well, but for what was asked anew in this one, and the change that helped."""
        bad = [(finding, target) for finding, target in self._bad() if (target, finding.check) not in self._now]
        ordered = sorted(bad, key=lambda pair: pair[0].status.severity)
        for number, (finding, target) in enumerate(ordered[:FOUND_KEPT], start=1):
            told = f"{finding.status} {finding.check}: {finding.object}: {finding.message}"
            yield Fact(f"found_{number}", told, self._seen_in[target, finding.check])
        if self._helped is not None:
            yield self._helped

    def down(self) -> list[str]:
        """Return a sentence for each thing by which nobody is served."""
        return [
            f"{finding.check} is CRITICAL: {finding.object}: {finding.message}"
            for finding, _ in self._bad()
            if finding.check in _DOWN and finding.status is Status.CRITICAL
        ]


def _evidence(target: Target, incident: Incident) -> str:
    served = target.communication.evidence_url
    return f"{served.rstrip('/')}/{incident.page}" if served else f"{incident.id} (runbook incident show {incident.id})"


def _moment(stamp: str) -> str:
    moment = read(stamp, "a moment of the incident")
    return shown(moment) if moment else ""

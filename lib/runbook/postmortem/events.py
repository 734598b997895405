"""What happened, one event after the other: notes, runs, alerts, and each step of each plan."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from runbook.model import Finding, Findings
from runbook.model.moments import moment
from runbook.model.plan import Entry
from runbook.model.protocol import PlanRecord
from runbook.postmortem.changes import changes
from runbook.postmortem.story import Cited, Story

# The answers that are the alarms of somebody else; what they find is told as an alert, once when it is first seen.
ALERTS = ("api.active_alerts", "prometheus.alert_states")


@dataclass(frozen=True)
class Event:
    """One thing that happened: when (corrected), what kind, who or what did it where, and the record that tells it.

    ``kind``: began, opened, closed, note, run, alert, plan, change, message (what was told to others). ``status`` is a
    run's or an alert's, or what became of a plan. ``moved`` is by how many seconds its time was corrected.
    """

    at: datetime
    kind: str
    says: str
    cited: Cited
    who: str = ""
    target: str = ""
    status: str = ""
    moved: float = 0.0
    name: str = ""


def events(story: Story) -> list[Event]:
    """Return everything that happened, in the order of the corrected time."""
    told: list[Event] = [*_beginning(story)]
    for cited in story.cited:
        if cited.around:
            continue
        told += _noted(story, cited) if cited.entry is not None else _run(story, cited)
    told += _alerts(story)
    told += _changes(story)
    # Of what is told for the same moment, what was done goes before what was found after it.
    return sorted(told, key=lambda event: (event.at, event.kind == "run"))


def _beginning(story: Story) -> Iterator[Event]:
    """Yield when it began, where that is not when it was opened."""
    opening = next((cited for cited in story.entries if cited.entry is not None and cited.entry.kind == "opened"), None)
    if opening is not None and story.began < moment(story.incident.opened):
        yield Event(story.began, "began", "it began then, as was noted", opening, who=story.incident.opening.author)


def changes_begun(story: Story) -> list[tuple[datetime, str]]:
    """Return when each change was begun, and what it was, in the order of time: what plots mark."""
    return [(made.begun, made.plan.summary) for made in changes(story) if made.begun is not None]


def started(story: Story, cited: Cited) -> datetime:
    """Return when a run was begun, corrected; from its id where its record does not say so."""
    record = cited.record
    if record is not None and record.started and cited.standing == "sealed":
        return story.time_of(record.started, cited.host)
    return story.clocks.corrected(cited.at, cited.host)


def looked(story: Story, cited: Cited) -> datetime:
    """Return when a run found what it tells last: at its begin, or at its end where it changed something before."""
    record = cited.record
    if record is not None and record.ended and cited.standing == "sealed":
        done = [entry.at for entry in _own_entries(cited)]
        if done:
            # A run tells its end in whole seconds: it is not before what it did.
            return max(story.time_of(at, cited.host) for at in (record.ended, *done))
    return started(story, cited)


def carried_out(cited: Cited) -> bool:
    """Tell whether a run carried out a plan itself."""
    return any(entry.event == "intent" for entry in _own_entries(cited))


def _own_entries(cited: Cited) -> list[Entry]:
    """Return what a run itself noted of its plans.

    A notebook that was run by hand is archived under another id than it had: what was noted while it ran is its own.
    """
    record = cited.record
    if record is None:
        return []
    entries = [entry for plan in record.plans for entry in plan.journal]
    own = [entry for entry in entries if entry.run_id == cited.run_id]
    if not own and record.mode == "interactive" and record.started:
        began = moment(record.started)
        own = [entry for entry in entries if moment(entry.at) >= began]
    return own


def _noted(story: Story, cited: Cited) -> Iterator[Event]:
    entry = cited.entry
    assert entry is not None
    doubt = f"not to be believed: {cited.why}. It says:\n" if cited.standing != "sealed" else ""
    # What a person says of the time is taken as it is: who writes "14:05" looked at some other clock.
    at = story.time_of(entry.at, cited.host if entry.at[:19] == entry.written[:19] else "")
    changed = [
        f"severity {entry.severity}" if entry.severity else "",
        f"owner {entry.owner}" if entry.owner else "",
        f"it began at {entry.began[:19].replace('T', ' ')} UTC" if entry.began else "",
    ]
    says = doubt + "\n".join([entry.title or entry.text, *filter(None, ["; ".join(filter(None, changed))])]).strip()
    target = ", ".join(entry.targets)
    yield Event(at, entry.kind, says, cited, who=entry.author, target=target, moved=_moved(at, entry.at))


def _run(story: Story, cited: Cited) -> Iterator[Event]:
    at = looked(story, cited)
    if cited.standing == "pruned" or cited.record is None:
        yield Event(at, "run", cited.why, cited, status="", name=cited.run_id[21:-7])
        return
    record = cited.record
    bad = [finding for finding in Findings(record.findings).worst_first() if finding.bad and not finding.explained_by]
    says = record.error or (f"{bad[0].object}: {bad[0].message}" if bad else "nothing that counts")
    says += f" (and {len(bad) - 1} more)" if len(bad) > 1 and not record.error else ""
    says = f"after its change: {says}" if carried_out(cited) else says
    status = record.status
    if cited.standing != "sealed":
        says, status = f"not to be believed: {cited.why}. It says {status}: {says}", ""
    who = record.operator + (", by hand" if record.mode == "interactive" else "")
    told_at = record.ended if carried_out(cited) else record.started
    moved = _moved(at, told_at) if told_at and cited.standing == "sealed" else 0.0
    told = {"who": who, "target": record.target, "status": status, "moved": moved, "name": record.notebook}
    yield Event(at, "run", says, cited, **told)  # type: ignore[arg-type]


def _alerts(story: Story) -> Iterator[Event]:
    """Yield each alert when a run first saw it, and when one first did not see it any more."""
    active: dict[tuple[str, str], Finding] = {}
    for cited in story.runs:
        if cited.standing != "sealed" or cited.record is None:
            continue
        found = [f for f in cited.record.findings if f.check.startswith(ALERTS)]
        seen = {(f.check, f.object): f for f in found if f.bad and f.status != "UNKNOWN"}
        told = {"target": cited.record.target, "moved": 0.0}
        for key, finding in seen.items():
            if key not in active:
                says = f"{finding.object}: {finding.message}"
                yield Event(started(story, cited), "alert", says, cited, status=str(finding.status), **told)  # type: ignore[arg-type]
        asked = {f.check for f in found if f.status != "UNKNOWN"}
        for key in [key for key in active if key not in seen and key[0] in asked]:
            yield Event(started(story, cited), "alert", f"{key[1]}: not active any more", cited, status="OK", **told)  # type: ignore[arg-type]
            del active[key]
        active |= seen


def _changes(story: Story) -> Iterator[Event]:
    for plan, cited in story.plans():
        frozen = plan.plan
        if not frozen.of_target:
            yield from _messages(story, plan, cited)
            continue
        at = story.time_of(frozen.made, frozen.host)
        told = {"target": frozen.target, "who": frozen.user}
        yield Event(
            at, "plan", plan.summary, cited, status="planned", moved=_moved(at, frozen.made), name=plan.id, **told
        )
        for entry in plan.journal:
            at = story.time_of(entry.at, entry.host or frozen.host)
            shown = plan.steps[entry.step - 1] if 0 < entry.step <= len(plan.steps) else plan.summary
            says = {
                "confirmed": plan.summary,
                "intent": shown,
                "outcome": shown + (f": {entry.told}" if entry.told else ""),
                "refused": entry.told,
                "ended": plan.summary + (f"; it {plan.helped.answer}" if plan.helped else ""),
                "rolled-back": f"undone by {entry.told}",
                "closed": f"by hand: {entry.told}",
            }[entry.event]
            told = {"target": frozen.target, "who": entry.user or frozen.user}
            status = (
                entry.state or entry.result or {"intent": "begun", "outcome": "unknown"}.get(entry.event, entry.event)
            )
            yield Event(at, "change", says, cited, status=status, moved=_moved(at, entry.at), name=plan.id, **told)


def _messages(story: Story, plan: PlanRecord, cited: Cited) -> Iterator[Event]:
    """Yield what was told to others, or could not be: its plan changed nothing of the target."""
    for entry in plan.journal:
        at = story.time_of(entry.at, entry.host or plan.plan.host)
        says = {
            "outcome": plan.summary + (f": {entry.told}" if entry.told else ""),
            "refused": f"{plan.summary}: {entry.told}",
        }.get(entry.event)
        if says is not None:
            told = {"target": plan.plan.target, "who": entry.user or plan.plan.user, "name": plan.id}
            status = entry.result or ("refused" if entry.event == "refused" else "unknown")
            yield Event(at, "message", says, cited, status=status, moved=_moved(at, entry.at), **told)


def _moved(at: datetime, told: str) -> float:
    return round((at - moment(told)).total_seconds(), 1)


def people(story: Story, told: Iterable[Event]) -> list[str]:
    """Return who took part, in the order in which they came."""
    return list(dict.fromkeys(event.who.removesuffix(", by hand") for event in told if event.who))

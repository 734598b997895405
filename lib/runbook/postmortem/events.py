"""What happened, one event after the other: notes, runs, alerts, and each step of each plan."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from runbook.model import Finding, Findings
from runbook.postmortem.changes import changes
from runbook.postmortem.story import Cited, Story, moment

# The answers that are the alarms of somebody else; what they find is told as an alert, once when it is first seen.
ALERTS = ("api.active_alerts", "prometheus.", "alerts.")


@dataclass(frozen=True)
class Event:
    """One thing that happened: when (corrected), what kind, who or what did it where, and the record that tells it.

    ``kind``: opened, closed, note, run, alert, plan, change. ``status`` is a run's or an alert's, or what
    became of a plan. ``moved`` is by how many seconds its time was corrected.
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
    told: list[Event] = []
    for cited in story.cited:
        if cited.around:
            continue
        told += _noted(story, cited) if cited.entry is not None else _run(story, cited)
    told += _alerts(story)
    told += _changes(story)
    return sorted(told, key=lambda event: event.at)


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
    if record is not None and record.ended and cited.standing == "sealed" and carried_out(cited):
        return story.time_of(record.ended, cited.host)
    return started(story, cited)


def carried_out(cited: Cited) -> bool:
    """Tell whether a run carried out a plan itself."""
    plans = cited.record.plans if cited.record is not None else []
    return any(entry.run_id == cited.run_id and entry.event == "intent" for plan in plans for entry in plan.journal)


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
        at = story.time_of(frozen.made, frozen.host)
        told = {"target": frozen.target, "who": frozen.user}
        says = f"planned: {plan.summary}"
        yield Event(at, "plan", says, cited, status="planned", moved=_moved(at, frozen.made), name=plan.id, **told)
        for entry in plan.journal:
            at = story.time_of(entry.at, entry.host or frozen.host)
            shown = plan.steps[entry.step - 1] if 0 < entry.step <= len(plan.steps) else plan.summary
            says = {
                "confirmed": f"confirmed: {plan.summary}",
                "intent": f"begun: {shown}",
                "outcome": f"{entry.result or 'unknown'}: {shown}" + (f": {entry.told}" if entry.told else ""),
                "refused": f"refused: {entry.told}",
                "ended": f"{entry.state}: {plan.summary}" + (f"; it {plan.helped.answer}" if plan.helped else ""),
                "rolled-back": f"undone by {entry.told}",
                "closed": f"closed by hand: {entry.told}",
            }[entry.event]
            told = {"target": frozen.target, "who": entry.user or frozen.user}
            status = entry.state or entry.result or entry.event
            yield Event(at, "change", says, cited, status=status, moved=_moved(at, entry.at), name=plan.id, **told)


def _moved(at: datetime, told: str) -> float:
    return round((at - moment(told)).total_seconds(), 1)


def people(story: Story, told: Iterable[Event]) -> list[str]:
    """Return who took part, in the order in which they came."""
    return list(dict.fromkeys(event.who.removesuffix(", by hand") for event in told if event.who))

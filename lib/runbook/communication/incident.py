"""What is known about the incident, and what is still to be said in a message about it?"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from runbook.communication.facts import gather, known, story
from runbook.communication.moments import read
from runbook.communication.said import said_of
from runbook.communication.severities import SEVERITIES, answer_due, in_words
from runbook.evidence.unnamed import unnamed
from runbook.model import Asking, Finding, Question, Status, first_of

_SAY = "say it: -p {}=…"
NOTHING = "no incident is named, and none is open: there is nothing to tell"
_WORST = "P0"
_NEXT_LATE = "call whom the summary names now; say in the post-mortem why it was late"


def probe(
    asking: Asking, incident: str = "", said: Mapping[str, str] | None = None, seen: Iterable[Finding] = ()
) -> pd.DataFrame:
    """Return a row for each fact that is known: fact, value, source; see `runbook.communication.facts.gather`.

    ``incident`` is an id, the end of one, or "open"; ``said`` is what the operator knows, which goes before it;
    ``seen`` are the findings of this run.
    """
    return gather(asking, story(incident), said_of(said or {}), seen)


def check(frame: pd.DataFrame, *, p0: float = 5, p1: float = 30, p2: float = 120) -> list[Finding]:
    """Judge whether a message could be written, and whether somebody answered in time (minutes from its start).

    What a notification must carry: severity, impact, start, who works on it, and in its end the cause and what resolved
    it. The response times are the runbook's: 30 minutes for a P1, 2 hours for a P2, the next business day for a P3; its
    "Immediate" for a P0 is taken as 5 minutes. What is not known is a WARNING: the message says so too. A run whose
    seal is broken is CRITICAL; one that was sealed with a key that is not trusted here, UNKNOWN.

    A severity below P0 is a WARNING while nobody is served: "API completely down" and "Database unavailable" are the
    runbook's own examples of a P0. So is an incident that is open while none is named.
    """
    facts, nameless = known(frame), unnamed(frame.attrs.get("unnamed", {}).items())
    if not facts:
        return nameless or [Finding(object="incident", status=Status.OK, message=NOTHING)]
    wanted = {"impact": "whom it hurts, and how", "owner": "who works on it"}
    if "ended" in facts:
        wanted |= {"resolution": "what resolved it", "root_cause": "what caused it"}
    findings = [*nameless, _severity(facts, frame.attrs.get("down", []))]
    if "issue" not in facts:
        wanted["issue"] = "what is wrong"
    findings += _times(facts, {"p0": p0, "p1": p1, "p2": p2})
    for name, what in wanted.items():
        if name in facts:
            findings.append(Finding(object=_words(name), status=Status.OK, message=f"it is said {what}"))
        else:
            message = f"it is not known {what}: the message says so"
            findings.append(_unsaid(name, message))
    return findings + first_of([_broken(run, *wrong) for run, wrong in frame.attrs.get("broken", {}).items()], "runs")


def _broken(run: str, standing: str, why: str) -> Finding:
    status = Status.CRITICAL if standing == "broken" else Status.UNKNOWN
    then = f"`runbook evidence verify {run}` tells what is wrong; what you know of it yourself, say with -p"
    return Finding(object=run, status=status, message=f"nothing of it is told: {standing}: {why}", next=then)


def _severity(facts: Mapping[str, str], down: Sequence[str]) -> Finding:
    name = facts.get("severity", "")
    severity = SEVERITIES.get(name)
    if severity is not None:
        message = f"{name} - {severity.word} (Response: {severity.response})"
        if name != _WORST and down:
            told = f'{message}, but {down[0]}; "API completely down" and "Database unavailable" are a {_WORST}'
            return Finding(
                object="severity", status=Status.WARNING, message=told, value=name, next=_raised(facts.get("incident"))
            )
        return Finding(object="severity", status=Status.OK, message=message, value=name)
    said = f"{name} is none of {', '.join(SEVERITIES)}" if name else "it is not known how severe it is"
    return _unsaid("severity", said)


def _raised(incident: str | None) -> str:
    say = f"say it: -p severity={_WORST}"
    return f"raise it: runbook incident note {incident} TEXT --severity {_WORST}" if incident else say


def _times(facts: Mapping[str, Any], minutes: Mapping[str, float]) -> list[Finding]:
    began, now = read(facts.get("started", ""), "started"), read(facts["asked"], "asked")
    ended = read(facts.get("ended", ""), "ended")
    assert now is not None
    if began is None:
        return [_unsaid("started", "it is not known since when: the message says so, and no duration")]
    if began > now + timedelta(minutes=1) or (ended is not None and ended < began):
        wrong = "it has not begun yet" if began > now else "it ended before it began"
        return [_unsaid("started", f"{wrong}, as it is said: one of the times is wrong")]
    lasted = in_words(((ended or now) - began).total_seconds() / 60)
    told = f"it lasted {lasted}" if ended else f"it has lasted {lasted} so far"
    return [Finding(object="started", status=Status.OK, message=told), *_answered(facts, began, minutes)]


def _answered(facts: Mapping[str, Any], began: datetime, minutes: Mapping[str, float]) -> list[Finding]:
    severity = facts.get("severity", "")
    due, answered = answer_due(severity, began, minutes), read(facts.get("answered", ""), "answered")
    if due is None or answered is None:
        return []
    took = max(0.0, (answered - began).total_seconds() / 60)
    words = f"the incident was opened {in_words(took)} after it began"
    return [
        Finding(
            object="response",
            status=Status.WARNING if answered > due else Status.OK,
            message=f"{words}; for a {severity} the runbook's response is: {SEVERITIES[severity].response}",
            value=round(took),
            threshold=minutes.get(severity.lower()),
            unit="minutes",
            next=_NEXT_LATE if answered > due else "",
        )
    ]


def _unsaid(name: str, message: str) -> Finding:
    return Finding(object=_words(name), status=Status.WARNING, message=message, next=_SAY.format(name))


def _words(name: str) -> str:
    return name.replace("_", " ")


incident = Question(
    name="communication.incident",
    title="What is known about the incident?",
    probe=probe,
    check=check,
    source="runbook incident show INCIDENT",
    next="runbook incident note ID says what is missing, by --severity, --owner and --began too",
    deadline=20.0,
)

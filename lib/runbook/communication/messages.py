"""The messages about an incident, in the words of the runbook's templates: facts in, text out."""

import html
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from runbook.communication.moments import read, shown
from runbook.communication.said import OPERATOR
from runbook.communication.severities import SEVERITIES, in_words
from runbook.model import Finding, Status, UsageError
from runbook.model.text import printable

if TYPE_CHECKING:
    import pandas as pd

TITLES = {"alert": "INCIDENT ALERT", "update": "INCIDENT UPDATE", "resolved": "INCIDENT RESOLVED"}
NOT_KNOWN = "not known yet"
NOTHING = "no incident is named, and nothing is said of one"
UNREAD = "what is known about the incident could not be found out: communication.incident says why"
POST_MORTEM_HOURS = 72
# Longer than anything that is read in a message; what is cut stands in the incident itself.
LONGEST = 300
SEEN_SHOWN = 3
# Slack wakes everybody for these, wherever they come from.
_EVERYBODY = re.compile(r"@(?=(?:channel|here|everyone|group|all)\b)", re.IGNORECASE)

Facts = Mapping[str, str]


@dataclass(frozen=True)
class Message:
    """One message: ``kind`` is alert, update or resolved; ``text`` is "" where there is none, and ``why`` says so.

    ``said`` is what the operator said for it; the rest of its facts was known from elsewhere.
    """

    kind: str
    text: str
    facts: Facts = field(default_factory=dict)
    said: Facts = field(default_factory=dict)
    why: str = ""

    @property
    def plain(self) -> dict[str, Any]:
        """Return it as plain data, as a plan keeps it."""
        told = {"kind": self.kind, "text": self.text, "why": self.why}
        return {**told, "facts": dict(self.facts), "said": dict(self.said)}

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        told = self.text or f"no {TITLES[self.kind]}: {self.why}"
        kept = f"<pre>{html.escape(told)}</pre>" if self.text else f"<p>{html.escape(told)}</p>"
        return {"text/plain": told, "text/html": kept}


def alert(frame: "pd.DataFrame | None", seen: Iterable[Finding] = ()) -> Message:
    """Return the INCIDENT ALERT from the answer to `communication.incident`, and what was seen in this run."""
    return _message("alert", frame, seen, _alert)


def update(frame: "pd.DataFrame | None", seen: Iterable[Finding] = ()) -> Message:
    """Return the update that is due between the alert and the end, from the same."""
    return _message("update", frame, seen, _update)


def resolved(frame: "pd.DataFrame | None", seen: Iterable[Finding] = ()) -> Message:
    """Return the message INCIDENT RESOLVED, from the same."""
    return _message("resolved", frame, seen, _resolved)


def due(frame: "pd.DataFrame | None", seen: Iterable[Finding] = (), kind: str = "") -> Message:
    """Return the message of a kind, or the one that is due: first the alert, updates while it goes on, then its end.

    Raises `UsageError` for another kind.
    """
    facts = _facts(frame)
    kind = kind or ("resolved" if facts.get("ended") else "update" if facts.keys() & {"told", "updated"} else "alert")
    if kind not in _KINDS:
        raise UsageError(f"there is no message {printable(kind)!r}; there are: {', '.join(_KINDS)}")
    return _KINDS[kind](frame, seen)


_KINDS: dict[str, Callable[..., Message]] = {"alert": alert, "update": update, "resolved": resolved}


def _message(
    kind: str, frame: "pd.DataFrame | None", seen: Iterable[Finding], write: Callable[[Facts], list[str]]
) -> Message:
    facts = _facts(frame)
    if frame is None or not facts:
        return Message(kind, "", why=UNREAD if frame is None else NOTHING)
    facts["now"] = _now(seen)
    stated = set(frame.loc[frame["source"] == OPERATOR, "fact"])
    said = {name: value for name, value in facts.items() if name in stated}
    if kind != "resolved" and facts.get("ended"):
        over = f"it is over since {facts['ended']}; what is to be sent is {TITLES['resolved']}"
        return Message(kind, "", facts, said, over)
    return Message(kind, "\n".join(write(facts)), facts, said)


def _facts(frame: "pd.DataFrame | None") -> dict[str, str]:
    """Return what is known, by name: each on one line, not too long, and without what would wake everybody."""
    if frame is None or frame.empty:
        return {}
    known = zip(frame["fact"], frame["value"], strict=True)
    return {name: quiet(value) for name, value in known if isinstance(value, str) and value}


def quiet(text: str) -> str:
    """Return a text on one line, cut where it is too long, in which nobody is called by ``@channel`` and its like."""
    line = _EVERYBODY.sub("(at)", printable(text)).strip()
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _now(seen: Iterable[Finding]) -> str:
    """Return the worst of what was seen in this run, in one line; of what is alike, what users see."""
    judged = sorted(
        (finding for finding in seen if finding.check.startswith("api.") and finding.counts),
        key=lambda finding: (finding.status.severity, finding.check != "api.user_request"),
    )
    if not judged:
        return ""
    worst = judged[0]
    well = "well: " if worst.status is Status.OK else ""
    return quiet(f"{well}{worst.object}: {worst.message}")


def _alert(facts: Facts) -> list[str]:
    return [
        f"🚨 {TITLES['alert']}",
        "",
        *_head(facts),
        *_as_it_stands(facts),
        "",
        *_who(facts),
        "",
        *_where(facts),
    ]


def _update(facts: Facts) -> list[str]:
    # The alert was the first of the messages that were sent.
    number = max(1, int(facts.get("told", "0")))
    return [
        f"🔄 {TITLES['update']} {number}",
        "",
        *_head(facts),
        *_as_it_stands(facts),
        "",
        *_who(facts),
        "",
        *_where(facts),
    ]


def _resolved(facts: Facts) -> list[str]:
    ended = read(facts.get("ended", ""), "ended")
    until = f" (by {shown(ended + timedelta(hours=POST_MORTEM_HOURS))})" if ended else ""
    return [
        f"✅ {TITLES['resolved']}",
        "",
        f"Severity: {facts.get('severity', NOT_KNOWN)}",
        f"Component: {facts.get('component', NOT_KNOWN)}",
        f"Issue: {facts.get('issue', NOT_KNOWN)}",
        f"Resolution: {facts.get('resolution', NOT_KNOWN)}",
        f"Started: {facts.get('started', NOT_KNOWN)}",
        f"Resolved: {facts.get('ended', NOT_KNOWN)}",
        f"Duration: {_duration(facts)}",
        f"Root Cause: {facts.get('root_cause', NOT_KNOWN)}",
        f"Impact: {facts.get('impact', NOT_KNOWN)}",
        *([f"Now: {facts['now']}"] if facts.get("now") else []),
        "",
        f"Post-mortem: Will be published within {POST_MORTEM_HOURS} hours{until}",
        *_where(facts),
    ]


def _head(facts: Facts) -> list[str]:
    severity = SEVERITIES.get(facts.get("severity", ""))
    response = [f"Response: {severity.response} ({severity.name} - {severity.word})"] if severity else []
    return [
        f"Severity: {facts.get('severity', NOT_KNOWN)}",
        *response,
        f"Component: {facts.get('component', NOT_KNOWN)}",
        f"Issue: {facts.get('issue', NOT_KNOWN)}",
        f"Started: {facts.get('started', NOT_KNOWN)}",
        f"Impact: {facts.get('impact', NOT_KNOWN)}",
    ]


def _as_it_stands(facts: Facts) -> list[str]:
    now = facts.get("now", "")
    found = [facts[name] for name in sorted(facts) if name.startswith("found_")]
    found = [f"Found: {what}" for what in found if not (now and what.endswith(now))]
    return [
        *found[:SEEN_SHOWN],
        *([f"Now: {facts['now']}"] if facts.get("now") else []),
        f"Being done: {facts.get('doing', NOT_KNOWN)}",
    ]


def _who(facts: Facts) -> list[str]:
    minutes = facts.get("every")
    return [
        f"Investigating: {facts.get('owner', 'nobody is named yet')}",
        f"Updates: {f'Every {in_words(float(minutes))}' if minutes else NOT_KNOWN}",
        f"Next update: {facts.get('next_update', NOT_KNOWN)}",
        *[f"Escalation: {facts[name]}" for name in sorted(facts) if name.startswith("contact_")],
    ]


def _where(facts: Facts) -> list[str]:
    return [
        *([f"Status Page: {facts['status_page']}"] if "status_page" in facts else []),
        *([f"Evidence: {facts['evidence']}"] if "evidence" in facts else []),
    ]


def _duration(facts: Facts) -> str:
    began, ended = read(facts.get("started", ""), "started"), read(facts.get("ended", ""), "ended")
    if began is None or ended is None:
        return NOT_KNOWN
    return in_words((ended - began).total_seconds() / 60)

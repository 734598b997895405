"""Is everybody told in time how it stands?"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pandas as pd

from runbook.communication.facts import UPDATES, gather, known, story
from runbook.communication.moments import read, shown
from runbook.communication.said import NOTEBOOK, said_of
from runbook.communication.severities import EVERY_MINUTES, SEVERITIES, every, in_words
from runbook.evidence.unnamed import unnamed
from runbook.model import Asking, Finding, Question, Status
from runbook.model.text import to_run

_COLUMNS = ["what", "at", "how", "severity"]


def probe(asking: Asking, incident: str = "", said: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return a row for each moment, the oldest first: what, at (UTC), how, severity ("" where it is not known).

    ``what``: started; alert, update, resolved (messages that were delivered); told (said by the operator); ended; now.
    No row says that there is no incident; ``attrs["unnamed"]`` are those that are open, where none is named.
    """
    told = story(incident)
    facts = known(gather(asking, told, said_of(said or {})))
    if not facts:
        frame = pd.DataFrame([], columns=_COLUMNS)
        frame.attrs = {"unnamed": dict(told.unnamed)}
        return frame
    moments = [("now", datetime.now(UTC), "this machine's clock")]
    for name, what in (("started", "started"), ("updated", "told"), ("ended", "ended")):
        moment = read(facts.get(name, ""), name)
        if moment is not None:
            moments.append((what, moment, "said"))
    moments += [(message.kind, message.at, f"{message.host}, {message.plan}") for message in told.sent]
    rows = [(*moment, facts.get("severity", "")) for moment in sorted(moments, key=lambda row: row[1])]
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    frame.attrs = {"incident": facts.get("incident", ""), "webhook": asking.target.webhook is not None}
    return frame


def check(
    frame: pd.DataFrame,
    *,
    p0: float = EVERY_MINUTES["p0"],
    p1: float = EVERY_MINUTES["p1"],
    p2: float = EVERY_MINUTES["p2"],
    p3: float = EVERY_MINUTES["p3"],
) -> list[Finding]:
    """Judge whether the last message is younger than so many minutes, by severity, while the incident goes on.

    The runbook says "Every 15 minutes" for a P1; a P0 is told as often, a P2 every 2 hours and a P3 once a day: as soon
    as they must be answered. Nothing told yet, an update that is overdue, an end that was not told are WARNING.
    """
    if frame.empty:
        nothing = "no incident is named, and none is open: there is nothing to tell"
        return unnamed(frame.attrs.get("unnamed", {}).items()) or [_finding(Status.OK, nothing)]
    rows = frame.to_dict("records")
    say = partial(_say, {str(name): value for name, value in frame.attrs.items()})
    now = _last(rows, {"now"})
    assert now is not None
    severity = rows[0]["severity"]
    minutes = every(severity, {"p0": p0, "p1": p1, "p2": p2, "p3": p3})
    told, over = _last(rows, {"alert", "update", "resolved", "told"}), _last(rows, {"ended"})
    if any(row["what"] == "resolved" for row in rows):
        return [_finding(Status.OK, f"its end was told at {shown(told or now)}")]
    by_hand = _last(rows, {"told"})
    if over is not None and (by_hand is None or by_hand < over):
        return [_finding(Status.WARNING, f"it ended at {shown(over)}, and that was not told", say("resolved"))]
    if told is None:
        since = _last(rows, {"started"})
        told_so = f" for {_between(since, now)}" if since is not None and since <= now else ""
        return [_finding(Status.WARNING, f"nobody was told{told_so}", say("alert"))]
    if minutes is None:
        known = ", ".join(SEVERITIES)
        message = f"told last at {shown(told)}; when the next update is due depends on its severity: {known}"
        return [_finding(Status.WARNING, message, "say it: -p severity=…")]
    due = told + timedelta(minutes=minutes)
    words = f"told last at {shown(told)}, and a {severity} is told every {in_words(minutes)}"
    if now > due:
        return [_finding(Status.WARNING, f"the update is overdue for {_between(due, now)}: {words}", say("update"))]
    return [_finding(Status.OK, f"the next update is due at {shown(due)}: {words}")]


def _say(told: Mapping[str, Any], kind: str) -> str:
    """Return how a message is sent: where its text stands, and the plan that posts it where there is a webhook."""
    incident = told.get("incident", "")
    of = f" --incident {incident}" if incident else ""
    what = "INCIDENT UPDATE" if kind == "update" else f"INCIDENT {kind.upper()}"
    planned = f", or plan it: {to_run(NOTEBOOK, send=kind)}{of}" if told.get("webhook") and incident else ""
    return f"send {what}: copy its text, which stands under `to be copied`, and say when: -p updated=TIME{planned}"


def _last(rows: list[dict[Any, Any]], what: set[str]) -> datetime | None:
    found: list[datetime] = [row["at"] for row in rows if row["what"] in what]
    return max(found, default=None)


def _between(earlier: datetime, later: datetime) -> str:
    return in_words((later - earlier).total_seconds() / 60)


def _finding(status: Status, message: str, then: str = "") -> Finding:
    return Finding(object="updates", status=status, message=message, next=then)


updates = Question(
    name=UPDATES,
    title="Is everybody told in time how it stands?",
    probe=probe,
    check=check,
    source="runbook plans list",
    next="send the message that is due: copy its text, which stands under `to be copied`, or plan to post it",
    deadline=20.0,
)

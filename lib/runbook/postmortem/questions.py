"""The questions of a post-mortem; all of them are answered from the archive, none asks the target."""

from datetime import UTC, datetime

import pandas as pd

from runbook.evidence.unnamed import open_ones, unnamed
from runbook.model import Asking, CouldNotFindOut, DoesNotApply, Finding, Question, Status, first_of
from runbook.model.units import counted
from runbook.postmortem.changes import changes
from runbook.postmortem.events import events, people
from runbook.postmortem.impact import impact as measures
from runbook.postmortem.sections import empty_sections, ownerless, read_sections
from runbook.postmortem.story import Story

NONE = "no incident is named: name one in the parameter incident"
TOLD = 10
_ATTACH = "attach what was run by hand: runbook evidence add FILE.ipynb --incident {} --after-close"


def _moment(stamp: str) -> str:
    """Return a moment as people read it; what is none as it stands."""
    try:
        return f"{datetime.fromisoformat(stamp).astimezone(UTC):%Y-%m-%d %H:%M UTC}"
    except ValueError:
        return stamp


def _of(story: Story | None) -> Story:
    if story is None:
        raise DoesNotApply(NONE)
    return story


def probe_cited(asking: Asking, *, story: Story | None = None) -> pd.DataFrame:
    """Return a row for each record that the story rests on: record, kind (run, entry, before or after), standing
    (sealed, broken, unknown key, not sealed, pruned), why, host. The attrs hold gaps and clocks, a list of sentences
    each.
    """
    columns = ["record", "kind", "standing", "why", "host"]
    if story is None:
        frame = pd.DataFrame([], columns=columns)
        frame.attrs = {"named": False, "gaps": [], "clocks": [], "state": "", "unnamed": _open_ones()}
        return frame
    rows = [
        (c.run_id, "before or after" if c.around else "run" if c.entry is None else "entry", c.standing, c.why, c.host)
        for c in story.cited
    ]
    frame = pd.DataFrame(rows, columns=columns)
    incident = story.incident
    opened, closed = _moment(incident.opened), _moment(incident.closed)
    state = f"open since {opened}" if incident.is_open else f"{opened} to {closed}"
    frame.attrs = {
        "named": True,
        "incident": incident.id,
        "gaps": story.gaps,
        "clocks": story.clocks.told(),
        "state": f"{incident.id}: {incident.severity}, {state}: {incident.title}",
    }
    return frame


def check_cited(frame: pd.DataFrame) -> list[Finding]:
    """Judge each record: one whose seal is broken is CRITICAL; one without a seal, or pruned, or sealed with a key that
    is not trusted here, is UNKNOWN. Where no incident is named while one is open, that is a WARNING.

    Runs that are missing from a chain cannot be told from runs of other stories: UNKNOWN. No run at all is a WARNING.
    """
    if not frame.attrs["named"]:
        nameless = unnamed(frame.attrs.get("unnamed", {}).items())
        return nameless or [Finding(object="incident", status=Status.OK, message=NONE)]
    findings = [Finding(object="incident", status=Status.OK, message=frame.attrs["state"])]
    each = [
        Finding(
            object=row["record"],
            status=Status.CRITICAL if row["standing"] == "broken" else Status.UNKNOWN,
            message=f"{row['standing']}: {row['why'] or 'only its seal is left'}",
        )
        for row in frame[frame["standing"] != "sealed"].to_dict("records")
    ]
    findings += first_of(each, "records", TOLD)
    findings += [
        Finding(object="chain", status=Status.UNKNOWN, message=f"missing: {g}") for g in frame.attrs["gaps"][:3]
    ]
    runs = int((frame["kind"] == "run").sum())
    whole = int((frame["standing"] == "sealed").sum())
    told = f"{whole} of {counted(len(frame), 'record')} {'is' if whole == 1 else 'are'} what was sealed"
    told += f", {counted(runs, 'run')} of the incident among them" if runs else ", no run of the incident among them"
    status, after = (Status.OK, "") if runs else (Status.WARNING, _ATTACH.format(frame.attrs.get("incident", "ID")))
    findings.append(Finding(object="records", status=status, message=told, value=whole, unit="records", next=after))
    findings += [Finding(object="clocks", status=Status.OK, message="; ".join(frame.attrs["clocks"]))]
    return findings


def _open_ones() -> dict[str, str]:
    try:
        return open_ones()
    except OSError as error:
        raise CouldNotFindOut(f"the archive cannot be read: {error.strerror}") from error


def probe_timeline(asking: Asking, *, story: Story | None = None) -> pd.DataFrame:
    """Return a row for each event, in the order of the corrected time: at (UTC), moved (by how many seconds that is
    from what was written), kind (began, opened, note, run, alert, plan, change, closed), status, target, who, says,
    record, standing.
    """
    story = _of(story)
    told = events(story)
    rows = [(e.at, e.moved, e.kind, e.status, e.target, e.who, e.says, e.cited.run_id, e.cited.standing) for e in told]
    columns = ["at", "moved", "kind", "status", "target", "who", "says", "record", "standing"]
    frame = pd.DataFrame(rows, columns=columns)
    frame.attrs = {"people": people(story, told)}
    return frame


def check_timeline(frame: pd.DataFrame) -> list[Finding]:
    """Tell from when to when, how many events of which kinds, and who took part; nothing of that is judged."""
    kinds = frame["kind"].value_counts().to_dict()
    told = ", ".join(f"{count} × {kind}" for kind, count in kinds.items())
    first, last = frame["at"].min(), frame["at"].max()
    who = ", ".join(frame.attrs["people"][:TOLD])
    message = f"{told}; from {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC; by {who}"
    return [Finding(object="events", status=Status.OK, message=message, value=len(frame), unit="events")]


def probe_impact(asking: Asking, *, story: Story | None = None) -> pd.DataFrame:
    """Return a row for each measure of how bad it was: measure, says, value, unit, record (the run it is from)."""
    rows = [(m.name, m.says, m.value, m.unit, m.cited.run_id if m.cited else "") for m in measures(_of(story))]
    return pd.DataFrame(rows, columns=["measure", "says", "value", "unit", "record"])


def check_impact(frame: pd.DataFrame) -> list[Finding]:
    """Tell each measure; what is over is not judged."""
    return [
        Finding(
            object=row["measure"],
            status=Status.OK,
            message=row["says"],
            value=None if pd.isna(row["value"]) else float(row["value"]),
            unit=row["unit"],
        )
        for row in frame.to_dict("records")
    ]


def probe_helped(asking: Asking, *, story: Story | None = None) -> pd.DataFrame:
    """Return a row for each plan: plan, summary, begun (UTC, None where it was not carried out), answer, status,
    before and after (what was not well then, one line each), record.
    """
    rows = [
        (
            m.plan.id,
            m.plan.summary,
            m.begun,
            m.answer,
            str(m.status),
            "\n".join(m.before),
            "\n".join(m.after),
            m.cited.run_id,
        )
        for m in changes(_of(story))
    ]
    return pd.DataFrame(rows, columns=["plan", "summary", "begun", "answer", "status", "before", "after", "record"])


def check_helped(frame: pd.DataFrame) -> list[Finding]:
    """Judge each change by what its plan found before and after it: one that made it worse is CRITICAL, one that did
    not help a WARNING; one that was not carried out is told and not judged.
    """
    made = [row for row in frame.to_dict("records") if row["status"] != "SKIPPED"]
    if not made:
        planned = f"{counted(len(frame), 'plan')}, none carried out" if len(frame) else "no plan was made"
        message = f"{planned}: nothing was changed by this runbook"
        return [Finding(object="changes", status=Status.OK, message=message, value=0, unit="changes")]
    return [
        Finding(object=row["plan"], status=Status(row["status"]), message=f"{row['summary']}: {row['answer']}")
        for row in made
    ]


def probe_sections(asking: Asking, *, story: Story | None = None) -> pd.DataFrame:
    """Return a row for each section that people write: heading, text ("" where nothing was written yet), asked."""
    story = _of(story)
    found = read_sections(story.archive, story.incident.id)
    frame = pd.DataFrame([(s.heading, s.text, s.asked) for s in found], columns=["heading", "text", "asked"])
    frame.attrs = {"empty": empty_sections(found), "ownerless": ownerless(found), "open": story.incident.is_open}
    return frame


def check_sections(frame: pd.DataFrame) -> list[Finding]:
    """Judge what people have to write: after it was closed, an empty section is a WARNING; so is an action without an
    owner.
    """
    empty, nobody = frame.attrs["empty"], frame.attrs["ownerless"]
    status = Status.OK if frame.attrs["open"] or not empty else Status.WARNING
    message = f"nothing is written yet under {', '.join(empty)}" if empty else "every section is written"
    findings = [Finding(object="sections", status=status, message=message, value=len(empty), unit="sections")]
    findings += [
        Finding(object=f"action {a[:80]}", status=Status.WARNING, message="nobody owns it") for a in nobody[:TOLD]
    ]
    return findings


cited = Question(
    name="postmortem.cited",
    title="Is every record that this story rests on what was sealed?",
    probe=probe_cited,
    check=check_cited,
    source="runbook evidence verify RECORD, for each record of the incident",
    deadline=120.0,
    next="runbook evidence verify tells what was changed; a broken record proves nothing, and counts for nothing below",
)
timeline = Question(
    name="postmortem.timeline",
    title="What happened, and when?",
    probe=probe_timeline,
    check=check_timeline,
    source="the incident's notes, runs and plans, by the clock that most runs compared theirs with",
    next="runbook incident show ID lists what belongs to it; attach what is missing with evidence add --incident",
    deadline=60.0,
)
impact = Question(
    name="postmortem.impact",
    title="How bad was it?",
    probe=probe_impact,
    check=check_impact,
    source="the data of the incident's sealed runs",
    next="say under Impact what no run has measured",
    deadline=60.0,
)
helped = Question(
    name="postmortem.helped",
    title="Did each change help?",
    probe=probe_helped,
    check=check_helped,
    source="the findings before and after each plan, as it was carried out",
    next="say under Resolution what ended it instead; runbook plans show ID has the plan's inverse",
)
sections = Question(
    name="postmortem.sections",
    title="What have people still to write?",
    probe=probe_sections,
    check=check_sections,
    source="the file incidents/ID.md of the archive",
    next="runbook incident report ID makes the file, and says where it is; what is written there is kept",
)

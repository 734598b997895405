"""What is new, worse, better or gone since the last run of the notebook whose seal holds?"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pandas as pd

from runbook.evidence.archive import NotTrusted, RunPlace, archive_folder
from runbook.evidence.keys import trusted_keys
from runbook.evidence.records import runs_on
from runbook.evidence.standing import Stood, stood
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, UsageError
from runbook.model.units import counted, length

NAME = "earlier.since_last"
NEW, WORSE, BETTER, GONE = "new", "worse", "better", "gone"
_LOOKED_AT, _SHOWN, _DAY = 30, 6, 86_400
# Nobody need do anything about these.
_WELL = (Status.OK, Status.SKIPPED)
COLUMNS = ["change", "check", "object", "before", "now", "message"]


def probe(asking: Asking, *, findings: Iterable[Finding], notebook: str, days: float = 0.0) -> pd.DataFrame:
    """Return a row for each finding that is new, worse, better or gone since the last run of the notebook on this
    target: change, check, object, before and now (status; "" where it was not there), message.

    Compared is with the newest headless run that is at least ``days`` old, whose seal holds by the keys that are
    trusted here, and whose cells all ran; whether runs were taken out of the archive is for `evidence verify`. attrs
    hold ``run_id``, ``ago`` (seconds), ``same`` (how many are as they were), and ``refused`` (runs that were not used,
    each with the reason, newest first).
    """
    before, refused = last_run(notebook, asking.target.name, datetime.now(UTC) - timedelta(days=days))
    frame = pd.DataFrame(columns=COLUMNS)
    attrs: dict[str, Any] = {"run_id": "", "ago": 0.0, "same": 0, "refused": refused}
    if before is not None and before.record is not None:
        now = [finding for finding in findings if finding.check != NAME]
        rows, attrs["same"] = _changes(before.record.findings, now)
        frame = pd.DataFrame(rows, columns=COLUMNS)
        attrs["run_id"] = before.place.run_id
        attrs["ago"] = (datetime.now(UTC) - _made(before.place)).total_seconds()
    frame.attrs.update(attrs)
    return frame


def last_run(notebook: str, target: str, until: datetime) -> tuple[Stood | None, list[tuple[str, str, str]]]:
    """Return the last run that can be compared with, and those that were met on the way and cannot."""
    archive = archive_folder()
    try:
        places = (place for place in runs_on(archive, notebook, target) if _made(place) <= until)
    except (NotTrusted, OSError) as strange:
        raise CouldNotFindOut(f"the archive {archive} cannot be read: {strange}") from strange
    refused: list[tuple[str, str, str]] = []
    keys = _keys()
    for place in islice(places, _LOOKED_AT):
        told = stood(place, archive, keys)
        if told.record is not None and told.record.target != target:
            continue
        if told.standing != "sealed":
            if told.standing != "not sealed":  # one that was cut short, or is this one
                refused.append((place.run_id, told.standing, told.why))
            continue
        record, facts = told.record, told.facts
        if record is None or facts is None or (facts.target, record.notebook) != (target, notebook):
            continue
        if record.ended and record.error is None and record.mode == "headless":
            return told, refused
    return None, refused


def _keys() -> Mapping[str, Any]:
    try:
        return trusted_keys([])
    except UsageError:
        return {}


def _made(place: RunPlace) -> datetime:
    return datetime.strptime(place.run_id[4:20], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def _changes(before: Iterable[Finding], now: Iterable[Finding]) -> tuple[list[dict[str, Any]], int]:
    """Return what changed among the findings that somebody should do something about, and how many did not."""
    old = {one.key: one for one in before if one.check != NAME}
    new = {one.key: one for one in now}
    rows = list(_rows(old, new))
    return rows, len(old.keys() & new.keys()) - sum(row["change"] in (WORSE, BETTER) for row in rows)


def _rows(old: Mapping[Any, Finding], new: Mapping[Any, Finding]) -> Iterator[dict[str, Any]]:
    for key in [*new, *(key for key in old if key not in new)]:
        was, now = old.get(key), new.get(key)
        change = _change(was, now)
        told = now or was
        if change and told is not None:
            yield {
                "change": change,
                "check": told.check,
                "object": told.object,
                "before": str(was.status) if was is not None else "",
                "now": str(now.status) if now is not None else "",
                "message": told.message,
            }


def _change(was: Finding | None, now: Finding | None) -> str:
    if was is None or now is None:
        found = now or was
        bad = found is not None and found.status not in _WELL
        return (NEW if was is None else GONE) if bad else ""
    if was.status is not now.status and now.status in (Status.UNKNOWN, Status.SKIPPED) and was.status not in _WELL:
        return WORSE  # what is not looked at any more was not mended
    before, after = _rank(was), _rank(now)
    return "" if before == after else WORSE if after < before else BETTER


def _rank(finding: Finding) -> int:
    return Status.OK.severity if finding.status in _WELL else finding.status.severity


def check(frame: pd.DataFrame) -> list[Finding]:
    """Tell what is new or worse as WARNING, what is better or gone as OK, and a run that is not as it was sealed as
    CRITICAL: somebody has changed the evidence, and it is not compared with.
    """
    attrs = frame.attrs
    findings = [_refused(*one) for one in attrs["refused"][:3]]
    if not attrs["run_id"]:
        message = "there is no earlier run of this notebook on this target to compare with; the next one has this one"
        return [*findings, Finding(object="earlier run", status=Status.OK, message=message, value="none")]
    compared = f"{attrs['run_id']} ({length(attrs['ago'])} ago)"
    worse = frame[frame["change"].isin([NEW, WORSE])]
    better = frame[frame["change"].isin([BETTER, GONE])]
    if not worse.empty:
        message = f"since {compared}: {_told(worse)}"
        findings.append(_finding("new or worse", Status.WARNING, message, len(worse)))
    if not better.empty:
        findings.append(_finding("better or gone", Status.OK, f"since {compared}: {_told(better)}", len(better)))
    if frame.empty:
        message = f"nothing changed since {compared}: {counted(attrs['same'], 'finding is', 'findings are')} as before"
        findings.append(_finding("earlier run", Status.OK, message, 0))
    return findings


def _finding(obj: str, status: Status, message: str, count: int) -> Finding:
    return Finding(object=obj, status=status, message=message, value=float(count), unit="findings")


def _told(rows: pd.DataFrame) -> str:
    ranks = {str(status): status.severity for status in Status}
    severity = rows["now"].where(rows["now"] != "", rows["before"]).map(ranks)
    ordered = rows.assign(severity=severity).sort_values(["severity", "change"], kind="stable").to_dict("records")
    told = [
        f"{row['change']}: {row['check']}, {row['object']} ({' → '.join(filter(None, (row['before'], row['now'])))})"
        for row in ordered[:_SHOWN]
    ]
    more = [f"and {len(ordered) - _SHOWN} more"] if len(ordered) > _SHOWN else []
    return "; ".join([*told, *more])


def _refused(run_id: str, standing: str, why: str) -> Finding:
    if standing == "broken":
        message = f"is not what was sealed, and is not compared with: {why}"
        after = "runbook evidence verify; find out who can write to the archive, and compare with a copy of it"
        return Finding(object=run_id, status=Status.CRITICAL, message=message, next=after)
    if standing == "unknown key":
        message = f"was sealed with a key that is not trusted here, and is not compared with: {why}"
        return Finding(object=run_id, status=Status.WARNING, message=message)
    return Finding(object=run_id, status=Status.OK, message=f"was pruned: what it found is not there any more ({why})")


since_last = Question(
    name=NAME,
    title="What is new, worse, better or gone since the last run?",
    probe=probe,
    check=check,
    source="runbook evidence list; runbook evidence verify; runbook evidence diff BEFORE AFTER",
    deadline=20.0,
    next="read these first: what is new since the last time has a cause that somebody still remembers",
)

"""Is there a baseline, how old is it, and is it what was sealed?"""

from datetime import UTC, datetime

import pandas as pd

from runbook.evidence.baselines import Kept
from runbook.integrity.kept import NONE, kept_of
from runbook.integrity.reading import NOT_NAMED
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status
from runbook.model.text import to_run
from runbook.model.units import counted

COLUMNS = [
    "baseline", "standing", "why", "made", "author", "files", "without_digest", "unread", "root", "days", "cut_short",
]  # fmt: skip
# In days: less is a clock that is not quite right.
_CLOCKS_DIFFER = 0.1
HOW = "look at the plan below, and carry it out when what lies there is known to be good"


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: baseline (its record), standing (sealed, broken, unknown key, not sealed, gone, none), why, made
    (UTC), author, files, without_digest (of how many files none is kept), unread, root (the digest of it all), days
    (its age), cut_short (newer ones that were never sealed).

    Raises `CouldNotFindOut` where the profile names no trees, or the archive cannot be read.
    """
    if asking.target.integrity is None or not asking.target.integrity.trees:
        raise CouldNotFindOut(NOT_NAMED)
    return pd.DataFrame([_row(kept_of(asking))], columns=COLUMNS)


def _row(kept: Kept | None) -> dict[str, object]:
    if kept is None:
        return {"baseline": "", "standing": "none", "why": NONE, "cut_short": ""}
    row: dict[str, object] = {
        "baseline": kept.run_id,
        "standing": kept.standing,
        "why": kept.why,
        "cut_short": ", ".join(kept.cut_short),
    }
    if kept.baseline is None:
        return row
    made = datetime.fromisoformat(kept.baseline.made)
    facts = {name: getattr(kept.baseline, name) for name in ("author", "files", "without_digest", "unread", "root")}
    return {**row, **facts, "made": made, "days": round((datetime.now(UTC) - made).total_seconds() / 86_400, 1)}


def check(frame: pd.DataFrame, *, days: float = 180) -> list[Finding]:
    """Judge whether there is a baseline that can be trusted.

    One that is not what was sealed, was sealed by a key that is not trusted here, or is gone is CRITICAL and is not
    compared with. Without one nobody can tell what was changed: UNKNOWN. One older than ``days`` is a WARNING: what
    was deployed since has no baseline, and what was not has had no security update for half a year. So is one of the
    future: a clock is wrong, and it may not be the newest.
    """
    row = frame.iloc[0]
    name = row["baseline"] or "baseline"
    if row["standing"] in ("none", "not sealed"):
        message = f"{row['why']}: there is nothing to compare with"
        return [Finding(object="baseline", status=Status.UNKNOWN, message=message, next=HOW)]
    if row["standing"] != "sealed":
        message = f"it is not compared with, and may have been tampered with: {row['standing']}: {row['why']}"
        then = f"`runbook evidence verify {name}` tells what is wrong; take the archive from where it was pushed to"
        return [Finding(object=name, status=Status.CRITICAL, message=message, value=row["standing"], next=then)]
    findings = []
    age = float(row["days"])
    old, early = age > days, age < -_CLOCKS_DIFFER
    message = f"{counted(int(row['files']), 'file')}, sealed {row['made']:%Y-%m-%d %H:%M} UTC by {row['author']}"
    if row["without_digest"]:
        message += f"; of {int(row['without_digest'])} that may hold secrets it keeps no digest"
    if row["unread"]:
        message += f"; {int(row['unread'])} could not be read"
    if old or early:
        message += f"; that is {age:.0f} days ago" if old else f"; that is {-age:.1f} days from now: a clock is wrong"
    findings.append(
        Finding(
            object="baseline",
            status=Status.WARNING if old or early else Status.OK,
            message=message,
            value=age,
            threshold=days,
            unit="days",
            source=f"runbook evidence verify {name}",
            next=HOW if old or early else "",
        )
    )
    if row["cut_short"]:
        message = f"newer ones were cut short before they were sealed, and do not count: {row['cut_short']}"
        findings.append(Finding(object="cut short", status=Status.WARNING, message=message, next=HOW))
    return findings


baseline = Question(
    name="integrity.baseline",
    title="Is there a baseline that can be trusted?",
    probe=probe,
    check=check,
    source="runbook evidence verify",
    next=to_run("file-integrity"),
)

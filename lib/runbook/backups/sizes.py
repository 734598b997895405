"""Are the backups as large as they were, and do they grow as the data does?"""

import pandas as pd

from runbook.backups.age import listed
from runbook.model import Asking, Finding, Question, Status, first_of
from runbook.model.units import as_bytes

# Of how many earlier ones the usual size is taken.
_BEFORE = 7


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each backup, as `backups.age` has them."""
    return listed(asking)


def check(
    frame: pd.DataFrame, *, least: float = 0.7, least_critical: float = 0.3, larger: float = 3.0
) -> list[Finding]:
    """Judge the newest backup of each set by the median size of the seven before it.

    One that has lost 30% of it holds less than the others, whatever its reading says (a table left out, a dump of
    another database); below 30% nearly all is gone. One three times as large is told: the data may have grown, or
    something else is in it. An empty one is CRITICAL.
    """
    findings = []
    for name in frame.attrs["sets"]:
        own = frame[frame["set"] == name]
        if own.empty or name in frame.attrs["unread"]:
            continue  # its age is told
        newest, before = own.iloc[0], own.iloc[1 : 1 + _BEFORE]["bytes"]
        size = float(newest["bytes"])
        if size == 0:
            message = f"{newest['backup']} is empty"
            findings.append(Finding(object=name, status=Status.CRITICAL, message=message, value=0, unit="B"))
        elif newest["kind"] == "wal":
            told = f"{as_bytes(size)} in the archive"
            findings.append(Finding(object=name, status=Status.OK, message=told, value=size, unit="B"))
        elif before.empty:
            message = f"{newest['backup']} has {as_bytes(size)}; it is the only one, so nothing to compare it with"
            findings.append(Finding(object=name, status=Status.OK, message=message, value=size, unit="B"))
        else:
            findings.append(_compared(name, newest, before, (least, least_critical, larger)))
    return first_of(findings, "sets")


def _compared(name: str, newest: "pd.Series", before: "pd.Series", limits: tuple[float, float, float]) -> Finding:
    least, least_critical, larger = limits
    usual = float(before.median())
    share = float(newest["bytes"]) / usual if usual else 1.0
    many = f"the {len(before)}" if len(before) > 1 else "the one"
    what = f"{newest['backup']} has {as_bytes(newest['bytes'])}, {many} before it {as_bytes(usual)}"
    status, threshold, then = Status.OK, least, ""
    if share < least:
        status = Status.CRITICAL if share < least_critical else Status.WARNING
        threshold = least_critical if share < least_critical else least
        what = f"{what}: it holds less"
        then = "see what it lacks: its tables and rows are told by backups.sound; and whether its disk was full"
    elif share > larger:
        status, threshold = Status.WARNING, larger
        what = f"{what}: it holds more"
        then = "see what has grown: the tables' sizes are told by database-maintenance"
    return Finding(
        object=name, status=status, message=what, value=round(share, 3), threshold=threshold, unit="of the usual size",
        next=then,
    )  # fmt: skip


sizes = Question(
    name="backups.sizes",
    title="Are the backups as large as they were?",
    probe=probe,
    check=check,
    source="ls -l FILES   # the newest beside the seven before it",
    deadline=20.0,
    next="compare what the newest holds with the one before",
)

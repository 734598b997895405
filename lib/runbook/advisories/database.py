"""Is the offline database of advisories there, whole, and young enough to know of what is new?"""

from datetime import UTC, datetime

import pandas as pd

from runbook.advisories.osv import READ_SECONDS, read
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, at_most
from runbook.model.units import counted

HOW = (
    "the profile names no advisories ([advisories] files); fetch an export on a machine that may "
    "(https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip), check where it came from, and name it there"
)


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: files (names), advisories, withdrawn, malformed (how many files), such_as (one of them), cut (why
    not all was read), newest (when one was changed last; None where none tells), days (since then).
    """
    named = asking.target.advisories
    if named is None or not named.files:
        raise CouldNotFindOut(HOW)
    found = read(named.files, frozenset())
    days = (datetime.now(UTC) - found.newest).total_seconds() / 86_400 if found.newest is not None else None
    row = {
        "files": ", ".join(map(str, named.files)),
        "advisories": found.count,
        "withdrawn": found.withdrawn,
        "malformed": len(found.malformed),
        "such_as": found.malformed[0] if found.malformed else "",
        "cut": found.cut,
        "newest": found.newest,
        "days": days,
    }
    return pd.DataFrame([row])


def check(frame: pd.DataFrame, *, warning: float = 30, critical: float = 180) -> list[Finding]:
    """Judge the days since any advisory was changed, and what could not be read.

    Advisories for PyPI change every day: where none did for a month, the file is that old, and what became known since
    is not in it.
    """
    row = frame.iloc[0]
    if not row["advisories"]:
        message = f"{row['files']} holds no advisory in OSV's format"
        return [Finding(object="advisories", status=Status.UNKNOWN, message=message, next=HOW)]
    findings = []
    if pd.isna(row["days"]) or row["days"] < -1:
        told = "tells when it was changed" if pd.isna(row["days"]) else "is older than tomorrow: a clock is wrong"
        findings.append(Finding(object="age", status=Status.UNKNOWN, message=f"no advisory {told}"))
    else:
        message = (
            f"{counted(row['advisories'], 'advisory', 'advisories')}, changed last {max(0.0, row['days']):.0f} days ago"
        )
        findings.append(
            at_most("age", round(max(0.0, row["days"]), 1), warning, critical, unit="days", message=message)
        )
    if row["malformed"]:
        message = (
            f"{counted(row['malformed'], 'file')} cannot be read, such as {row['such_as']}: what it tells is not known"
        )
        findings.append(Finding(object="files", status=Status.UNKNOWN, message=message))
    if row["cut"]:
        findings.append(Finding(object="size", status=Status.UNKNOWN, message=str(row["cut"])))
    return findings


database = Question(
    name="advisories.database",
    title="Is the offline database of advisories whole, and young enough?",
    probe=probe,
    check=check,
    source="jq -s 'map(.modified) | max' FILES   # those that the profile names under [advisories]",
    deadline=READ_SECONDS + 10,
    next="fetch a new export, and have that done each week",
)

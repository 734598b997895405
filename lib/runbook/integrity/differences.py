"""What differs from the baseline?"""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from runbook.connections import Machine
from runbook.integrity.comparing import GRAVE, Difference
from runbook.integrity.explanations import EXPLAINED_BY
from runbook.integrity.kept import compared, trusted
from runbook.integrity.listing import Listing
from runbook.integrity.reading import DEADLINE, Files, units_of
from runbook.model import Asking, Finding, Question, Status, first_of
from runbook.model.units import counted

COLUMNS = ["file", "kinds", "told", "rank", "below"]
# More than anybody reads; the message says how many there are.
ROWS_KEPT = 500
_NEXT = (
    "if nobody deployed since: P0, a security breach; keep the machine as it is, preserve the file, and call security. "
    "If somebody did: compare with the commit, then record a new baseline by the plan"
)


def probe(asking: Asking, *, files: Files | None = None) -> pd.DataFrame:
    """Return a row for each thing in the trees that is not as it was: file (its path), kinds (added, removed, changed,
    kind, target, permissions, owner, world-writable, set-uid, set-gid, capabilities), told, rank (lower is worse),
    below (how many more went or came with a folder); at most 500, the worst first.

    ``attrs`` say what else is to be known; see `about`. The files are read anew.
    """
    kept, baseline, before = trusted(asking)
    listing = (files or Files()).listing(asking, anew=True)
    units = set(units_of(asking.target))
    found = compared(asking, before, baseline, listing, of=lambda tree: tree not in units)
    return as_frame(found.differences, {
        **about(listing, lambda tree: tree not in units),
        "baseline": f"{kept.run_id}, made {baseline.made[:16].replace('T', ' ')} UTC by {baseline.author}",
        "not_compared": found.not_compared,
        "not_covered": [tree for tree in listing.trees if tree not in units and tree not in baseline.trees],
    })  # fmt: skip


def as_frame(differences: list[Difference], attrs: dict[Any, Any]) -> pd.DataFrame:
    """Return differences as rows; how many of them there are stands in ``attrs`` too."""
    rows = [(one.place, ", ".join(one.kinds), one.told, one.rank, one.below) for one in differences[:ROWS_KEPT]]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame.attrs = {**attrs, "differences": len(differences), "grave": sum(one.rank <= GRAVE for one in differences)}
    return frame


def about(listing: Listing, of: Callable[[str], bool]) -> dict[Any, Any]:
    """Return what is to be known of a reading beside the entries: how much was read, and what was not."""
    entries = [entry for entry in listing.entries.values() if of(entry.tree)]
    return {
        "files": sum(entry.kind == "file" for entry in entries),
        "trees": sum(map(of, listing.trees)),
        "partial": listing.partial,
        "vanished": len(listing.vanished),
        "absent": [tree for tree in filter(of, listing.trees) if not listing.trees[tree]],
        "mounts": listing.mounts[:20],
        "twice": listing.twice[:20],
        "links_out": sum(entry.outside for entry in entries),
        "without_digest": sum(entry.secret for entry in entries),
    }


def check(frame: pd.DataFrame, *, most: float = 10) -> list[Finding]:
    """Judge what differs; the ``most`` worst are told by name, as many as one reads.

    New rights, and what was added, changed or leads elsewhere, is CRITICAL: such code runs as the service. What is
    gone, or belongs to somebody else, is a WARNING. What could not be read or compared is UNKNOWN.
    """
    attrs: dict[Any, Any] = frame.attrs
    findings = told(frame, "files", int(most))
    findings += not_told(attrs)
    if not any(finding.status is Status.CRITICAL for finding in findings) and not attrs["differences"]:
        message = f"{counted(attrs['files'], 'file')} in {counted(attrs['trees'], 'tree')}: nothing differs"
        if attrs["partial"]:
            message = f"of {counted(attrs['files'], 'file')} that were read nothing differs"
        message += f" from the baseline {attrs['baseline']}{beside(attrs)}"
        findings.append(Finding(object="trees", status=Status.OK, message=message, value=0, unit="differences"))
    return findings


def told(frame: pd.DataFrame, what: str, most: int) -> list[Finding]:
    """Return a finding for each difference, the worst first, and one for all beyond ``most``."""
    found = [_finding(row) for row in frame.to_dict("records")]
    findings = first_of(found, what, most)
    more = frame.attrs["differences"] - len(frame)
    if more > 0 and findings:
        shown = f"{counted(frame.attrs['differences'] - most, 'more differs', 'more differ')}, {ROWS_KEPT} are listed"
        last = findings[-1]
        findings[-1] = Finding(object=last.object, status=last.status, message=f"{shown}: was it deployed anew?")
    return findings


def _finding(row: dict[Any, Any]) -> Finding:
    grave = row["rank"] <= GRAVE
    return Finding(
        object=row["file"],
        status=Status.CRITICAL if grave else Status.WARNING,
        message=row["told"],
        value=row["kinds"],
    )


def not_told(attrs: Mapping[Any, Any]) -> list[Finding]:
    """Return a finding for each reason for which something cannot be told."""
    found = []
    if attrs["partial"]:
        then = "give the question more time (deadlines.question in the profile), or exclude what changes by itself"
        message = f"this is not all: {attrs['partial']}; what was not read may differ"
        found.append(Finding(object="reading", status=Status.UNKNOWN, message=message, next=then))
    if attrs["not_compared"]:
        (place, why), many = next(iter(attrs["not_compared"].items())), len(attrs["not_compared"])
        first = f"the first is {place}: {why}"
        message = f"{many:,} of them could not be read, and nobody knows what they hold; {first}"
        then = "run this as a user that may read them, or have them readable for the runbook's group"
        found.append(Finding(object="unreadable", status=Status.UNKNOWN, message=message, value=many, next=then))
    found += [
        Finding(
            object=tree,
            status=Status.UNKNOWN,
            message="the profile names this tree, and there is nothing",
            next="was it moved, or is another file system to be mounted there? Else mend [[integrity.trees]]",
        )
        for tree in attrs["absent"]
    ]
    found += [
        Finding(
            object=tree,
            status=Status.UNKNOWN,
            message="the profile names this tree, and the baseline does not have it",
            next="record a new baseline, by the plan below, once it is known to be good",
        )
        for tree in attrs["not_covered"]
    ]
    return found


def beside(attrs: Mapping[Any, Any]) -> str:
    """Return what else is to be said of a reading."""
    parts = []
    if attrs["without_digest"]:
        parts.append(f"of {attrs['without_digest']} that may hold secrets only size, time and owner were compared")
    if attrs["vanished"]:
        parts.append(f"{attrs['vanished']} vanished while they were read")
    if attrs["links_out"]:
        parts.append(f"{counted(attrs['links_out'], 'link leads', 'links lead')} out of the trees, and is not followed")
    if attrs["mounts"]:
        parts.append(f"other file systems are mounted below and were not entered: {', '.join(attrs['mounts'][:3])}")
    if attrs["twice"]:
        parts.append(f"folders are mounted there once more and were read once: {', '.join(attrs['twice'][:3])}")
    return "".join(f"; {part}" for part in parts)


differences = Question(
    name="integrity.differences",
    title="What differs from the baseline?",
    probe=probe,
    check=check,
    source="find TREE -type f -exec sha256sum {} +   # beside the list that the baseline holds",
    needs=(Machine,),
    deadline=DEADLINE,
    explained_by=EXPLAINED_BY,
    next=_NEXT,
)

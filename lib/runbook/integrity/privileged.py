"""Which files give rights to whoever starts them, and which can everybody write?"""

from typing import Any

import pandas as pd

from runbook.connections import Machine
from runbook.integrity.comparing import is_open, privileges
from runbook.integrity.differences import about, not_told
from runbook.integrity.owners import owner
from runbook.integrity.reading import DEADLINE, Files, units_of
from runbook.integrity.rights_elsewhere import rights_elsewhere
from runbook.model import Asking, Finding, Question, Status, first_of
from runbook.model.units import counted

COLUMNS = ["file", "rights", "owner", "mode", "open", "excluded"]
ROWS_KEPT = 500


def probe(asking: Asking, *, files: Files | None = None) -> pd.DataFrame:
    """Return a row for each file of the trees that gives rights, or that everybody can write: file, rights (set-uid,
    set-gid, capabilities), owner, mode, open (everybody can write it), excluded (by the profile from the comparison);
    at most 500, those that give rights first.

    This needs no baseline: nothing that is deployed as a folder of Python needs either. What the profile excludes is
    looked at for set-uid, set-gid and open ones.
    """
    listing = (files or Files()).listing(asking)
    units = set(units_of(asking.target))
    bad = [
        (entry, False)
        for entry in listing.entries.values()
        if entry.tree not in units and (privileges(entry) or is_open(entry))
    ]
    elsewhere, looked, cut_short = rights_elsewhere(listing)
    bad += [(entry, True) for entry in elsewhere]
    rows = [
        (entry.place, ", ".join(privileges(entry)), owner(entry), f"{entry.mode:04o}", is_open(entry), excluded)
        for entry, excluded in bad
    ]
    rows.sort(key=lambda row: (row[1] == "", row[5], row[0]))
    frame = pd.DataFrame(rows[:ROWS_KEPT], columns=COLUMNS)
    unread = {e.place: e.problem for e in listing.unread if e.tree not in units}
    told = about(listing, lambda tree: tree not in units)
    frame.attrs = {
        **told, "not_compared": unread, "not_covered": [], "found": len(rows), "excluded": looked,
        "cut_short": cut_short,
    }  # fmt: skip
    return frame


def check(frame: pd.DataFrame, *, most: float = 10) -> list[Finding]:
    """Judge each such file; the ``most`` worst are told by name.

    A set-uid file among the service's own is CRITICAL: Python code needs none, and whoever can start it has the rights
    of its owner. So is a file that everybody can write: whoever is on the machine can make the service run anything;
    in what the profile excludes, which the service writes itself, that is a WARNING.
    """
    attrs: dict[Any, Any] = frame.attrs
    found = []
    for row in frame.to_dict("records"):
        acts = f"it has {row['rights']}: whoever starts it acts with rights of {row['owner']}"
        told = [acts] if row["rights"] else []
        told += ["everybody can write it"] if row["open"] else []
        then = f"find out who did that, then take it away: chmod {'u-s,g-s' if row['rights'] else 'o-w'} FILE"
        message = f"{'; '.join(told)} (mode {row['mode']})"
        message += "; the profile excludes it from the comparison" if row["excluded"] else ""
        status = Status.WARNING if row["excluded"] and not row["rights"] else Status.CRITICAL
        found.append(Finding(object=row["file"], status=status, message=message, value=row["mode"], next=then))
    findings = first_of(found, "files", int(most)) + not_told(attrs)
    if not found:
        message = f"none of {counted(attrs['files'], 'file')} in {counted(attrs['trees'], 'tree')}"
        message += f", nor of {attrs['excluded']:,} that the profile excludes" if attrs["excluded"] else ""
        findings.append(Finding(object="trees", status=Status.OK, message=message, value=0, unit="files"))
    if attrs["cut_short"]:
        findings.append(Finding(object="excluded", status=Status.UNKNOWN, message=attrs["cut_short"]))
    return findings


privileged = Question(
    name="integrity.privileged",
    title="Which files give rights to whoever starts them, or can be written by everybody?",
    probe=probe,
    check=check,
    source=r"find TREE \( -type f -perm /6000 -o -perm -0002 \! -type l \) -ls; getcap -r TREE",
    needs=(Machine,),
    deadline=DEADLINE,
    next="find out who made it so; where nobody did, it is a breach (P0): keep the file as it is, call security",
)

"""Do the backups reach back as far as they are to be kept, and is what is older gone?"""

import pandas as pd

from runbook.backups.age import listed
from runbook.model import Asking, Finding, Question, Status, first_of
from runbook.model.units import as_bytes, counted


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each backup, as `backups.age` has them."""
    return listed(asking)


def check(frame: pd.DataFrame, *, share: float = 0.9, beyond: float = 2.0) -> list[Finding]:
    """Judge how far back each set reaches, by the profile's keep_days (the runbook's own are 30).

    Where it reaches less than ``share`` of that, what was found wrong late cannot be restored: WARNING. Ones older than
    ``beyond`` times keep_days fill the disk, and may hold what was to be forgotten: WARNING.
    """
    findings = []
    now = pd.Timestamp(frame.attrs["now"])
    for name, (kind, _, every, keep) in frame.attrs["sets"].items():
        own = frame[frame["set"] == name]
        if own.empty or name in frame.attrs["unread"] or kind == "wal":
            continue
        days = (now - own["taken"]) / pd.Timedelta(days=1)
        oldest = float(days.max())
        told = f"{counted(len(own), 'backup')}, {as_bytes(own['bytes'].sum())}, back to {oldest:.0f} days"
        old = own[days > keep * beyond]
        status, then = Status.OK, ""
        if oldest < keep * share - every / 24:
            status = Status.WARNING
            told += f"; they are to be kept for {keep:g}: what is found wrong later than that cannot be restored"
            then = "see what takes them away, or since when they are made; lower keep_days only if that is meant"
        elif len(old):
            status = Status.WARNING
            many = counted(len(old), "one is", "ones are")
            told += f"; {many} older than {keep * beyond:g} days, {as_bytes(old['bytes'].sum())}"
            then = "nothing takes the old ones away: mend that job; what was to be deleted may still stand in them"
        findings.append(
            Finding(
                object=name, status=status, message=told, value=round(oldest, 1), threshold=keep, unit="days", next=then
            )
        )
    return first_of(findings, "sets")


retention = Question(
    name="backups.retention",
    title="Do the backups reach back as far as they are to be kept?",
    probe=probe,
    check=check,
    source="ls -ltr FILES | head -1   # the oldest of each pattern",
    deadline=20.0,
    next="see the job that makes and the one that deletes them",
)

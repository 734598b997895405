"""How old is the newest backup of each set, and is one missing among them?"""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pandas as pd

from runbook.backups.listing import Found, backups_of, found
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, at_most, first_of
from runbook.model.units import as_bytes, counted, length
from runbook.target import BackupSet

COLUMNS = ["set", "kind", "backup", "path", "taken", "named", "bytes", "every_hours", "keep_days"]


def listed(asking: Asking) -> pd.DataFrame:
    """Return a row for each backup, by set, the newest first: set, kind, backup (its name), path, taken (UTC), named
    (the time is of its name), bytes, every_hours, keep_days.

    attrs hold ``now`` (ISO), ``sets`` (name, kind and pattern of each), and ``unread`` (why a set cannot be listed).
    """
    named = backups_of(asking.target)
    rows, unread = list[Any](), dict[str, str]()
    for one in named.sets:
        try:
            rows += [_row(one, backup) for backup in found(one)]
        except CouldNotFindOut as why:
            unread[one.name] = str(why)
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame["taken"] = pd.to_datetime(frame["taken"], utc=True)
    frame.attrs = {
        "now": datetime.now(UTC).isoformat(),
        "sets": {one.name: [one.kind, one.files, one.every_hours, one.keep_days] for one in named.sets},
        "unread": unread,
    }
    return frame


def _row(of: BackupSet, one: Found) -> tuple[Any, ...]:
    return (of.name, of.kind, one.name, one.path, one.taken, one.named, one.bytes, of.every_hours, of.keep_days)


def check(frame: pd.DataFrame, *, warning: float = 1.08, critical: float = 2.0, gap: float = 1.75) -> list[Finding]:
    """Judge each set by the age of its newest backup, as a share of how often one is made, and by gaps.

    A daily one is late after 26 h (1.08), the margin that experts leave for one that takes longer than the last; after
    two of its intervals one was left out: CRITICAL. Two that are more than ``gap`` intervals apart are a WARNING. One
    of the future says that a clock is wrong, or its name: what is newest is then not known.
    """
    findings = []
    now = pd.Timestamp(frame.attrs["now"])
    for name, (kind, files, every, keep) in frame.attrs["sets"].items():
        if name in frame.attrs["unread"]:
            findings.append(Finding(object=name, status=Status.UNKNOWN, message=frame.attrs["unread"][name]))
            continue
        own = frame[frame["set"] == name]
        if own.empty:
            message = f"there is no backup of the {_WHAT[kind]}: nothing fits {files}"
            findings.append(Finding(object=name, status=Status.CRITICAL, message=message, value=0, unit="backups"))
            continue
        findings.append(_newest(name, own.iloc[0], now, (every, warning, critical)))
        if kind != "wal":
            findings += _gaps(name, own, (every, keep, gap), now)
    return first_of(findings, "sets")


_WHAT = {
    "database": "database", "roles": "roles", "base": "cluster's files", "wal": "WAL", "redis": "Redis data",
    "data": "service's data folder",
}  # fmt: skip


def _newest(name: str, row: "pd.Series[Any]", now: pd.Timestamp, limits: tuple[float, float, float]) -> Finding:
    every, warning, critical = limits
    seconds = (now - row["taken"]).total_seconds()
    if seconds < -300:
        message = f"{row['backup']} is of {length(-seconds)} from now: a clock is wrong, or its name"
        return Finding(object=name, status=Status.UNKNOWN, message=message)
    what = f"{row['backup']}, {length(max(0.0, seconds))} old, {as_bytes(row['bytes'])}; one is made each {every:g} h"
    finding = at_most(name, round(seconds / 3600, 2), every * warning, every * critical, unit="h", message=what)
    if finding.status is Status.CRITICAL:
        lost = f"the newest is {what}: what came since would be lost"
        return msgspec.structs.replace(finding, message=lost)
    return finding


def _gaps(name: str, own: pd.DataFrame, limits: tuple[float, float, float], now: pd.Timestamp) -> list[Finding]:
    """Return a finding where backups of the time that they are kept for are further apart than they should be."""
    every, keep, gap = limits
    recent = own[own["taken"] > now - pd.Timedelta(days=keep)].sort_values("taken")
    apart = recent["taken"].diff().dt.total_seconds() / 3600
    wide = recent[apart > gap * every]
    if wide.empty:
        return []
    worst = apart.loc[wide.index].idxmax()
    until = recent.loc[worst, "taken"]
    message = (
        f"{counted(len(wide), 'gap')} among {len(recent)} of the last {keep:g} days; the widest are "
        f"{float(apart.loc[worst]):.0f} h before {until:%Y-%m-%d %H:%M} UTC, one is made each {every:g} h"
    )
    after = "look into the log of what makes them, of that day; what lies in the gap can be restored from no other"
    return [Finding(object=f"{name} gaps", status=Status.WARNING, message=message, value=len(wide), next=after)]


age = Question(
    name="backups.age",
    title="How old is the newest backup of each set, and is one missing?",
    probe=listed,
    check=check,
    source="ls -l --time-style=full-iso FILES   # the patterns of [[backups.sets]]",
    deadline=20.0,
    next="see why none was made: the log of its job, and whether the disk or the store is full; then make one now",
)

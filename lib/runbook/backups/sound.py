"""Can the newest backup of each set be restored, as far as reading it whole can tell?"""

import time
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from runbook.backups.listing import Found, backups_of, found
from runbook.backups.reading import NONE, OTHER, SAME, Reading, read
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, first_of
from runbook.model.units import counted, length
from runbook.target import Backups

# A gigabyte takes some ten seconds; the profile's deadlines.question gives more.
DEADLINE = 240.0
_SHARE = 0.9
# Behind a broken one so many are tried until one is sound: what lies further back is of little use.
TRIED = 6
_CHANGED = "keep it, compare it with its copy elsewhere, and find out what writes there: disk, memory, a person"
_COLUMNS = [
    "set", "kind", "backup", "path", "taken", "bytes", "format", "digest", "sha256", "problem", "unknown", "told",
    "seconds", "server",
]  # fmt: skip


class Readings:
    """What a notebook has read of the backups: whoever restores one goes by the same reading."""

    def __init__(self) -> None:
        self._by_path: dict[str, Reading] = {}

    def of(self, one: Found, named: Backups, seconds: float) -> Reading:
        """Return what came of reading a backup whole, read now where that was not done yet."""
        kept = self._by_path.get(one.path)
        if kept is None or (kept.of.written, kept.of.bytes) != (one.written, one.bytes):
            kept = self._by_path[one.path] = read(one, named, seconds)
        return kept


def readings() -> Readings:
    """Return what the questions of a notebook share; nothing is read yet."""
    return Readings()


def newest_sound(
    asking: Asking, kind: str, seconds: float, kept: Readings | None = None, before: datetime | None = None
) -> tuple[Reading, list[Reading]]:
    """Return the newest backup of a kind that verifies, and those newer ones that do not; of those taken ``before``.

    Raises `CouldNotFindOut` where there is none among the newest six of any set of that kind.
    """
    named, kept = backups_of(asking.target), kept or Readings()
    end = time.monotonic() + seconds
    all_of_kind = [one for of in named.sets if of.kind == kind for one in found(of)]
    all_of_kind = [one for one in all_of_kind if before is None or one.taken < before]
    broken: list[Reading] = []
    for one in sorted(all_of_kind, key=lambda one: one.taken, reverse=True)[:TRIED]:
        reading = kept.of(one, named, max(1.0, end - time.monotonic()))
        if reading.sound:
            return reading, broken
        broken.append(reading)
    if not broken:
        raise CouldNotFindOut(f"there is no backup of kind {kind}" + (f" before {before}" if before else ""))
    first = broken[0]
    why = first.problem or first.unknown
    raise CouldNotFindOut(f"of the newest {len(broken)} backups of kind {kind} none verifies; {first.of.name}: {why}")


def probe(asking: Asking, *, readings: Readings | None = None) -> pd.DataFrame:
    """Return a row for each backup that was read whole, the newest of each set and, where that is broken, those before
    it until one is sound: set, kind, backup, path, taken, bytes, format, digest (same, other, none), sha256, problem,
    unknown, told, seconds, server (its version).

    attrs hold ``now`` and ``empty`` (sets without any backup, or that cannot be listed: why).
    """
    named, kept = backups_of(asking.target), readings or Readings()
    seconds = (asking.target.deadlines.question or DEADLINE) * _SHARE
    end = time.monotonic() + seconds
    rows, empty = list[Any](), dict[str, str]()
    for of in named.sets:
        try:
            listed = found(of)
        except CouldNotFindOut as why:
            empty[of.name] = str(why)
            continue
        if not listed:
            empty[of.name] = f"there is no backup: nothing fits {of.files}"
        for one in listed[:TRIED]:
            reading = kept.of(one, named, max(1.0, end - time.monotonic()))
            rows.append(_row(reading))
            if reading.sound or time.monotonic() > end:
                break
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    frame["taken"] = pd.to_datetime(frame["taken"], utc=True)
    frame.attrs = {"now": datetime.now(UTC).isoformat(), "empty": empty}
    return frame


def _row(reading: Reading) -> tuple[Any, ...]:
    one = reading.of
    return (
        one.of.name, one.of.kind, one.name, one.path, one.taken, one.bytes, reading.format, reading.digest,
        reading.sha256, reading.problem, reading.unknown, reading.told, round(reading.seconds, 3), reading.text.server,
    )  # fmt: skip


def check(frame: pd.DataFrame, *, tried: float = TRIED) -> list[Finding]:
    """Judge the newest of each set: one that cannot be restored is CRITICAL, and told with the newest that can.

    One without a digest of its own is a WARNING: a byte that was flipped in what is not compressed is found by no
    reading. ``tried`` is how many are read until one is sound, a week of daily ones.
    """
    absent = "see whether the job that makes them runs, and where it writes; then make one now, and verify it"
    findings = [
        Finding(object=name, status=Status.UNKNOWN, message=why, next=absent)
        for name, why in frame.attrs["empty"].items()
    ]
    now = pd.Timestamp(frame.attrs["now"])
    for name, own in frame.groupby("set", sort=False):
        newest, last = own.iloc[0], own.iloc[-1]
        about = f"{newest['backup']}: {newest['problem'] or newest['unknown'] or newest['told']}"
        if newest["problem"] or newest["unknown"]:
            status = Status.CRITICAL if newest["problem"] else Status.UNKNOWN
            after = "" if newest["problem"] else "mend what keeps it from being read, as told here, and ask again"
            after = _CHANGED if newest["digest"] == OTHER else after
            told = about + _instead(own, last, now, tried)
            findings.append(Finding(object=str(name), status=status, message=told, next=after))
        elif newest["digest"] == NONE and newest["sha256"]:
            message = f"{about}, read to its end; no digest was written when it was made: a flipped byte may not show"
            after = "have the job that makes it write one: sha256sum FILE > FILE.sha256"
            findings.append(Finding(object=str(name), status=Status.WARNING, message=message, next=after))
        else:
            how = ", and its digest is the one of when it was made" if newest["digest"] == SAME else ""
            message = f"{about}; read to its end{how}"
            findings.append(
                Finding(object=str(name), status=Status.OK, message=message, value=newest["seconds"], unit="s")
            )
    return first_of(findings, "sets")


def _instead(own: pd.DataFrame, last: "pd.Series", now: pd.Timestamp, tried: float) -> str:
    if last["unknown"] and not own["problem"].any():
        return "; none of those before was read either"
    if last["problem"] or last["unknown"]:
        many = counted(len(own), "backup")
        more = f", and no more than {tried:g} are tried" if len(own) >= tried else ""
        return f"; none of the newest {many} is sound{more}"
    lost = length((now - last["taken"]).total_seconds())
    return (
        f"; the newest that verifies is {last['backup']}, of {last['taken']:%Y-%m-%d %H:%M} UTC: {lost} would be lost"
    )


sound = Question(
    name="backups.sound",
    title="Can the newest backup of each set be restored, as far as reading it whole can tell?",
    probe=probe,
    check=check,
    source="pg_restore -f /dev/null FILE; tail -c 200 FILE.sql; sha256sum -c FILE.sha256; pg_verifybackup FOLDER; "
    "gzip -t FILE.gz; redis-check-rdb FILE.rdb",
    deadline=DEADLINE,
    next="keep the broken one, make a new one now and verify it; then see what broke it: a full disk, a cut connection",
)

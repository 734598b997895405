"""How the schedule stands: when each notebook last succeeded, what is overdue, and what has not been clean for long."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from runbook.evidence.archive import NotTrusted
from runbook.evidence.keys import trusted_keys
from runbook.evidence.ledger import NOT_SEALED, ledger
from runbook.model import RunFailed, UsageError
from runbook.model.text import printable, shortened
from runbook.model.units import length
from runbook.schedules.planned import Planned

DAYS = 7.0
LOOKED_BACK = 100.0
_DAY = 86_400.0
# After how long the next run is missed: the period, and what delays and runs themselves may take.
_DUE = {"daily": _DAY + 2 * 3600, "weekly": 7 * _DAY + 6 * 3600, "monthly": 32 * _DAY}
_SQL = resources.files(__package__).joinpath("duckdb")
_LAST_RUNS = (_SQL / "last_runs.sql").read_text(encoding="utf-8")
_VERSION_CHANGES = (_SQL / "version_changes.sql").read_text(encoding="utf-8")

ON_TIME, OVERDUE, DRIFTED, OFF = "on time", "overdue", "drifted", "off"


@dataclass(frozen=True)
class Last:
    """Of a notebook on a target: when it last came to a verdict, when it last was OK, and how its last run ended."""

    succeeded: datetime | None
    clean: datetime | None
    status: str


@dataclass(frozen=True)
class VersionChange:
    """Of a target: its service last told the version ``before`` at ``after``, and first told ``now`` at ``seen``."""

    before: str
    now: str
    after: datetime
    seen: datetime

    @property
    def told(self) -> str:
        """Return it in words."""
        before, now = (shortened(printable(version)) for version in (self.before, self.now))
        return f"from {before} to {now} (between {_utc(self.after)} and {_utc(self.seen)})"


@dataclass(frozen=True)
class Past:
    """What the archive tells: the last runs by notebook and target, by target the last change of its service's version,
    and how many runs do not count, by reason.
    """

    last: Mapping[tuple[str, str], Last]
    changes: Mapping[str, VersionChange]
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class Standing:
    """How one notebook's schedule stands; an ``overdue`` one may have ``drifted`` as well.

    ``not_since`` is the change of the service's version since which it was not clean.
    """

    planned: Planned
    last: Last | None
    overdue: bool
    drifted: bool
    message: str
    not_since: VersionChange | None = None

    @property
    def state(self) -> str:
        """Return it in a word: what is worst."""
        if self.planned.when is None:
            return OFF
        return OVERDUE if self.overdue else DRIFTED if self.drifted else ON_TIME


def read_past(archive: Path, targets: Iterable[str], now: datetime, days: float) -> Past:
    """Return what the archive tells of some targets.

    Only sealed runs of the last ``days`` count, by the keys that are trusted here. Raises `RunFailed` where the archive
    cannot be read.
    """
    try:
        keys = trusted_keys([])
    except UsageError:
        keys = {}
    try:
        told = ledger(archive, keys, now - timedelta(days=days))
    except (NotTrusted, OSError) as strange:
        raise RunFailed(f"the archive {archive} cannot be read: {strange}") from strange
    last: dict[tuple[str, str], Last] = {}
    changes: dict[str, VersionChange] = {}
    asked = {"targets": list(targets)}
    for row in told.ask(_LAST_RUNS, asked).to_dict("records"):
        one = Last(_moment(row["succeeded"]), _moment(row["clean"]), row["status"])
        last[row["notebook"], row["target"]] = one
    for row in told.ask(_VERSION_CHANGES, asked).to_dict("records"):
        after, seen = (datetime.fromtimestamp(int(row[name]), UTC) for name in ("seen_before", "seen"))
        changes[row["target"]] = VersionChange(row["version_before"], row["version"], after, seen)
    left_out = Counter(why for why in told.left_out.values() if why != NOT_SEALED)
    return Past(last, changes, dict(left_out))


def _moment(seconds: Any) -> datetime | None:
    return datetime.fromtimestamp(int(seconds), UTC) if pd.notna(seconds) else None


def _utc(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def standings(planned: Iterable[Planned], past: Past, now: datetime, days: float, looked_back: float) -> list[Standing]:
    """Judge each notebook: overdue where no run came to a verdict within its period, drifted where none was OK for
    ``days`` (or for its period where that is longer), or since the service's version changed.

    A run between the last that saw the version before and the first that saw the new one may have been before it.
    """
    return [_standing(one, past, now, days, looked_back) for one in planned]


def _standing(planned: Planned, past: Past, now: datetime, days: float, looked_back: float) -> Standing:
    last, change = past.last.get((planned.notebook, planned.target)), past.changes.get(planned.target)
    if planned.when is None:
        return Standing(planned, last, False, False, "the profile says off")
    due = _DUE[planned.when.period]
    succeeded, clean = (last.succeeded, last.clean) if last is not None else (None, None)
    overdue = succeeded is None or (now - succeeded).total_seconds() > due
    not_since = change if change is not None and (clean is None or clean < change.seen) else None
    drifted = clean is None or not_since is not None or (now - clean).total_seconds() > max(days * _DAY, due)
    if last is None:
        return Standing(planned, last, True, True, f"no run in the last {looked_back:g} days", not_since)
    told = f"last success {_ago(succeeded, now, looked_back)}; last clean {_ago(clean, now, looked_back)}"
    told += f"; the last run was {last.status}"
    if not_since is not None:
        told += f"; not clean since the service's version changed {not_since.told}"
    return Standing(planned, last, overdue, drifted, told, not_since)


def _ago(at: datetime | None, now: datetime, looked_back: float) -> str:
    if at is None:
        return f"not in the last {looked_back:g} days"
    return f"{length(max(0.0, (now - at).total_seconds()))} ago ({_utc(at)})"

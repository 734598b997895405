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
from runbook.model.units import length
from runbook.schedules.planned import Planned

DAYS = 7.0
LOOKED_BACK = 100.0
_DAY = 86_400.0
# After how long the next run is missed: the period, and what delays and runs themselves may take.
_DUE = {"daily": _DAY + 2 * 3600, "weekly": 7 * _DAY + 6 * 3600, "monthly": 32 * _DAY}
_LAST_RUNS = resources.files(__package__).joinpath("duckdb", "last_runs.sql").read_text(encoding="utf-8")

ON_TIME, OVERDUE, DRIFTED, OFF = "on time", "overdue", "drifted", "off"


@dataclass(frozen=True)
class Last:
    """Of a notebook on a target: when it last came to a verdict, when it last was OK, and how its last run ended."""

    succeeded: datetime | None
    clean: datetime | None
    status: str


@dataclass(frozen=True)
class Standing:
    """How one notebook's schedule stands; an ``overdue`` one may have ``drifted`` as well."""

    planned: Planned
    last: Last | None
    overdue: bool
    drifted: bool
    message: str

    @property
    def state(self) -> str:
        """Return it in a word: what is worst."""
        if self.planned.when is None:
            return OFF
        return OVERDUE if self.overdue else DRIFTED if self.drifted else ON_TIME


def read_last(
    archive: Path, targets: Iterable[str], now: datetime, days: float
) -> tuple[dict[tuple[str, str], Last], dict[str, int]]:
    """Return the last runs by notebook and target, and how many runs do not count, by reason.

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
    found: dict[tuple[str, str], Last] = {}
    for target in targets if told.runs else ():
        for row in told.ask(_LAST_RUNS, {"target": target}).to_dict("records"):
            found[row["notebook"], target] = Last(_moment(row["succeeded"]), _moment(row["clean"]), row["status"])
    left_out = Counter(why for why in told.left_out.values() if why != NOT_SEALED)
    return found, dict(left_out)


def _moment(seconds: Any) -> datetime | None:
    return datetime.fromtimestamp(int(seconds), UTC) if pd.notna(seconds) else None


def standings(
    planned: Iterable[Planned], last: Mapping[tuple[str, str], Last], now: datetime, days: float, looked_back: float
) -> list[Standing]:
    """Judge each notebook: overdue where no run came to a verdict within its period, drifted where none was OK for
    ``days``, or for its period where that is longer.
    """
    return [_standing(one, last.get((one.notebook, one.target)), now, days, looked_back) for one in planned]


def _standing(planned: Planned, last: Last | None, now: datetime, days: float, looked_back: float) -> Standing:
    if planned.when is None:
        return Standing(planned, last, False, False, "the profile says off")
    due = _DUE[planned.when.period]
    succeeded, clean = (last.succeeded, last.clean) if last is not None else (None, None)
    overdue = succeeded is None or (now - succeeded).total_seconds() > due
    drifted = clean is None or (now - clean).total_seconds() > max(days * _DAY, due)
    if last is None:
        return Standing(planned, last, True, True, f"no run in the last {looked_back:g} days")
    told = f"last success {_ago(succeeded, now, looked_back)}; last clean {_ago(clean, now, looked_back)}"
    return Standing(planned, last, overdue, drifted, f"{told}; the last run was {last.status}")


def _ago(at: datetime | None, now: datetime, looked_back: float) -> str:
    if at is None:
        return f"not in the last {looked_back:g} days"
    return f"{length(max(0.0, (now - at).total_seconds()))} ago ({at:%Y-%m-%dT%H:%M:%SZ})"

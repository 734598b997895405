"""The databases of the cluster as a recovery sees them: the service's own, restored ones, and those that are kept."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from runbook.connections import RestoringDatabase, application_database, read_sql
from runbook.connections.restoring import name_beside, names_beside
from runbook.model import Asking

NOT_ASKED = "no recovery is asked for: run this again with recover = True (-p recover=true)"
_RESTORED = re.compile(r"restored by the runbook from (.+), sha256 ")


@dataclass(frozen=True)
class Database:
    """A database: its name, bytes, sessions in it, whether it takes any, and the backup it was restored from, or ""."""

    name: str
    bytes: int
    sessions: int
    open: bool
    backup: str


@dataclass(frozen=True)
class Standing:
    """``own`` is the service's database (None: it is not there), ``restored`` those made of backups beside it, the
    newest first, ``kept`` those that were put aside, ``others`` the names of all else.
    """

    name: str
    own: Database | None
    restored: tuple[Database, ...]
    kept: tuple[Database, ...]
    others: tuple[str, ...] = ()

    @property
    def aside(self) -> str:
        """Return the name for what is put aside now: with the time, or the next second whose name nobody has."""
        taken = {one.name for one in self.kept}
        moment = datetime.now(UTC)
        while (name := name_beside(self.name, "before", moment)) in taken:
            moment += timedelta(seconds=1)
        return name


def standing(asking: Asking) -> Standing:
    """Return which of the recovery's databases are there."""
    name = application_database(asking.target)
    rows = asking.connection(RestoringDatabase).rows(read_sql(__package__, "databases"))
    found = [
        Database(row["database"], int(row["bytes"]), int(row["sessions"]), bool(row["open"]), _backup(row["told"]))
        for row in rows.to_dict("records")
    ]
    own = next((one for one in found if one.name == name), None)
    restored = [one for one in found if one.backup and one.name.startswith(names_beside(name, "restored"))]
    kept = [one for one in found if one.name.startswith(names_beside(name, "before"))]
    known = {one.name for one in (*restored, *kept)} | {name, "postgres"}
    others = tuple(one.name for one in found if one.name not in known)
    return Standing(name, own, tuple(reversed(restored)), tuple(reversed(kept)), others)


def _backup(told: str) -> str:
    found = _RESTORED.match(told)
    return found[1] if found else ""

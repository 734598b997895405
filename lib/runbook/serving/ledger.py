"""What was taken from Alertmanager, on the disk before it is answered: so that nothing is run twice, or forgotten."""

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from runbook.evidence.archive import state_folder, write_whole
from runbook.evidence.only_one import only_one
from runbook.model import RunFailed, UsageError
from runbook.model.layout import make_private

FOLDER, SCHEMA = "serving", 1
# Of as many groups it is known what was run; each keeps as many alerts.
GROUPS_KEPT, ALERTS_KEPT = 500, 3_000
GROUPS_KEPT_DAYS = 30


class Group(msgspec.Struct, kw_only=True):
    """A group of alerts: those that fire as far as was told, those that have ended, and what was run for the former.

    ``ran`` begins anew when all the alerts that it was for have ended. ``last`` is when it was told of last, UTC.
    """

    incident: str = ""
    firing: list[str] = []
    resolved: list[str] = []
    ran: list[str] = []
    last: str = ""


class Taken(msgspec.Struct, kw_only=True):
    """What one notification brought: a note for the incident, and the runs that are still to be done by name, with
    their parameters. All its texts are scrubbed.
    """

    id: str
    group: str
    at: str
    title: str
    severity: str
    began: str
    note: str
    runs: dict[str, dict[str, str]]
    resolved: bool = False
    noted: bool = False


class _Kept(msgspec.Struct, kw_only=True):
    schema: int = SCHEMA
    groups: dict[str, Group] = {}
    waiting: list[Taken] = []


class Ledger:
    """What one `serve` knows of the alerts of its target; it is not safe to use from two threads at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        kept = _read(path)
        # What it held is not known any more: it is put aside, since alerts that come now are to be run for.
        self.put_aside = path.with_suffix(".damaged") if kept is None else None
        self._kept = kept or _Kept()
        if self.put_aside is not None:
            path.replace(self.put_aside)

    @property
    def waiting(self) -> list[Taken]:
        """Return what is not done yet, the oldest first."""
        return self._kept.waiting

    def group(self, name: str) -> Group:
        """Return what is known of a group; nothing is, of a new one."""
        return self._kept.groups.get(name) or Group()

    def take(self, taken: Taken, group: Group) -> None:
        """Keep what was taken, and what is known of its group now; raises `RunFailed`, and has not taken it then."""
        before = _Kept(groups=dict(self._kept.groups), waiting=list(self._kept.waiting))
        group.firing, group.resolved = group.firing[-ALERTS_KEPT:], group.resolved[-ALERTS_KEPT:]
        self._kept.groups[taken.group] = group
        self._kept.waiting.append(taken)
        self._forget()
        try:
            self.save()
        except RunFailed:
            self._kept = before
            raise

    def noted(self, taken: Taken, incident: str) -> None:
        """Keep that the incident's note was written; raises `RunFailed`."""
        taken.noted = True
        if incident and taken.group in self._kept.groups:
            self._kept.groups[taken.group].incident = incident
        self._drop(taken)
        self.save()

    def done(self, notebook: str, ids: list[str]) -> None:
        """Keep that a notebook has run for these; raises `RunFailed`."""
        for taken in [one for one in self._kept.waiting if one.id in ids]:
            taken.runs.pop(notebook, None)
            self._drop(taken)
        self.save()

    def drop_runs(self, taken: Taken) -> None:
        """Keep that what was to be run for it is not run any more; raises `RunFailed`."""
        taken.runs = {}
        self._drop(taken)
        self.save()

    def save(self) -> None:
        """Write it, on the disk before this returns; raises `RunFailed`."""
        try:
            write_whole(self._path, msgspec.json.encode(self._kept))
        except OSError as error:
            raise RunFailed(f"{self._path} cannot be written: {error.strerror}") from error

    def _drop(self, taken: Taken) -> None:
        if taken.noted and not taken.runs:
            self._kept.waiting = [one for one in self._kept.waiting if one.id != taken.id]

    def _forget(self) -> None:
        """Forget the groups that were told of longest ago, but none with something left to be done."""
        needed = {one.group for one in self._kept.waiting}
        long_ago = f"{datetime.now(UTC) - timedelta(days=GROUPS_KEPT_DAYS):%Y-%m-%dT%H:%M:%SZ}"
        ordered = sorted(self._kept.groups.items(), key=lambda item: item[1].last, reverse=True)
        self._kept.groups = {
            name: group
            for place, (name, group) in enumerate(ordered)
            if name in needed or (place < GROUPS_KEPT and group.last >= long_ago)
        }


def new_id() -> str:
    """Return an id for what was taken."""
    return f"ntf_{secrets.token_hex(8)}"


@contextmanager
def held(target: str, archive: Path) -> Iterator[Ledger]:
    """Hold the ledger of a target and an archive; raises `UsageError` where another `serve` does already."""
    folder = state_folder() / FOLDER
    name = f"{target}-{hashlib.sha256(str(archive).encode()).hexdigest()[:12]}"
    try:
        make_private(folder)
    except OSError as error:
        raise RunFailed(f"{folder} cannot be made: {error.strerror}") from error
    busy = UsageError(f"another `serve` takes the alerts of {target} for this archive already")
    with only_one(folder / f"{name}.lock", seconds=0.0, busy=busy):
        yield Ledger(folder / f"{name}.json")


def _read(path: Path) -> _Kept | None:
    """Return what was kept; None where that is damaged."""
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
    except FileNotFoundError:
        return _Kept()
    except OSError as error:
        raise RunFailed(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return kept if kept.schema == SCHEMA else None

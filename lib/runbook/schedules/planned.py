"""Which notebooks run by themselves on a target, when, and by which command."""

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from runbook.evidence.archive import state_folder
from runbook.evidence.keys import VARIABLE
from runbook.model import UsageError
from runbook.model.collection import Notebook, collection_folder, find_notebook
from runbook.target import Target, When, is_reference, read_when, references

JITTER = 15
MOST_JITTER = 120
# How long a run may take to begin and to end, beside its own deadline.
AROUND = 120
# What names units, locks, tasks and jobs alike: a label of Kubernetes takes no more.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
_FOLDERS = ("RUNBOOK_TARGETS", "RUNBOOK_EVIDENCE", "XDG_CONFIG_HOME", "XDG_STATE_HOME")


@dataclass(frozen=True)
class Planned:
    """A notebook on a target and when it runs there; ``when`` is None where the profile says "off"."""

    notebook: str
    title: str
    target: str
    when: When | None
    by_profile: bool
    seconds: int

    @property
    def told(self) -> str:
        """Return when it runs, in words."""
        return "off" if self.when is None else str(self.when)

    def minutes(self, jitter: int) -> tuple[int, int]:
        """Return hour and minute at which it begins: later by up to ``jitter`` minutes, always by as many, and never
        on the next day, which would be another one of the week.
        """
        assert self.when is not None
        return begins(self.when, f"{self.target}\0{self.notebook}", jitter)


@dataclass(frozen=True)
class Place:
    """Where and as what the runs are started: the interpreter, what of the environment leads to this user's folders,
    the folder for locks, and the names of variables that the profile takes secrets from.
    """

    python: str
    environment: Mapping[str, str]
    locks: Path
    secrets: tuple[str, ...] = ()

    @property
    def runner(self) -> list[str]:
        """Return the runner's command, by its words."""
        return [self.python, "-P", "-m", "runbook"]

    def argv(self, planned: Planned) -> list[str]:
        """Return the command of a run, by its words."""
        return [*self.runner, "run", planned.notebook, "--target", planned.target]


def begins(when: When, by: str, jitter: int) -> tuple[int, int]:
    """Return hour and minute of a moment, on its day later by up to ``jitter`` minutes: as many as ``by`` draws."""
    earliest = when.hour * 60 + when.minute
    room = min(jitter, 24 * 60 - 1 - earliest)
    drawn = int.from_bytes(hashlib.sha256(by.encode()).digest()[:8], "big")
    return divmod(earliest + drawn % (room + 1), 60)


def planned_for(target: Target, notebooks: Iterable[Notebook]) -> list[Planned]:
    """Return each notebook that runs by itself on a target, or would without its profile, in the collection's order.

    Raises `UsageError` as `check_scheduled` does, and for a name that a scheduler's file would read otherwise.
    """
    check_scheduled(target)
    found = []
    for notebook in notebooks:
        metadata = notebook.metadata
        text = target.schedule.get(notebook.name, metadata.schedule)
        if text is not None:
            if not _NAME.fullmatch(notebook.name):
                raise UsageError(
                    f"notebook {notebook.name!r}: to be scheduled, let its name be of letters, digits, - and _"
                )
            by_profile = notebook.name in target.schedule
            when = read_when(text)
            found.append(
                Planned(notebook.name, metadata.title, target.name, when, by_profile, metadata.seconds),
            )
    return found


def check_scheduled(target: Target) -> None:
    """Raise `UsageError` where a profile gives a schedule to a notebook that is not there, or tells of an incident."""
    for name in target.schedule:
        try:
            named = find_notebook(name)
        except UsageError as unknown:
            raise UsageError(f"profile {target.name}: schedule: {unknown}") from None
        if named.name != name:
            raise UsageError(f"profile {target.name}: schedule: write {named.name} instead of {name!r}")
        if named.metadata.about_incident:
            raise UsageError(f"profile {target.name}: schedule: {name} tells of an incident, and is run for one only")


def bound(target: Target) -> int:
    """Return after how many seconds a run that has not ended by itself is ended by the scheduler."""
    return int(target.deadlines.run) + AROUND


def this_place(target: Target) -> Place:
    """Return the place that this command is called from: what it finds is what the scheduler's runs will find."""
    # Cron and systemd start runs elsewhere, where a collection that is not beside the library would not be found.
    kept = {"RUNBOOK_NOTEBOOKS": str(collection_folder())}
    kept |= {name: _absolute(os.environ[name]) for name in _FOLDERS if os.environ.get(name)}
    if os.environ.get("DOCKER_HOST"):
        kept["DOCKER_HOST"] = os.environ["DOCKER_HOST"]
    key = os.environ.get(VARIABLE, "")
    if is_reference(key):  # anything else may be the key itself
        kept[VARIABLE] = key
    for name, value in kept.items():
        if not value.isprintable():
            raise UsageError(f"{name} holds signs that no scheduler's file can hold; give it another value")
    return Place(str(Path(sys.executable).absolute()), kept, state_folder() / "schedules", secret_variables(target))


def secret_variables(target: Target) -> tuple[str, ...]:
    """Return the names of the variables that a profile, and the reference to the key, take secrets from."""
    named = [*references(target.model_dump(mode="json")), os.environ.get(VARIABLE, "")]
    return tuple(
        sorted({name.removeprefix("env:") for name in named if name.startswith("env:") and is_reference(name)})
    )


def _absolute(folders: str) -> str:
    return os.pathsep.join(str(Path(folder).absolute()) for folder in folders.split(os.pathsep) if folder)

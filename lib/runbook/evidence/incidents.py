"""Incidents in the archive: each entry is a record of its own, sealed and chained like a run; none is ever changed.

An entry lies among the runs, in a folder named like theirs: whatever verifies, copies or counts runs covers it too.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from runbook.evidence.archive import RUNS_FOLDER, RunPlace, archive_folder
from runbook.evidence.only_one import only_one
from runbook.evidence.recording import ToRecord, write_record
from runbook.evidence.seal import SEAL_FILE
from runbook.model import UsageError
from runbook.model.incident import SEVERITIES, IncidentEntry, is_incident_id, new_incident_id
from runbook.model.layout import ENTRY_FILE, ENTRY_NAME, is_entry_id, make_private
from runbook.model.text import printable
from runbook.redaction import Redactor

INCIDENTS_FOLDER = "incidents"
LOCK_FILE = ".incidents.lock"
THE_OPEN_ONE = "open"
TITLE_KEPT, TEXT_KEPT = 200, 20_000
# An archive may have writers whose clocks differ: a run is looked for from this long before its incident was opened.
CLOCKS_DIFFER = 86_400.0


@dataclass(frozen=True)
class Noted:
    """An entry of an incident, and the folder in which it is sealed."""

    entry: IncidentEntry
    place: RunPlace


@dataclass(frozen=True)
class Incident:
    """An incident as its sealed entries tell it, the oldest first; they are not verified here (`verify_run` does)."""

    id: str
    notes: list[Noted]

    @property
    def opening(self) -> IncidentEntry:
        """Return the entry that opened it."""
        return next(noted.entry for noted in self.notes if noted.entry.kind == "opened")

    @property
    def closing(self) -> IncidentEntry | None:
        """Return the entry that closed it, None while it is open."""
        return next((noted.entry for noted in self.notes if noted.entry.kind == "closed"), None)

    @property
    def is_open(self) -> bool:
        """Tell whether it is not closed yet."""
        return self.closing is None

    @property
    def title(self) -> str:
        """Return what it is about, in a line."""
        return self.opening.title

    @property
    def severity(self) -> str:
        """Return P0, P1, P2 or P3, as the last entry that names one says."""
        return next(noted.entry.severity for noted in reversed(self.notes) if noted.entry.severity)

    @property
    def owner(self) -> str:
        """Return who is responsible, as the last entry that names somebody says."""
        return next((noted.entry.owner for noted in reversed(self.notes) if noted.entry.owner), "")

    @property
    def targets(self) -> list[str]:
        """Return the targets that it was opened for; its runs may name others."""
        return list(self.opening.targets)

    @property
    def opened(self) -> str:
        """Return when it was opened, UTC."""
        return self.opening.at

    @property
    def began(self) -> str:
        """Return when the trouble began, as far as somebody said so, else when it was opened."""
        said = (noted.entry.began for noted in reversed(self.notes))
        return next((began for began in said if began), self.opened)

    @property
    def closed(self) -> str:
        """Return when it was closed, UTC; "" while it is open."""
        return self.closing.at if self.closing is not None else ""

    @property
    def resolution(self) -> str:
        """Return what it was closed with; "" while it is open."""
        return self.closing.text if self.closing is not None else ""

    @property
    def page(self) -> str:
        """Return where its page is, from the archive's root: a link that stays."""
        return page_of(self.id)


def page_of(incident: str) -> str:
    """Return where an incident's page is, from the archive's root: a link that stays."""
    return f"{INCIDENTS_FOLDER}/{incident}.html"


def all_incidents(archive: Path | None = None) -> list[Incident]:
    """Return every incident of an archive, the newest first; entries that were never sealed do not count."""
    return incidents_of(_entries(archive or archive_folder()))


def incidents_of(entries: Iterable[Noted]) -> list[Incident]:
    """Return the incidents that entries tell of, the newest first."""
    found: dict[str, list[Noted]] = {}
    for noted in entries:
        found.setdefault(noted.entry.incident, []).append(noted)
    incidents = [_incident(name, notes) for name, notes in found.items()]
    return sorted(filter(None, incidents), key=lambda incident: (incident.opened, incident.id), reverse=True)


def load(incident: str, archive: Path | None = None) -> Incident:
    """Return an incident by its id; raises `UsageError` where the archive holds none of that id."""
    archive = archive or archive_folder()
    notes = [noted for noted in _entries(archive) if noted.entry.incident == incident]
    found = _incident(incident, notes)
    if found is None:
        raise UsageError(f"there is no incident {incident!r} in {archive}; `runbook incident list` shows them")
    return found


def find(name: str, archive: Path | None = None) -> Incident:
    """Return an incident by its id or the end of it; "" and "open" mean the open one, where there is exactly one.

    Raises `UsageError` where there is none, or more than one that could be meant.
    """
    archive = archive or archive_folder()
    if is_incident_id(name):
        return load(name, archive)
    incidents = all_incidents(archive)
    if name in ("", THE_OPEN_ONE):
        found = [incident for incident in incidents if incident.is_open]
        none = f'no incident is open in {archive}; `runbook incident open "TITLE" --severity P1` opens one'
        many = "incidents are open"
    else:
        found = [i for i in incidents if i.id.endswith(name) or i.id.startswith(name)]
        none = f"there is no incident {name!r} in {archive}; `runbook incident list` shows them"
        many = f"incidents are named like {name!r}"
    if not found:
        raise UsageError(none)
    if len(found) > 1:
        named = ", ".join(incident.id for incident in found[:5]) + (", …" if len(found) > 5 else "")
        raise UsageError(f"{len(found)} {many}: say which one: {named}")
    return found[0]


def to_attach(name: str, archive: Path | None = None, *, after_close: bool = False) -> Incident:
    """Return the incident that a run is to belong to; raises `UsageError` for one that is not there, or is closed."""
    incident = find(name, archive)
    if not incident.is_open and not after_close:
        raise UsageError(
            f"incident {incident.id} was closed at {incident.closed}; --after-close attaches to it all the same"
        )
    return incident


def open_incident(
    title: str,
    severity: str,
    *,
    author: str,
    redactor: Redactor,
    targets: Iterable[str] = (),
    owner: str = "",
    began: str = "",
    archive: Path | None = None,
) -> Incident:
    """Open an incident and return it. Raises `UsageError` for a title or severity that is none, `RunFailed` where it
    cannot be written: there is none then.
    """
    archive, now = archive or archive_folder(), _now()
    if severity not in SEVERITIES:
        raise UsageError(f"{severity!r} is no severity; there are {', '.join(SEVERITIES)}")
    title = printable(_sound(title)).strip()
    if not title:
        raise UsageError("an incident needs a title: what is seen, in a few words")
    if len(title) > TITLE_KEPT:
        raise UsageError(f"the title has {len(title)} letters; {TITLE_KEPT} are read, the rest belongs into a note")
    entry = IncidentEntry(
        incident=new_incident_id(datetime.now(UTC)),
        kind="opened",
        at=now,
        written=_exactly(),
        author=author,
        title=title,
        severity=severity,
        owner=_sound(owner) or author,
        targets=list(targets),
        began=began,
    )
    write_entry(entry, redactor, archive)
    return load(entry.incident, archive)


def add_note(
    incident: Incident,
    text: str,
    *,
    author: str,
    redactor: Redactor,
    at: str = "",
    severity: str = "",
    owner: str = "",
    began: str = "",
    archive: Path | None = None,
) -> Incident:
    """Write a note, also to one that is closed, and return the incident as it is then; raises as `open_incident`."""
    archive, now = archive or archive_folder(), _now()
    text = _text(text)
    if not (text or severity or owner or began):
        raise UsageError("a note needs a text: what was seen, done or decided")
    told: dict[str, Any] = {"severity": severity, "owner": _sound(owner), "began": began}
    entry = IncidentEntry(
        incident=incident.id, kind="note", at=at or now, written=_exactly(), author=author, text=text, **told
    )
    write_entry(entry, redactor, archive)
    return load(incident.id, archive)


def close_incident(
    incident: Incident, resolution: str, *, author: str, redactor: Redactor, at: str = "", archive: Path | None = None
) -> Incident:
    """Close an incident and return it; of two that close it at once, one is refused. Raises as `open_incident`."""
    archive, now = archive or archive_folder(), _now()
    with _alone(archive):
        incident = load(incident.id, archive)
        if not incident.is_open:
            raise UsageError(f"incident {incident.id} was closed already, at {incident.closed}")
        told: dict[str, Any] = {"at": at or now, "written": _exactly(), "author": author, "text": _text(resolution)}
        write_entry(IncidentEntry(incident=incident.id, kind="closed", **told), redactor, archive)
    return load(incident.id, archive)


def write_entry(
    entry: IncidentEntry, redactor: Redactor, archive: Path, files: dict[str, bytes] | None = None
) -> RunPlace:
    """Scrub an entry, write it and seal it at the next place of the writer's chain; return where it lies.

    ``files`` lie beside it, sealed with it; they are scrubbed already. Raises `RunFailed` where that cannot be done;
    nothing is left then that counts.
    """
    told = redactor.data(msgspec.to_builtins(entry)) | {"incident": entry.incident, "kind": entry.kind}
    record = ToRecord(
        name=ENTRY_NAME,
        target=str(told["targets"][0]) if told["targets"] else "",
        at=f"{entry.written[:19]}Z",
        author=str(told["author"]),
        incident=entry.incident,
        redactions=dict(redactor.counts),
    )
    content = msgspec.json.format(msgspec.json.encode(told), indent=1)
    return write_record(archive, record, {**(files or {}), ENTRY_FILE: content})


def entry_of(folder: Path) -> IncidentEntry | None:
    """Return the entry in a folder of the archive; None where there is none, or it is damaged."""
    try:
        return msgspec.json.decode((folder / ENTRY_FILE).read_bytes(), type=IncidentEntry)
    except (OSError, msgspec.MsgspecError):
        return None


def _entries(archive: Path) -> Iterator[Noted]:
    """Yield every sealed entry, in the order in which they were written."""
    # By their names: of ten thousand runs only the entries' own folders are opened.
    for folder in sorted((archive / RUNS_FOLDER).glob(f"*/run_*_{ENTRY_NAME}_??????"), key=lambda path: path.name):
        if is_entry_id(folder.name) and (folder / SEAL_FILE).exists():
            entry = entry_of(folder)
            if entry is not None:
                yield Noted(entry, RunPlace(folder.name, folder))


def _incident(name: str, notes: list[Noted]) -> Incident | None:
    if not any(noted.entry.kind == "opened" for noted in notes):
        return None
    return Incident(name, sorted(notes, key=lambda noted: (noted.entry.written, noted.place.run_id)))


@contextmanager
def _alone(archive: Path) -> Iterator[None]:
    """Hold the archive's incidents, where its file system has locks."""
    make_private(archive)
    with only_one(archive / LOCK_FILE, must=False):
        yield


def _text(text: str) -> str:
    text = _sound(text).strip()
    if len(text) > TEXT_KEPT:
        raise UsageError(f"the text has {len(text):,} letters; {TEXT_KEPT:,} are taken: archive the rest as a notebook")
    return text


def _sound(text: str) -> str:
    """Return a text that UTF-8 can hold: what came in by argv may not be."""
    return text.encode(errors="replace").decode()


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _exactly() -> str:
    """Return the time to the millisecond: entries of the same second keep their order."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

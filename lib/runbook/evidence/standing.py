"""The records of an incident, and whether each is what was sealed."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from runbook.evidence.archive import NotTrusted, RunPlace, UnknownKey, archive_folder, runs
from runbook.evidence.incidents import CLOCKS_DIFFER, Incident
from runbook.evidence.keys import trusted_keys
from runbook.evidence.records import Kept, kept
from runbook.evidence.seal import SEAL_FILE
from runbook.evidence.statement import Predicate
from runbook.evidence.verify import verify_run
from runbook.model import UsageError
from runbook.model.layout import RECORD_FILE, is_entry_id
from runbook.model.protocol import RunRecord

Standing = Literal["sealed", "broken", "unknown key", "not sealed", "pruned"]

NO_SEAL = "it has no seal: it was cut short, or the seal was taken away; what it holds proves nothing"


@dataclass(frozen=True)
class Stood:
    """A record, and whether it is what was sealed; ``why`` says what is wrong where it is not.

    One that was sealed with an "unknown key" may be somebody else's, and may as well be forged. ``facts`` are sealed,
    and only there where the seal holds.
    """

    place: RunPlace
    standing: Standing
    why: str = ""
    record: RunRecord | None = None
    facts: Predicate | None = None


def stood(place: RunPlace, archive: Path, keys: Mapping[str, Any]) -> Stood:
    """Return whether a record is what was sealed, by the public keys that are trusted."""
    record = kept(place).record
    try:
        facts = verify_run(place, archive, keys)
    except UnknownKey as wrong:
        return Stood(place, "unknown key", str(wrong), record)
    except NotTrusted as wrong:
        pruned = record is None and not any(path.name != SEAL_FILE for path in place.folder.iterdir())
        return Stood(place, "pruned" if pruned else "broken", str(wrong), record)
    if facts is None:
        return Stood(
            place,
            "not sealed",
            NO_SEAL,
            record,
        )
    return Stood(place, "sealed", record=record, facts=facts)


def verified_runs(
    incident: Incident, archive: Path | None = None, keys: Mapping[str, Any] | None = None
) -> list[Stood]:
    """Return every run that belongs to an incident, in the order of time, each verified.

    ``keys`` are the public keys to trust, by default this user's own. Raises `UsageError` where there is none, or the
    archive cannot be read.
    """
    archive = archive or archive_folder()
    own = runs_of(incident, archive)
    keys = trusted_keys([]) if keys is None and own else keys or {}
    return [stood(run.place, archive, keys) for run in own]


def runs_of(incident: Incident, archive: Path | None = None) -> list[Kept]:
    """Return the runs that belong to an incident, in the order of time, whatever their state; none is verified here.

    Raises `UsageError` where the archive cannot be read.
    """
    archive = archive or archive_folder()
    own = [place for place in records_near(incident, archive) if not is_entry_id(place.run_id)]
    return [kept(place) for place in own if belongs(place, incident.id, told_by_seal(place))]


def records_near(incident: Incident, archive: Path) -> Iterator[RunPlace]:
    """Yield the records from a day before the incident was noted first; no run can belong to it from before."""
    first = min(noted.place.run_id[4:20] for noted in incident.notes)
    start = datetime.strptime(first, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) - timedelta(seconds=CLOCKS_DIFFER)
    try:
        yield from (place for place in runs(archive) if place.run_id[4:20] >= f"{start:%Y%m%dT%H%M%SZ}")
    except NotTrusted as strange:
        raise UsageError(f"the archive cannot be read: {strange}") from strange


def told_by_seal(place: RunPlace) -> dict[str, Any]:
    """Return what a seal says, whether or not it holds: to find what belongs here although it was tampered with."""
    try:
        told = json.loads((place.folder / SEAL_FILE).read_bytes())
        return dict(json.loads(base64.b64decode(told["payload"]))["predicate"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def belongs(place: RunPlace, incident: str, sealed: Mapping[str, Any]) -> bool:
    """Tell whether a record belongs to an incident: as its seal says, or as it says itself."""
    if sealed.get("incident") == incident:
        return True
    try:
        # At the beginning of a line of its own: a plan in it may name another incident than the run's.
        return f'\n "incident": "{incident}"'.encode() in (place.folder / RECORD_FILE).read_bytes()
    except OSError:
        return False

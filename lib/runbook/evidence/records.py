"""Read what a run's folder says of itself, without verifying it."""

from pathlib import Path
from typing import Literal

import msgspec

from runbook.evidence.archive import RunPlace, runs
from runbook.evidence.seal import SEAL_FILE
from runbook.model.layout import RECORD_FILE
from runbook.model.protocol import RunRecord

State = Literal["sealed", "interrupted", "pruned"]


class Kept(msgspec.Struct, frozen=True):
    """A run in the archive: its record (None where there is none that can be read) and its state."""

    place: RunPlace
    record: RunRecord | None
    state: State


def kept(place: RunPlace) -> Kept:
    """Return what a run's folder says."""
    record = _record(place.folder / RECORD_FILE)
    if not (place.folder / SEAL_FILE).exists():
        return Kept(place, record, "interrupted")
    return Kept(place, record, "sealed" if record is not None else "pruned")


def all_kept(archive: Path) -> list[Kept]:
    """Return every run of an archive, the newest first."""
    return [kept(place) for place in reversed(list(runs(archive)))]


def _record(path: Path) -> RunRecord | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunRecord)
    except (OSError, msgspec.MsgspecError):
        return None

"""Read what a run's folder says of itself, without verifying it."""

import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from runbook.evidence.archive import RunPlace, runs
from runbook.evidence.seal import SEAL_FILE
from runbook.model.layout import DATA_FOLDER, RECORD_FILE
from runbook.model.protocol import RunRecord

if TYPE_CHECKING:
    import pandas as pd

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


def runs_on(archive: Path, notebook: str, target: str) -> Iterator[RunPlace]:
    """Return the runs of a notebook on a target, the newest first, as their records say, and those without a record.

    Each is read when it is reached: most runs of a fleet are those of others. Raises `NotTrusted` as `runs` does.
    """
    named = [place for place in runs(archive) if place.run_id[21:-7] == notebook]
    return (place for place in reversed(named) if _target(place) in (target, None))


def frame_of(place: RunPlace, check: str) -> "pd.DataFrame | None":
    """Return the data behind a run's last answer to a question, as they lie there; None where none can be read."""
    import pandas as pd

    files = sorted((place.folder / DATA_FOLDER).glob(f"*-{check}.parquet"))
    if not files:
        return None
    with suppress(OSError, ValueError, KeyError):  # pyarrow's own errors are among them
        return pd.read_parquet(io.BytesIO(files[-1].read_bytes()))
    return None


class _Targeted(msgspec.Struct):
    target: str


def _target(place: RunPlace) -> str | None:
    try:
        return msgspec.json.decode((place.folder / RECORD_FILE).read_bytes(), type=_Targeted).target
    except (OSError, msgspec.MsgspecError):
        return None


def _record(path: Path) -> RunRecord | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunRecord)
    except (OSError, msgspec.MsgspecError):
        return None

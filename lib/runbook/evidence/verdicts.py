"""What the last run of a notebook on a target found, before another one."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from runbook.evidence.archive import RUNS_FOLDER
from runbook.model.layout import RECORD_FILE, is_run_id
from runbook.model.protocol import INTERRUPTED, RunRecord

# In all; more are only looked through for a notebook that never ran on a target, in a large archive.
RECORDS_READ = 20_000

Line = tuple[str, str]


class Earlier(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of an earlier run's record."""

    notebook: str
    target: str
    status: str
    evidence: str
    error: str | None
    ended: str = ""
    mode: str = "headless"


def tells(record: RunRecord | Earlier) -> bool:
    """Tell whether a record says how a target was: a run without a person, that ended by itself and left a folder."""
    interrupted = (record.error or "").startswith(INTERRUPTED)
    return bool(record.evidence and record.ended) and record.mode == "headless" and not interrupted


def last_before(archive: Path, records: Iterable[RunRecord]) -> tuple[dict[Line, Earlier], bool]:
    """Return, by notebook and target, the last run before each of these that tells how the target was; and whether
    all were looked through for those that are left out.

    What cannot be read is passed over: nothing is verified here.
    """
    left: dict[str, dict[str, RunRecord]] = {}
    for record in records:
        left.setdefault(_named(record.run_id), {})[record.target] = record
    found: dict[Line, Earlier] = {}
    read = 0
    for run_id, folder in _newest_first(archive, left) if left else ():
        if read >= RECORDS_READ:
            return found, False
        read += 1
        earlier = _read(folder / RECORD_FILE)
        of = left[_named(run_id)].get(earlier.target) if earlier is not None else None
        if earlier is None or of is None or earlier.notebook != of.notebook:
            continue
        if tells(earlier) and _is_before(run_id, of.run_id):
            found[of.notebook, of.target] = earlier
            del left[_named(run_id)][of.target]
            if not left[_named(run_id)]:
                del left[_named(run_id)]
            if not left:
                break
    return found, True


def _named(run_id: str) -> str:
    return run_id[21:-7]


def _is_before(run_id: str, other: str) -> bool:
    return run_id != other and run_id[4:20] <= other[4:20]


def _newest_first(archive: Path, notebooks: dict[str, dict[str, RunRecord]]) -> Iterator[tuple[str, Path]]:
    """Yield the runs of some notebooks by their names, so that no other's record is opened; those may become fewer."""
    for month in _names(archive / RUNS_FOLDER):
        for run_id in _names(archive / RUNS_FOLDER / month):
            if _named(run_id) in notebooks and is_run_id(run_id):
                yield run_id, archive / RUNS_FOLDER / month / run_id


def _names(folder: Path) -> list[str]:
    with suppress(OSError):
        return sorted(os.listdir(folder), reverse=True)  # noqa: PTH208 - it is for every run that ever was
    return []


def _read(path: Path) -> Earlier | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Earlier)
    except (OSError, msgspec.MsgspecError, RecursionError):
        return None

"""What the last run of a notebook on a target found, before another one."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from runbook.evidence.archive import RUNS_FOLDER, RunPlace
from runbook.evidence.records import kept
from runbook.model.layout import is_run_id
from runbook.model.protocol import INTERRUPTED, RunRecord

# Of one notebook; a target that none of them is about counts as one that it never ran on.
RECORDS_READ = 2000

Line = tuple[str, str]


def tells(record: RunRecord) -> bool:
    """Tell whether a record says how a target was: a run without a person, that ended by itself and left a folder."""
    interrupted = (record.error or "").startswith(INTERRUPTED)
    return bool(record.evidence and record.ended) and record.mode == "headless" and not interrupted


def last_before(archive: Path, records: Iterable[RunRecord]) -> dict[Line, RunRecord]:
    """Return, by notebook and target, the last run before each of these that tells how the target was.

    A notebook on a target that never ran before is left out. What cannot be read is passed over: nothing is verified
    here.
    """
    by_notebook: dict[str, dict[str, RunRecord]] = {}
    for record in records:
        by_notebook.setdefault(record.run_id[21:-7], {})[record.target] = record
    found: dict[Line, RunRecord] = {}
    for named, wanted in by_notebook.items():
        left = dict(wanted)
        for read, place in enumerate(_newest_first(archive, named)):
            if not left or read >= RECORDS_READ:
                break
            earlier = kept(place).record
            of = left.get(earlier.target) if earlier is not None else None
            if earlier is None or of is None or not tells(earlier):
                continue
            if earlier.notebook == of.notebook and _is_before(place.run_id, of.run_id):
                found[of.notebook, of.target] = earlier
                del left[earlier.target]
    return found


def _is_before(run_id: str, other: str) -> bool:
    return run_id != other and run_id[4:20] <= other[4:20]


def _newest_first(archive: Path, named: str) -> Iterator[RunPlace]:
    """Yield the runs of a notebook by their names, so that no other's record is opened."""
    for month in _names(archive / RUNS_FOLDER):
        for run_id in _names(archive / RUNS_FOLDER / month):
            if is_run_id(run_id) and run_id[21:-7] == named:
                yield RunPlace(run_id, archive / RUNS_FOLDER / month / run_id)


def _names(folder: Path) -> list[str]:
    with suppress(OSError):
        return sorted(os.listdir(folder), reverse=True)  # noqa: PTH208 - it is for every run that ever was
    return []

"""Prune runs: first the seal that says which, then their files."""

from datetime import UTC, datetime
from pathlib import Path

from runbook.evidence.pruning import remove_files
from runbook.model import Finding, Status
from runbook.model.layout import new_run_id
from runbook.model.protocol import RunRecord
from runbook.redaction import Redactor
from runbook.runner.folder import RunFolder
from runbook.runner.leaving import leave
from runbook.runner.run import operator, utc

NAME = "evidence-prune"


def prune_runs(archive: Path, run_ids: list[str]) -> RunRecord:
    """Remove the files of runs and return the record that says so, which is sealed before anything is removed.

    A death in between leaves files that the seal already names: pruning the same runs again removes them.
    """
    now = datetime.now(UTC)
    redactor = Redactor(())
    folder = RunFolder(archive, new_run_id(NAME, now), redactor)
    finding = Finding(
        check="evidence.prune",
        object="archive",
        status=Status.OK,
        message=f"the files of {len(run_ids)} runs were removed, from {run_ids[0]} to {run_ids[-1]}; their seals stay",
    )
    record = RunRecord(
        notebook=NAME,
        target="",
        run_id=folder.path.name,
        status="OK",
        exit=0,
        error=None,
        seconds=0.0,
        evidence=str(folder.path),
        findings=[finding],
        started=utc(now),
        ended=utc(now),
        operator=operator(),
    )
    folder.create(record)
    leave(archive, folder, record, notebook=None, redactor=redactor, identity={}, clock_offsets={}, pruned=run_ids)
    remove_files(archive, run_ids)
    return record

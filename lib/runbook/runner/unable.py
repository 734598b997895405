"""What is left of a run that could not be begun although somebody wanted it: a sealed record that says why."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from runbook.model import RunbookError
from runbook.model.collection import Notebook
from runbook.model.layout import new_run_id
from runbook.model.protocol import RunRecord
from runbook.redaction import Redactor
from runbook.runner.folder import RunFolder
from runbook.runner.leaving import leave
from runbook.runner.run import failed, operator, utc
from runbook.target import Target


def unable(
    archive: Path, notebook: Notebook, target: str, error: str, *, profile: Target | None = None, incident: str = ""
) -> RunRecord:
    """Return the record of a run that failed before it began, or of which nothing came back, and seal it.

    So the archive tells that nobody looked, instead of showing what was found the last time. ``profile`` is None where
    it is the profile that is broken. Where the archive cannot be written the record is returned all the same.
    """
    now = datetime.now(UTC)
    redactor = Redactor(profile.secret_values() if profile else (), allow=profile.redaction.allow if profile else ())
    folder = RunFolder(archive, new_run_id(notebook.name, now), redactor)
    record = msgspec.structs.replace(
        failed(notebook.name, target, redactor.text(error)),
        run_id=folder.path.name,
        evidence=str(folder.path),
        started=utc(now),
        ended=utc(now),
        operator=operator(),
        incident=incident,
    )
    try:
        folder.create(record)
        leave(archive, folder, record, notebook=notebook.path, redactor=redactor, identity={}, clock_offsets={})
    except (OSError, RunbookError) as problem:
        why = getattr(problem, "strerror", None) or str(problem)
        return failed(notebook.name, target, f"{record.error} (which could not be written to the archive: {why})")
    return record

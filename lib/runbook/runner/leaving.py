"""The last steps of every run: its record, its page, its seal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runbook.evidence.facts import source_of
from runbook.evidence.sealing import Ended, seal_run
from runbook.evidence.statement import Source
from runbook.model import RunFailed
from runbook.model.protocol import RunRecord
from runbook.redaction import Redactor
from runbook.runner.folder import RunFolder


def leave(
    archive: Path,
    folder: RunFolder,
    record: RunRecord,
    *,
    notebook: Path | None,
    redactor: Redactor,
    identity: dict[str, dict[str, str]],
    clock_offsets: dict[str, float],
    parameters: Mapping[str, Any] | None = None,
    pruned: list[str] | None = None,
    lane: str = "",
) -> None:
    """Write a run's record and page and seal its folder; raises `RunFailed` or OSError where that cannot be done.

    ``notebook`` is None for what the archive itself did; ``lane`` names the chain, as `seal_run` takes it.
    """
    told = folder.write_record(record)
    folder.write_report(_page(folder))
    ended = Ended(
        record=told,
        source=source_of(notebook, redactor) if notebook is not None else Source(name="", sha256=""),
        parameters=redactor.data(dict(parameters or {})),
        identity=redactor.data(identity),
        clock_offsets=clock_offsets,
        redactions=dict(redactor.counts),
        pruned=pruned or [],
    )
    seal_run(archive, ended, lane)


def _page(folder: RunFolder) -> bytes:
    from runbook.evidence.report import render_report

    try:
        return render_report(folder.path)
    except Exception as mistake:
        raise RunFailed(f"the run's page could not be made ({type(mistake).__name__}: {mistake})") from mistake

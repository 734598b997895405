"""Write what is no run among the runs: a record of its own, sealed and chained like one, and never changed."""

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from runbook.evidence.archive import RunPlace, write_whole
from runbook.evidence.seal import SEAL_FILE
from runbook.evidence.sealing import Ended, seal_run
from runbook.evidence.statement import Source
from runbook.model import Finding, RunbookError, RunFailed
from runbook.model.layout import RECORD_FILE, make_private, new_run_id, run_folder
from runbook.model.protocol import RunRecord

NOTED = "NOTED"


class ToRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be recorded, scrubbed already: ``name`` stands in its id where a run has its notebook's.

    ``at`` is when it was written down, UTC. ``identity`` is the target's, as far as it was found.
    """

    name: str
    target: str
    at: str
    author: str
    incident: str = ""
    findings: list[Finding] = []
    identity: dict[str, dict[str, str]] = {}
    redactions: dict[str, int] = {}


def write_record(archive: Path, what: ToRecord, files: Mapping[str, bytes]) -> RunPlace:
    """Write a record with its files and seal it at the next place of the writer's chain; return where it lies.

    Raises `RunFailed` where that cannot be done; nothing is left then that counts.
    """
    run_id = new_run_id(what.name, datetime.now(UTC))
    folder = run_folder(archive, run_id)
    record = RunRecord(
        notebook=what.name,
        target=what.target,
        run_id=run_id,
        status=NOTED,
        exit=0,
        error=None,
        seconds=0.0,
        evidence=str(folder),
        findings=what.findings,
        started=what.at,
        ended=what.at,
        operator=what.author,
        incident=what.incident,
    )
    plain = msgspec.to_builtins(record)
    try:
        make_private(folder.parent)
        folder.mkdir(mode=0o700)
        for name, content in files.items():
            write_whole(folder / name, content)
        write_whole(folder / RECORD_FILE, msgspec.json.format(msgspec.json.encode(plain), indent=1))
        ended = Ended(
            record=plain,
            source=Source(name="", sha256=""),
            parameters={},
            identity=what.identity,
            clock_offsets={},
            redactions=what.redactions,
        )
        seal_run(archive, ended)
    except (OSError, RunbookError) as error:
        if not (folder / SEAL_FILE).exists():
            shutil.rmtree(folder, ignore_errors=True)
        why = getattr(error, "strerror", None) or str(error)
        raise RunFailed(f"this was not written to the archive {archive}: {why}") from error
    return RunPlace(run_id, folder)

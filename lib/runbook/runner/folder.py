"""The folder of one run in the archive: made before anything starts, every file written whole or not at all."""

import hashlib
import re
from pathlib import Path
from typing import Any

import msgspec

from runbook.evidence.archive import write_whole
from runbook.model import RunFailed
from runbook.model.layout import DATA_FOLDER, NOTEBOOK_FILE, RECORD_FILE, REPORT_FILE, make_private, run_folder
from runbook.model.protocol import DataFile, RunRecord
from runbook.redaction import Redactor

_DATA_NAME = re.compile(r"[0-9]{3,6}-[a-z0-9_.-]+\.parquet")


class RunFolder:
    """Where one run leaves its evidence. Everything that is written goes through its redactor first."""

    def __init__(self, archive: Path, run_id: str, redactor: Redactor) -> None:
        self.path = run_folder(archive, run_id)
        self._redactor = redactor

    def create(self, record: RunRecord) -> None:
        """Make the folder and its first record; raises `RunFailed` where the archive cannot be written."""
        try:
            make_private(self.path.parent)
            self.path.mkdir(mode=0o700)
            (self.path / DATA_FOLDER).mkdir(mode=0o700)
            self.write_record(record)
        except OSError as error:
            raise RunFailed(_cannot_write(self.path, error)) from error

    def write_notebook(self, text: str) -> None:
        """Write the executed notebook; its text must be scrubbed already."""
        self._write(NOTEBOOK_FILE, text.encode())

    def write_record(self, record: RunRecord) -> dict[str, Any]:
        """Write what the run found, as `run --json` prints it; return what was written, as plain data."""
        scrubbed: dict[str, Any] = self._redactor.data(msgspec.to_builtins(record))
        self._write(RECORD_FILE, msgspec.json.format(msgspec.json.encode(scrubbed), indent=1))
        return scrubbed

    def write_report(self, page: bytes) -> None:
        """Write the run's page; it is made of what was scrubbed already."""
        self._write(REPORT_FILE, page)

    def adopt(self, spool: Path, data: DataFile) -> None:
        """Take a data file over from a kernel's spool, when it is what the kernel said it was."""
        if not _DATA_NAME.fullmatch(data.file):
            raise RunFailed(f"a kernel named a data file that is none: {data.file!r}")
        content = (spool / data.file).read_bytes()
        if hashlib.sha256(content).hexdigest() != data.sha256:
            raise RunFailed(f"the data file {data.file} changed after the kernel wrote it")
        self._write(f"{DATA_FOLDER}/{data.file}", content)

    def _write(self, name: str, content: bytes) -> None:
        write_whole(self.path / name, content)


def _cannot_write(path: Path, error: OSError) -> str:
    why = error.strerror or type(error).__name__
    return (
        f"evidence cannot be written to {path}: {why}; nothing was run. "
        "Make room there, or name another folder in RUNBOOK_EVIDENCE"
    )

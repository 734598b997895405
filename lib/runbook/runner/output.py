"""The one way by which executed notebooks reach the disk: papermill's IO handler for ``evidence://``."""

import json
from typing import Any, NoReturn

from papermill.iorw import papermill_io

from runbook.redaction import Redactor, redact_notebook
from runbook.redaction.document import CellCache
from runbook.runner.folder import RunFolder

SCHEME = "evidence://"


class EvidenceOutput:
    """Scrubs the whole document and writes it whole; when scrubbing fails, nothing is written."""

    def __init__(self) -> None:
        self._runs: dict[str, tuple[RunFolder, Redactor, CellCache]] = {}

    def open(self, run_id: str, folder: RunFolder, redactor: Redactor) -> str:
        """Return the path to give papermill for a run's notebook."""
        self._runs[run_id] = (folder, redactor, CellCache())
        return f"{SCHEME}{run_id}/notebook.ipynb"

    def close(self, run_id: str) -> None:
        """Forget a run that has ended."""
        self._runs.pop(run_id, None)

    def write(self, text: str, path: str) -> None:
        """Write a notebook for papermill."""
        folder, redactor, cache = self._runs[path.removeprefix(SCHEME).split("/")[0]]
        scrubbed = redact_notebook(json.loads(text), redactor, cache)
        folder.write_notebook(json.dumps(scrubbed, ensure_ascii=False, indent=1) + "\n")

    def read(self, path: str) -> NoReturn:
        """Refuse: evidence is no input."""
        raise NotImplementedError(f"{path}: evidence is written, not run")

    def listdir(self, path: str) -> NoReturn:
        """Refuse, as for `read`."""
        raise NotImplementedError(f"{path}: evidence is written, not run")

    def pretty_path(self, path: str) -> str:
        """Return the path as it is."""
        return path


evidence_output: Any = EvidenceOutput()
papermill_io.register(SCHEME, evidence_output)

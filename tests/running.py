"""What tests of runs share: how a notebook of theirs begins, what a run printed, which processes it has left."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil

from runbook.model.protocol import RunRecord, RunsDocument

OPEN = 'from runbook import host, open_run\nrun = open_run("probe", target=target, needs=["host"])\nrun'
METADATA = {
    "title": "A notebook of the tests", "severity": "routine", "symptoms": [], "alerts": [], "schedule": None,
    "changes": "none", "seconds": 1,
}  # fmt: skip


def only(document: RunsDocument) -> RunRecord:
    assert len(document.runs) == 1
    return document.runs[0]


def by_check(record: RunRecord) -> dict[str, Any]:
    return {finding.check: finding for finding in record.findings}


def text_of(folder: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


def decoded(text: str) -> RunsDocument:
    return msgspec.json.decode(text, type=RunsDocument)


def run_as_json(call: Callable[..., Any], *arguments: str, **environment: str) -> tuple[int, RunsDocument]:
    """Call `run … --json` and return its exit status and its document."""
    ended = call("run", *arguments, "--json", **environment)
    assert ended.stdout, ended.stderr
    return ended.returncode, decoded(ended.stdout)


def processes_of(archive: Path) -> list[psutil.Process]:
    """Return the processes of runs into an archive of a test's own: runner, template, keepers, kernels and theirs."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("RUNBOOK_EVIDENCE") == str(archive):
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_for(true: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)

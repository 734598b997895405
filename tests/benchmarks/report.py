"""How long the pages of the archive take, printed; nothing is judged by time here.

Run: ``.venv/bin/python -m pytest -c tests/pytest.ini -s tests/benchmarks/report.py``.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hostile import find_browser

from runbook.evidence.index import rebuild_index
from runbook.evidence.report import render_report
from runbook.model.layout import run_folder

RUNS = 10_000


def show(what: str, seconds: float) -> None:
    """Print one row."""
    sys.stdout.write(f"\n  {what:<52} {seconds:8.3f} s\n")


def seconds_of(work: Callable[[], Any]) -> float:
    """Return how long some work took, in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@pytest.fixture
def run(run_json: Callable[..., Any]) -> Path:
    """A real run of the morning health check."""
    _, document = run_json("morning-health-check")
    return Path(document.runs[0].evidence)


def test_the_page_of_a_run(run: Path) -> None:
    call = "import sys, pathlib; from runbook.evidence.report import render_report as r; r(pathlib.Path(sys.argv[1]))"
    show("a new process that makes one page", seconds_of(lambda: subprocess.run([sys.executable, "-c", call, run])))
    render_report(run)
    show("the next page", seconds_of(lambda: render_report(run)))


def test_the_index_of_ten_thousand_runs(run: Path, tmp_path: Path) -> None:
    record = json.loads((run / "run.json").read_bytes())
    at = datetime(2026, 11, 24, tzinfo=UTC)
    for _ in range(RUNS):
        at -= timedelta(minutes=37)
        record["run_id"] = f"run_{at:%Y%m%dT%H%M%SZ}_morning-health-check_abcdef"
        folder = run_folder(tmp_path, record["run_id"])
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(record))
    show(f"the index of {RUNS:,} runs, all new", seconds_of(lambda: rebuild_index(tmp_path)))
    show("the same, none new", seconds_of(lambda: rebuild_index(tmp_path)))
    browser = find_browser(tmp_path / "browser")
    (tmp_path / "empty.html").write_text("<!doctype html>")
    show("a browser opens an empty page", seconds_of(lambda: browser.dom(tmp_path / "empty.html")))
    show("a browser opens that index", seconds_of(lambda: browser.dom(tmp_path / "index.html")))

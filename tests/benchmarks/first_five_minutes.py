"""How long the first five minutes take on the practice stack, printed; nothing is judged by time here.

Run: ``.venv/bin/python -m pytest -c tests/pytest.ini -s tests/benchmarks/first_five_minutes.py``.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runbook import api, assessment
from runbook.session import open_run
from runbook_sandbox.place import Place


def show(what: str, seconds: float) -> None:
    """Print one row."""
    sys.stdout.write(f"\n  {what:<60} {seconds:8.3f} s")


def test_the_first_and_the_last_finding(sandbox: Place, run_json: Callable[..., Any], archive: Path) -> None:
    began = time.perf_counter()
    run = open_run("first-five-minutes", target=sandbox.name, needs=["api", "postgres", "prometheus"])
    run.ask(api.liveness)
    show("in a kernel: opened, and the first finding", time.perf_counter() - began)
    run.ask(assessment.severity, findings=run.explained())
    run.close()
    for notebook in ("log-review", "first-five-minutes"):
        began = time.perf_counter()
        _, document = run_json(notebook, "--target", sandbox.name)
        show(f"headless, whole: {notebook} ({len(document.runs[0].findings)} findings)", time.perf_counter() - began)
        show("    of it from the kernel's start to the verdict", document.runs[0].seconds)
    sys.stdout.write("\n")

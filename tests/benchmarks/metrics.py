"""How much longer key-metrics over a day takes than a notebook that asks nothing; nothing is judged by time here.

Run: ``.venv/bin/python -m pytest -c tests/pytest.ini -s tests/benchmarks/metrics.py``.
"""

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runbook import open_run
from runbook import prometheus as key
from runbook.prometheus.plots import Courses
from runbook_sandbox import monitoring
from runbook_sandbox.place import Place

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "2-monitoring" / "key-metrics.ipynb"
ROUNDS = 5
LIMIT = 3.0
pytestmark = pytest.mark.skipif(not monitoring.installed(), reason="Prometheus is not installed")


def seconds(name: str) -> float:
    """Return how long a run of a notebook takes, from the command until its end."""
    began = time.perf_counter()
    argv = [sys.executable, "-m", "runbook", "run", name, "--target", "sandbox"]
    ended = subprocess.run(argv, capture_output=True, text=True)
    assert ended.returncode in (0, 1, 2, 3), ended.stdout + ended.stderr  # the empty one finds nothing: UNKNOWN
    return time.perf_counter() - began


def test_key_metrics_over_a_day_beside_an_empty_notebook(collection: Callable[..., str], tmp_path: Path) -> None:
    collection("1", name="empty")
    shutil.copy(NOTEBOOK, tmp_path / "notebooks" / "1-tests" / NOTEBOOK.name)
    empty, ours = [], []
    for _ in range(ROUNDS):  # in turn, so that both meet the same machine
        empty.append(seconds("empty"))
        ours.append(seconds("key-metrics"))
    whole, nothing = statistics.median(ours), statistics.median(empty)
    sys.stdout.write(
        f"\n  key-metrics over 24 h {whole:.2f} s, an empty notebook {nothing:.2f} s: {whole - nothing:.2f} s more, "
        f"of {LIMIT:g} s: {(whole - nothing) / LIMIT:.2f}\n"
    )


@pytest.mark.parametrize("hours", [1.0, 24.0, 168.0])
def test_the_queries_and_the_plots_by_the_length_of_the_window(hours: float, sandbox: Place) -> None:
    run = open_run("probe", target=sandbox.name, needs=["prometheus"])
    began = time.perf_counter()
    last = key.window(hours)
    answers = [run.ask(question, window=last) for question in key.questions[:1]]
    asked = time.perf_counter() - began
    answers += [run.ask(question, window=last) for question in key.KEY_METRICS[1:]]
    answered = time.perf_counter() - began
    Courses(*answers[1:5])._repr_mimebundle_()
    drawn = time.perf_counter() - began - answered
    rows = sum(len(answer.frame) for answer in answers if answer.frame is not None)
    sys.stdout.write(
        f"\n  {hours:5.0f} h: all queries {asked:.2f} s, all answers {answered:.2f} s ({rows:,} rows), "
        f"one plot {drawn:.2f} s\n"
    )

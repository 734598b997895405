"""How long things take, printed beside what they are compared with; nothing is judged by time here.

Run: ``.venv/bin/python -m pytest -c tests/pytest.ini -s tests/benchmarks/speed.py``.
"""

import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runbook.redaction import Redactor
from runbook_sandbox import stack

ROOT = Path(__file__).parent.parent.parent
ROUNDS = 5


def seconds_of(work: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Return the median time of some work, in seconds."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def show(what: str, seconds: float, other: str = "", other_seconds: float | None = None) -> None:
    """Print one row: what was timed, and its ratio to what it stands beside."""
    row = f"\n  {what:<44} {seconds:8.3f} s"
    if other_seconds is not None:
        row += f"   {other} {other_seconds:.3f} s   ratio {seconds / other_seconds:.2f}"
    sys.stdout.write(row + "\n")


def test_the_sandbox_comes_up() -> None:
    up = []
    for _ in range(3):
        began = time.perf_counter()
        place = stack.up("bench")
        try:
            up.append(time.perf_counter() - began)
        finally:
            stack.down(place)
    show("sandbox up", statistics.median(up))


def test_the_hand_over_beside_calling_the_environment_itself() -> None:
    def handed_over() -> None:
        subprocess.run([sys.executable, "lib", "list"], cwd=ROOT, check=True, capture_output=True)

    def direct() -> None:
        subprocess.run([sys.executable, "-m", "runbook", "list"], cwd=ROOT, check=True, capture_output=True)

    handed_over()
    ours, plain = seconds_of(handed_over), seconds_of(direct)
    show("python3 lib list", ours, "without the hand-over", plain)


def test_scrubbing_text() -> None:
    dice = random.Random(7)
    words = ["error", "token", "connection", "127.0.0.1", "SELECT", "{'key': 1}", "\\u00e9", "pond"]
    text = " ".join(dice.choices(words, k=500_000))
    redactor = Redactor([f"secret-{n}-{dice.getrandbits(64):x}" for n in range(5)])
    seconds = seconds_of(lambda: redactor.text(text), 3)
    show(f"scrubbing {len(text) / 1e6:.1f} MB of text ({len(text) / 1e6 / seconds:.1f} MB/s)", seconds)
    by_form = Redactor([])
    seconds = seconds_of(lambda: by_form.text(text), 3)
    show(f"the same with the rules alone ({len(text) / 1e6 / seconds:.1f} MB/s)", seconds)
    log = "".join(f"2026-11-24 10:00:00 INFO request {dice.getrandbits(64):x} 200\n" for _ in range(70_000))
    seconds = seconds_of(lambda: redactor.text(log), 3)
    show(f"scrubbing {len(log) / 1e6:.1f} MB of a log ({len(log) / 1e6 / seconds:.1f} MB/s)", seconds)

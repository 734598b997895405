"""Reading 100,000 files beside the runbook's find over the same ones; nothing is judged by time here.

Run: ``.venv/bin/python -m pytest -c tests/pytest.ini -s tests/benchmarks/integrity.py``. ``RUNBOOK_BENCHMARK_FILES``
says how many files there are (100,000). As the runbook has it, find starts a program for each file: that is timed over
a fiftieth of them, and told as for all.
"""

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook import integrity
from runbook.integrity.walk import Wanted, walk
from runbook.session import open_run

FILES = int(os.environ.get("RUNBOOK_BENCHMARK_FILES", "100000"))
IN_A_FOLDER = 200
ROUNDS = 3
PART = 50


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a tree of files as large as those of Python packages: some KiB, some of them more."""
    chance = random.Random(7)
    content = chance.randbytes(1 << 20)
    top: Path = tmp_path_factory.mktemp("integrity") / "tree"
    for number in range(FILES):
        path = top / f"p{number // IN_A_FOLDER % 20}" / f"d{number // IN_A_FOLDER}" / f"m{number}.py"
        if number % IN_A_FOLDER == 0:
            path.parent.mkdir(parents=True)
        begin, size = chance.randrange(1 << 19), min(1 << 18, int(chance.lognormvariate(8.2, 1.1)))
        path.write_bytes(content[begin : begin + size])
    yield top


def seconds_of(work: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Return the median time of some work, in seconds."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def found(tree: Path, end: str) -> None:
    argv = ["find", str(tree), "-type", "f", "-exec", "sha256sum", "{}", end]
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)


def show(what: str, seconds: float, plus: float, each: float) -> None:
    row = f"\n  {what:<40} {seconds:7.2f} s   find … + {plus:6.2f} s, ratio {seconds / plus:.2f}"
    sys.stdout.write(f"{row}   find … \\; {each:6.1f} s, ratio {seconds / each:.3f}\n")


def test_reading_all_files_beside_find(tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUNBOOK_TARGETS", str(tmp_path))
    monkeypatch.setenv("RUNBOOK_EVIDENCE", str(tmp_path / "evidence"))
    profile = f'[host]\nwhere = "here"\n\n[integrity]\nunits = []\n\n[[integrity.trees]]\npath = "{tree}"\n'
    (tmp_path / "bench.toml").write_text(profile)
    found(tree, "+")  # what is read is in memory from then on, for both
    part = sorted(tree.glob("*/*"))[: max(1, FILES // IN_A_FOLDER // PART)]
    scale = FILES / (len(part) * IN_A_FOLDER)
    each = scale * seconds_of(lambda: [found(folder, ";") for folder in part], rounds=1)
    plus = seconds_of(lambda: found(tree, "+"))
    listings = []
    show(f"read {FILES:,} files", seconds_of(lambda: listings.append(walk([Wanted(str(tree))], 300))), plus, each)
    assert all(listing.files == FILES and not listing.partial for listing in listings)
    run = open_run("file-integrity", target="bench", needs=["host"])
    integrity.declare_good(run.target, "the benchmark", {})
    answers = []
    show("compared with a baseline", seconds_of(lambda: answers.append(run.ask(integrity.differences))), plus, each)
    assert all(answer.frame is not None and answer.frame.empty for answer in answers)
    run.close()

"""What 200 targets in one call cost beside the sum of their runs; nothing is judged by time here.

Run: ``.venv/bin/python -m pytest -c tests/pytest.ini -s tests/benchmarks/fleet.py``. The bound that is aimed at is a
ratio of 1.10: the workers' time from the beginning of the call to its end, over the sum of its runs, each from the line
that says that it begins to the line that says how it ended (its evidence is sealed by then).
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from running import OPEN

from runbook.target import find_profile

TARGETS, WORKERS = 200, 2
HERE = '[host]\nwhere = "here"\n'
_BEGINS = re.compile(r"\S+ on (t\d+)\n")
_ENDED = re.compile(r"  \S+ on (t\d+): [A-Z]+ after ")


def called(*arguments: str, workers: int = WORKERS) -> tuple[float, dict[str, float]]:
    """Call `run` on all targets as a person would; return how long the call took, and each run by its target."""
    argv = [sys.executable, "-P", "-m", "runbook", "run", *arguments, "--target", "@all", "--jobs", str(workers)]
    began = time.perf_counter()
    # Each line is to be seen when it is written.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, env=environment)
    assert process.stdout is not None
    runs: dict[str, float] = {}
    for line in process.stdout:
        if begins := _BEGINS.fullmatch(line):
            runs.setdefault(begins[1], -time.perf_counter())  # what was not well is named once more at the end
        elif ended := _ENDED.match(line):
            runs[ended[1]] += time.perf_counter()
    assert process.wait() != 64
    return time.perf_counter() - began, runs


def tell(what: str, wall: float, runs: float) -> None:
    ratio = WORKERS * wall / runs
    sys.stdout.write(
        f"\n  {what:<46} {wall:6.1f} s × {WORKERS} workers, sum of the runs {runs:6.1f} s   ratio {ratio:.3f}"
    )


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Write a profile many times over, under other names, and the group of them all."""
    folder = tmp_path / "fleet"
    folder.mkdir()
    monkeypatch.setenv("RUNBOOK_TARGETS", f"{folder}:{os.environ['RUNBOOK_TARGETS']}")
    names = [f"t{number}" for number in range(TARGETS)]

    def write(text: str) -> None:
        for name in names:
            (folder / f"{name}.toml").write_text(text)
        (folder / "groups.toml").write_text(f"all = {names}\n")

    return write


def test_two_hundred_targets_by_the_smallest_notebook(
    fleet: Callable[[str], None], collection: Callable[..., str], archive: Path
) -> None:
    """One question to this machine: what is not the run itself weighs most here."""
    fleet(HERE)
    name = collection(OPEN, "run.ask(host.memory)")
    wall, runs = called(name)
    assert len(runs) == TARGETS
    tell("one question on 200 targets", wall, sum(runs.values()))
    wall, runs = called(name, workers=1)
    sys.stdout.write(f"\n  the same one at a time: {wall:.1f} s, sum of the runs {sum(runs.values()):.1f} s\n")


def test_two_hundred_targets_by_the_morning_health_check(fleet: Callable[[str], None], archive: Path) -> None:
    """All are the one practice stack, under other names."""
    fleet(find_profile("sandbox").read_text())
    wall, runs = called("morning-health-check")
    tell("morning-health-check on 200 targets", wall, sum(runs.values()))


def test_two_hundred_targets_on_a_dask_cluster_beside_the_same_here(
    fleet: Callable[[str], None], collection: Callable[..., str], archive: Path
) -> None:
    """A run's span is taken here: that on a cluster has its way there and back in it."""
    distributed = pytest.importorskip("distributed")
    fleet(HERE)
    name = collection(OPEN, "run.ask(host.memory)")
    with distributed.LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=50
    ) as cluster:
        engine = cluster.scheduler_address.replace("tcp://", "dask://")
        called(name, "--engine", engine)  # the workers' imports, once
        wall, _ = called(name, "--engine", engine)
    here, runs = called(name)
    tell("one question on 200 targets, by a Dask cluster", wall, sum(runs.values()))
    tell("the same here", here, sum(runs.values()))


def test_a_hanging_target_costs_its_deadline_and_no_more(
    fleet: Callable[[str], None], collection: Callable[..., str], archive: Path, tmp_path: Path
) -> None:
    fleet(HERE)
    name = collection(OPEN, "run.ask(host.memory)", "import time\ntime.sleep(600 if target == 't3' else 0)")
    (tmp_path / "fleet" / "t3.toml").write_text(HERE + "[deadlines]\nrun = 10\n")
    wall, runs = called(name)
    sys.stdout.write(f"\n  one of {TARGETS} targets hangs, its deadline is 10 s: it took {runs['t3']:.1f} s")
    tell("all of them", wall, sum(runs.values()))

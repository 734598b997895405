"""One pass over the log beside the greps of the runbook over the same bytes; nothing is judged by time here.

Run: ``.venv/bin/python -m pytest -c tests/pytest.ini -s tests/benchmarks/logs.py``. ``RUNBOOK_BENCHMARK_MIB`` says how
big the log is (256; 1024 and 4096 show that the time grows with it and the memory does not).
"""

import gzip
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from runbook.logfiles.crew import read_all
from runbook.logfiles.reader import Job
from runbook.logfiles.sources import find_files
from runbook.logfiles.tally import Period, Reading
from runbook_sandbox.history import Truth, fast_file

MIB = int(os.environ.get("RUNBOOK_BENCHMARK_MIB", "256"))
ALWAYS = Period("window", "2000-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z")
ROUNDS = 3
ROOT = Path(__file__).parent.parent.parent
# What the runbook pipes together, each over the whole file. -a, or the first NUL byte ends each of them at once.
PIPELINES: tuple[tuple[list[str], ...], ...] = (
    (["grep", "-a", "ERROR"], ["wc", "-l"]),
    (["grep", "-a", r"401\|403"], ["wc", "-l"]),
    (["grep", "-a", "401"], ["wc", "-l"]),
    (["grep", "-a", "-E", "(DROP|DELETE|INSERT|UPDATE).*--"],),
    (["grep", "-a", "rate limit exceeded"],),
    (["grep", "-a", "candidate_generation"], ["grep", "-a", "duration_ms"]),
    (
        ["grep", "-a", "ERROR"],
        ["awk", "{print $NF}"],
        ["sort"],
        ["uniq", "-c"],
        ["sort", "-nr"],
        ["head", "-10"],
    ),
    (["grep", "-a", "ERROR"], ["awk", "{print $2}"], ["cut", "-d:", "-f1-2"], ["sort"], ["uniq", "-c"]),
    (["grep", "-a", r"401\|403"], ["awk", "{print $8}"], ["sort"], ["uniq", "-c"], ["sort", "-nr"]),
)


@pytest.fixture(scope="module", params=["json", "text"])
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a big file of a format and its truth; it goes when the module's tests are done."""
    place = tmp_path_factory.mktemp("logs") / f"api_{request.param}.log"
    truth, _ = fast_file(place, MIB << 20, 7, request.param)
    yield place, truth
    shutil.rmtree(place.parent)


def piped(commands: tuple[list[str], ...], path: Path) -> None:
    """Run a pipeline over a file, its output thrown away."""
    environment = {**os.environ, "LC_ALL": "C"}
    first = [commands[0][0].replace("grep", "zgrep"), *commands[0][1:]] if path.suffix == ".gz" else commands[0]
    running: list[subprocess.Popen[bytes]] = []
    source: Any = None
    for place, command in enumerate((first, *commands[1:])):
        last = place == len(commands) - 1
        running.append(
            subprocess.Popen(
                [*command, str(path)] if place == 0 else command,
                stdin=source,
                stdout=subprocess.DEVNULL if last else subprocess.PIPE,
                env=environment,
            )
        )
        source = running[-1].stdout
        if len(running) > 1 and running[-2].stdout:
            running[-2].stdout.close()
    for process in running:
        process.wait()


def best(work: Any, rounds: int = ROUNDS) -> tuple[float, Any]:
    """Return the shortest time of some work, in seconds, and what it gave."""
    taken, given = [], None
    for _ in range(rounds):
        began = time.perf_counter()
        given = work()
        taken.append(time.perf_counter() - began)
    return min(taken), given


def one_pass(path: Path, period: Period = ALWAYS) -> Reading:
    """Read everything that any question asks."""
    return read_all(find_files([str(path)]), Job([period]), seconds=600)


def show(what: str, path: Path, ours: float, greps: float) -> None:
    """Print one row."""
    sys.stdout.write(
        f"\n  {what:<28} {path.stat().st_size / 1e6:7.0f} MB   one pass {ours:7.2f} s   pipelines {greps:7.2f} s"
        f"   ratio {ours / greps:.2f}\n"
    )


# Of itself what it held since it began: ru_maxrss also holds what the process that started it did.
PEAK = """
import re, resource, sys
from pathlib import Path
from runbook.logfiles.crew import read_all
from runbook.logfiles.sources import find_files
from runbook.logfiles.reader import Job
from runbook.logfiles.tally import Period
always = Period("window", "2000-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z")
read_all(find_files([sys.argv[1]]), Job([always]), seconds=600)
own = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024)
"""


def test_the_memory_of_one_pass(log: tuple[Path, Truth]) -> None:
    path, _ = log
    ran = subprocess.run([sys.executable, "-c", PEAK, str(path)], cwd=ROOT, capture_output=True, text=True, check=True)
    size = path.stat().st_size / 1e6
    sys.stdout.write(
        f"\n  {'memory, ' + path.stem:<28} {size:7.0f} MB   the largest process {float(ran.stdout):.0f} MiB\n"
    )


def test_one_pass_beside_the_pipelines(log: tuple[Path, Truth]) -> None:
    path, truth = log
    greps, _ = best(lambda: [piped(commands, path) for commands in PIPELINES])
    ours, reading = best(lambda: one_pass(path))
    show(f"all questions, {path.stem}", path, ours, greps)
    assert reading.periods["window"].failures == truth.errors


def test_a_compressed_log_beside_zgrep(log: tuple[Path, Truth], tmp_path: Path) -> None:
    path, _ = log
    packed = tmp_path / f"{path.name}.gz"
    with path.open("rb") as plain, gzip.open(packed, "wb", compresslevel=3) as target:
        shutil.copyfileobj(plain, target)
    greps, _ = best(lambda: [piped(commands, packed) for commands in PIPELINES], 1)
    ours, _ = best(lambda: one_pass(packed), 1)
    show(f"compressed, {path.stem}", path, ours, greps)
    packed.unlink()


def test_one_hour_of_the_log_beside_the_pipelines_over_all(log: tuple[Path, Truth]) -> None:
    path, _ = log
    hour = Period("window", "2026-11-22T12:00:00.000000Z", "2026-11-22T13:00:00.000000Z")
    greps, _ = best(lambda: [piped(commands, path) for commands in PIPELINES], 1)
    ours, reading = best(lambda: one_pass(path, hour))
    show(f"one hour, {path.stem}", path, ours, greps)
    assert reading.periods["window"].entries > 0

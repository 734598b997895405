"""How soon a run says something and ends, beside plain papermill on the same files; nothing is judged by time here.

Run: ``.venv/bin/python -m pytest -c tests/pytest.ini -s tests/benchmarks/runs.py``.
"""

import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from runbook.kernels.owner import Template
from runbook.model.collection import Notebook, all_notebooks, find_notebook
from runbook.runner.run import Watcher, run_notebook
from runbook.target import load_target

NOTEBOOK = "morning-health-check"
ROUNDS = 5
RUN = [sys.executable, "-m", "runbook", "run"]
# What a person sees of plain papermill is its log; what a cell printed stands there when it was printed.
PAPERMILL = [sys.executable, "-m", "papermill", "--log-output", "--no-progress-bar"]


def read_only() -> list[Notebook]:
    return [notebook for notebook in all_notebooks() if notebook.metadata.changes == "none"]


def timed(argv: list[str], is_finding: Callable[[str], bool], **environment: str) -> tuple[float, float]:
    """Return after how many seconds the first finding was on the screen, and the end (inf where none was)."""
    began = time.perf_counter()
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **environment}
    )
    assert process.stdout
    first = float("inf")
    for line in process.stdout:
        if first == float("inf") and is_finding(line):
            first = time.perf_counter() - began
    process.wait()
    return first, time.perf_counter() - began


def by_run(*names: str, **environment: str) -> tuple[float, float]:
    return timed([*RUN, *names], lambda line: line.startswith(("  OK ", "  WARN", "  CRIT", "  UNKN")), **environment)


def by_papermill(notebook: Notebook, out: Path) -> tuple[float, float]:
    argv = [*PAPERMILL, str(notebook.path), str(out), "-p", "target", "sandbox"]
    return timed(argv, lambda line: "liveness" in line or "coverage" in line)


def row(what: str, ours: float, theirs: float) -> None:
    sys.stdout.write(f"\n  {what:<58} {ours:7.2f} s   plain papermill {theirs:7.2f} s   ratio {ours / theirs:.2f}")


def test_one_notebook_beside_plain_papermill(tmp_path: Path) -> None:
    notebook = find_notebook(NOTEBOOK)
    ours, ordinary, plain = [], [], []
    for _ in range(ROUNDS):  # in turn, so that all meet the same machine
        ours.append(by_run(NOTEBOOK))
        ordinary.append(by_run(NOTEBOOK, "--kernel", "ordinary"))
        plain.append(by_papermill(notebook, tmp_path / "out.ipynb"))
    for place, what in enumerate(("first finding on the screen", "until the end")):
        median = [statistics.median(times[place] for times in kind) for kind in (ours, ordinary, plain)]
        row(f"{NOTEBOOK}, {what}", median[0], median[2])
        row(f"{NOTEBOOK}, --kernel ordinary, {what}", median[1], median[2])


def test_a_further_run_of_the_same_runner_beside_plain_papermill(archive: Path, tmp_path: Path) -> None:
    """The template is up and the runner's imports are done, as for every run of a batch but the first."""
    notebook, target = find_notebook(NOTEBOOK), load_target("sandbox")
    firsts, ends, plain = [], [], []
    with Template() as template:
        template.thresholds()
        for number in range(ROUNDS + 1):
            began, said = time.perf_counter(), []
            watcher = Watcher(on_findings=lambda _, began=began, said=said: said.append(time.perf_counter() - began))
            record = run_notebook(notebook, target, {}, archive=archive, watcher=watcher, template=template)
            assert record.status == "OK"
            if number:  # the first one pays for the imports
                firsts.append(said[0])
                ends.append(time.perf_counter() - began)
                plain.append(by_papermill(notebook, tmp_path / "out.ipynb"))
    row("a further run, first finding", statistics.median(firsts), statistics.median(times[0] for times in plain))
    row("a further run, until the end", statistics.median(ends), statistics.median(times[1] for times in plain))


def test_all_read_only_notebooks_beside_papermill_one_after_another(tmp_path: Path) -> None:
    notebooks = read_only()
    ours, plain = [], []
    for _ in range(3):
        ours.append(by_run(*[notebook.name for notebook in notebooks])[1])
        plain.append(sum(by_papermill(notebook, tmp_path / "out.ipynb")[1] for notebook in notebooks))
    row(f"all {len(notebooks)} read-only notebooks", statistics.median(ours), statistics.median(plain))


def test_many_runs_are_linear_in_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: Path) -> None:
    source = find_notebook(NOTEBOOK).path
    names = [f"health-{n}" for n in range(16)]
    (tmp_path / "1-copies").mkdir()
    for name in names:
        shutil.copy(source, tmp_path / "1-copies" / f"{name}.ipynb")
    monkeypatch.setenv("RUNBOOK_NOTEBOOKS", str(tmp_path))
    for count in (1, 4, 8, 16):
        seconds = by_run(*names[:count])[1]
        sys.stdout.write(f"\n  {count:>3} runs of {NOTEBOOK:<40} {seconds:7.2f} s   {seconds / count:.2f} s each")


class Watch(threading.Thread):
    """Looks at the memory of a process and all it has started, until that ends: the most, in MiB."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.proportional = self.resident = 0.0
        self._root = psutil.Process(pid)

    def run(self) -> None:
        while self._root.is_running() and self._root.status() != psutil.STATUS_ZOMBIE:
            proportional = resident = 0.0
            for process in [self._root, *self._root.children(recursive=True)]:
                try:
                    told = process.memory_full_info()
                except psutil.Error:
                    continue
                proportional, resident = proportional + told.pss / 2**20, resident + told.rss / 2**20
            self.proportional = max(self.proportional, proportional)
            self.resident = max(self.resident, resident)
            time.sleep(0.02)


def test_the_memory_of_two_runs_at_a_time() -> None:
    argv = [*RUN, *[notebook.name for notebook in read_only()], "--jobs", "2"]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    watch = Watch(process.pid)
    watch.start()
    process.wait()
    watch.join()
    sys.stdout.write(
        f"\n  --jobs 2: at most {watch.proportional:.0f} MiB of memory by runner, template and kernels"
        f" (pages that several hold counted once; {watch.resident:.0f} MiB if counted for each)"
    )


# A name server that takes every question and answers none.
MUTE = """
import socket, time
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.9", 53))
time.sleep(90)
"""


@pytest.fixture
def nothing_there(profile: Callable[..., str]) -> Iterator[Any]:
    """A target whose every part has a name that nobody can resolve, and nothing listens."""
    yield profile(
        '[api]\nurl = "http://api.shrimp.invalid:8000"\n[redis]\nurl = "redis://cache.shrimp.invalid:6379/0"\n'
        '[postgres]\ndsn = "host=db.shrimp.invalid dbname=app user=runbook"\n[host]\nwhere = "here"\n',
        "off",
    )


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="takes network namespaces of its own")
@pytest.mark.parametrize("dns", ["no route to any name server", "a name server that never answers"])
def test_degraded_there_is_a_first_finding_all_the_same(dns: str, nothing_there: str, tmp_path: Path) -> None:
    """No DNS, no package index, no git, nothing of the service: how long until something is said?"""
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.9\n")
    bare = tmp_path / "bin"
    bare.mkdir()
    mute = tmp_path / "mute.py"
    mute.write_text(MUTE)
    steps = [f"mount --make-rprivate / && mount --bind {resolver} /etc/resolv.conf", "ip link set lo up"]
    steps += [f"{sys.executable} {mute} &"] if "never" in dns else []
    inside = "\n".join([*steps, "sleep 0.3", f"PATH={bare} exec {' '.join(RUN)} {NOTEBOOK} --target {nothing_there}"])
    argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", inside]
    first, end = timed(argv, lambda line: line.startswith(("  OK ", "  WARN", "  CRIT", "  UNKN")))
    sys.stdout.write(f"\n  {dns}: first finding after {first:.2f} s, all after {end:.2f} s")
    assert first < float("inf")

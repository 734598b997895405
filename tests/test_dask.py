"""Runs on a Dask cluster: the same runs, each worker with a chain of its own, in one archive; nothing lost or twice."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import nbformat
import psutil
import pytest
import trustme
from running import METADATA, OPEN, decoded, wait_for

from runbook.model.protocol import RunsDocument
from runbook.runner.release import release

distributed = pytest.importorskip("distributed", reason="the extra `fleet` is not installed")

LIB = Path(__file__).parent.parent / "lib"
WHO = ("SCHEDULER", "WORKER", "CLIENT")
HERE = '[host]\nwhere = "here"\n'
ASK = "run.ask(host.memory)"
# Says in a file that a run has come so far: what happened, whatever became of its evidence.
MARK = "import os\nwith open({log!r}, 'a') as log:\n    log.write(f'{word} {{target}} {{os.getpid()}}\\n')"


class Grounds:
    """A collection, profiles, a state folder and a log, which the workers and the commands of this module share."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log"
        for name in ("notebooks/1-tests", "targets", "state"):
            (folder / name).mkdir(parents=True)
        self.environment = {
            **os.environ,
            "RUNBOOK_NOTEBOOKS": str(folder / "notebooks"),
            "RUNBOOK_TARGETS": str(folder / "targets"),
            "XDG_STATE_HOME": str(folder / "state"),
            "PYTEST_CURRENT_TEST": "",
        }

    def notebook(self, name: str, *cells: str, changes: str = "none") -> str:
        """Write a notebook that marks its beginning and its end."""
        given = nbformat.v4.new_code_cell('target: str = "sandbox"  # profile\n')
        given.metadata["tags"] = ["parameters"]
        marks = [MARK.format(log=str(self.log), word=word) for word in ("begun", "ended")]
        sources = [marks[0], OPEN, ASK, *cells, marks[1]]
        notebook = nbformat.v4.new_notebook(cells=[given, *map(nbformat.v4.new_code_cell, sources)])
        notebook.metadata["runbook"] = {**METADATA, "changes": changes}
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.folder / "notebooks" / "1-tests" / f"{name}.ipynb")
        return name

    def targets(self, count: int) -> list[str]:
        """Write profiles that look at this machine, and the arguments that name them all."""
        self.log.unlink(missing_ok=True)
        names = [f"t{number}" for number in range(count)]
        for name in names:
            (self.folder / "targets" / f"{name}.toml").write_text(HERE)
        return [word for name in names for word in ("--target", name)]

    def marks(self, word: str) -> Counter[str]:
        """Return how often each target was begun, or ended."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return Counter(line.split()[1] for line in lines if line.startswith(word))

    def kernel(self, target: str) -> int:
        """Return the pid of the kernel that began the last run on a target."""
        return int(
            next(line.split()[2] for line in reversed(self.log.read_text().splitlines()) if f" {target} " in line)
        )


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Grounds:
    return Grounds(tmp_path_factory.mktemp("dask"))


@pytest.fixture(scope="module")
def cluster(grounds: Grounds) -> Iterator[Any]:
    """Two workers with a thread each; one that is killed is started again by its nanny."""
    own = {name: value for name, value in grounds.environment.items() if os.environ.get(name) != value}
    started = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=50, env=own
    )
    yield started
    started.close(timeout=20)


@pytest.fixture
def begin(grounds: Grounds, archive: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Begin a call of `run … --json --engine …` and return its process; it is ended after the test."""
    calls: list[subprocess.Popen[str]] = []

    def start(engine: str, *arguments: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-P", "-m", "runbook", "run", *arguments, "--engine", engine, "--json"]
        environment = {**grounds.environment, "RUNBOOK_EVIDENCE": str(archive)}
        calls.append(subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment))
        return calls[-1]

    yield start
    for process in calls:
        process.kill()
        process.communicate()


@pytest.fixture
def verify(runbook: Callable[..., Any], grounds: Grounds, archive: Path) -> Callable[[], str]:
    """Verify the archive and return what is said of it."""

    def call() -> str:
        state = grounds.environment["XDG_STATE_HOME"]
        told = runbook("evidence", "verify", XDG_STATE_HOME=state)
        assert told.returncode == 0, told.stderr
        return str(told.stdout)

    return call


def engine_of(cluster: Any) -> str:
    return cluster.scheduler_address.replace("tcp://", "dask://")


def ended(process: subprocess.Popen[str]) -> tuple[RunsDocument, str]:
    out, said = process.communicate(timeout=120)
    assert out, said
    return decoded(out), said


def kill_worker(cluster: Any, kernel: int) -> None:
    """Kill the worker whose run has this kernel."""
    above = {process.pid for process in psutil.Process(kernel).parents()}
    (worker,) = above & {nanny.pid for nanny in cluster.workers.values()}
    os.kill(worker, signal.SIGKILL)


# --- as they should go


@pytest.mark.slow
def test_workers_chain_their_runs_and_one_archive_holds_them_all_call_after_call(
    grounds: Grounds, cluster: Any, begin: Callable[..., Any], verify: Callable[[], str],
    archive: Path,
) -> None:  # fmt: skip
    name, named = grounds.notebook("looks"), grounds.targets(6)
    for calls in (1, 2):
        document, said = ended(begin(engine_of(cluster), name, *named))
        assert [record.target for record in document.runs] == [f"t{n}" for n in range(6)]
        assert {record.status for record in document.runs} == {"OK"} and not said
        assert all(Path(record.evidence, "report.html").is_relative_to(archive) for record in document.runs)
        assert all(Path(record.evidence, "report.html").is_file() for record in document.runs)
        assert f"{6 * calls} runs are what was sealed, in 2 unbroken chains" in verify(), "the second call goes on"
    kept = grounds.folder / "state" / "runbook" / "fleet"
    assert not list(kept.rglob("report.html")), "what has arrived is not kept by the workers"
    assert (archive / "fleet.html").is_file()


# --- a worker that is lost


@pytest.mark.slow
def test_with_a_worker_killed_in_the_middle_of_fifty_runs_nothing_is_lost_and_nothing_twice(
    grounds: Grounds, cluster: Any, begin: Callable[..., Any], verify: Callable[[], str],
    archive: Path,
) -> None:  # fmt: skip
    name = grounds.notebook("waits", "import time\ntime.sleep(2 if target == 't20' else 0.1)")
    call = begin(engine_of(cluster), name, *grounds.targets(50))
    wait_for(lambda: grounds.marks("begun")["t20"], 60)
    kill_worker(cluster, grounds.kernel("t20"))
    document, said = ended(call)
    assert call.returncode == 0, said
    assert [record.target for record in document.runs] == [f"t{n}" for n in range(50)]
    assert {record.status for record in document.runs} == {"OK"}
    assert "was lost while it ran; it is sent again" in said
    sealed = Counter(path.parent.name for path in archive.rglob("seal.json"))
    assert sorted(sealed) == sorted(record.run_id for record in document.runs), "each once in the archive"
    assert re.search("50 runs are what was sealed, in [23] unbroken chains", verify())
    assert grounds.marks("ended") == {f"t{n}": 1 for n in range(50)}
    assert grounds.marks("begun") == {f"t{n}": 1 + (n == 20) for n in range(50)}, "only what was lost was begun again"


def test_what_plans_changes_is_not_sent_again_when_its_worker_is_lost(
    grounds: Grounds, cluster: Any, begin: Callable[..., Any], verify: Callable[[], str],
    archive: Path,
) -> None:  # fmt: skip
    name = grounds.notebook("plans", "import time\ntime.sleep(60 if target == 't0' else 0)", changes="plans")
    call = begin(engine_of(cluster), name, *grounds.targets(4))
    wait_for(lambda: grounds.marks("ended").total() == 3 and grounds.marks("begun")["t0"], 60)
    kill_worker(cluster, grounds.kernel("t0"))
    document, _ = ended(call)
    first, *others = document.runs
    assert call.returncode == 70 and {record.status for record in others} == {"OK"}
    assert "it may have planned a change, and is not sent again" in str(first.error)
    assert grounds.marks("begun") == {f"t{n}": 1 for n in range(4)} and "t0" not in grounds.marks("ended")
    assert Path(first.evidence, "seal.json").is_file(), "the archive tells that nobody knows what it found"
    assert "4 runs are what was sealed" in verify()


@pytest.mark.slow
def test_a_run_that_ends_its_worker_is_given_up_and_the_others_run(
    grounds: Grounds, cluster: Any, begin: Callable[..., Any], verify: Callable[[], str]
) -> None:
    """Its kernel's keeper, and that one's template, are children of the worker."""
    deadly = (
        "import os, psutil, signal\n"
        "for process in psutil.Process().parents() if target == 't0' else []:\n"
        "    if 'distributed' in ' '.join(process.cmdline()) or 'multiprocessing' in ' '.join(process.cmdline()):\n"
        "        os.kill(process.pid, signal.SIGKILL)\n"
        "        break"
    )
    name = grounds.notebook("deadly", deadly, "import time\ntime.sleep(5 if target == 't0' else 0)")
    call = begin(engine_of(cluster), name, *grounds.targets(4))
    document, _ = ended(call)
    assert call.returncode == 70 and "it was sent 3 times" in str(document.runs[0].error)
    assert {record.status for record in document.runs[1:]} == {"OK"} and grounds.marks("begun")["t0"] == 3
    verify()


# --- a call that is stopped


@pytest.mark.slow
def test_an_interrupt_ends_the_runs_on_the_workers_and_brings_their_evidence_back(
    grounds: Grounds, cluster: Any, begin: Callable[..., Any], verify: Callable[[], str]
) -> None:
    name, named = grounds.notebook("long", "import time\ntime.sleep(60)"), grounds.targets(3)
    call = begin(engine_of(cluster), name, *named)
    wait_for(lambda: grounds.marks("begun").total() == 2, 60)
    time.sleep(1)
    call.send_signal(signal.SIGINT)
    document, said = ended(call)
    assert call.returncode == 70 and "`run --resume` goes on with what was not run" in said
    for record in document.runs[:2]:
        assert "interrupted by SIGINT; it was in code cell" in str(record.error)
        assert Path(record.evidence, "seal.json").is_file()
    assert document.runs[2].error == "not run: interrupted by SIGINT"
    assert "2 runs are what was sealed" in verify()
    grounds.notebook("long")
    again, _ = ended(begin(engine_of(cluster), "--resume"))
    assert {record.status for record in again.runs} == {"OK"} and len(again.runs) == 3


@pytest.mark.slow
def test_two_calls_share_workers_and_archive_and_one_that_is_killed_can_be_gone_on_with(
    grounds: Grounds, cluster: Any, begin: Callable[..., Any], verify: Callable[[], str], archive: Path
) -> None:
    name = grounds.notebook("shared", "import time\ntime.sleep(0.5)")
    killed, other = (begin(engine_of(cluster), name, *grounds.targets(8)) for _ in range(2))
    wait_for(lambda: len(list(archive.rglob("seal.json"))) >= 4, 60)
    killed.kill()
    document, _ = ended(other)
    assert {record.status for record in document.runs} == {"OK"} and len(document.runs) == 8
    verify()
    again, said = ended(begin(engine_of(cluster), "--resume"))
    assert {record.status for record in again.runs} == {"OK"} and len(again.runs) == 8, said
    assert all(Path(record.evidence).is_relative_to(archive) for record in again.runs)
    assert "16 runs are what was sealed" in verify()


# --- a cluster that is not as it should be


@contextmanager
def scheduler(
    grounds: Grounds, protocol: str = "tcp", more: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A Dask scheduler in a process of its own, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ("--host", f"{protocol}://127.0.0.1", "--port", str(port), "--no-dashboard")
    with _dask({**grounds.environment, **more}, "scheduler", *options) as one:
        yield one, f"127.0.0.1:{port}"


@contextmanager
def worker(address: str, environment: dict[str, str], protocol: str = "tcp") -> Iterator[subprocess.Popen[bytes]]:
    """A worker with one thread, and no nanny that starts it again."""
    options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1")
    with _dask(environment, "worker", f"{protocol}://{address}", *options) as one:
        yield one


@contextmanager
def _dask(environment: dict[str, str], kind: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-P", "-m", f"distributed.cli.dask_{kind}", *arguments]
    null = subprocess.DEVNULL
    process = subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_scheduler_that_goes_away_leaves_what_arrived_and_the_rest_can_be_gone_on_with(
    grounds: Grounds, cluster: Any, begin: Callable[..., Any], verify: Callable[[], str],
    archive: Path,
) -> None:  # fmt: skip
    name, named = grounds.notebook("some", "import time\ntime.sleep(0.5)"), grounds.targets(12)
    with scheduler(grounds) as (process, address), worker(address, grounds.environment):
        ready(address)
        call = begin(f"dask://{address}", name, *named)
        wait_for(lambda: len(list(archive.rglob("seal.json"))) >= 2, 60)
        process.kill()
        document, said = ended(call)
    done = [record for record in document.runs if record.status == "OK"]
    told = {str(record.error).split(f"scheduler at {address} ")[-1] for record in document.runs if record.error}
    assert call.returncode == 70 and 2 <= len(done) < 12 and "`run --resume` goes on" in said
    assert told == {"was gone", "was gone before its result was here"}
    assert f"{len(done)} runs are what was sealed, in 1 unbroken chain" in verify()
    again, _ = ended(begin(engine_of(cluster), "--resume"))
    assert {record.status for record in again.runs} == {"OK"}
    assert "12 runs are what was sealed" in verify()


def ready(address: str, count: int = 1) -> None:
    """Wait until so many workers have come to a scheduler."""
    with distributed.Client(f"tcp://{address}", timeout=60, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=60)


def other_release(folder: Path, change: Callable[[Path], object]) -> dict[str, str]:
    """Return the environment of a worker with another version of this package."""
    shutil.copytree(LIB / "runbook", folder / "runbook", ignore=shutil.ignore_patterns("__pycache__"))
    change(folder / "runbook" / "runner" / "worker.py")
    return {"PYTHONPATH": str(folder)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["changed", "without"])
def test_a_worker_of_another_version_is_given_no_run_and_told(
    kind: str, grounds: Grounds, begin: Callable[..., Any], verify: Callable[[], str], tmp_path: Path
) -> None:
    def change(path: Path) -> None:
        path.unlink() if kind == "without" else path.write_text(path.read_text() + "\n# another one\n")

    other = grounds.environment | other_release(tmp_path / "other", change)
    name, named = grounds.notebook("looks"), grounds.targets(3)
    with scheduler(grounds) as (_, address), worker(address, other) as wrong:
        ready(address)
        alone = begin(f"dask://{address}", name, *named)
        out, said = alone.communicate(timeout=60)
        assert alone.returncode == 70 and not out, said
        assert "none of its 1 workers can be given a run: nothing was run" in said
        assert (f"this is {release()}" if kind == "changed" else "it has no runbook that could be asked") in said
        with worker(address, grounds.environment):
            ready(address, 2)
            document, said = ended(begin(f"dask://{address}", name, *named))
        assert {record.status for record in document.runs} == {"OK"} and "is given no run: it has " in said
        assert wrong.poll() is None, "it goes on to serve others"
        assert "3 runs are what was sealed, in 1 unbroken chain" in verify()


@pytest.mark.slow
def test_a_worker_with_a_key_that_is_not_trusted_is_given_no_run_until_it_is(
    grounds: Grounds, begin: Callable[..., Any], verify: Callable[[], str], tmp_path: Path, runbook: Callable[..., Any]
) -> None:
    name, named = grounds.notebook("looks"), grounds.targets(2)
    stranger = {"XDG_STATE_HOME": str(tmp_path / "elsewhere")}
    with scheduler(grounds) as (_, address), worker(address, grounds.environment | stranger):
        ready(address)
        refused = begin(f"dask://{address}", name, *named)
        assert "the key that it seals with is not trusted here" in refused.communicate(timeout=60)[1]
        key = runbook("evidence", "key", **stranger).stdout
        trusted = grounds.folder / "state" / "runbook" / "keys" / "stranger.pub"
        trusted.write_text(key)
        try:
            document, _ = ended(begin(f"dask://{address}", name, *named))
            assert {record.status for record in document.runs} == {"OK"} and "2 runs are what was sealed" in verify()
        finally:
            trusted.unlink()


@pytest.fixture
def nowhere() -> Iterator[dict[str, str]]:
    """Addresses at which no scheduler answers: none listens, one says nothing, one says something else."""
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as rude:

        def answer() -> None:
            while True:
                try:
                    connection, _ = rude.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        ports = {"refused": 1, "silent": silent.getsockname()[1], "rude": rude.getsockname()[1]}
        yield {name: f"127.0.0.1:{port}" for name, port in ports.items()} | {"unknown": "no-such-host.invalid:8786"}


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_told_and_nothing_is_run(
    grounds: Grounds, begin: Callable[..., Any], nowhere: dict[str, str], archive: Path
) -> None:
    name, named = grounds.notebook("looks"), grounds.targets(1)
    calls = {address: begin(f"dask://{address}", name, *named) for address in nowhere.values()}
    for address, call in calls.items():
        out, said = call.communicate(timeout=60)
        assert call.returncode == 70 and not out, said
        assert f"no Dask scheduler answers at {address} within 10 s" in said and not list(archive.rglob("run.json"))


@pytest.mark.slow
def test_a_scheduler_without_workers_is_told(grounds: Grounds, begin: Callable[..., Any]) -> None:
    with scheduler(grounds) as (_, address):
        call = begin(f"dask://{address}", grounds.notebook("looks"), *grounds.targets(1))
        assert "is there, but it has no worker: nothing was run" in call.communicate(timeout=90)[1]
    assert call.returncode == 70


@pytest.mark.parametrize("engine", ["dask://", "dask://host", "dask://host:0", "dask://host:99999", "spark://host:1"])
def test_an_engine_that_is_none_is_64(engine: str, runbook: Callable[..., Any], archive: Path) -> None:
    told = runbook("run", "morning-health-check", "--engine", engine)
    assert told.returncode == 64 and "an engine is `local`, or dask://HOST:PORT" in told.stderr


def test_a_plan_is_not_confirmed_on_a_cluster(runbook: Callable[..., Any], archive: Path) -> None:
    told = runbook("run", "api-down", "--engine", "dask://127.0.0.1:1", "--confirm", "pln_aaaaaaaaaaaa")
    assert told.returncode == 64 and "a plan is carried out where it was made, and once" in told.stderr


def test_without_its_extra_a_cluster_is_told_to_need_it(
    program: Callable[..., Any], archive: Path, tmp_path: Path
) -> None:
    (tmp_path / "distributed.py").write_text("raise ImportError\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", str(LIB))])
    told = program("run", "morning-health-check", "--engine", "dask://127.0.0.1:1", PYTHONPATH=path)
    assert told.returncode == 64 and "needs the extra `fleet` (pip install 'lib[fleet]')" in told.stderr


@pytest.mark.slow
def test_a_cluster_with_certificates_is_reached_by_tls_and_by_nothing_else(
    grounds: Grounds, begin: Callable[..., Any], verify: Callable[[], str], tmp_path: Path
) -> None:
    issuer = trustme.CA()
    issuer.cert_pem.write_to_path(tmp_path / "ca.pem")
    issuer.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    of_dask = {"CA_FILE": "ca.pem", **{f"{who}__{what}": "own.pem" for who in WHO for what in ("CERT", "KEY")}}
    secured = {f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(tmp_path / file) for name, file in of_dask.items()}
    name, named = grounds.notebook("looks"), grounds.targets(2)
    with scheduler(grounds, "tls", secured) as (_, address), worker(address, grounds.environment | secured, "tls"):
        bare = begin(f"dask://{address}", name, *named)
        grounds.environment |= secured
        try:
            document, _ = ended(begin(f"dask://{address}", name, *named))
        finally:
            for variable in secured:
                del grounds.environment[variable]
        assert {record.status for record in document.runs} == {"OK"} and "2 runs are what was sealed" in verify()
        assert "no Dask scheduler answers" in bare.communicate(timeout=60)[1] and bare.returncode == 70

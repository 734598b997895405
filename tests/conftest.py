"""What all tests share: one healthy sandbox, places of their own, and skips that can be forbidden."""

import compileall
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import nbformat
import nbval.kernel
import pytest
from cluster import CONTRIB, Cluster, cluster
from engine import Engine, engine
from forks import Forks
from monitoring import alertmanager as running_alertmanager
from nbval.kernel import NbvalKernelspecManager
from running import METADATA, run_as_json

from runbook.kernels import provisioner
from runbook.model.protocol import FINDINGS_MIME
from runbook.session import Run, open_run
from runbook_sandbox import monitoring, stack
from runbook_sandbox.place import Place
from runbook_sandbox.servers import all_postgres, find_postgres, find_redis, version

_ROOT = Path(__file__).parent.parent
TARGET = "sandbox"  # what the notebooks' own parameters say
_own = pytest.StashKey[Path]()
_environments = pytest.StashKey[dict[str, "_Environment"]]()


# Questions whose answers depend on what a machine has: the stored outputs are those of one that has it all.
_NEEDED = (
    (re.compile(r"postgres\.(slow_queries|regressions|explain|index_integrity)"), CONTRIB, "a PostgreSQL with contrib"),
    (re.compile(r"performance\.load"), shutil.which("h2load"), "a machine with h2load"),
    (re.compile(r"integrity\.commit"), shutil.which("git"), "a sandbox with git"),
    (
        re.compile(r"postgres\.connections\b|prometheus\.|reports\."),
        monitoring.installed(),
        "a sandbox with Prometheus",
    ),
)


@cache
def _forks() -> Forks:
    """Return the process of this session that gives commands, and kernels to nbval, with the imports done."""
    return Forks(os.environ["TMPDIR"])


class ForkedKernels(NbvalKernelspecManager):  # type: ignore[misc]
    """Gives nbval kernels as headless runs have them."""

    def get_kernel_spec(self, kernel_name: str) -> Any:
        """Return a kernel's spec, with the provisioner that forks."""
        spec = super().get_kernel_spec(kernel_name)
        told = {"provisioner_name": provisioner.NAME, "config": {"template": _forks().template()}}
        spec.metadata = {**spec.metadata, "kernel_provisioner": told}
        return spec


class NotebookPolicy:
    """Tells nbval what never to compare, since hooks of this file do not reach notebooks outside this folder."""

    @staticmethod
    def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
        """Compare no notebook with outputs that this machine's servers cannot give."""
        missing = [(pattern, what) for pattern, there, what in _NEEDED if not there]
        for path in {item.path for item in items if item.path.suffix == ".ipynb"} if missing else ():
            for what in [what for pattern, what in missing if pattern.search(path.read_text())]:
                reason = pytest.mark.skip(reason=f"its stored outputs are those of {what}")
                for item in items:
                    if item.path == path:
                        item.add_marker(reason)

    @staticmethod
    def pytest_collectstart(collector: pytest.Collector) -> None:
        if hasattr(collector, "skip_compare"):
            # The findings carry times and unrounded values; their text, which is compared, says the same.
            # A drawing says by its text what it shows; what it is made of differs from run to run.
            collector.skip_compare += (FINDINGS_MIME, "image/svg+xml")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(NotebookPolicy(), "notebook-policy")
    if not hasattr(config, "workerinput"):  # what was changed since it was compiled, hundreds of kernels would compile
        compileall.compile_dir(_ROOT / "lib", quiet=2, workers=0)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Give the session its own targets, archive and home, and start the reference sandbox there.

    nbval starts kernels that see no fixtures: the environment is how they find it. Where several processes run the
    tests, each has its own; the one that only hands them out needs none.
    """
    if session.config.pluginmanager.has_plugin("dsession"):
        return
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _as_ctrl_c)
        # Started in the background of a shell, Ctrl-C would be ignored here and by all that the tests start.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    own = Path(tempfile.mkdtemp(prefix="rbt-"))
    own.chmod(0o711)  # PostgreSQL runs as another user when root runs the tests
    session.config.stash[_own] = own
    for name in ("targets", "evidence", "home"):
        (own / name).mkdir()
    os.environ.pop("RUNBOOK_COMMAND", None)  # by which of its names the suite was called says nothing to its tests
    os.environ["RUNBOOK_TARGETS"] = str(own / "targets")
    os.environ["RUNBOOK_EVIDENCE"] = str(own / "evidence")
    os.environ["XDG_CONFIG_HOME"] = str(own / "home")
    os.environ["XDG_STATE_HOME"] = str(own / "home")
    os.environ["TMPDIR"] = tempfile.tempdir = str(own)
    nbval.kernel.NbvalKernelspecManager = ForkedKernels
    if not session.config.option.collectonly:
        stack.up(TARGET, recorded=True)


def _as_ctrl_c(*_: Any) -> None:
    """End the session as Ctrl-C does, so that no sandbox is left running: by default all would stop at once."""
    raise KeyboardInterrupt


def pytest_sessionfinish(session: pytest.Session) -> None:
    own = session.config.stash.get(_own, None)
    if own is not None:
        if _forks.cache_info().currsize:
            _forks().close()
        place = Place(TARGET)
        if place.exists:
            stack.down(place)
        shutil.rmtree(own, ignore_errors=True)


def pytest_report_header(config: pytest.Config) -> str:
    server = find_postgres()
    return f"PostgreSQL {'.'.join(map(str, version(server)))} ({server}), Redis {find_redis()}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep a file's tests in one process; so all files that need an engine, for they share it, and its locks; and so
    all notebooks, which are to see a sandbox that no other test has been at.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            if file.endswith(".ipynb"):
                return "notebooks"
            return "engine" if _needs_engine(config.rootpath / file) else file

    return Scheduling(config, log)


@cache
def _needs_engine(path: Path) -> bool:
    return path.suffix == ".py" and any(name in path.read_text() for name in ("engine_of_all", "docker_host"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    """With RUNBOOK_REQUIRE=all, a skip is a failure: what the suite needs must then be there."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("RUNBOOK_REQUIRE") == "all":
        report.outcome = "failed"
        report.longrepr = f"skipped although RUNBOOK_REQUIRE=all: {report.longrepr}"
    return report


@pytest.fixture
def sandbox() -> Place:
    """The reference sandbox: healthy, shared; a test that breaks it takes `breakable` instead."""
    return Place(TARGET)


@contextmanager
def _sandbox(name: str, *, watched: bool) -> Iterator[Place]:
    place = stack.up(name, watched=watched, recorded=watched)
    try:
        yield place
    finally:
        stack.down(place)


@pytest.fixture(scope="module")
def breakable() -> Iterator[Place]:
    """A sandbox of this test module, to be broken, without Prometheus; its target is named `breakable`."""
    with _sandbox("breakable", watched=False) as place:
        yield place


@pytest.fixture(scope="module")
def watched() -> Iterator[Place]:
    """A sandbox of this test module, to be broken, with Prometheus where it is installed; its target is `watched`."""
    with _sandbox("watched", watched=True) as place:
        yield place


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[str]:
    """The address of an Alertmanager of this test."""
    with running_alertmanager(tmp_path / "alertmanager") as url:
        yield url


@pytest.fixture(scope="session")
def postgres_of_all() -> Iterator[Cluster]:
    """A PostgreSQL cluster that the modules share, of the newest installed server; each makes a database of its own."""
    with cluster() as running:
        yield running


@pytest.fixture(scope="module", params=all_postgres(), ids=lambda folder: f"PostgreSQL {version(folder)[0]}")
def each_postgres(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster of each version that is on this machine: what is installed, and those that come as packages."""
    with cluster(request.param) as running:
        yield running


@pytest.fixture(scope="session")
def engine_of_all() -> Iterator[Engine]:
    """A Docker engine that the modules share; each names its containers otherwise, or takes away what it made."""
    with engine() as running:
        yield running


@pytest.fixture(scope="module")
def docker_host(engine_of_all: Engine) -> Iterator[Engine]:
    """The shared engine, as the one that DOCKER_HOST leads to while a module's tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", engine_of_all.host)
        yield engine_of_all


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Write a profile from its text and return its name; it is found before all others."""
    monkeypatch.setenv("RUNBOOK_TARGETS", os.pathsep.join([str(tmp_path), os.environ["RUNBOOK_TARGETS"]]))

    def write(text: str, name: str = "other") -> str:
        (tmp_path / f"{name}.toml").write_text(text)
        return name

    return write


@pytest.fixture
def opened(profile: Callable[..., str]) -> Iterator[Callable[..., Run]]:
    """Open a run on a target, or on one with a profile of its own; all are closed in the end."""
    runs: list[Run] = []

    def start(*needs: str, target: str = "", text: str = "", notebook: str = "tests") -> Run:
        runs.append(open_run(notebook, target=target or profile(text), needs=list(needs)))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


@pytest.fixture(scope="session")
def runbook() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Call the command as a person would and return how it ended."""

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        # With this one set, ipykernel leaves what programs print to the tests.
        return _forks().call(*arguments, environment={**os.environ, **environment, "PYTEST_CURRENT_TEST": ""})

    return call


@pytest.fixture(scope="session")
def program() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Call the command as a program that is started by itself: for tests that look at the list of processes."""

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "runbook", *arguments]
        whole = {**os.environ, **environment, "PYTEST_CURRENT_TEST": ""}
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, env=whole)

    return call


@pytest.fixture(scope="session")
def run_json(runbook: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., Any]:
    """Call `run … --json` and return its exit status and its document."""
    return partial(run_as_json, runbook)


@pytest.fixture
def collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Make a collection with one notebook of these cells, which the command then finds, and return its name."""
    folder = tmp_path / "notebooks" / "1-tests"
    folder.mkdir(parents=True)
    monkeypatch.setenv("RUNBOOK_NOTEBOOKS", str(folder.parent))

    def write(*cells: str, name: str = "probe", parameters: str = "") -> str:
        given = nbformat.v4.new_code_cell(f'target: str = "sandbox"  # profile\n{parameters}')
        given.metadata["tags"] = ["parameters"]
        notebook = nbformat.v4.new_notebook(cells=[given, *map(nbformat.v4.new_code_cell, cells)])
        notebook.metadata["runbook"] = METADATA
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, folder / f"{name}.ipynb")
        return name

    return write


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of this test: keys, and the notes of unfinished batches."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of this test."""
    folder = tmp_path / "archive"
    monkeypatch.setenv("RUNBOOK_EVIDENCE", str(folder))
    return folder


class _Environment(threading.Thread):
    """Makes an environment of programs that only tests call, while the tests before them run."""

    def __init__(self, name: str, *, itself: bool) -> None:
        super().__init__(daemon=True)
        self.name, self.itself = name, itself
        self.venv = str(_ROOT / f".venv-{name}")
        self.problem: BaseException | None = None

    def made(self) -> str:
        """Wait for it and return its interpreter; raises what kept it from being made."""
        self.join()
        if self.problem is not None:
            raise RuntimeError(f"the environment {self.venv} could not be made") from self.problem
        return f"{self.venv}/bin/python"

    def run(self) -> None:
        spec = importlib.util.spec_from_file_location("launcher", _ROOT / "lib" / "__main__.py")
        assert spec is not None and spec.loader is not None
        launcher: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(launcher)
        lock, python = str(_ROOT / "lib" / f"requirements-{self.name}.lock"), f"{self.venv}/bin/python"
        stamp, wanted = f"{self.venv}/complete", launcher.fingerprint(lock, self.venv)
        try:
            if not launcher.is_complete(stamp, wanted, python):
                launcher.make_alone(self.venv, lock, python, stamp, wanted, itself=self.itself)
        except BaseException as problem:  # noqa: BLE001 - the launcher ends its process; here the test fails
            self.problem = problem


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin what takes its time and needs no server, where a test wants it."""
    if session.config.option.collectonly:
        return
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    # Airflow is given the runner's own environment: the runner has no business in Airflow's.
    making = {name: _Environment(name, itself=name == "tools") for name in ("tools", "airflow") if name in wanted}
    session.config.stash[_environments] = making
    for environment in making.values():
        environment.start()


@pytest.fixture(scope="session")
def tools(request: pytest.FixtureRequest) -> str:
    """The interpreter of the tools' environment, made from its lock on first use."""
    return request.config.stash[_environments]["tools"].made()


@pytest.fixture(scope="session")
def airflow(request: pytest.FixtureRequest) -> str:
    """The interpreter of Airflow's environment, made from its lock on first use (294 MB, half a minute)."""
    try:
        return request.config.stash[_environments]["airflow"].made()
    except RuntimeError as problem:
        pytest.skip(f"{problem}; why not was told on stderr")

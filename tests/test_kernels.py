"""Forked kernels: as good as ordinary ones, gone with whoever owns them, and nothing stays behind."""

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from running import OPEN, decoded, only, processes_of, run_as_json, wait_for

from runbook.kernels.owner import Template, TemplateGone
from runbook.model.collection import all_notebooks
from runbook.model.protocol import FINDINGS_MIME

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux only"),
    pytest.mark.slow,  # how kernels are made and end; all else runs on them
]

# What a process has of its own, as far as it can be told; what belongs to this very run is left out.
STATE = """
import decimal, gc, json, locale, os, random, resource, signal, sys, threading, time, warnings
import matplotlib, pandas as pd
state = {
    "pandas": {o: repr(pd.get_option(o)) for o in pd._config.config._registered_options},
    "pandas defaults": {o: repr(d.defval) for o, d in pd._config.config._registered_options.items()},
    "rcParams": {k: repr(v) for k, v in matplotlib.rcParams.items()},
    "backend": matplotlib.get_backend(),
    "environ": {k: v for k, v in os.environ.items() if k not in RUNS_OWN},
    "argv": [a for a in sys.argv if "k.json" not in a],
    "path": sys.path, "flags": str(sys.flags).replace(f"hash_randomization={sys.flags.hash_randomization}", ""),
    "cwd": os.getcwd(), "umask": oct(os.umask(0o022)), "zone": time.tzname, "locale": locale.getlocale(),
    "signals": {s.name: repr(signal.getsignal(s)).split(" at 0x")[0] for s in signal.valid_signals()
                if isinstance(s, signal.Signals)},
    "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
    "threads": sorted(type(t).__name__ for t in threading.enumerate()),
    "limits": [resource.getrlimit(n) for n in range(16)], "nice": os.nice(0), "affinity": len(os.sched_getaffinity(0)),
    "leads": [os.getpid() == os.getpgrp(), os.getpid() == os.getsid(0)],
    "gc": [gc.isenabled(), gc.get_threshold()], "recursion": sys.getrecursionlimit(),
    "filters": sorted(repr(f) for f in warnings.filters), "decimal": repr(decimal.getcontext()),
    "excepthook": repr(sys.excepthook).split(" at 0x")[0], "main": sys.modules["__main__"].__dict__["__name__"],
    "stdin": os.fstat(0).st_mode and sys.stdin.isatty(), "open": sum(1 for _ in os.scandir("/proc/self/fd")) < 100,
    "tracing": [sys.gettrace() is None, sys.getprofile() is None], "handlers": [s.name for s in ()],
}
print(json.dumps(state, default=str, sort_keys=True))
"""
RUNS_OWN = "RUNS_OWN = {'RUNBOOK_RUN_ID', 'RUNBOOK_SPOOL', 'IPYTHONDIR', 'JUPYTER_RUNTIME_DIR', 'JPY_PARENT_PID'}"
PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 4, 2])\nplt.title('title')\nplt.show()"


@pytest.fixture
def run_json(program: Callable[..., Any]) -> Callable[..., Any]:
    """As everywhere, but by the program itself: here it is tested how its kernels start."""
    return partial(run_as_json, program)


@pytest.fixture
def outputs(run_json: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """Run a notebook with a kind of kernel and return its document."""

    def run(name: str, kernel: str, *more: str) -> dict[str, Any]:
        _, document = run_json(name, "--kernel", kernel, *more)
        record = only(document)
        assert record.error is None, record.error
        read: dict[str, Any] = json.loads(Path(record.evidence, "notebook.ipynb").read_text())
        return read

    return run


def said(document: dict[str, Any]) -> list[str]:
    """Return what each cell printed or showed as text, in order."""
    return [
        "".join(output.get("text") or output.get("data", {}).get("text/plain") or output.get("traceback") or "")
        for cell in document["cells"]
        for output in cell.get("outputs", [])
    ]


def findings(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (finding["check"], finding["object"], finding["status"])
        for cell in document["cells"]
        for output in cell.get("outputs", [])
        for finding in output.get("data", {}).get(FINDINGS_MIME, {}).get("findings", [])
    ]


def plots(document: dict[str, Any]) -> list[bytes]:
    return [
        base64.b64decode(output["data"]["image/png"])
        for cell in document["cells"]
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]


def test_a_forked_kernel_has_the_state_of_an_ordinary_one(
    collection: Callable[..., str], outputs: Callable[..., dict[str, Any]], archive: Path
) -> None:
    name = collection(RUNS_OWN + STATE)
    ordinary, forked = (json.loads(said(outputs(name, kernel))[0]) for kernel in ("ordinary", "fork"))
    assert set(ordinary) == set(forked) and len(ordinary["pandas"]) > 50
    differ = {key: (ordinary[key], forked[key]) for key in ordinary if ordinary[key] != forked[key]}
    for key, (left, right) in differ.items():
        if isinstance(left, dict):
            differ[key] = {k: (left.get(k), right.get(k)) for k in {*left, *right} if left.get(k) != right.get(k)}
    assert not differ, json.dumps(differ, indent=1)


def test_what_cells_show_is_the_same_to_the_byte(
    collection: Callable[..., str], outputs: Callable[..., dict[str, Any]], archive: Path
) -> None:
    wide = "import pandas as pd\npd.DataFrame({f'column {n}': range(3) for n in range(60)})"
    name = collection(
        PLOT,
        wide,
        "import sys\nprint('out')\nprint('err', file=sys.stderr)",
        "import subprocess\nsubprocess.run(['echo', 'from outside'])",
        "!echo by the shell",
        "get_ipython().history_manager.hist_file, In[1][:6], __name__",
    )
    ordinary, forked = (outputs(name, kernel) for kernel in ("ordinary", "fork"))
    assert said(forked) == said(ordinary)
    assert plots(forked) == plots(ordinary) and len(plots(forked)) == 1
    assert "by the shell" in "".join(said(forked)) and "from outside" in "".join(said(forked))


@pytest.mark.slow
def test_a_read_only_notebook_of_each_section_says_the_same_in_a_forked_kernel(
    run_json: Callable[..., Any], archive: Path
) -> None:
    # One that tells of an incident has little to say without one.
    read_only = [notebook for notebook in all_notebooks() if notebook.metadata.changes == "none"]
    last = {notebook.section: notebook.name for notebook in read_only if not notebook.metadata.about_incident}
    names = list(last.values())
    told = []
    for kernel in ("ordinary", "fork"):
        _, document = run_json(*names, "--kernel", kernel)
        # What Prometheus tells is of the moment: which log-ins of other tests were refused in the minutes before.
        told.append(
            {
                run.notebook: [
                    (f.check, f.object, f.status if not f.check.startswith("prometheus.") else "") for f in run.findings
                ]
                for run in document.runs
            }
        )
    assert told[0] == told[1] and set(told[0]) == set(names) and all(len(found) > 5 for found in told[0].values())


def test_plots_of_the_same_figures_have_the_same_bytes(
    collection: Callable[..., str], outputs: Callable[..., dict[str, Any]], archive: Path
) -> None:
    name = collection(
        "import pandas as pd\nfrom runbook import logs\nfrom runbook.model import Finding, Status\n"
        "from runbook.session.plots import Headroom\n"
        "minutes = pd.date_range('2026-11-23', periods=300, freq='7min', tz='UTC')\n"
        "frame = pd.DataFrame({'minute': minutes, 'level': ['INFO', 'ERROR', 'WARNING'] * 100, 'count': range(300)})\n"
        "logs.Timeline(frame)",
        "logs.HourMap(frame)",
        "Headroom([Finding(object='disk', status=Status.OK, message='', value=42.0, threshold=80.0, unit='%')])",
    )
    ordinary, forked = (plots(outputs(name, kernel)) for kernel in ("ordinary", "fork"))
    assert len(forked) == 3 and forked == ordinary


def test_each_kernel_has_random_numbers_of_its_own(
    collection: Callable[..., str], run_json: Callable[..., Any], archive: Path
) -> None:
    cell = (
        "import os, random, tempfile, uuid, numpy\n"
        "print(random.random(), numpy.random.rand(), numpy.random.default_rng().random(), uuid.uuid4(),"
        " os.path.basename(tempfile.mktemp()))"
    )
    names = [collection(cell, name=f"dice-{n}") for n in range(3)]
    _, document = run_json(*names, "--kernel", "fork")
    numbers = [
        number
        for record in document.runs
        for number in said(json.loads(Path(record.evidence, "notebook.ipynb").read_text()))[0].split()
    ]
    assert len(numbers) == len(set(numbers)) == 15


# --- the template by itself


def template_of(runner: int) -> psutil.Process:
    def found() -> list[psutil.Process]:
        children = psutil.Process(runner).children()
        return [child for child in children if "runbook.kernels.template" in " ".join(child.cmdline())]

    wait_for(found)
    return found()[0]


@pytest.fixture
def template() -> Iterator[Template]:
    with Template() as started:
        yield started


def start(template: Template, code: str = "") -> tuple[Any, Path]:
    """Return a kernel that runs this code instead of waiting for messages, and its folder."""
    place = Path(tempfile.mkdtemp(prefix="rbk-"))
    script = place / "ipython" / "profile_default" / "startup" / "00.py"
    script.parent.mkdir(parents=True)
    script.write_text(f"from pathlib import Path\nplace = Path({str(place)!r})\n{code}")
    connection = {
        "transport": "ipc", "ip": str(place / "k"), "key": "k", "signature_scheme": "hmac-sha256",
        **{f"{name}_port": n for n, name in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1)},
    }  # fmt: skip
    (place / "k.json").write_text(json.dumps(connection))
    environment = {**os.environ, "IPYTHONDIR": str(place / "ipython"), "MARK": str(place)}
    return template.fork(["-f", str(place / "k.json")], environment, str(place)), place


def keeper_of(pid: int) -> psutil.Process:
    parent = psutil.Process(pid).parent()
    assert parent is not None
    return parent


def test_how_a_kernel_ended_is_told(template: Template) -> None:
    segfault = start(template, "import ctypes\nctypes.string_at(0)")[0]
    assert segfault.wait(20) == -signal.SIGSEGV
    leaving = start(template, "import os\nos._exit(7)")[0]
    assert leaving.wait(20) == 7
    killed = start(template)[0]
    killed.kill()
    assert killed.wait(20) == -signal.SIGKILL and killed.poll() == -signal.SIGKILL


def test_whatever_a_kernel_starts_ends_with_it(template: Template) -> None:
    code = (
        "import os, subprocess, sys, time\n"
        "subprocess.Popen(['sleep', '300'], start_new_session=True)\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        (place / 'daemon').write_text(str(os.getpid()))\n"
        "        time.sleep(300)\n"
        "    os._exit(0)\n"
        "(place / 'ready').touch()\n"
    )
    kernel, place = start(template, code)
    wait_for(lambda: (place / "ready").exists() and (place / "daemon").exists())
    daemon = psutil.Process(int((place / "daemon").read_text()))

    def living() -> list[psutil.Process]:
        found = keeper_of(kernel.pid).children(recursive=True)
        return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]

    wait_for(lambda: len(living()) == 3)  # the kernel, the program and the daemon, whose own parent has gone
    descendants = living()
    assert daemon in descendants
    kernel.end()
    assert not [process for process in descendants if process.is_running()]


def test_a_kernel_that_ignores_being_told_to_end_is_ended(template: Template) -> None:
    kernel, place = start(
        template, "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n(place / 'ready').touch()"
    )
    wait_for((place / "ready").exists)
    kernel.terminate()
    began = time.monotonic()
    kernel.end(grace=0.2)
    assert kernel.returncode == -signal.SIGKILL and time.monotonic() - began < 3


def test_a_template_that_is_killed_takes_no_kernel_with_it_and_is_made_anew(template: Template) -> None:
    kernel, _ = start(template)
    first = template.pid
    os.kill(first, signal.SIGKILL)
    later, _ = start(template)
    assert template.pid != first
    assert kernel.poll() is None and later.poll() is None
    kernel.end()
    later.end()
    assert (kernel.returncode, later.returncode) == (-signal.SIGKILL, -signal.SIGKILL)


def test_a_template_that_cannot_live_is_an_error_and_not_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Template() as dead, pytest.raises(TemplateGone):
        dead.fork([], {}, "/")


def test_a_keeper_that_is_killed_takes_its_kernel_with_it(template: Template) -> None:
    kernel, _ = start(template)
    keeper, process = keeper_of(kernel.pid), psutil.Process(kernel.pid)
    keeper.kill()
    wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    assert kernel.wait(5) == 255


def test_nobody_else_can_ask_a_template_for_a_kernel(template: Template) -> None:
    process = psutil.Process(template.pid)
    kernel, _ = start(template)  # so that its imports are done
    assert not [found for found in process.net_connections("all") if found.laddr or found.raddr]
    kernel.end()


def test_when_the_owner_is_killed_everything_of_it_is_gone(tmp_path: Path) -> None:
    script = (
        "import os, sys\nsys.path.insert(0, sys.argv[1])\n"
        "from test_kernels import start\nfrom runbook.kernels.owner import Template\n"
        "t = Template()\nkernels = [start(t, 'import time; time.sleep(300)')[0] for _ in range(2)]\n"
        "print(os.getpid(), t.pid, *[k.pid for k in kernels], flush=True)\nimport time; time.sleep(300)\n"
    )
    argv = [sys.executable, "-c", script, str(Path(__file__).parent)]
    owner = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    processes = [psutil.Process(pid) for pid in pids[1:]]
    processes += [keeper_of(pid) for pid in pids[2:]]
    owner.kill()
    owner.communicate()
    assert len(processes) == 5
    wait_for(lambda: not [process for process in processes if process.is_running()], 5)


# --- notebooks that behave badly


BAD = {
    "daemonizes": "import os\nif os.fork() == 0:\n    os.setsid()\n    import time\n    time.sleep(300)",
    "ignores SIGTERM": "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "deadlocks at its end": "import atexit, time\natexit.register(time.sleep, 300)",
    "leaves a thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(300,)).start()",
    "forks a pool": "import multiprocessing as m\nm.get_context('fork').Pool(2).map(abs, [-1, -2])",
    "starts a program": "import subprocess\nsubprocess.Popen(['sleep', '300'], start_new_session=True)\n1",
}


@pytest.mark.parametrize("kernel", ["fork", "ordinary"])
def test_notebooks_that_will_not_end_do_end_and_leave_nothing(
    kernel: str, collection: Callable[..., str], run_json: Callable[..., Any], archive: Path
) -> None:
    names = [
        collection(OPEN, "run.ask(host.memory)", cell, name=what.replace(" ", "-").lower())
        for what, cell in BAD.items()
    ]
    began = time.monotonic()
    status, document = run_json(*names, "--kernel", kernel, "--jobs", "3")
    assert status == 0 and [record.error for record in document.runs] == [None] * len(BAD)
    assert time.monotonic() - began < 60
    assert not processes_of(archive)


def test_what_one_notebook_changes_the_next_one_does_not_see(
    collection: Callable[..., str], run_json: Callable[..., Any], archive: Path
) -> None:
    change = (
        "import os, sys, warnings\nimport matplotlib\nimport pandas as pd\nimport runbook.model\n"
        "pd.set_option('display.max_rows', 3)\nmatplotlib.rcParams['font.size'] = 99\nos.environ['CHANGED'] = '1'\n"
        "warnings.simplefilter('error')\nrunbook.model.CHANGED = True\nsys.setrecursionlimit(5000)"
    )
    look = (
        "import os, sys\nimport matplotlib\nimport pandas as pd\nimport runbook.model\n"
        "print(pd.get_option('display.max_rows'), matplotlib.rcParams['font.size'], os.environ.get('CHANGED'),"
        " hasattr(runbook.model, 'CHANGED'), sys.getrecursionlimit())"
    )
    names = [collection(change, name="changes"), collection(look, name="looks")]
    _, document = run_json(*names, "--jobs", "1")
    looked = json.loads(Path(document.runs[1].evidence, "notebook.ipynb").read_text())
    assert said(looked) == ["60 10.0 None False 1000\n"]


def test_a_kernel_of_another_language_is_told_as_missing(
    collection: Callable[..., str], run_json: Callable[..., Any], archive: Path
) -> None:
    name = collection("1")
    path = Path(os.environ["RUNBOOK_NOTEBOOKS"], "1-tests", f"{name}.ipynb")
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["kernelspec"]["name"] = "fortran"
    nbformat.write(notebook, path)
    status, document = run_json(name)
    assert status == 70 and "fortran" in str(only(document).error)


def test_a_template_killed_while_a_batch_runs_costs_no_run(collection: Callable[..., str], archive: Path) -> None:
    names = [collection(OPEN, "import time\ntime.sleep(1)", "run.ask(host.memory)", name=f"n{n}") for n in range(4)]
    argv = [sys.executable, "-m", "runbook", "run", *names, "--json", "--jobs", "2"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: len(list(archive.rglob("run.json"))) >= 2)
    time.sleep(1.0)
    template_of(process.pid).kill()
    document = decoded(process.communicate(timeout=60)[0])
    assert [record.status for record in document.runs] == ["OK"] * 4
    assert not processes_of(archive)


def test_where_no_template_can_live_kernels_are_ordinary_ones(
    collection: Callable[..., str], program: Callable[..., Any], archive: Path, tmp_path: Path
) -> None:
    hook = "import sys\nif 'kernels.template' in ' '.join(sys.orig_argv):\n    raise SystemExit(3)\n"
    (tmp_path / "sitecustomize.py").write_text(hook)
    ended = program("run", collection(OPEN, "run.ask(host.memory)"), PYTHONPATH=str(tmp_path))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert not processes_of(archive)


def test_a_template_that_hangs_keeps_no_run_beyond_its_deadline(collection: Callable[..., str], archive: Path) -> None:
    argv = [sys.executable, "-m", "runbook", "run", collection(OPEN), "--json", "--deadline", "1"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    template_of(process.pid).send_signal(signal.SIGSTOP)
    record = only(decoded(process.communicate(timeout=40)[0]))
    assert process.returncode == 70
    assert record.error == "the run took longer than its deadline of 1 s; no cell had been run"
    assert Path(record.evidence, "seal.json").exists()
    wait_for(lambda: not processes_of(archive), 5)


def test_nothing_is_imported_from_the_folder_that_somebody_is_in(
    collection: Callable[..., str], archive: Path, tmp_path: Path
) -> None:
    for module in ("selectors", "msgspec", "pandas", "json", "ipykernel"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('imported from here')\n")
    root = Path(__file__).parent.parent
    name = collection(OPEN, "run.ask(host.memory)")
    argv = [sys.executable, str(root / "lib"), "run", name]
    ended = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr

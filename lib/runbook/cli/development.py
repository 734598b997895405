"""The commands ``test`` and ``lab``, which become another program."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import NoReturn

from runbook.model import RunFailed
from runbook.model.collection import collection_folder
from runbook.redaction import saving

ROOT = Path(__file__).resolve().parents[3]


def test(arguments: list[str]) -> NoReturn:
    """Become pytest on the project's tests: all but the slow ones; those with ``--slow``; or those that are named."""
    tests = ROOT / "tests"
    if not tests.is_dir() or importlib.util.find_spec("pytest") is None:
        raise RunFailed("the tests need a checkout and the extra `test`; in a checkout: python3 lib test")
    os.chdir(ROOT)
    chosen = any(not argument.startswith("-") and Path(argument.split("::")[0]).exists() for argument in arguments)
    # conftest.py starts the sandbox, for notebooks too: pytest itself would look for it beside them only. Notebooks go
    # first: what other tests do to the sandbox they share is to be seen in no metric that a notebook shows.
    slow, arguments = "--slow" in arguments, [argument for argument in arguments if argument != "--slow"]
    all_of = ["tests"] if slow else ["notebooks", "tests"]
    which = [*all_of, "-m", "slow" if slow else "not slow", *_side_by_side()]
    places = ["tests/conftest.py", *([] if chosen else which)]
    # From the folder of the settings, notebooks would have no names: which one failed is to be told.
    settings = ["-c", str(tests / "pytest.ini"), "--rootdir", str(ROOT)]
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *settings, *places, *arguments])


def _side_by_side() -> list[str]:
    """Return what makes the whole suite run in one process more than there are cores, four at most.

    A third of its time it waits, for servers that start and deadlines that pass. Each process has a sandbox of its own.
    With two for each core it took as long, and what looks at a moment's figures began to flake.
    The modules go in their order, since the long ones are not those with many tests.
    """
    cores = len(os.sched_getaffinity(0))
    return ["-n", str(min(cores + 1, 4)), "--dist", "loadfile", "--no-loadscope-reorder"] if cores > 1 else []


def lab(arguments: list[str]) -> NoReturn:
    """Become JupyterLab on the collection, with its token on; what is saved there is scrubbed."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise RunFailed(
            "JupyterLab is an extra; in a checkout `python3 lib lab` installs it, else: pip install 'lib[lab]'"
        )
    own = [
        f"--ServerApp.root_dir={collection_folder()}",
        f"--ServerApp.jpserver_extensions={saving.__name__}=True",
        # Without the extension, what is saved would keep its secrets: then there is to be no server.
        "--ServerApp.reraise_server_extension_failures=True",
    ]
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", *own, *arguments])

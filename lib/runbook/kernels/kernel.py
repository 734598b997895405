"""What a fork becomes: an ordinary ipykernel, as if it had been started by itself."""

import atexit
import os
import random
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, NoReturn

from ipykernel.kernelapp import IPKernelApp


def become_kernel(arguments: Sequence[str], environment: Mapping[str, str], cwd: str) -> NoReturn:
    """Become a kernel, and end with it; everything that a new process has is made new."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(cwd)
    launcher = find_spec("ipykernel_launcher")
    sys.argv = [str(launcher.origin) if launcher else "", *arguments]
    # What a program writes past the kernel was not scrubbed: it reaches neither a terminal nor a document.
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    # Python's own generator seeds itself after a fork, numpy's old one does not.
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    # The parent that it watches is its keeper, where an ordinary kernel watches its runner.
    app: Any = IPKernelApp.instance(parent_handle=os.getppid())
    app.initialize(list(arguments))
    app.start()
    _leave()


def _leave() -> NoReturn:
    """End as an interpreter does, but without taking every import apart.

    That would need as much time as many a cell, and a copy of each page that is shared until then.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)

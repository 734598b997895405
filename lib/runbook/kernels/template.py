"""The template: imports what kernels need, then forks a keeper for each kernel that its owner asks for.

Run by `owner.Template` with the arguments FD and COUNT, where FD is its end of the owner's socket and COUNT how many
kernels are expected. It has one thread and opens nothing, so that a fork of it is as good as a process started anew.
(OpenBLAS and jemalloc have threads of their own; both look after them when a process forks.)
"""

import builtins
import gc
import importlib
import io
import json
import os
import selectors
import signal
import socket
import sys
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from runbook.kernels import questions
from runbook.kernels.owner import KERNEL, QUESTIONS

# What every notebook needs before its first answer; the questions' packages come after it.
FIRST = (
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.debugger",
    "tornado.platform.asyncio",
    "sqlite3",
    "IPython.core.debugger",
    "IPython.core.completerlib",
    "IPython.extensions.storemagic",
    "pandas",
    "pandas.core.methods.to_dict",
    "pyarrow.parquet",
    "pyarrow.pandas_compat",
    "httpcore",
    "runbook.session",
)
# What some need later, plots above all: imported while no kernel is waited for.
LATER = (
    "matplotlib.pyplot",
    "matplotlib.backends.backend_agg",
    "matplotlib.dates",
    "PIL.BmpImagePlugin",
    "PIL.GifImagePlugin",
    "PIL.JpegImagePlugin",
    "PIL.PpmImagePlugin",
    "pandas.core.reshape.reshape",
    "isal.igzip",
    "docker",
    "kr8s",
)


def modules() -> Iterator[str]:
    """Yield the modules to import before the first kernel is forked."""
    yield from FIRST
    yield from questions.packages()


def import_all(names: Iterable[str]) -> None:
    """Import what notebooks import, as if in a kernel."""
    # pandas looks at import whether it writes to a terminal; a kernel tells it that it does not.
    kernel, stdout = types.SimpleNamespace(kernel=True), sys.stdout
    builtins.get_ipython = lambda: kernel  # type: ignore[attr-defined]
    gc.disable()
    try:
        sys.stdout = io.TextIOWrapper(io.BytesIO(), encoding="UTF-8")  # spelled as a kernel's is
        for name in names:
            with suppress(ImportError):  # it is told by the notebook that needs it
                importlib.import_module(name)
    finally:
        sys.stdout = stdout
        del builtins.get_ipython  # type: ignore[attr-defined]
        gc.enable()
        # What was imported stays in pages that all kernels share.
        gc.freeze()


def serve(control: socket.socket, later: Sequence[str], before: Mapping[str, str]) -> None:
    """Serve what comes until the owner has gone, and import the rest while nothing comes.

    With each socket comes a sign: `KERNEL` for a kernel, whose keeper is forked, `QUESTIONS` for what the library asks.
    ``before`` is the environment as it was before anything was imported.
    """
    from runbook.kernels.keeper import keep

    rest, forked = list(later), False
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select(0 if rest else None)}
            if not ready and rest:
                import_all([rest.pop(0)])
            if woken in ready:
                _reap(woken)
            if control in ready:
                told, handles, _, _ = socket.recv_fds(control, 1, 1)
                if not told:
                    os._exit(0)
                if forked and told == KERNEL:
                    # The first one must not wait for what it may not need; each further one is spared its own import.
                    import_all(rest)
                    rest.clear()
                for handle in handles:
                    if told == QUESTIONS:
                        _answer(socket.socket(fileno=handle))
                        continue
                    try:
                        child = os.fork()
                    except OSError:  # no more processes: the owner hears it by the end of this socket
                        os.close(handle)
                        continue
                    if child == 0:
                        selector.close()
                        for end in (woken, wake):
                            os.close(end)
                        control.close()
                        set_by_imports = {k: v for k, v in os.environ.items() if k not in before}
                        keep(socket.socket(fileno=handle), set_by_imports)
                    os.close(handle)
                    forked = True


def _answer(connection: socket.socket) -> None:
    """Tell the questions and their thresholds: the owner need not import what is here already."""
    with connection, suppress(OSError):
        connection.sendall(json.dumps(questions.thresholds()).encode())


def _reap(woken: int) -> None:
    with suppress(BlockingIOError):
        os.read(woken, 4096)
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main() -> None:
    """Import, then serve."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    # pyplot's plots vanish where this is not set before it is imported.
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    before = dict(os.environ)
    import_all(modules())
    serve(control, LATER if int(sys.argv[2]) > 1 else (), before)

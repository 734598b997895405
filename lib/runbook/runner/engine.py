"""papermill's engine for runs: hears findings as they arrive and keeps an honest account of what ran."""

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any

import msgspec
import zmq.asyncio
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines
from traitlets.config import Config

from runbook.kernels import provisioner
from runbook.kernels.owner import ForkedProcess, Template
from runbook.model.protocol import FINDINGS_MIME, Message, decode
from runbook.redaction import Redactor
from runbook.redaction.document import join_streams

NAME = "runbook"
# What one cell may print, and one output hold, in signs: more is read by nobody, and costs the run its deadline.
MOST_PRINTED, MOST_SHOWN = 5_000_000, 20_000_000
START_SECONDS = 60.0
# To scrub and write the document takes as long as many a cell does.
SAVE_SECONDS = 0.3
# How long a kernel may take to end when it is told to.
KERNEL_GRACE = 0.5


@dataclass
class Session:
    """What the engine needs for one run, and what it tells of it while it goes on.

    ``home`` is a private folder for the kernel's sockets and settings. ``template`` is what the kernel is forked from;
    None stands for an ordinary one. ``cell`` is the number of the code cell that
    runs, counted from 1 as the notebook shows it, ``cells`` how many there are.
    """

    home: Path
    environment: Mapping[str, str]
    cwd: Path
    cell_deadline: float
    redactor: Redactor
    on_message: Callable[[Message], None]
    on_cell: Callable[[int, int], None] = lambda number, count: None
    template: Template | None = None
    client: Any = None
    cell: int = 0
    cells: int = 0
    process: Any = None

    def kernel_pid(self) -> int | None:
        """Return the pid of the kernel while there is one."""
        started = getattr(getattr(self.client, "km", None), "provisioner", None)
        return getattr(started, "pid", None)

    def kernel_exit(self) -> int | None:
        """Return the exit status of a kernel that ended by itself, as Popen tells it: -9 for SIGKILL."""
        return self.process.poll() if self.process is not None else None


class HonestManager(NotebookExecutionManager):  # type: ignore[misc]
    """Saves every now and then instead of around each cell, and never calls a cell completed that did not run."""

    _last_save = -SAVE_SECONDS
    _unsaved = False

    def save(self, **kwargs: Any) -> None:
        """Write the notebook, unless that was done a moment ago: a slow cell's own clock comes back to it."""
        self._unsaved = True
        if time.monotonic() - self._last_save >= SAVE_SECONDS:
            self.save_now(**kwargs)

    def save_now(self, **kwargs: Any) -> None:
        """Write the notebook if there is anything new in it.

        Where that cannot be, the questions are asked on: papermill's own last write tells what is wrong.
        """
        if self._unsaved:
            with suppress(OSError):
                super().save(**kwargs)
                self._unsaved = False
            self._last_save = time.monotonic()

    def cell_start(self, cell: Any, cell_index: int | None = None, **kwargs: Any) -> None:
        """Note that a cell starts; nothing that is worth a save has changed."""
        saved, self._last_save = self._last_save, time.monotonic()
        try:
            super().cell_start(cell, cell_index, **kwargs)
        finally:
            self._last_save = saved

    def notebook_complete(self, **kwargs: Any) -> None:
        """Write the notebook for the last time; cells that never ran say so."""
        pending = [cell for cell in self.nb.cells if cell.metadata.papermill["status"] == self.PENDING]
        self._last_save = time.monotonic()
        super().notebook_complete(**kwargs)
        for cell in pending:
            cell.metadata.papermill["status"] = "not run"
        self.save_now()


class ForkKernelManager(AsyncKernelManager):
    """Starts its kernel from the template that it is given."""

    template: Template

    @property
    def kernel_spec(self) -> KernelSpec | None:
        """Return the kernel's spec, with the provisioner that forks."""
        spec = super().kernel_spec
        if spec is not None:
            told = {"provisioner_name": provisioner.NAME, "config": {"template": self.template}}
            spec.metadata = {**spec.metadata, "kernel_provisioner": told}
        return spec


class Client(PapermillNotebookClient):  # type: ignore[misc]
    """Reads findings out of the kernel's messages before they are stored."""

    session: Session
    km: Any
    kc: Any
    _printed: int = 0

    def create_kernel_manager(self) -> Any:
        """Return the manager of the kernel that is to be started."""
        # One context for all runs: to end one of its own takes each kernel 0.1 s and more.
        told = {"kernel_name": self.kernel_name, "config": self.config, "context": zmq.asyncio.Context.instance()}
        if self.session.template is None:
            self.km = AsyncKernelManager(**told)
        else:
            self.km = ForkKernelManager(**told)
            self.km.template = self.session.template
        return self.km

    async def async_start_new_kernel_client(self) -> Any:
        """Connect to the kernel, and return as soon as it has answered on both channels.

        nbclient's own way looks for the kernel every 0.1 s, and ends by waiting 0.2 s for a message that does not come.
        """
        try:
            await asyncio.wait_for(self._ready(), START_SECONDS)
        except (RuntimeError, TimeoutError) as error:
            await self._async_cleanup_kernel()
            raise RuntimeError(f"Kernel died before it was ready: {error}") from error
        self.kc.allow_stdin = False
        return self.kc

    start_new_kernel_client = run_sync(async_start_new_kernel_client)

    async def _ready(self) -> None:
        self.session.process = self.km.provisioner.process
        published = Path(f"{self.km.ip}-{self.km.iopub_port}")
        while not published.exists():
            await self._must_live()
            await asyncio.sleep(0.005)
        self.kc = self.km.client(context=zmq.asyncio.Context.instance())
        self.kc.start_channels()
        asked = ""
        while True:
            try:
                told = await self.kc.get_iopub_msg(timeout=1)
            except Empty:
                await self._must_live()
                told = None
            if told is None or told["msg_type"] == "iopub_welcome":
                asked = self.kc.kernel_info()
            elif told["content"].get("execution_state") == "idle" and told["parent_header"].get("msg_id") == asked:
                break
        while (reply := await self.kc.get_shell_msg(timeout=START_SECONDS))["parent_header"].get("msg_id") != asked:
            pass
        self.kc._handle_kernel_info_reply(reply)

    async def _async_cleanup_kernel(self) -> None:
        """Tell the kernel to end, and end it where it does not: it has nothing left to do that anybody waits for.

        A forked kernel is waited for at the end of its run, when its evidence is written.
        """
        try:
            if await self.km.is_alive():
                await self.km.request_shutdown()
            if not isinstance(self.session.process, ForkedProcess):
                end = time.monotonic() + KERNEL_GRACE
                while time.monotonic() < end and await self.km.is_alive():
                    await asyncio.sleep(0.005)
                if await self.km.is_alive():
                    await self.km.shutdown_kernel(now=True)
        finally:
            await self.km.cleanup_resources()
            if self.kc is not None:
                self.kc.stop_channels()
                self.kc = None

    _cleanup_kernel = run_sync(_async_cleanup_kernel)

    async def _must_live(self) -> None:
        if not await self.km.is_alive():
            raise RuntimeError("it ended")

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        """Hand findings on, then do as papermill does."""
        if msg["msg_type"] in ("display_data", "execute_result"):
            data = msg["content"]["data"].get(FINDINGS_MIME)
            if data is not None:
                self.session.on_message(_scrubbed(decode(data), self.session.redactor))
            msg["content"]["data"] = _bounded(msg["content"]["data"])
        elif msg["msg_type"] == "stream":
            text = msg["content"]["text"]
            room = max(0, MOST_PRINTED - self._printed)
            self._printed += len(text)
            if not room:
                return None
            msg["content"]["text"] = text[:room]
        return super().process_message(msg, cell, cell_index)

    async def async_execute_cell(self, cell: Any, cell_index: int, *args: Any, **kwargs: Any) -> Any:
        """Execute a cell; where it takes its time, what was before it is saved meanwhile."""
        saving = asyncio.get_running_loop().call_later(SAVE_SECONDS, self.nb_man.save_now)
        try:
            return await super().async_execute_cell(cell, cell_index, *args, **kwargs)
        finally:
            saving.cancel()

    _execute_cell = run_sync(async_execute_cell)

    def execute_cell(self, cell: Any, cell_index: int, *args: Any, **kwargs: Any) -> Any:
        """Execute a cell, saying which one it is."""
        codes = [index for index, each in enumerate(self.nb.cells) if each.cell_type == "code"]
        if cell_index in codes:
            self.session.cell, self.session.cells = codes.index(cell_index) + 1, len(codes)
            self.session.on_cell(self.session.cell, len(codes))
        self._printed = 0
        try:
            return self._execute_cell(cell, cell_index, *args, **kwargs)
        finally:
            if cell.cell_type == "code":
                cell.outputs = self._settled(cell.outputs)

    def _settled(self, outputs: list[Any]) -> list[Any]:
        """Return a cell's outputs with each stream in one piece, as a terminal would show it, and what was cut.

        nbclient's own way needs quadratic time for a long line, and holds the interpreter meanwhile.
        """
        settled = [_node(output) for output in join_streams(outputs)]
        for output in settled:
            if output.output_type == "stream":
                output.text = "\n".join(map(_last_written, output.text.split("\n")))
        if self._printed > MOST_PRINTED:
            kept, printed = f"{MOST_PRINTED / 1e6:g} MB", f"{self._printed / 1e6:.1f} MB"
            told = f"\n[cut: the cell printed {printed}, of which the first {kept} are kept]\n"
            settled.append(_node({"output_type": "stream", "name": "stderr", "text": told}))
        return settled


class RunbookEngine(Engine):  # type: ignore[misc]
    """Runs a notebook in a fresh kernel with a private home, over local sockets."""

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str, output_path: str | None = None, **kwargs: Any) -> Any:
        """Run and return the notebook; as papermill's, with the honest manager."""
        manager = HonestManager(nb, output_path=output_path, progress_bar=False, autosave_cell_every=0)
        manager.notebook_start()
        try:
            cls.execute_managed_notebook(manager, kernel_name, **kwargs)
        finally:
            manager.notebook_complete()
        return manager.nb

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **kwargs: Any) -> None:
        """Run the cells; ``session`` comes with the engine's keyword arguments."""
        session: Session = kwargs["session"]
        config = Config()
        # No port is opened, and no other user can reach the kernel.
        config.KernelManager.transport = "ipc"
        config.KernelManager.connection_file = str(session.home / "k.json")
        client = Client(
            nb_man,
            kernel_name=kernel_name,
            config=config,
            timeout=session.cell_deadline,
            startup_timeout=60,
        )
        client.session = session
        session.client = client
        # What a program writes past the kernel was not scrubbed: it reaches neither a terminal nor a document.
        null = subprocess.DEVNULL
        client.execute(env=dict(session.environment), cwd=os.fspath(session.cwd), stdout=null, stderr=null)


def _node(output: dict[str, Any]) -> Any:
    return NotebookNode(output)  # type: ignore[no-untyped-call]


def _last_written(line: str) -> str:
    """Return what is to be seen of a line that was written over: what follows its last carriage return."""
    end = "\r" if line.endswith("\r") else ""
    return line.removesuffix("\r").rpartition("\r")[2] + end


def _bounded(bundle: dict[str, Any]) -> dict[str, Any]:
    """Return a MIME bundle without the texts that are longer than anyone reads; what stands for each says so."""
    return {
        kind: f"[cut: {kind} of {len(value) / 1e6:.1f} MB is not kept]"
        if isinstance(value, str) and len(value) > MOST_SHOWN
        else value
        for kind, value in bundle.items()
    }


def _scrubbed(message: Message, redactor: Redactor) -> Message:
    return msgspec.convert(redactor.data(msgspec.to_builtins(message)), Message)


papermill_engines.register(NAME, RunbookEngine)

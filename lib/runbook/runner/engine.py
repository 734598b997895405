"""papermill's engine for runs: hears findings as they arrive and keeps an honest account of what ran."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines
from traitlets.config import Config

from runbook.model.protocol import FINDINGS_MIME, Message, decode
from runbook.redaction import Redactor
from runbook.redaction.document import join_streams

NAME = "runbook"
# What one cell may print, and one output hold, in signs: more is read by nobody, and costs the run its deadline.
MOST_PRINTED, MOST_SHOWN = 5_000_000, 20_000_000


@dataclass
class Session:
    """What the engine needs for one run, and what it tells of it while it goes on.

    ``home`` is a private folder for the kernel's sockets and settings. ``cell`` is the number of the code cell that
    runs, counted from 1 as the notebook shows it.
    """

    home: Path
    environment: Mapping[str, str]
    cwd: Path
    cell_deadline: float
    redactor: Redactor
    on_message: Callable[[Message], None]
    on_cell: Callable[[int, int], None] = lambda number, count: None
    client: Any = None
    cell: int = 0
    process: Any = None

    def kernel_pid(self) -> int | None:
        """Return the pid of the kernel while there is one."""
        provisioner = getattr(getattr(self.client, "km", None), "provisioner", None)
        return getattr(provisioner, "pid", None)

    def kernel_exit(self) -> int | None:
        """Return the exit status of a kernel that ended by itself, as Popen tells it: -9 for SIGKILL."""
        return self.process.poll() if self.process is not None else None


class HonestManager(NotebookExecutionManager):  # type: ignore[misc]
    """Saves after each cell instead of around it, and never calls a cell completed that did not run."""

    _saves = True

    def save(self, **kwargs: Any) -> None:
        """Write the notebook, but for the moment before a cell, when nothing has changed yet."""
        if self._saves:
            super().save(**kwargs)

    def cell_start(self, cell: Any, cell_index: int | None = None, **kwargs: Any) -> None:
        """Note that a cell starts."""
        self._saves = False
        try:
            super().cell_start(cell, cell_index, **kwargs)
        finally:
            self._saves = True

    def notebook_complete(self, **kwargs: Any) -> None:
        """Write the notebook for the last time; cells that never ran say so."""
        pending = [cell for cell in self.nb.cells if cell.metadata.papermill["status"] == self.PENDING]
        self._saves = False
        try:
            super().notebook_complete(**kwargs)
        finally:
            self._saves = True
        for cell in pending:
            cell.metadata.papermill["status"] = "not run"
        self.save()


class Client(PapermillNotebookClient):  # type: ignore[misc]
    """Reads findings out of the kernel's messages before they are stored."""

    session: Session
    _printed: int = 0

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

    def execute_cell(self, cell: Any, cell_index: int, *args: Any, **kwargs: Any) -> Any:
        """Execute a cell, saying which one it is."""
        codes = [index for index, each in enumerate(self.nb.cells) if each.cell_type == "code"]
        if cell_index in codes:
            self.session.cell = codes.index(cell_index) + 1
            self.session.process = self.km.provisioner.process
            self.session.on_cell(self.session.cell, len(codes))
        self._printed = 0
        try:
            return super().execute_cell(cell, cell_index, *args, **kwargs)
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
        client.execute(env=dict(session.environment), cwd=os.fspath(session.cwd))


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

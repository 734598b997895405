"""papermill's engine for runs: hears findings as they arrive and keeps an honest account of what ran."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines
from traitlets.config import Config

from runbook.model.protocol import FINDINGS_MIME, Message, decode
from runbook.redaction import Redactor

NAME = "runbook"


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

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        """Hand findings on, then do as papermill does."""
        if msg["msg_type"] in ("display_data", "execute_result"):
            data = msg["content"]["data"].get(FINDINGS_MIME)
            if data is not None:
                self.session.on_message(_scrubbed(decode(data), self.session.redactor))
        return super().process_message(msg, cell, cell_index)

    def execute_cell(self, cell: Any, cell_index: int, *args: Any, **kwargs: Any) -> Any:
        """Execute a cell, saying which one it is."""
        codes = [index for index, each in enumerate(self.nb.cells) if each.cell_type == "code"]
        if cell_index in codes:
            self.session.cell = codes.index(cell_index) + 1
            self.session.process = self.km.provisioner.process
            self.session.on_cell(self.session.cell, len(codes))
        return super().execute_cell(cell, cell_index, *args, **kwargs)


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
            coalesce_streams=True,
        )
        client.session = session
        session.client = client
        client.execute(env=dict(session.environment), cwd=os.fspath(session.cwd))


def _scrubbed(message: Message, redactor: Redactor) -> Message:
    return msgspec.convert(redactor.data(msgspec.to_builtins(message)), Message)


papermill_engines.register(NAME, RunbookEngine)

"""Run several notebooks, some at a time: each in its own process, all told in one place."""

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from runbook.kernels.owner import Template
from runbook.model.collection import Notebook
from runbook.model.protocol import RunRecord
from runbook.runner.run import Stop, Watcher, failed, not_run, run_notebook
from runbook.runner.unfinished import Unfinished
from runbook.target import Target

WARMED = ("runbook.evidence.report", "runbook.evidence.sealing", "cryptography.hazmat.primitives.serialization")


@dataclass(frozen=True)
class Task:
    """One run to be done."""

    notebook: Notebook
    target: Target
    parameters: dict[str, Any]


class Audience(Protocol):
    """Who is told how the runs go; called from several threads."""

    def begin(self, notebook: str, target: str) -> Watcher:
        """Hear that a run begins; return who is told of it."""

    def end(self, record: RunRecord) -> None:
        """Hear how a run ended."""

    def left_out(self, notebook: str, target: str, reason: str) -> None:
        """Hear that a run was never begun."""


class Elsewhere(Protocol):
    """Where runs are carried out that are not carried out here; called from several threads."""

    def run(
        self, task: Task, begin: Callable[[], Watcher], *, deadline: float | None, cell_deadline: float | None
    ) -> RunRecord:
        """Carry a run out and return its record; ``begin`` is called once, when it begins."""


@dataclass(frozen=True)
class Batch:
    """How runs are done: where their evidence goes, how many at a time, their bounds in seconds, from which template.

    ``unfinished`` notes what is still to be done, so that a batch that is cut short can be gone on with.
    ``elsewhere`` is None where they are carried out on this machine.
    """

    archive: Path
    audience: Audience
    stop: Stop
    jobs: int = 1
    deadline: float | None = None
    cell_deadline: float | None = None
    template: Template | None = None
    unfinished: Unfinished | None = None
    elsewhere: Elsewhere | None = None

    def run(self, tasks: Mapping[int, Task]) -> dict[int, RunRecord]:
        """Return the records of the runs by their places in the batch; after a stop the rest are told as not run."""
        if not tasks:
            return {}
        with ThreadPoolExecutor(max_workers=min(self.jobs, len(tasks)), thread_name_prefix="run") as pool:
            futures = {place: pool.submit(self._one, place, task) for place, task in tasks.items()}
            # While the kernels start, this process has nothing else to do.
            threading.Thread(target=_warm, daemon=True).start()
            _settle(futures.values())
        return {place: future.result() for place, future in futures.items()}

    def _one(self, place: int, task: Task) -> RunRecord:
        notebook, target = task.notebook.name, task.target.name
        if self.stop.reason is not None:
            self.audience.left_out(notebook, target, self.stop.reason)
            return not_run(notebook, target, self.stop.reason)
        try:
            record = self._carried_out(task)
        except Exception as mistake:  # noqa: BLE001 - of one run: the others keep their records
            record = failed(notebook, target, f"the runner failed ({type(mistake).__name__}: {mistake})")
        cut_short = self.stop.reason is not None and (record.error or "").startswith(self.stop.reason)
        if self.unfinished is not None and record.run_id and not cut_short:
            with suppress(OSError):  # it would be run once more, which harms nobody
                self.unfinished.done(place, record.run_id)
        self.audience.end(record)
        return record

    def _carried_out(self, task: Task) -> RunRecord:
        def begin() -> Watcher:
            return self.audience.begin(task.notebook.name, task.target.name)

        if self.elsewhere is not None:
            return self.elsewhere.run(task, begin, deadline=self.deadline, cell_deadline=self.cell_deadline)
        return run_notebook(
            task.notebook,
            task.target,
            task.parameters,
            archive=self.archive,
            deadline=self.deadline,
            cell_deadline=self.cell_deadline,
            stop=self.stop,
            watcher=begin(),
            template=self.template,
        )


def _settle(futures: Iterable["Future[RunRecord]"]) -> None:
    """Wait for all, in steps, so that a signal finds this thread awake."""
    pending = set(futures)
    while pending:
        _, pending = wait(pending, timeout=0.2)


def _warm() -> None:
    """Import what the end of the first run needs."""
    for name in WARMED:
        with suppress(ImportError):  # it is told where it is needed
            import_module(name)

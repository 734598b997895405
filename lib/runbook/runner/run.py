"""Run one notebook against one target, supervised, and account for it."""

import getpass
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import psutil

from runbook.kernels.owner import ForkedProcess, Template
from runbook.model import Finding, Findings, RunbookError, RunFailed
from runbook.model.collection import Notebook
from runbook.model.layout import new_run_id
from runbook.model.plan import PlanState
from runbook.model.protocol import DataFile, Message, PlanRecord, RunRecord
from runbook.model.status import EXIT_FAILED
from runbook.plans.place import journal, load
from runbook.plans.progress import how_far, record_of
from runbook.redaction import Redactor
from runbook.runner.folder import RunFolder
from runbook.runner.leaving import leave
from runbook.target import Target

FAILED = "FAILED"
# Far above any question's own deadline: a cell that takes longer is not waiting for a dependency.
CELL_DEADLINE = 120.0
# How long a kernel may take to end by itself when it is told to.
KERNEL_GRACE = 2.0
# And how long when all is written and only its connections are left to be closed.
END_GRACE = 0.5


class Stop:
    """A request to end all runs, with its reason; set once, from a signal handler."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def request(self, reason: str) -> None:
        """Ask for the end; the first reason stays."""
        self.reason = self.reason or reason


@dataclass
class Watcher:
    """Who is told how a run goes; each call comes from the run's own thread."""

    on_cell: Callable[[int, int], None] = lambda number, count: None
    on_findings: Callable[[list[Finding]], None] = lambda findings: None


def run_notebook(
    notebook: Notebook,
    target: Target,
    parameters: dict[str, Any],
    *,
    archive: Path,
    deadline: float | None = None,
    cell_deadline: float | None = None,
    stop: Stop | None = None,
    watcher: Watcher | None = None,
    template: Template | None = None,
    lane: str = "",
    environment: Mapping[str, str] | None = None,
) -> RunRecord:
    """Run a notebook and return its record; a run that failed is a record with an error, not an exception.

    Every byte written was scrubbed of the target's secrets. ``deadline`` in seconds bounds the whole run, by default
    as the target's profile says, ``cell_deadline`` each cell. The kernel is forked from ``template``; without one it is
    a new interpreter; ``environment`` is what it gets beside that of this process. ``lane`` names the chain that the
    evidence is sealed in, where this machine writes several.
    """
    run = _Run(notebook, target, archive, stop or Stop(), watcher or Watcher())
    run.template, run.cell_deadline = template, cell_deadline or CELL_DEADLINE
    run.lane, run.environment = lane, environment or {}
    return run.carry_out({**parameters, "target": target.name}, deadline or target.deadlines.run)


class _Run:
    template: Template | None = None
    cell_deadline: float = CELL_DEADLINE
    lane: str = ""
    environment: Mapping[str, str] = MappingProxyType({})

    def __init__(self, notebook: Notebook, target: Target, archive: Path, stop: Stop, watcher: Watcher) -> None:
        self._notebook, self._target = notebook, target
        self._stop, self._watcher = stop, watcher
        self._redactor = Redactor(target.secret_values(), allow=target.redaction.allow)
        self._findings = Findings()
        self._data: list[DataFile] = []
        self._plans: dict[str, PlanRecord] = {}
        self._not_planned: dict[str, str] = {}
        self._to_copy: dict[str, str] = {}
        self._began = time.monotonic()
        self._started = datetime.now(UTC)
        self._incident = ""
        self.run_id = new_run_id(notebook.name, self._started)
        self._archive = archive
        self._folder = RunFolder(archive, self.run_id, self._redactor)
        self._error: BaseException | None = None
        self._parameters: dict[str, Any] = {}
        self._identity: dict[str, dict[str, str]] = {}
        self._clock_offsets: dict[str, float] = {}
        self._session: Any = None

    def carry_out(self, parameters: dict[str, Any], deadline: float) -> RunRecord:
        self._parameters, self._incident = parameters, str(parameters.get("incident", ""))
        try:
            # What stays behind when this process is killed: a record that says so.
            self._folder.create(
                self._record("the run did not end: it still goes on, or its runner was killed", ended="")
            )
        except RunFailed as refused:
            return self._record(str(refused), evidence="")
        try:
            home = Path(tempfile.mkdtemp(prefix="rb-"))
        except OSError as problem:
            return self._record(f"no private folder could be made in {tempfile.gettempdir()}: {problem.strerror}")
        try:
            return self._carry_out(parameters, home, deadline)
        finally:
            self._end_leftovers()
            shutil.rmtree(home, ignore_errors=True)

    def _carry_out(self, parameters: dict[str, Any], home: Path, deadline: float) -> RunRecord:
        spool = home / "spool"
        spool.mkdir(mode=0o700)
        error = self._explain(self._supervise(parameters, home, spool, deadline))
        error = self._keep(spool, error)
        record = self._record(error)
        try:
            leave(
                self._archive,
                self._folder,
                record,
                notebook=self._notebook.path,
                redactor=self._redactor,
                identity=self._identity,
                clock_offsets=self._clock_offsets,
                parameters=self._parameters,
                lane=self.lane,
            )
        except (OSError, RunbookError) as problem:
            why = getattr(problem, "strerror", None) or str(problem)
            record = self._record(error or f"its evidence could not be written to the archive and sealed: {why}")
            with suppress(OSError):
                self._folder.write_record(record)
        return record

    def _supervise(self, parameters: dict[str, Any], home: Path, spool: Path, deadline: float) -> str | None:
        """Run the notebook in a thread and end its kernel when it must; return why it was ended early."""
        thread = threading.Thread(target=self._execute, args=(parameters, home, spool), daemon=True)
        thread.start()
        ended_for, given_up = None, 0.0
        while thread.is_alive():
            thread.join(0.05)
            if ended_for is None and thread.is_alive():  # what has ended meanwhile needs no end
                ended_for = self._stop.reason or self._late(deadline)
            if ended_for is None:
                continue
            given_up = given_up or time.monotonic() + KERNEL_GRACE
            if self._end_kernel():
                thread.join(KERNEL_GRACE)
            elif time.monotonic() > given_up:
                # What should give a kernel hangs. Whatever still comes of it is not written: the run is told as it is.
                self._abandon()
                break
        return ended_for

    def _abandon(self) -> None:
        from runbook.runner.output import evidence_output

        evidence_output.close(self.run_id)

    def _late(self, deadline: float) -> str | None:
        if time.monotonic() - self._began > deadline:
            return f"the run took longer than its deadline of {deadline:g} s"
        return None

    def _execute(self, parameters: dict[str, Any], home: Path, spool: Path) -> None:
        from runbook.runner.light import papermill  # isort: skip - before the others, which import it too
        from runbook.runner import engine
        from runbook.runner.output import evidence_output

        self._session = engine.Session(
            home=home,
            environment=self._environment(home, spool),
            cwd=self._notebook.path.parent,
            cell_deadline=self.cell_deadline,
            redactor=self._redactor,
            on_message=self._hear,
            on_cell=self._watcher.on_cell,
            template=self.template,
        )
        output = evidence_output.open(self.run_id, self._folder, self._redactor)
        try:
            papermill.execute_notebook(
                # Of a path papermill would fill in what stands in braces, with parameters.
                str(self._notebook.path).replace("{", "{{").replace("}", "}}"),
                output,
                parameters,
                engine_name=engine.NAME,
                progress_bar=False,
                session=self._session,
            )
        except BaseException as error:  # noqa: BLE001 - told apart in _explain, in the main thread
            self._error = error
        finally:
            evidence_output.close(self.run_id)

    def _environment(self, home: Path, spool: Path) -> dict[str, str]:
        return {
            **os.environ,
            **self.environment,
            "RUNBOOK_RUN_ID": self.run_id,
            "RUNBOOK_SPOOL": str(spool),
            # No history, no start-up files of the user: a run is the same for everyone.
            "IPYTHONDIR": str(home / "ipython"),
            "JUPYTER_RUNTIME_DIR": str(home),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }

    def _hear(self, message: Message) -> None:
        if message.kind == "answer":
            self._findings.replace(message.check, message.findings)
            self._watcher.on_findings(message.findings)
            if message.data is not None:
                self._data.append(message.data)
        elif message.kind == "plan":
            take_plans(message, self._findings, self._plans, self._not_planned)
            self._to_copy[message.check.removeprefix("plan.")] = message.to_copy
            self._watcher.on_findings(message.findings)
        elif message.kind == "opened":
            self._identity, self._clock_offsets = message.identity, message.clock_offsets
        else:
            # The summary tells every finding again, with what explains it.
            self._findings = Findings(message.findings)

    def _explain(self, ended_for: str | None) -> str | None:
        """Return why the run failed, or None where it did not."""
        if ended_for is not None:
            return f"{ended_for}; {self._where()}"
        if self._error is None:
            return None
        return self._redactor.text(_told(self._error, self._where(), self._kernel_signal(), self.cell_deadline))

    def _where(self) -> str:
        number = self._session.cell if self._session is not None else 0
        if number and number == self._session.cells and isinstance(self._error, OSError):
            return "every cell was run"
        return f"it was in code cell {number}, what follows was not run" if number else "no cell had been run"

    def _kernel_signal(self) -> str:
        code = self._session.kernel_exit() if self._session is not None else None
        return f" by {signal.Signals(-code).name}" if isinstance(code, int) and code < 0 else ""

    def _keep(self, spool: Path, error: str | None) -> str | None:
        """Move the data behind the answers into the archive; return the error, or what kept that from working."""
        try:
            for data in self._data:
                self._folder.adopt(spool, data)
        except (OSError, RunFailed) as problem:
            why = getattr(problem, "strerror", None) or str(problem)
            return error or f"the data behind the answers could not be kept: {why}"
        return error

    def _record(self, error: str | None, evidence: str | None = None, ended: str | None = None) -> RunRecord:
        verdict = self._findings.verdict
        return RunRecord(
            notebook=self._notebook.name,
            target=self._target.name,
            run_id=self.run_id,
            status=FAILED if error else str(verdict),
            exit=EXIT_FAILED if error else verdict.exit_status,
            error=error,
            seconds=round(time.monotonic() - self._began, 2),
            evidence=str(self._folder.path) if evidence is None else evidence,
            findings=list(self._findings),
            plans=[as_it_stands(record) for record in self._plans.values()],
            not_planned=self._not_planned,
            to_copy={change: text for change, text in self._to_copy.items() if text},
            started=utc(self._started),
            ended=utc(datetime.now(UTC)) if ended is None else ended,
            operator=operator(),
            incident=self._incident,
        )

    def _end_kernel(self) -> bool:
        """End the kernel and return True; False where there is none yet, which is to be tried again soon."""
        pid = self._session.kernel_pid() if self._session is not None else None
        if pid is None:
            return False
        if self._session.kernel_exit() is not None:
            return True  # its number may be another process' by now
        with suppress(psutil.NoSuchProcess):
            kernel = psutil.Process(pid)
            kernel.terminate()
            with suppress(psutil.TimeoutExpired):
                kernel.wait(0.5)
                return True
            kernel.kill()
        return True

    def _end_leftovers(self) -> None:
        """Kill what the run's kernel left behind, also where it took a session of its own."""
        kernel = self._session.process if self._session is not None else None
        if isinstance(kernel, ForkedProcess):
            kernel.end(END_GRACE)
            return
        # All that an ordinary kernel starts carries the run's id.
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.pid != os.getpid() and process.environ().get("RUNBOOK_RUN_ID") == self.run_id:
                    process.kill()


def take_plans(message: Message, findings: Findings, plans: dict[str, PlanRecord], not_planned: dict[str, str]) -> None:
    """Take over the plans that a message tells, or why there is none; a plan's last account counts."""
    for check in dict.fromkeys(finding.check for finding in message.findings):
        findings.replace(check, [finding for finding in message.findings if finding.check == check])
    plans |= {record.id: record for record in message.plans}
    if message.not_planned:
        not_planned[message.check.removeprefix("plan.")] = message.not_planned


def as_it_stands(record: PlanRecord) -> PlanRecord:
    """Return a plan's account, from its journal where the run ended before it could tell what became of it."""
    plan = load(record.id) if record.state is PlanState.PLANNED else None
    if plan is None:
        return record
    entries = journal(plan)
    if not any(entry.event == "intent" for entry in entries):
        return record
    return record_of(plan, entries, told=[f"the run ended in the middle of it: {how_far(plan, entries)}"])


def utc(moment: datetime) -> str:
    """Return a moment as records tell it."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def operator() -> str:
    """Return the user on whose account the run goes, as the system knows it; "" where it does not."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def _told(error: BaseException, where: str, by_signal: str, cell_deadline: float) -> str:
    """Return a failed run's error in one sentence."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    if isinstance(error, PapermillExecutionError):
        lines = str(error.evalue).strip().splitlines()
        return f"a cell raised {error.ename}: {lines[0] if lines else ''}; {where}"
    if isinstance(error, DeadKernelError):
        return f"the kernel died{by_signal}; {where}"
    if isinstance(error, CellTimeoutError):
        return f"a cell took longer than {cell_deadline:g} s; {where}"
    if isinstance(error, OSError):
        return f"evidence could not be written: {error.strerror or error}; {where}"
    if isinstance(error, RunbookError):
        return f"{error}; {where}"
    if isinstance(error, RuntimeError) and "Kernel died before" in str(error):
        return "the kernel did not start"
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}; {where}"


def not_run(notebook: str, target: str, reason: str) -> RunRecord:
    """Return the record of a run that was never begun."""
    return failed(notebook, target, f"not run: {reason}")


def failed(notebook: str, target: str, error: str) -> RunRecord:
    """Return the record of a run that left nothing."""
    return RunRecord(
        notebook=notebook,
        target=target,
        run_id="",
        status=FAILED,
        exit=EXIT_FAILED,
        error=error,
        seconds=0.0,
        evidence="",
        findings=[],
    )


def as_json(records: list[RunRecord]) -> str:
    """Return the one document that `run --json` prints."""
    from runbook.model.protocol import RunsDocument

    return msgspec.json.format(msgspec.json.encode(RunsDocument(runs=records)), indent=1).decode()

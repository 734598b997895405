"""The command ``run``: what is to be run is checked first, then it goes.

The template of the kernels starts before the rest of this command is imported: both take their time.
"""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import msgspec

from runbook.kernels import FORK, ORDINARY
from runbook.model import RunbookError, UsageError
from runbook.model.collection import Notebook, find_notebook
from runbook.model.protocol import INTERRUPTED, RunRecord
from runbook.model.status import EXIT_FAILED, Status, verdict
from runbook.runner.parameters import declared, parse

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from runbook.cli.report import Report
    from runbook.kernels.owner import Template
    from runbook.model.plan import Plan
    from runbook.runner.batch import Elsewhere, Task
    from runbook.runner.run import Stop
    from runbook.runner.unfinished import Entry, Unfinished
    from runbook.target import Named, Target

LOCAL = "local"
# More than any change takes with all its looks, before and after.
CHANGE_SECONDS = 600.0


def run(arguments: argparse.Namespace) -> int:
    """Check everything, then run each notebook against each target, and return the exit status of them all."""
    if arguments.json and arguments.line:
        raise UsageError("--json is one document and nothing else: it has no last line")
    try:
        return _checked(arguments)
    except RunbookError as error:
        if not arguments.line:
            raise
        from runbook.runner.line import as_line

        _warn(str(error))
        _last(as_line(error.exit_status, [], {}, str(error)))
        return error.exit_status


def _checked(arguments: argparse.Namespace) -> int:
    _stand_somewhere()
    _check_engine(arguments)
    if arguments.resume:
        return _resume(arguments)
    if not arguments.notebooks:
        raise UsageError("name the notebooks to run; `runbook list` shows all, `run --resume` goes on with a batch")
    notebooks = [find_notebook(name) for name in dict.fromkeys(arguments.notebooks)]
    names = arguments.target or ["sandbox"]
    plan = _confirmed(arguments.confirm, notebooks, names) if arguments.confirm else None
    if plan is not None:
        arguments.incident = arguments.incident or _incident_of(plan, notebooks[0], arguments)
    values = {notebook.name: _values(notebook, arguments) for notebook in notebooks}
    if plan is not None:
        values[notebooks[0].name]["confirm"] = arguments.confirm
        # A change is not cut short by bounds that are meant for questions.
        arguments.deadline = arguments.deadline or CHANGE_SECONDS
        arguments.cell_deadline = arguments.cell_deadline or CHANGE_SECONDS
    # How many targets a group has is read later: more than one, most likely.
    expected = len(notebooks) * sum(2 if name.startswith("@") else 1 for name in names)
    with stopping() as stop, template(_kernel_here(arguments), expected) as forking:
        from runbook.evidence.archive import archive_folder
        from runbook.runner.unfinished import Entry
        from runbook.target import expand

        named = expand(names)
        for told in filter(None, (each.told for each in named)):
            _warn(told)
        fleet = _targets(named, forking)
        entries = [
            Entry(notebook=notebook.name, target=each.target, parameters=values[notebook.name])
            for each in named
            for notebook in notebooks
        ]
        wanted = Wanted(dict(enumerate(entries)), {notebook.name: notebook for notebook in notebooks}, fleet)
        # What was confirmed is done once: no batch goes on with it.
        unfinished = _noted(entries, fleet, archive_folder(), arguments) if not arguments.confirm else None
        return _run(wanted, unfinished, forking, stop, arguments)


@dataclass(frozen=True)
class Fleet:
    """The targets that can be looked at, by name, and for each other one what is wrong with its profile."""

    targets: "Mapping[str, Target]"
    broken: Mapping[str, str]


@dataclass(frozen=True)
class Wanted:
    """What is to be run: entries by their places in the batch, and the notebooks and targets that they name."""

    entries: "Mapping[int, Entry]"
    notebooks: Mapping[str, Notebook]
    fleet: Fleet

    def tasks(self) -> "dict[int, Task]":
        """Return what can be run."""
        from runbook.runner.batch import Task

        return {
            place: Task(self.notebooks[entry.notebook], self.fleet.targets[entry.target], entry.parameters)
            for place, entry in self.entries.items()
            if entry.target in self.fleet.targets
        }


def _resume(arguments: argparse.Namespace) -> int:
    """Go on with the batch that was cut short last; what it has done already is told again."""
    from runbook.evidence.archive import archive_folder
    from runbook.runner.unfinished import Unfinished

    given = [arguments.notebooks, arguments.parameters, arguments.target, arguments.incident, arguments.confirm]
    if any(given):
        raise UsageError(
            "--resume goes on with what was begun: it takes no notebook, parameter, target, incident or token"
        )
    unfinished = Unfinished.resume(archive_folder())
    note = unfinished.note
    left = {place: entry for place, entry in enumerate(note.entries) if not entry.run_id}
    _warn(f"going on with the batch begun at {note.began}: {len(note.entries) - len(left)} of {len(note.entries)} done")
    try:
        notebooks = {entry.notebook: find_notebook(entry.notebook) for entry in left.values()}
        for entry in left.values():
            _still_declared(notebooks[entry.notebook], entry.parameters)
    except UsageError as gone:
        raise UsageError(f"{gone}; to give this batch up, remove {unfinished.path}") from gone
    with stopping() as stop, template(_kernel_here(arguments), len(left)) as forking:
        from runbook.target import Named

        # They were named at the beginning, whoever named them: one that broke since costs no other its run.
        fleet = _targets([Named(name, ()) for name in dict.fromkeys(e.target for e in left.values())], forking)
        arguments.deadline = arguments.deadline or note.deadline
        arguments.cell_deadline = arguments.cell_deadline or note.cell_deadline
        return _run(Wanted(left, notebooks, fleet), unfinished, forking, stop, arguments)


def _still_declared(notebook: Notebook, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that a notebook does not take any more: it would run with its own."""
    known = declared(notebook)
    for name, value in parameters.items():
        if name not in known or not isinstance(value, known[name].kind):
            raise UsageError(f"notebook {notebook.name} takes no parameter {name} like {value!r} any more")


def _run(
    wanted: Wanted,
    unfinished: "Unfinished | None",
    forking: "Template | None",
    stop: "Stop",
    arguments: argparse.Namespace,
) -> int:
    from runbook.cli.report import Report

    tasks = wanted.tasks()
    report = Report(
        quiet=arguments.json,
        runs=len(wanted.entries),
        targets=len({entry.target for entry in wanted.entries.values()}),
    )
    with _engine(wanted, stop, arguments) as (elsewhere, slots):
        records = run_all(
            tasks,
            report,
            forking,
            stop,
            jobs=arguments.jobs or slots,
            deadline=arguments.deadline,
            cell_deadline=arguments.cell_deadline,
            unfinished=unfinished,
            beside=_broken(wanted, report),
            elsewhere=elsewhere,
        )
    if arguments.json:
        from runbook.cli.confirmation import with_tokens
        from runbook.runner.run import as_json

        with suppress(BrokenPipeError):  # whoever reads has gone; the verdict stands
            sys.stdout.write(as_json(with_tokens(records)) + "\n")
            sys.stdout.flush()
    else:
        report.table(records)
    into_index(report)
    _notify(tasks, records)
    if unfinished is not None and not all(e.run_id for e in unfinished.note.entries):
        mended = "when the profile is mended, " if wanted.fleet.broken and stop.reason is None else ""
        _warn(f"{mended}`run --resume` goes on with what was not run")
    status = exit_status(records)
    if arguments.line:
        from runbook.runner.line import as_line

        served = {task.target.name: task.target.communication.evidence_url for task in tasks.values()}
        _last(as_line(status, records, served))
    return status


def _last(line: str) -> None:
    with suppress(OSError):  # whoever reads has gone; the verdict stands
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _check_engine(arguments: argparse.Namespace) -> None:
    """Refuse an engine that is none, and one that would carry out a plan on another machine than it lies on."""
    if arguments.engine == LOCAL:
        return
    from runbook.runner.cluster import place_of

    place_of(arguments.engine)
    if arguments.confirm:
        raise UsageError("a plan is carried out where it was made, and once: leave --engine out with --confirm")


def _kernel_here(arguments: argparse.Namespace) -> str:
    """Return how kernels start on this machine; where runs go elsewhere there are none."""
    return str(arguments.kernel) if arguments.engine == LOCAL else ORDINARY


@contextmanager
def _engine(
    wanted: Wanted, stop: "Stop", arguments: argparse.Namespace
) -> "Iterator[tuple[Elsewhere | None, int | None]]":
    """Give where runs are carried out, and how many at a time; (None, None) is here, and as many as there are cores."""
    if arguments.engine == LOCAL:
        yield None, None
        return
    from runbook.evidence.archive import archive_folder
    from runbook.runner.cluster import Cluster, place_of

    notebooks = list(wanted.notebooks.values())
    place, kernel = place_of(arguments.engine), arguments.kernel
    with Cluster(place, archive_folder(), notebooks, kernel=kernel, stop=stop, say=_warn) as cluster:
        yield cluster, cluster.slots


def _broken(wanted: Wanted, report: "Report") -> dict[int, RunRecord]:
    """Tell what cannot be run since the profile of its target is broken, and return the records that say so."""
    from runbook.evidence.archive import archive_folder
    from runbook.runner.unable import unable

    records = {}
    for place, entry in wanted.entries.items():
        if entry.target in wanted.fleet.broken:
            reason = wanted.fleet.broken[entry.target]
            report.left_out(entry.notebook, entry.target, reason)
            incident = str(entry.parameters.get("incident", ""))
            notebook = wanted.notebooks[entry.notebook]
            records[place] = unable(archive_folder(), notebook, entry.target, f"not run: {reason}", incident=incident)
    return records


def _notify(tasks: "Mapping[int, Task]", records: Sequence[RunRecord]) -> None:
    """Tell those whom the profiles name of what changed; whatever becomes of that, the runs have ended as they did."""
    told = {(task.notebook.name, task.target.name): task.target for task in tasks.values() if task.target.notifications}
    if not told:
        return
    from runbook.evidence.archive import archive_folder
    from runbook.runner.notifying import notify

    fresh = [record for record in records if (record.notebook, record.target) in told]
    try:
        notify(archive_folder(), fresh, {target.name: target for target in told.values()}, _warn)
    except Exception as mistake:  # noqa: BLE001 - it is told; the verdict stands
        _warn(f"nobody was notified: {type(mistake).__name__}")


def run_all(
    tasks: "Mapping[int, Task]",
    report: "Report",
    forking: "Template | None",
    stop: "Stop",
    *,
    jobs: int | None = None,
    deadline: float | None = None,
    cell_deadline: float | None = None,
    unfinished: "Unfinished | None" = None,
    beside: Mapping[int, RunRecord] | None = None,
    elsewhere: "Elsewhere | None" = None,
) -> list[RunRecord]:
    """Run tasks, ``jobs`` at a time (as many as there are cores), and return their records in the order of the places.

    What ``unfinished`` notes as done is read from the archive; ``beside`` are records of what cannot be run. They are
    run here unless ``elsewhere`` does it. After a stop the rest are told as not run.
    """
    from runbook.evidence.archive import archive_folder
    from runbook.runner.batch import Batch

    archive = archive_folder()
    before = _done_before(unfinished, archive)
    with report:
        batch = Batch(
            archive=archive,
            audience=report,
            stop=stop,
            jobs=jobs or cores(),
            deadline=deadline,
            cell_deadline=cell_deadline,
            template=forking,
            unfinished=unfinished,
            elsewhere=elsewhere,
        )
        records = before | batch.run(tasks) | dict(beside or {})
    if unfinished is not None:
        unfinished.close()
    return [records[place] for place in sorted(records)]


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def template(kernel: str, runs: int) -> "Iterator[Template | None]":
    """Start what the kernels of some runs are forked from, and end it; None where they are to be ordinary ones."""
    from runbook.kernels.owner import Template

    forking: AbstractContextManager[Template | None] = Template(runs) if kernel == FORK else nullcontext()
    with forking as started:
        yield started


def _targets(named: "Sequence[Named]", forking: "Template | None") -> Fleet:
    """Read the profiles; one that is broken costs no other target its runs.

    Raises `UsageError` for a name that somebody mistyped, and where no profile is left.
    """
    from runbook.cli.names import check_names
    from runbook.target import find_profile, load_target

    targets, broken = {}, {}
    for each in named:
        if each.directly:
            find_profile(each.target)
        try:
            target = load_target(each.target)
            check_names(target, forking)
        except UsageError as wrong:
            broken[each.target] = str(wrong)
        else:
            targets[each.target] = target
    if not targets:
        raise UsageError("; ".join(broken.values()))
    return Fleet(targets, broken)


def _noted(
    entries: "Sequence[Entry]", fleet: Fleet, archive: Path, arguments: argparse.Namespace
) -> "Unfinished | None":
    """Note what is to be run, so that it can be gone on with; say so where that cannot be."""
    from runbook.redaction import Redactor
    from runbook.runner.unfinished import Note, Unfinished

    for entry in entries:
        target = fleet.targets.get(entry.target)
        redactor = Redactor(target.secret_values(), allow=target.redaction.allow) if target else Redactor(())
        if redactor.data(entry.parameters) != entry.parameters:
            _warn("a parameter holds a secret, which is not noted: --resume cannot go on with this batch")
            return None
    note = Note(
        began=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        archive=str(archive),
        deadline=arguments.deadline,
        cell_deadline=arguments.cell_deadline,
        entries=list(entries),
    )
    try:
        return Unfinished.begin(note)
    except OSError as error:
        _warn(f"--resume could not go on with this batch: what is to be run was not noted ({error.strerror})")
        return None


def _done_before(unfinished: "Unfinished | None", archive: Path) -> dict[int, RunRecord]:
    """Return the records of the runs that a batch which was cut short has done, by their place in it."""
    from runbook.evidence.archive import find_run
    from runbook.evidence.records import kept

    found: dict[int, RunRecord] = {}
    for place, entry in enumerate(unfinished.note.entries if unfinished is not None else []):
        if entry.run_id:
            with suppress(RunbookError):  # pruned meanwhile: its verdict stands nowhere any more
                there = find_run(archive, entry.run_id)
                record = kept(there).record
                if record is not None:  # what another machine sealed says where it lay there
                    found[place] = msgspec.structs.replace(record, evidence=str(there.folder))
    return found


def into_index(report: "Report") -> None:
    """Bring the archive's index up to date; it only shows what the runs hold, so a run is not lost for its sake."""
    from runbook.evidence.archive import archive_folder
    from runbook.evidence.index import rebuild_index

    archive = archive_folder()
    if not archive.is_dir():
        return
    try:
        rebuild_index(archive)
    except (OSError, RunbookError) as error:
        _warn(f"the archive's index was not brought up to date: {getattr(error, 'strerror', None) or error}")
    else:
        report.index(archive)


def _stand_somewhere() -> None:
    """Leave a folder that is gone or may not be entered: papermill goes back to where it was called."""
    try:
        os.chdir(Path.cwd())
    except OSError:
        os.chdir("/")


def _warn(text: str) -> None:
    with suppress(OSError):
        sys.stderr.write(f"runbook: {text}\n")


def exit_status(records: Sequence[RunRecord]) -> int:
    """Return 70 where a run failed, else the exit status of the worst verdict."""
    if not records or any(record.exit == EXIT_FAILED for record in records):
        return EXIT_FAILED
    return verdict(Status(record.status) for record in records).exit_status


def _values(notebook: Notebook, arguments: argparse.Namespace) -> dict[str, Any]:
    values = parse(notebook, arguments.parameters)
    if "target" in values:
        raise UsageError("the target is chosen by --target, so that its secrets are known before anything is written")
    if "confirm" in values:
        raise UsageError("a plan is confirmed by --confirm TOKEN, which is checked before anything starts")
    named = arguments.incident or values.get("incident", "")
    if not named:
        return values
    if "incident" not in declared(notebook):
        raise UsageError(f"notebook {notebook.name} has no parameter incident")
    if values.get("incident", named) != named:
        raise UsageError(f"the run is to belong to two incidents, {named} and {values['incident']}")
    from runbook.evidence.incidents import to_attach

    after_close = arguments.after_close or notebook.metadata.about_incident
    return values | {"incident": to_attach(named, after_close=after_close).id}


def _incident_of(plan: "Plan", notebook: Notebook, arguments: argparse.Namespace) -> str:
    """Return the incident that a plan was made for, while it is open: what carries it out belongs to it as well."""
    if not plan.incident:
        return ""
    from runbook.evidence.incidents import to_attach

    try:
        after_close = arguments.after_close or notebook.metadata.about_incident
        return to_attach(plan.incident, after_close=after_close).id
    except UsageError as error:
        _warn(f"the plan was made for {plan.incident}; this run does not belong to it: {error}")
        return ""


def _confirmed(token: str, notebooks: Sequence[Notebook], targets: Sequence[str]) -> "Plan":
    """Return the plan of the one notebook on the one target that a token confirms; refuse any other token."""
    from runbook.plans.admission import admitted
    from runbook.target import expand, load_target

    targets = [each.target for each in expand(targets)]
    if len(notebooks) != 1 or len(targets) != 1:
        raise UsageError("--confirm carries out one plan: name its one notebook and its one target")
    if "confirm" not in declared(notebooks[0]):
        raise UsageError(f"notebook {notebooks[0].name} plans no change: there is nothing to confirm")
    return admitted(token, notebooks[0].name, load_target(targets[0]))


@contextmanager
def stopping() -> "Iterator[Stop]":
    """Turn SIGINT, SIGTERM and a lost terminal into a request to end, so that evidence is saved and told first.

    A second one ends at once.
    """
    from runbook.runner.run import Stop

    stop = Stop()

    def ask(number: int, _: FrameType | None) -> None:
        if stop.reason is not None:
            if sys.stderr.isatty():
                os.write(2, b"\x1b[?25h\n")  # the progress display hid the cursor
            os._exit(128 + number)
        stop.request(f"{INTERRUPTED}{signal.Signals(number).name}")

    heard = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means that the runs go on
        heard.append(signal.SIGHUP)
    before = {number: signal.signal(number, ask) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

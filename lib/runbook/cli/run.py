"""The command ``run``."""

import argparse
import difflib
import os
import pkgutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from types import FrameType
from typing import Any

import runbook
from runbook.cli.report import Report
from runbook.evidence.archive import archive_folder
from runbook.model import Question, RunbookError, UsageError
from runbook.model.protocol import RunRecord
from runbook.model.status import EXIT_FAILED, Status, verdict
from runbook.runner.collection import Notebook, find_notebook
from runbook.runner.parameters import declared, parse
from runbook.runner.run import Stop, Watcher, as_json, not_run, run_notebook
from runbook.target import Target, load_target


def run(arguments: argparse.Namespace) -> int:
    """Check everything, then run each notebook against each target, and return the exit status of them all."""
    notebooks = [find_notebook(name) for name in dict.fromkeys(arguments.notebooks)]
    targets = [load_target(name) for name in dict.fromkeys(arguments.target or ["sandbox"])]
    for target in targets:
        check_names(target)
    values = {notebook.name: _values(notebook, arguments) for notebook in notebooks}
    report = Report(quiet=arguments.json)
    records = run_all(notebooks, targets, values, arguments.deadline, report)
    if arguments.json:
        with suppress(BrokenPipeError):  # whoever reads has gone; the verdict stands
            sys.stdout.write(as_json(records) + "\n")
            sys.stdout.flush()
    else:
        report.table(records)
    return exit_status(records)


def run_all(
    notebooks: Sequence[Notebook],
    targets: Sequence[Target],
    values: dict[str, dict[str, Any]],
    deadline: float | None,
    report: Report,
) -> list[RunRecord]:
    """Run notebooks times targets, one after another; after SIGINT or SIGTERM the rest are told as not run."""
    records: list[RunRecord] = []
    with _stopping() as stop:
        for target in targets:
            for notebook in notebooks:
                if stop.reason is not None:
                    report.left_out(notebook.name, target.name, stop.reason)
                    records.append(not_run(notebook.name, target.name, stop.reason))
                    continue
                report.begin(notebook.name, target.name)
                watcher = Watcher(report.cell, report.findings)
                record = run_notebook(
                    notebook,
                    target,
                    values[notebook.name],
                    archive=archive_folder(),
                    deadline=deadline,
                    stop=stop,
                    watcher=watcher,
                )
                report.end(record)
                records.append(record)
    _into_index()
    return records


def _into_index() -> None:
    """Bring the archive's index up to date; it only shows what the runs hold, so a run is not lost for its sake."""
    from runbook.evidence.index import rebuild_index

    if not archive_folder().is_dir():
        return
    try:
        rebuild_index(archive_folder())
    except (OSError, RunbookError) as error:
        why = getattr(error, "strerror", None) or error
        sys.stderr.write(f"runbook: the archive's index was not brought up to date: {why}\n")


def exit_status(records: Sequence[RunRecord]) -> int:
    """Return 70 where a run failed, else the exit status of the worst verdict."""
    if not records or any(record.exit == EXIT_FAILED for record in records):
        return EXIT_FAILED
    return verdict(Status(record.status) for record in records).exit_status


def check_names(target: Target) -> None:
    """Refuse a profile that names a check or a threshold that does not exist: it would be without effect."""
    named = [
        *target.thresholds,
        *(entry.check for entry in target.acknowledge),
        *(entry.check for entry in target.not_applicable),
    ]
    if not named:
        return
    known = {question.name: question for question in all_questions()}
    for name in named:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"profile {target.name}: there is no check {name!r}{hint}")
    for name, thresholds in target.thresholds.items():
        unknown = sorted(set(thresholds) - set(known[name].thresholds))
        if unknown:
            there = ", ".join(known[name].thresholds) or "none"
            raise UsageError(f"profile {target.name}: {name} has no threshold {', '.join(unknown)}; it has {there}")


def all_questions() -> Iterator[Question]:
    """Return every question of the library: each package of things asked lists its own."""
    for module in pkgutil.iter_modules(runbook.__path__, "runbook."):
        if module.ispkg and module.name.rsplit(".", maxsplit=1)[-1] not in ("cli", "runner", "session", "model"):
            yield from getattr(import_module(module.name), "questions", ())


def _values(notebook: Notebook, arguments: argparse.Namespace) -> dict[str, Any]:
    values = parse(notebook, arguments.parameters)
    if "target" in values:
        raise UsageError("the target is chosen by --target, so that its secrets are known before anything is written")
    if arguments.incident:
        if "incident" not in declared(notebook):
            raise UsageError(f"notebook {notebook.name} has no parameter incident")
        values["incident"] = arguments.incident
    return values


@contextmanager
def _stopping() -> Iterator[Stop]:
    """Turn SIGINT and SIGTERM into a request to end, so that evidence is saved first; a second one ends at once."""
    stop = Stop()

    def ask(number: int, _: FrameType | None) -> None:
        if stop.reason is not None:
            os._exit(128 + number)
        stop.request(f"interrupted by {signal.Signals(number).name}")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

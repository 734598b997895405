"""What a person sees of runs: findings as they come, how far each run is, the table of verdicts."""

import os
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from runbook.cli.confirmation import how_to_confirm
from runbook.evidence.archive import INDEX_FILE
from runbook.evidence.fleet_page import FLEET_FILE
from runbook.model import Finding, Findings, Status
from runbook.model.layout import REPORT_FILE
from runbook.model.plan import PlanState
from runbook.model.plan_text import plan_lines
from runbook.model.protocol import PlanRecord, RunRecord
from runbook.model.text import printable, shortened
from runbook.runner.run import FAILED

_STYLE = {
    Status.OK: "green",
    Status.WARNING: "yellow",
    Status.CRITICAL: "bold red",
    Status.UNKNOWN: "magenta",
    Status.SKIPPED: "dim",
    FAILED: "bold red",
}
# A statement with all its values may be longer than a screen; of a longer line both ends are shown.
_PLAN_LINE = 600
# With more runs than this, those that are OK are told as one line: what is not well is to be seen.
ROWS_SHOWN = 40


@dataclass
class _Going:
    """One run that goes on: its lines say which one it is where there are several."""

    report: "Report"
    name: str
    bar: TaskID

    def on_cell(self, number: int, count: int) -> None:
        """Show which cell runs."""
        self.report.move(self.bar, number, count)

    def on_findings(self, findings: list[Finding]) -> None:
        """Show the findings of one answer."""
        for finding in findings:
            self.report.finding(finding, self.name)


class Report:
    """Shows runs on the terminal; ``quiet`` leaves stdout alone and shows progress on stderr where that is one.

    ``runs`` is how many there will be, ``targets`` on how many targets. It is a context: within it the progress of runs
    is shown.
    """

    def __init__(self, *, quiet: bool, runs: int = 1, targets: int = 1) -> None:
        # Texts of findings may come from a hostile log or name: nothing in them is markup or a control character.
        self._console = Console(file=sys.stderr if quiet else sys.stdout, highlight=False, markup=False, soft_wrap=True)
        live = self._console.is_terminal
        self._silent = quiet and not live
        self._many, self._fleet = runs > 1, targets > 1
        self._lock = threading.Lock()
        self._progress = Progress(
            TextColumn("  {task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[told]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not live,
        )
        self._told = set[str]()
        self._bars: dict[tuple[str, str], TaskID] = {}
        self._ended = 0
        self._all = self._progress.add_task("all", total=runs, told=f"0/{runs} runs", visible=self._many)
        self._runs = runs

    def __enter__(self) -> Self:
        with self._while_read():
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._while_read():
            self._progress.stop()

    def begin(self, notebook: str, target: str) -> Any:
        """Say that a run begins; return who is told of it."""
        self._say(Text(f"{notebook} on {target}"))
        bar = self._progress.add_task(notebook, total=None, told="starting")
        self._bars[(notebook, target)] = bar
        return _Going(self, self._named(notebook, target) if self._many else "", bar)

    def move(self, bar: TaskID, number: int, count: int) -> None:
        """Show how far a run is."""
        self._progress.update(bar, completed=number - 1, total=count, told=f"cell {number}/{count}")

    def finding(self, finding: Finding, name: str = "") -> None:
        """Show a finding as it comes; one that is told again in the same words is not."""
        line = self._line(finding, name)
        if line.plain not in self._told:
            self._told.add(line.plain)
            self._say(line)

    def end(self, record: RunRecord) -> None:
        """Say how a run ended."""
        text = Text(f"  {record.notebook} on {record.target}: " if self._many else "  ")
        text.append(record.status, _STYLE[record.status])
        text.append(printable(f" after {record.seconds:.1f} s" + (f": {record.error}" if record.error else "")))
        self._say(text)
        bar = self._bars.pop((record.notebook, record.target), None)
        if bar is not None:
            self._progress.remove_task(bar)
        with self._lock:
            self._ended += 1
        self._progress.update(self._all, completed=self._ended, told=f"{self._ended}/{self._runs} runs")

    def left_out(self, notebook: str, target: str, reason: str) -> None:
        """Say that a run was never begun."""
        self._say(Text(f"{notebook} on {target}: not run: {reason}"))

    def table(self, records: Sequence[RunRecord]) -> None:
        """Show the verdicts, what is not well and what to do next, and where the evidence is; the most severe first."""
        records = sorted(records, key=_severity)
        well = [record for record in records if record.status == Status.OK] if len(records) > ROWS_SHOWN else []
        records = [record for record in records if record not in well]
        table = Table("notebook", "target", "verdict", "findings", "time")
        for record in records:
            counted: dict[str, int] = {}
            for finding in record.findings:
                key = "acknowledged" if finding.acknowledged else str(finding.status)
                counted[key] = counted.get(key, 0) + 1
            order = [*(str(status) for status in sorted(Status, key=lambda s: s.severity)), "acknowledged"]
            told = ", ".join(f"{counted[status]} {status}" for status in order if status in counted)
            begun = record.run_id or record.status != FAILED
            verdict = Text(record.status, _STYLE[record.status]) if begun else Text("not run", "dim")
            table.add_row(record.notebook, record.target, verdict, told, f"{record.seconds:.1f} s")
        with self._while_read():
            self._console.print()
            if records:
                self._console.print(table)
            if well:
                targets = len({record.target for record in well})
                self._console.print(Text(f"{len(well)} other runs, on {targets} targets: OK", _STYLE[Status.OK]))
        for record in records:
            self._details(record)

    def index(self, archive: Path) -> None:
        """Say where all runs are shown, all targets where there were several, and what to type for `runbook` where that
        is no command.
        """
        if self._fleet and (archive / FLEET_FILE).exists():
            self._say(Text(f"all targets: {archive / FLEET_FILE}"))
        self._say(Text(f"all runs: {archive / INDEX_FILE}"))
        typed = os.environ.get("RUNBOOK_COMMAND")
        if typed and shutil.which("runbook") is None:
            self._say(Text(printable(f"for `runbook` type here: {typed}")))

    def _details(self, record: RunRecord) -> None:
        ordered = [finding for finding in Findings(record.findings).worst_first() if finding.bad]
        if self._many and (ordered or record.error):
            self._say(Text(f"{record.notebook} on {record.target}"))
        told = [finding for finding in ordered if not finding.explained_by]
        for place, finding in enumerate(told):
            self._say(self._line(finding))
            # What is to be done about several is said once, under the last of them.
            if finding.next and [one.next for one in told[place + 1 : place + 2]] != [finding.next]:
                self._say(Text(printable(f"             next: {finding.next}")))
        for cause in dict.fromkeys(finding.explained_by for finding in ordered if finding.explained_by):
            mine = [finding for finding in ordered if finding.explained_by == cause]
            explained = dict.fromkeys(f.object if f.check == cause else f.check for f in mine)
            self._say(Text(printable(f"  explained by {cause}: {', '.join(explained)}")))
        for plan in record.plans:
            self._plan(plan)
        for change, reason in record.not_planned.items() if record.status != Status.OK else ():
            self._say(Text(printable(f"  no plan of {change}: {reason}")))
        for text in record.to_copy.values():
            self._say(Text("  to be copied:"))
            self._say(Text("\n".join(["", *map(printable, text.splitlines()), ""])))
        if record.error:
            whose = self._named(record.notebook, record.target)
            self._say(Text(printable(f"  FAILED     {whose}: {record.error}"), "bold red"))
        if record.evidence:
            page = Path(record.evidence, REPORT_FILE)
            whose = f"evidence of {self._named(record.notebook, record.target)}" if self._many else "evidence"
            self._say(Text(f"{whose}: {page if page.exists() else record.evidence}"))

    def _named(self, notebook: str, target: str) -> str:
        """Return a run's name: its notebook's, with its target's where there are several."""
        return f"{notebook} on {target}" if self._fleet else notebook

    def _plan(self, plan: PlanRecord) -> None:
        for line in map(printable, plan_lines(plan)):
            told = line
            if len(line) > _PLAN_LINE:
                told = f"{shortened(line, _PLAN_LINE)} (whole: runbook plans show {plan.plan.id})"
            self._say(Text(f"  {told}"))
        if plan.state is PlanState.PLANNED and not plan.told:
            self._say(Text(f"    nothing was changed; {how_to_confirm(plan)}", "bold"))

    def _line(self, finding: Finding, name: str = "") -> Text:
        text = Text("  ")
        text.append(f"{finding.status:<10} ", _STYLE[finding.status])
        text.append(f"{name}: " if name else "", "dim")
        text.append(printable(f"{finding.check}: {shortened(finding.object)}: {finding.message}"))
        if finding.acknowledged:
            text.append(printable(f" (acknowledged until {finding.acknowledged.until})"), "dim")
        return text

    def _say(self, text: Text) -> None:
        with self._lock, self._while_read():
            self._console.print(text)

    @contextmanager
    def _while_read(self) -> Iterator[None]:
        """Fall silent when nobody can read any more: a run is finished all the same."""
        if self._silent:
            self._console.quiet = True
        try:
            yield
        except (OSError, SystemExit):  # rich ends the program when a pipe is closed
            self._silent = self._console.quiet = True


def _severity(record: RunRecord) -> int:
    """Return a rank to sort by: what failed first, then by verdict; last what was never begun, and says nothing."""
    if record.status == FAILED:
        return -1 if record.run_id else len(Status)
    return Status(record.status).severity

"""What a person sees of runs: findings as they come, a line for each notebook, the table of verdicts."""

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runbook.evidence.archive import INDEX_FILE, archive_folder
from runbook.model import Finding, Findings, Status
from runbook.model.layout import REPORT_FILE
from runbook.model.protocol import RunRecord
from runbook.model.text import printable
from runbook.runner.run import FAILED

_STYLE = {
    Status.OK: "green",
    Status.WARNING: "yellow",
    Status.CRITICAL: "bold red",
    Status.UNKNOWN: "magenta",
    Status.SKIPPED: "dim",
    FAILED: "bold red",
}


class Report:
    """Shows runs on the terminal; ``quiet`` leaves stdout alone and shows progress on stderr where that is one."""

    def __init__(self, *, quiet: bool) -> None:
        # Texts of findings may come from a hostile log or name: nothing in them is markup or a control character.
        self._console = Console(file=sys.stderr if quiet else sys.stdout, highlight=False, markup=False, soft_wrap=True)
        self._live = self._console.is_terminal
        self._silent = quiet and not self._live
        self._name = ""
        self._lock = threading.Lock()

    def begin(self, notebook: str, target: str) -> None:
        """Say that a run begins."""
        self._name = notebook
        self._say(Text(f"{notebook} on {target}"))

    def cell(self, number: int, count: int) -> None:
        """Show which cell runs, on a line that the next one overwrites."""
        if self._live:
            with self._lock, self._while_read():
                self._console.file.write(f"\r\x1b[K  {self._name}: cell {number}/{count}\r")
                self._console.file.flush()

    def findings(self, findings: list[Finding]) -> None:
        """Show the findings of one answer."""
        for finding in findings:
            self._say(self._line(finding))

    def end(self, record: RunRecord) -> None:
        """Say how a run ended."""
        text = Text("  ")
        text.append(record.status, _STYLE[record.status])
        text.append(printable(f" after {record.seconds:.1f} s" + (f": {record.error}" if record.error else "")))
        self._say(text)

    def left_out(self, notebook: str, target: str, reason: str) -> None:
        """Say that a run was never begun."""
        self._say(Text(f"{notebook} on {target}: not run: {reason}"))

    def table(self, records: Sequence[RunRecord]) -> None:
        """Show the verdicts, what is not well with what to do next, and where the evidence is."""
        table = Table("notebook", "target", "verdict", "findings", "time")
        for record in records:
            counted: dict[str, int] = {}
            for finding in record.findings:
                key = "acknowledged" if finding.acknowledged else str(finding.status)
                counted[key] = counted.get(key, 0) + 1
            told = ", ".join(f"{n} {status}" for status, n in counted.items())
            verdict = Text(record.status, _STYLE[record.status])
            table.add_row(record.notebook, record.target, verdict, told, f"{record.seconds:.1f} s")
        with self._while_read():
            self._console.print()
            self._console.print(table)
        for record in records:
            ordered = [finding for finding in Findings(record.findings).worst_first() if finding.bad]
            for finding in ordered:
                if not finding.explained_by:
                    self._say(self._line(finding))
                    if finding.next:
                        self._say(Text(printable(f"             next: {finding.next}")))
            for cause in dict.fromkeys(finding.explained_by for finding in ordered if finding.explained_by):
                explained = dict.fromkeys(f.check for f in ordered if f.explained_by == cause)
                self._say(Text(printable(f"  explained by {cause}: {', '.join(explained)}")))
            if record.error:
                self._say(Text(printable(f"  FAILED     {record.notebook}: {record.error}"), "bold red"))
            if record.evidence:
                page = Path(record.evidence, REPORT_FILE)
                self._say(Text(f"evidence: {page if page.exists() else record.evidence}"))
        index = archive_folder() / INDEX_FILE
        if index.exists() and any(record.evidence for record in records):
            self._say(Text(f"all runs: {index}"))

    def _line(self, finding: Finding) -> Text:
        text = Text("  ")
        text.append(f"{finding.status:<10} ", _STYLE[finding.status])
        text.append(printable(f"{finding.check}: {finding.object}: {finding.message}"))
        if finding.acknowledged:
            text.append(printable(f" (acknowledged until {finding.acknowledged.until})"), "dim")
        return text

    def _say(self, text: Text) -> None:
        with self._lock, self._while_read():
            if self._live:
                self._console.file.write("\r\x1b[K")
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

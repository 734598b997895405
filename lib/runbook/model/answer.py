"""What a question gave."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from runbook.model.finding import Finding
from runbook.model.protocol import DataFile
from runbook.model.question import Question
from runbook.model.status import Status, verdict

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Answer:
    """A question's frame (None where it could not be asked), its findings, when it was asked and how long it took."""

    question: Question
    frame: "pd.DataFrame | None"
    findings: tuple[Finding, ...]
    asked_at: datetime
    seconds: float
    data: DataFile | None = None

    @property
    def verdict(self) -> Status:
        """Return the worst status among the findings, for showing; SKIPPED where nothing else is there."""
        shown = [finding.status for finding in self.findings]
        return Status.SKIPPED if shown and set(shown) == {Status.SKIPPED} else verdict(shown)

"""The words of the runbook as plain data; nothing here imports anything else of the runbook."""

from runbook.model.answer import Answer
from runbook.model.errors import CouldNotFindOut, DoesNotApply, RunbookError, RunFailed, Unreachable, UsageError
from runbook.model.finding import Acknowledgement, Finding, Findings
from runbook.model.judge import at_least, at_most
from runbook.model.question import Asking, Question
from runbook.model.status import Status, verdict

__all__ = [
    "Acknowledgement",
    "Answer",
    "Asking",
    "CouldNotFindOut",
    "DoesNotApply",
    "Finding",
    "Findings",
    "Question",
    "RunFailed",
    "RunbookError",
    "Status",
    "Unreachable",
    "UsageError",
    "at_least",
    "at_most",
    "verdict",
]

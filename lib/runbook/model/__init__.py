"""The words of the runbook as plain data; nothing here imports anything else of the runbook."""

from runbook.model.answer import Answer
from runbook.model.change import Act, Change, ChangeFailed, Draft, NotPlanned
from runbook.model.errors import CouldNotFindOut, DoesNotApply, RunbookError, RunFailed, Unreachable, UsageError
from runbook.model.finding import Acknowledgement, Finding, Findings
from runbook.model.judge import at_least, at_most, first_of
from runbook.model.plan import Step
from runbook.model.question import Asking, Question
from runbook.model.status import Status, verdict

__all__ = [
    "Acknowledgement",
    "Act",
    "Answer",
    "Asking",
    "Change",
    "ChangeFailed",
    "CouldNotFindOut",
    "DoesNotApply",
    "Draft",
    "Finding",
    "Findings",
    "NotPlanned",
    "Question",
    "RunFailed",
    "RunbookError",
    "Status",
    "Step",
    "Unreachable",
    "UsageError",
    "at_least",
    "at_most",
    "first_of",
    "verdict",
]

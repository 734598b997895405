"""Questions on the triage queue, and the change that has stuck items wait again."""

from runbook.queue.annotators import annotators
from runbook.queue.compared import compared
from runbook.queue.composition import composition
from runbook.queue.flow import flow
from runbook.queue.oldest_item import oldest_item
from runbook.queue.plots import Flow
from runbook.queue.processing_time import processing_time
from runbook.queue.release import release
from runbook.queue.size import size
from runbook.queue.stuck import stuck

questions = (size, oldest_item, processing_time, composition, compared, flow, annotators, stuck)
changes = (release,)

__all__ = [
    "Flow",
    "annotators",
    "changes",
    "compared",
    "composition",
    "flow",
    "oldest_item",
    "processing_time",
    "questions",
    "release",
    "size",
    "stuck",
]

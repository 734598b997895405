"""Questions on the triage queue."""

from runbook.queue.oldest_item import oldest_item
from runbook.queue.processing_time import processing_time
from runbook.queue.size import size

questions = (size, oldest_item, processing_time)

__all__ = ["oldest_item", "processing_time", "questions", "size"]

"""Questions on the triage queue."""

from runbook.queue.oldest_item import oldest_item
from runbook.queue.size import size

questions = (size, oldest_item)

__all__ = ["oldest_item", "questions", "size"]

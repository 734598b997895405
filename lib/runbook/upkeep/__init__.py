"""What piles up in a week: packages, images, logs, dead rows; looked at by questions, cleaned by one plan."""

from runbook.upkeep.clean import clean
from runbook.upkeep.due_tables import due_tables
from runbook.upkeep.old_logs import old_logs
from runbook.upkeep.pending_packages import pending_packages
from runbook.upkeep.unused_images import unused_images

questions = (pending_packages, unused_images, old_logs, due_tables)
changes = (clean,)

__all__ = ["changes", "clean", "due_tables", "old_logs", "pending_packages", "questions", "unused_images"]

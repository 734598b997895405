"""A complete recovery, step by step: where it stands, and the plans that go on with it."""

from runbook.recovery.migrate import migrate
from runbook.recovery.position import position
from runbook.recovery.preserve import preserve
from runbook.recovery.service import start_service, stop_service
from runbook.recovery.swap import drop_kept, swap

questions = (position,)
changes = (stop_service, preserve, migrate, swap, start_service, drop_kept)

__all__ = [
    "changes",
    "drop_kept",
    "migrate",
    "position",
    "preserve",
    "questions",
    "start_service",
    "stop_service",
    "swap",
]

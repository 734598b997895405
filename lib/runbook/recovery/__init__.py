"""A complete recovery, step by step: where it stands, and the plans that go on with it."""

from runbook.recovery.copy_cluster import copy_cluster
from runbook.recovery.migrate import migrate
from runbook.recovery.position import position
from runbook.recovery.preserve import preserve
from runbook.recovery.readable import readable
from runbook.recovery.salvage import salvage
from runbook.recovery.salvaged import salvaged
from runbook.recovery.service import start_service, stop_service
from runbook.recovery.swap import drop_kept, swap

questions = (position, readable, salvaged)
changes = (stop_service, preserve, copy_cluster, migrate, salvage, swap, start_service, drop_kept)

__all__ = [
    "changes",
    "copy_cluster",
    "drop_kept",
    "migrate",
    "position",
    "preserve",
    "questions",
    "readable",
    "salvage",
    "salvaged",
    "start_service",
    "stop_service",
    "swap",
]

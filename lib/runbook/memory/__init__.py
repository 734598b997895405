"""Questions on memory: who has it, whether it grows and why, what waits for it, and what was killed for it."""

from runbook.memory.containers import containers
from runbook.memory.count_objects import count_objects
from runbook.memory.growth import growth
from runbook.memory.growth_now import growth_now
from runbook.memory.kills import kills
from runbook.memory.processes import processes
from runbook.memory.python import python
from runbook.memory.waiting import waiting

questions = (waiting, kills, containers, processes, growth_now, growth, python)
changes = (count_objects,)

__all__ = [
    "changes",
    "containers",
    "count_objects",
    "growth",
    "growth_now",
    "kills",
    "processes",
    "python",
    "questions",
    "waiting",
]

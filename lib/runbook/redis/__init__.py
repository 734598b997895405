"""Questions to Redis."""

from runbook.redis.memory import memory
from runbook.redis.persistence import persistence
from runbook.redis.reachable import reachable

questions = (reachable, memory, persistence)

__all__ = ["memory", "persistence", "questions", "reachable"]

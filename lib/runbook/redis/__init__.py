"""Questions to Redis."""

from runbook.redis.access import access
from runbook.redis.memory import memory
from runbook.redis.persistence import persistence
from runbook.redis.reachable import reachable

questions = (reachable, memory, persistence, access)

__all__ = ["access", "memory", "persistence", "questions", "reachable"]

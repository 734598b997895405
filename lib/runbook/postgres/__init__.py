"""Questions to PostgreSQL."""

from runbook.postgres.connection_slots import connection_slots
from runbook.postgres.longest_transaction import longest_transaction
from runbook.postgres.own_role import own_role
from runbook.postgres.reachable import reachable

questions = (reachable, connection_slots, longest_transaction, own_role)

__all__ = ["connection_slots", "longest_transaction", "own_role", "questions", "reachable"]

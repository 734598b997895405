"""Questions to PostgreSQL."""

from runbook.postgres.administrators import administrators, privileged_roles
from runbook.postgres.connection_slots import connection_slots
from runbook.postgres.longest_transaction import longest_transaction
from runbook.postgres.own_role import own_role
from runbook.postgres.reachable import reachable

questions = (reachable, connection_slots, longest_transaction, own_role, administrators, privileged_roles)

__all__ = [
    "administrators",
    "connection_slots",
    "longest_transaction",
    "own_role",
    "privileged_roles",
    "questions",
    "reachable",
]

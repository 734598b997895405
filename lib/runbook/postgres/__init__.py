"""Questions to PostgreSQL, and changes of its sessions and settings."""

from runbook.postgres.administrators import administrators, privileged_roles
from runbook.postgres.blocking import blocking
from runbook.postgres.connection_slots import connection_slots
from runbook.postgres.connections import connection_growth, connections
from runbook.postgres.idle_sessions import terminate_idle
from runbook.postgres.longest_transaction import longest_transaction
from runbook.postgres.own_role import own_role
from runbook.postgres.plots import BlockingTree, Connections
from runbook.postgres.pool import pool
from runbook.postgres.reachable import reachable
from runbook.postgres.role_limits import role_limits
from runbook.postgres.sessions import cancel, terminate

questions = (
    reachable,
    blocking,
    connections,
    connection_growth,
    connection_slots,
    pool,
    longest_transaction,
    own_role,
    administrators,
    privileged_roles,
)

changes = (cancel, terminate, terminate_idle, role_limits)

__all__ = [
    "BlockingTree",
    "Connections",
    "administrators",
    "blocking",
    "cancel",
    "changes",
    "connection_growth",
    "connection_slots",
    "connections",
    "longest_transaction",
    "own_role",
    "pool",
    "privileged_roles",
    "questions",
    "reachable",
    "role_limits",
    "terminate",
    "terminate_idle",
]

"""Questions to PostgreSQL, and changes of its sessions and settings."""

from runbook.postgres.administrators import administrators, privileged_roles
from runbook.postgres.archiving import archiving
from runbook.postgres.blocking import blocking
from runbook.postgres.checkpoints import checkpoints
from runbook.postgres.connection_slots import connection_slots
from runbook.postgres.connections import connection_growth, connections
from runbook.postgres.database_activity import database_activity
from runbook.postgres.idle_sessions import terminate_idle
from runbook.postgres.longest_transaction import longest_transaction
from runbook.postgres.own_role import own_role
from runbook.postgres.plots import BlockingTree, Connections
from runbook.postgres.pool import pool
from runbook.postgres.reachable import reachable
from runbook.postgres.replication import replication
from runbook.postgres.replication_slots import replication_slots
from runbook.postgres.role_limits import role_limits
from runbook.postgres.server_state import server_state
from runbook.postgres.sessions import cancel, terminate
from runbook.postgres.standby import standby, standby_removal
from runbook.postgres.standby_state import standby_state
from runbook.postgres.wal import wal

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
    server_state,
    replication,
    replication_slots,
    standby_state,
    archiving,
    wal,
    checkpoints,
    database_activity,
)

changes = (
    cancel,
    terminate,
    terminate_idle,
    role_limits,
    standby,
    standby_removal,
)

__all__ = [
    "BlockingTree",
    "Connections",
    "administrators",
    "archiving",
    "blocking",
    "cancel",
    "changes",
    "checkpoints",
    "connection_growth",
    "connection_slots",
    "connections",
    "database_activity",
    "longest_transaction",
    "own_role",
    "pool",
    "privileged_roles",
    "questions",
    "reachable",
    "replication",
    "replication_slots",
    "role_limits",
    "server_state",
    "standby",
    "standby_removal",
    "standby_state",
    "terminate",
    "terminate_idle",
    "wal",
]

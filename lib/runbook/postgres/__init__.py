"""Questions to PostgreSQL, and changes of it."""

from runbook.postgres.administrators import administrators, privileged_roles
from runbook.postgres.archiving import archiving
from runbook.postgres.checkpoints import checkpoints
from runbook.postgres.connection_slots import connection_slots
from runbook.postgres.database_activity import database_activity
from runbook.postgres.longest_transaction import longest_transaction
from runbook.postgres.own_role import own_role
from runbook.postgres.reachable import reachable
from runbook.postgres.replication import replication
from runbook.postgres.replication_slots import replication_slots
from runbook.postgres.server_state import server_state
from runbook.postgres.standby import standby, standby_removal
from runbook.postgres.standby_state import standby_state
from runbook.postgres.wal import wal

questions = (
    reachable,
    connection_slots,
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
changes = (standby, standby_removal)

__all__ = [
    "administrators",
    "archiving",
    "changes",
    "checkpoints",
    "connection_slots",
    "database_activity",
    "longest_transaction",
    "own_role",
    "privileged_roles",
    "questions",
    "reachable",
    "replication",
    "replication_slots",
    "server_state",
    "standby",
    "standby_removal",
    "standby_state",
    "wal",
]

"""Questions to PostgreSQL, and changes of its sessions and settings."""

from runbook.postgres.active_users import active_users
from runbook.postgres.administrators import administrators, privileged_roles
from runbook.postgres.archiving import archiving
from runbook.postgres.autovacuum import autovacuum
from runbook.postgres.bloat import bloat
from runbook.postgres.blocking import blocking
from runbook.postgres.checkpoints import checkpoints
from runbook.postgres.checksums import checksums
from runbook.postgres.connection_slots import connection_slots
from runbook.postgres.connections import connection_growth, connections
from runbook.postgres.database_activity import database_activity
from runbook.postgres.duplicate_indexes import duplicate_indexes
from runbook.postgres.explain import explain, slowest
from runbook.postgres.explain_analyze import explain_analyze
from runbook.postgres.foreign_keys import foreign_keys
from runbook.postgres.hba import hba
from runbook.postgres.heap_integrity import heap_integrity
from runbook.postgres.idle_sessions import terminate_idle
from runbook.postgres.index_integrity import index_integrity
from runbook.postgres.invalid_indexes import invalid_indexes
from runbook.postgres.log_slow_statements import log_slow_statements, slow_statement_logging
from runbook.postgres.longest_transaction import longest_transaction
from runbook.postgres.maintenance_at_work import maintenance_at_work
from runbook.postgres.missing_indexes import missing_indexes
from runbook.postgres.own_role import own_role
from runbook.postgres.password_encryption import password_encryption
from runbook.postgres.plots import BlockingTree, Connections
from runbook.postgres.pool import pool
from runbook.postgres.query_plots import Statements
from runbook.postgres.reachable import reachable
from runbook.postgres.regressions import regressions
from runbook.postgres.reindex import reindex
from runbook.postgres.replication import replication
from runbook.postgres.replication_slots import replication_slots
from runbook.postgres.role_limits import role_limits
from runbook.postgres.roles import roles
from runbook.postgres.sequences import sequences
from runbook.postgres.server_state import server_state
from runbook.postgres.sessions import cancel, terminate
from runbook.postgres.size_plots import Bloat, Sizes
from runbook.postgres.sizes import sizes
from runbook.postgres.slow_queries import slow_queries
from runbook.postgres.slow_queries_now import slow_queries_now
from runbook.postgres.standby import standby, standby_removal
from runbook.postgres.standby_state import standby_state
from runbook.postgres.unused_indexes import unused_indexes
from runbook.postgres.vacuum import analyze, vacuum
from runbook.postgres.wal import wal
from runbook.postgres.wraparound import wraparound
from runbook.postgres.xmin_horizon import xmin_horizon

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
    active_users,
    privileged_roles,
    roles,
    password_encryption,
    hba,
    server_state,
    replication,
    replication_slots,
    standby_state,
    archiving,
    wal,
    checkpoints,
    database_activity,
    maintenance_at_work,
    xmin_horizon,
    autovacuum,
    wraparound,
    sizes,
    bloat,
    sequences,
    foreign_keys,
    checksums,
    heap_integrity,
    index_integrity,
    slow_queries_now,
    slow_queries,
    regressions,
    explain,
    invalid_indexes,
    missing_indexes,
    duplicate_indexes,
    unused_indexes,
    slow_statement_logging,
)

changes = (
    cancel,
    terminate,
    terminate_idle,
    role_limits,
    standby,
    standby_removal,
    vacuum,
    analyze,
    reindex,
    explain_analyze,
    log_slow_statements,
)

__all__ = [
    "Bloat",
    "BlockingTree",
    "Connections",
    "Sizes",
    "Statements",
    "active_users",
    "administrators",
    "analyze",
    "archiving",
    "autovacuum",
    "bloat",
    "blocking",
    "cancel",
    "changes",
    "checkpoints",
    "checksums",
    "connection_growth",
    "connection_slots",
    "connections",
    "database_activity",
    "duplicate_indexes",
    "explain",
    "explain_analyze",
    "foreign_keys",
    "hba",
    "heap_integrity",
    "index_integrity",
    "invalid_indexes",
    "log_slow_statements",
    "longest_transaction",
    "maintenance_at_work",
    "missing_indexes",
    "own_role",
    "password_encryption",
    "pool",
    "privileged_roles",
    "questions",
    "reachable",
    "regressions",
    "reindex",
    "replication",
    "replication_slots",
    "role_limits",
    "roles",
    "sequences",
    "server_state",
    "sizes",
    "slow_queries",
    "slow_queries_now",
    "slow_statement_logging",
    "slowest",
    "standby",
    "standby_removal",
    "standby_state",
    "terminate",
    "terminate_idle",
    "unused_indexes",
    "vacuum",
    "wal",
    "wraparound",
    "xmin_horizon",
]

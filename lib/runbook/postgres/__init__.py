"""Questions to PostgreSQL, and changes of its sessions and settings."""

from runbook.postgres.administrators import administrators, privileged_roles
from runbook.postgres.blocking import blocking
from runbook.postgres.connection_slots import connection_slots
from runbook.postgres.connections import connection_growth, connections
from runbook.postgres.duplicate_indexes import duplicate_indexes
from runbook.postgres.explain import explain, slowest
from runbook.postgres.explain_analyze import explain_analyze
from runbook.postgres.idle_sessions import terminate_idle
from runbook.postgres.invalid_indexes import invalid_indexes
from runbook.postgres.log_slow_statements import log_slow_statements, slow_statement_logging
from runbook.postgres.longest_transaction import longest_transaction
from runbook.postgres.missing_indexes import missing_indexes
from runbook.postgres.own_role import own_role
from runbook.postgres.plots import BlockingTree, Connections
from runbook.postgres.query_plots import Statements
from runbook.postgres.reachable import reachable
from runbook.postgres.regressions import regressions
from runbook.postgres.role_limits import role_limits
from runbook.postgres.sessions import cancel, terminate
from runbook.postgres.slow_queries import slow_queries
from runbook.postgres.slow_queries_now import slow_queries_now
from runbook.postgres.unused_indexes import unused_indexes

questions = (
    reachable,
    blocking,
    connections,
    connection_growth,
    connection_slots,
    longest_transaction,
    own_role,
    administrators,
    privileged_roles,
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

changes = (cancel, terminate, terminate_idle, role_limits, explain_analyze, log_slow_statements)

__all__ = [
    "BlockingTree",
    "Connections",
    "Statements",
    "administrators",
    "blocking",
    "cancel",
    "changes",
    "connection_growth",
    "connection_slots",
    "connections",
    "duplicate_indexes",
    "explain",
    "explain_analyze",
    "invalid_indexes",
    "log_slow_statements",
    "longest_transaction",
    "missing_indexes",
    "own_role",
    "privileged_roles",
    "questions",
    "reachable",
    "regressions",
    "role_limits",
    "slow_queries",
    "slow_queries_now",
    "slow_statement_logging",
    "slowest",
    "terminate",
    "terminate_idle",
    "unused_indexes",
]

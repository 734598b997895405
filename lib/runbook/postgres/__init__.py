"""Questions to PostgreSQL, and its changes by plan."""

from runbook.postgres.administrators import administrators, privileged_roles
from runbook.postgres.autovacuum import autovacuum
from runbook.postgres.bloat import bloat
from runbook.postgres.checksums import checksums
from runbook.postgres.connection_slots import connection_slots
from runbook.postgres.foreign_keys import foreign_keys
from runbook.postgres.index_integrity import index_integrity
from runbook.postgres.longest_transaction import longest_transaction
from runbook.postgres.maintenance_at_work import maintenance_at_work
from runbook.postgres.own_role import own_role
from runbook.postgres.reachable import reachable
from runbook.postgres.reindex import reindex
from runbook.postgres.sequences import sequences
from runbook.postgres.size_plots import Bloat, Sizes
from runbook.postgres.sizes import sizes
from runbook.postgres.vacuum import analyze, vacuum
from runbook.postgres.wraparound import wraparound
from runbook.postgres.xmin_horizon import xmin_horizon

questions = (
    reachable,
    connection_slots,
    longest_transaction,
    own_role,
    administrators,
    privileged_roles,
    maintenance_at_work,
    xmin_horizon,
    autovacuum,
    wraparound,
    sizes,
    bloat,
    sequences,
    foreign_keys,
    checksums,
    index_integrity,
)

changes = (vacuum, analyze, reindex)

__all__ = [
    "Bloat",
    "Sizes",
    "administrators",
    "analyze",
    "autovacuum",
    "bloat",
    "changes",
    "checksums",
    "connection_slots",
    "foreign_keys",
    "index_integrity",
    "longest_transaction",
    "maintenance_at_work",
    "own_role",
    "privileged_roles",
    "questions",
    "reachable",
    "reindex",
    "sequences",
    "sizes",
    "vacuum",
    "wraparound",
    "xmin_horizon",
]

"""What keeps PostgreSQL from answering anything else."""

EXPLAINED_BY = {"postgres.reachable": "PostgreSQL does not answer at all"}

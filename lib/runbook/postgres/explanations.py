"""What keeps PostgreSQL from answering anything else."""

EXPLAINED_BY = {"postgres.reachable": "the application's database cannot be used: see postgres.reachable"}

"""What keeps Redis from answering anything else."""

EXPLAINED_BY = {"redis.reachable": "Redis does not answer at all"}

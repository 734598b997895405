"""What keeps the Docker engine from answering anything else."""

EXPLAINED_BY = {"docker.reachable": "the Docker engine does not answer at all"}

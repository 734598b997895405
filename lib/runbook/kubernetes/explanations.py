"""What keeps the API server from answering anything else."""

EXPLAINED_BY = {"kubernetes.reachable": "the API server of the cluster does not answer at all"}

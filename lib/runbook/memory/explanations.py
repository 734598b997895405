"""What keeps the questions on memory from being answered."""

EXPLAINED_BY = {"docker.reachable": "the Docker engine does not answer at all"}

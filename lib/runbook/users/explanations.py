"""What keeps the service from telling anything of its users."""

EXPLAINED_BY = {"api.liveness": "the service does not answer as it should"}

"""What makes the service fail without being its own fault; told beside its findings."""

EXPLAINED_BY = {
    "redis.reachable": "the service answers 500 to everything after it lost Redis: its fallback exists only at start",
    "redis.memory": "a full Redis refuses every write, and with it the service every request",
    "postgres.reachable": "the service cannot reach its data without PostgreSQL",
    "postgres.blocking": "what the service asks of the database waits for a lock, and requests with it",
}
EXPLAINED_BY_SILENCE = {"api.liveness": "the service does not answer as it should", **EXPLAINED_BY}

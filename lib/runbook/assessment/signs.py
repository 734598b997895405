"""What each finding says of how bad it is, by the runbook's severities, and which notebook it leads to."""

from dataclasses import dataclass

from runbook.model import Finding, Status


@dataclass(frozen=True)
class Sign:
    """A check ("": any) and what it means: the severity of a CRITICAL and of a WARNING ("": none) in the words of the
    runbook's levels, and the notebook. ``unit`` takes only findings of that unit, ``says`` only those whose message
    holds it: the same check may tell of an outage and of slowness. ``unknown`` is the severity where it could not be
    found out: what kept it from that may be worse than anything that was looked for.
    """

    check: str
    critical: str
    warning: str
    means: str
    notebook: str
    unit: str = ""
    says: str = ""
    unknown: str = ""


# In the order of what causes what: of two as severe ones the first is the likelier cause. A CRITICAL that the runbook's
# levels name by itself has that level; whatever else stops people from working is a P1, what slows them a P2.
SIGNS = (
    Sign("", "P0", "P0", "data corruption", "data-corruption-recovery", says="invalid page in block", unknown="P0"),
    Sign("postgres.checksums", "P0", "P0", "data corruption", "data-corruption-recovery"),
    Sign("logs.suspicious_requests", "P0", "P2", "a security breach", "daily-security-checks"),
    Sign("logs.failed_logins", "P1", "P3", "guessed passwords", "daily-security-checks"),
    Sign(
        "postgres.reachable",
        "P0",
        "P1",
        "the database has no connection left",
        "connection-exhaustion",
        says="no connection slot",
    ),
    Sign("postgres.reachable", "P0", "P1", "the database is unavailable", "database-issues"),
    Sign(
        "docker.containers",
        "P0",
        "P2",
        "a container was killed for want of memory",
        "high-memory-usage",
        says="was killed for want of memory",
    ),
    Sign("docker.containers", "P0", "P2", "a container does not run as it should", "api-down"),
    Sign("redis.reachable", "P1", "P2", "Redis does not answer", "api-down"),
    Sign("redis.memory", "P1", "P2", "Redis is full", "api-down"),
    Sign("postgres.connection_slots", "P1", "P2", "the database runs out of connections", "connection-exhaustion"),
    Sign("postgres.blocking", "P1", "P2", "sessions wait for each other's locks", "database-issues"),
    Sign("host.disk", "P1", "P2", "a disk is full", "weekly-maintenance"),
    Sign("host.memory", "P1", "P2", "the machine runs out of memory", "high-memory-usage"),
    Sign("memory.growth", "P1", "P2", "the service's memory grows", "high-memory-usage"),
    Sign("llm.reachable", "P1", "P2", "the language model fails", "high-error-rate"),
    Sign("llm.told", "P1", "P2", "the language model fails", "high-error-rate"),
    Sign("api.circuit_breakers", "P1", "P2", "what the service depends on fails", "high-error-rate"),
    Sign("api.liveness", "P0", "P1", "the API is down", "api-down"),
    Sign("api.readiness", "P1", "P2", "the API is not ready", "api-down"),
    Sign("api.user_request", "P1", "P2", "performance is degraded", "api-performance", unit="ms"),
    Sign("api.user_request", "P1", "P2", "the rate limit refuses requests", "daily-security-checks", says="rate limit"),
    Sign("api.user_request", "P0", "P1", "users get no answer", "api-down"),
    Sign("prometheus.error_share", "P1", "P2", "a high error rate", "high-error-rate"),
    Sign("api.error_rate", "P1", "P2", "a high error rate", "high-error-rate"),
    Sign("prometheus.login_success", "P1", "P2", "authentication fails", "access-management"),
    Sign("prometheus.response_time", "P1", "P2", "performance is degraded", "api-performance"),
    Sign("queue.annotators", "P2", "P2", "nobody annotates", "queue-backup"),
    Sign("queue.stuck", "P2", "P2", "items of the queue are stuck", "queue-backup"),
    Sign("queue.flow", "P2", "P2", "the queue backs up", "queue-backup"),
    Sign("queue.oldest_item", "P2", "P2", "the queue backs up", "queue-backup"),
)


def sign_of(finding: Finding) -> tuple[int, Sign] | None:
    """Return what a finding is a sign of, and its place in the order; None where it says nothing here."""
    for place, sign in enumerate(SIGNS):
        if sign.check in ("", finding.check) and sign.unit in ("", finding.unit) and sign.says in finding.message:
            return place, sign
    return None


def severity_of(finding: Finding, sign: Sign) -> str:
    """Return how bad a finding is: P0 to P3, or "" where it is not."""
    levels = {Status.CRITICAL: sign.critical, Status.WARNING: sign.warning, Status.UNKNOWN: sign.unknown}
    return levels.get(finding.status, "")

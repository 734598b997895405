"""The numbers in the rules, each with its default and with the check that judges the same thing by the same number."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """A number in a rule.

    ``check`` and ``threshold`` name the question whose threshold it is: a profile that changes that one changes the
    rule as well. The packages of things asked do not import one another, so the default stands here once more, and a
    test holds it to the question's. Without a check the number is the rules' own, and ``source`` says why it is that.
    """

    default: float
    check: str = ""
    threshold: str = ""
    source: str = ""

    def of(self, thresholds: Mapping[str, Mapping[str, float]]) -> float:
        """Return the number for a target with these thresholds in its profile."""
        return float(thresholds.get(self.check, {}).get(self.threshold, self.default))


LIMITS = {
    "error_percent": Limit(10, "prometheus.error_share", "critical"),
    "p95_ms": Limit(2000, "prometheus.response_time", "warning_ms"),
    "memory_percent": Limit(90, "host.memory", "warning"),
    "container_percent": Limit(90, "docker.resources", "critical"),
    "slots_percent": Limit(80, "postgres.connection_slots", "warning"),
    "lag_seconds": Limit(5, "postgres.replication", "warning"),
    "lag_mib": Limit(16, "postgres.replication", "warning_mib"),
    "stuck_hours": Limit(24, "queue.oldest_item", "warning_hours"),
    "oldest_hours": Limit(72, "queue.oldest_item", "critical_hours"),
    "errors": Limit(5, source="a handful: one failed request of two is 50%, and no incident"),
    "requests": Limit(10, source="of fewer requests the 95th percentile is just the slowest one"),
    "certificate_days": Limit(
        14, source="certificates of 90 days are renewed 30 days before their end: 16 have failed"
    ),
    "disk_used_percent": Limit(60, source="a line through the growth of a disk that is half empty tells nothing"),
    "backup_hours": Limit(26, source="a backup a day, and two hours for it to take"),
}

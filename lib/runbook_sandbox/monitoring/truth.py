"""What happened in the past that a sandbox's Prometheus remembers: tests and notebooks' examples compare with it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

WEEKS = 5
DENSE = timedelta(days=8)  # the last days have a sample each minute: `rate(…[5m])` and "a week ago" work in them
DENSE_STEP = timedelta(minutes=1)
COARSE_STEP = timedelta(minutes=15)  # before them, a range is to be an hour or more
ERROR_SHARE = 0.002  # of the requests of a quiet week end with 5xx
REFUSED_SHARE = 0.06  # of the log-ins


@dataclass(frozen=True)
class Incident:
    """Requests of one path failed: of all requests ``share`` ended with ``status``."""

    begins: datetime
    ends: datetime
    method: str
    path: str
    status: str
    share: float


@dataclass(frozen=True)
class Truth:
    """The past, the same all of a ``day``: one incident, a deployment (counters begin at 0), a time without scrapes.

    The last three days have none of these but the deployment: the service's log tells them as quiet, too.
    """

    day: datetime
    incident: Incident
    deployment: datetime
    gap_begins: datetime
    gap_ends: datetime

    @property
    def begins(self) -> datetime:
        """Return the time of the oldest sample."""
        return self.day - timedelta(weeks=WEEKS)

    @property
    def dense_from(self) -> datetime:
        """Return when the samples of each minute begin."""
        return self.day - DENSE


def truth(now: datetime | None = None) -> Truth:
    """Return what happened before the day (UTC) that ``now`` lies in; this moment, where it is not given."""
    day = (now or datetime.now(UTC)).replace(hour=0, minute=0, second=0, microsecond=0)
    begins = day - timedelta(days=5) + timedelta(hours=10, minutes=7)
    gap = day - timedelta(days=4) + timedelta(hours=2)
    return Truth(
        day=day,
        incident=Incident(begins, begins + timedelta(minutes=42), "POST", "/candidates/generate", "500", 0.18),
        deployment=day - timedelta(days=2) + timedelta(hours=14, minutes=20),
        gap_begins=gap,
        gap_ends=gap + timedelta(minutes=25),
    )

"""Compare another machine's clock with this one's."""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class ClockReading:
    """What another clock said, and what this one said in the middle of asking; ``precision`` in seconds either way.

    ``whose`` names the machine, where the dependency's name alone does not tell.
    """

    remote: datetime
    local: datetime
    precision: float
    whose: str = ""

    @classmethod
    def between(cls, remote: datetime, before: datetime, after: datetime, resolution: float = 0.0) -> "ClockReading":
        """Return the reading for a time that was told between two local moments, rounded down to a resolution."""
        half = (after - before) / 2
        return cls(remote.astimezone(UTC), before + half, half.total_seconds() + resolution)

    @property
    def offset(self) -> float:
        """Return how many seconds the other clock is ahead of this one; 0 when the difference is within precision."""
        difference = (self.remote - self.local).total_seconds()
        return 0.0 if abs(difference) <= self.precision else difference


def now() -> datetime:
    """Return this machine's time in UTC."""
    return datetime.now(UTC)

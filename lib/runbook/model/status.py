"""How well a thing is, and how a run of many findings is summed up."""

from collections.abc import Iterable
from enum import StrEnum


class Status(StrEnum):
    """The judgement on one fact.

    UNKNOWN: it could not be found out (no right, timeout, not installed, not recorded).
    SKIPPED: it does not apply to this target, as its profile says.
    """

    OK = "OK"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"
    UNKNOWN = "UNKNOWN"
    SKIPPED = "SKIPPED"

    @property
    def severity(self) -> int:
        """Return a rank to sort by, the worst first (0 is CRITICAL)."""
        return _WORST_FIRST.index(self)

    @property
    def exit_status(self) -> int:
        """Return the exit status of a run with this verdict, as monitoring plugins define it."""
        return _EXIT[self]


_WORST_FIRST = (Status.CRITICAL, Status.UNKNOWN, Status.WARNING, Status.OK, Status.SKIPPED)
# SKIPPED is never a verdict: a run of nothing but SKIPPED is UNKNOWN.
_EXIT = {Status.OK: 0, Status.WARNING: 1, Status.CRITICAL: 2, Status.UNKNOWN: 3, Status.SKIPPED: 3}

EXIT_USAGE = 64
EXIT_FAILED = 70


def verdict(counted: Iterable[Status]) -> Status:
    """Return the worst status: CRITICAL > UNKNOWN > WARNING > OK.

    Nothing, or nothing but SKIPPED, is UNKNOWN: a run that found nothing out has not shown that all is well.
    """
    worst = min(counted, key=lambda status: status.severity, default=Status.SKIPPED)
    return Status.UNKNOWN if worst is Status.SKIPPED else worst

"""Judge a value against its two limits; the one place where a limit turns into a status."""

import math
from collections.abc import Sequence

from runbook.model.finding import Finding
from runbook.model.status import Status
from runbook.model.units import counted


def at_most(obj: str, value: float | None, warning: float, critical: float, *, unit: str, message: str) -> Finding:
    """Return a finding on a value that is well while it is no more than ``warning``.

    Above ``warning`` it is WARNING, above ``critical`` CRITICAL; a missing value or NaN is UNKNOWN.
    """
    return _judged(obj, value, warning, critical, unit=unit, message=message, sign=1)


def at_least(obj: str, value: float | None, warning: float, critical: float, *, unit: str, message: str) -> Finding:
    """Return a finding on a value that is well while it is no less than ``warning``; below, as for `at_most`."""
    return _judged(obj, value, warning, critical, unit=unit, message=message, sign=-1)


def first_of(findings: Sequence[Finding], what: str, most: int = 10) -> list[Finding]:
    """Return the first findings, and one for all others: how many they are, with the worst status among them.

    ``what`` they are of, in the plural, is in its name.
    """
    rest = findings[most:]
    if not rest:
        return list(findings)
    status = min((finding.status for finding in rest), key=lambda one: one.severity)
    message = f"{counted(len(rest), 'more is', 'more are')} {status}; the answer's table has them"
    return [*findings[:most], Finding(object=f"other {what}", status=status, message=message, value=len(rest))]


def _judged(
    obj: str, value: float | None, warning: float, critical: float, *, unit: str, message: str, sign: int
) -> Finding:
    if value is None or math.isnan(value):
        return Finding(object=obj, status=Status.UNKNOWN, message=f"{message} (no value)", unit=unit)
    status, threshold = Status.OK, warning
    if sign * value > sign * critical:
        status, threshold = Status.CRITICAL, critical
    elif sign * value > sign * warning:
        status = Status.WARNING
    return Finding(object=obj, status=status, message=message, value=value, threshold=threshold, unit=unit)

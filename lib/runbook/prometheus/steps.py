"""Fit the step of a range to what a plot can show, and the window of a rate to the step."""

import math
import re

# As wide as a plot is: more points than pixels show nothing more.
MOST_POINTS = 800
_NICE = (1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?")
# Prometheus' documentation: a rate needs four scrapes in its window, so that a missed one or two change nothing.
SCRAPES_IN_A_RATE = 4
# The runbook's own window.
RATE_SECONDS = 300.0


def fit_step(seconds: float, interval: float = 15.0, points: int = MOST_POINTS) -> float:
    """Return the step (seconds) for a range of that length: a round one, at least the interval of scraping, so that
    there are no more than ``points``.
    """
    least = max(seconds / max(points - 1, 1), interval)
    return next((float(step) for step in _NICE if step >= least), math.ceil(least / 86400) * 86400.0)


def rate_window(step: float, interval: float = 15.0) -> str:
    """Return the window of rates for a step, as PromQL writes it: the runbook's five minutes, longer where scrapes or
    points are so far apart that something would fall between them.
    """
    return as_duration(max(RATE_SECONDS, step, SCRAPES_IN_A_RATE * interval))


def as_duration(seconds: float) -> str:
    """Return a length of time as PromQL writes it, in whole seconds or minutes."""
    whole = max(1, math.ceil(seconds))
    return f"{whole // 60}m" if whole % 60 == 0 else f"{whole}s"


def seconds_of(duration: str, otherwise: float = 15.0) -> float:
    """Return the seconds of a duration as Prometheus writes it (1m30s); ``otherwise`` for what is none."""
    match = _DURATION.fullmatch(duration)
    if not duration or match is None:
        return otherwise
    days, hours, minutes, seconds, thousandths = (int(part or 0) for part in match.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds + thousandths / 1000 or otherwise

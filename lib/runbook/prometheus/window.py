"""The time that the questions are about, and how it is looked at: step, window of rates, the same time before."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from runbook.model import UsageError
from runbook.model.moments import moment
from runbook.prometheus.steps import fit_step, rate_window

# A point for every other pixel: of a day one for each five minutes, which is what the rates are taken over.
POINTS = 400
MOST_HOURS = 24.0 * 400


@dataclass(frozen=True)
class Window:
    """The ``hours`` before ``end``; None is the present, by Prometheus' own clock.

    ``called`` makes the window of a cell that was run again another one, for which everything is asked anew.
    """

    hours: float = 24.0
    end: datetime | None = None
    called: float = 0.0


def window(hours: float = 24.0, until: str = "") -> Window:
    """Return the window of the last ``hours`` before ``until`` (ISO, UTC where it names no zone; empty: now).

    Called again, it is a window of its own: what is asked with it is asked anew. Raises `UsageError` for what is no
    time, or no length of time up to 400 days.
    """
    try:
        end = moment(until) if until else None
        if not 0 < hours <= MOST_HOURS:
            raise ValueError("a window has a length")
        return Window(hours, end, time.monotonic() if end is None else 0.0)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"no window of {hours} hours until {until or 'now'!r}: write the time as 2026-01-31T14:30, in UTC, and "
            f"more than 0 hours, no more than {MOST_HOURS:g}"
        ) from error


@dataclass(frozen=True)
class Span:
    """A window as it is asked: from ``start`` to ``end`` in ``step`` (seconds), with rates over ``rate`` (5m)."""

    start: datetime
    end: datetime
    step: float
    rate: str

    @classmethod
    def of(cls, asked: Window, now: datetime, interval: float) -> "Span":
        """Return the span of a window, whose last point is its very end."""
        end = asked.end or now
        step = fit_step(asked.hours * 3600, interval, POINTS)
        points = int(asked.hours * 3600 // step)
        return cls(end - timedelta(seconds=points * step), end, step, rate_window(step, interval))

    def before(self, days: int) -> "Span":
        """Return the same time some days before, in steps twice as long: it is drawn to compare with."""
        past = timedelta(days=days)
        step = 2 * self.step
        points = int((self.end - self.start).total_seconds() // step)
        end = self.end - past
        return Span(end - timedelta(seconds=points * step), end, step, self.rate)

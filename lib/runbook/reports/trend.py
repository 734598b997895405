"""A line through days that outliers do not bend, how sure it is, and how well it would have told the last days.

Theil and Sen's slope is the median of the slopes between all pairs of days. How sure it is comes from the days
themselves: weeks of deviations are drawn anew around the line (a bootstrap of blocks, since one day is like the next).
"""

from dataclasses import dataclass

import numpy as np

from runbook.series.slopes import Numbers, theil_sen

# Two weeks, so that a week's course is no trend, and half as much again to be compared with.
LEAST_DAYS = 14
DRAWS, BLOCK_DAYS, SEED = 400, 7, 23
LOW, HIGH = 5, 95  # percent: the interval holds nine of ten


@dataclass(frozen=True)
class Trend:
    """Growth a day, between ``low`` and ``high`` in nine of ten draws, and the ``level`` of the last day.

    ``told`` is what the first two thirds of the days would have told for the growth of the rest, and ``came`` how much
    came, both a day: the interval is as wide at least as they are apart.
    """

    slope: float
    low: float
    high: float
    level: float
    told: float
    came: float

    @property
    def grows(self) -> bool:
        """Tell whether it surely grows."""
        return self.low > 0

    def days_until(self, limit: float) -> tuple[float, float, float]:
        """Return in how many days the limit is reached: as the line tells, at the earliest, and at the latest.

        Infinite where it does not grow; 0 where it is reached.
        """
        earliest, likely, latest = (_days(limit - self.level, one) for one in (self.high, self.slope, self.low))
        return likely, earliest, latest


def trend(days: Numbers, values: Numbers) -> Trend:
    """Return the trend of values on days (numbers, ascending); there are to be some, `LEAST_DAYS` to be worth it."""
    slope = theil_sen(days, values)
    base = float(np.median(values - slope * days))
    left = values - (base + slope * days)
    random = np.random.default_rng(SEED)
    count = len(days)
    block = min(BLOCK_DAYS, count)
    slopes = np.empty(DRAWS)
    for draw in range(DRAWS):
        begins = random.integers(0, count - block + 1, -(-count // block))
        drawn = left[(begins[:, None] + np.arange(block)).ravel()[:count]]
        slopes[draw] = theil_sen(days, base + slope * days + drawn)
    low, high = (float(one) for one in np.percentile(slopes, (LOW, HIGH)))
    told, came = _backtest(days, values)
    apart = abs(told - came)
    # The end of the line, or of the last days where they lie above it: a limit is not farther off than it was seen.
    level = max(base + slope * float(days[-1]), float(np.median(values[-3:])))
    return Trend(slope, min(low, slope - apart), max(high, slope + apart), level, told, came)


def _backtest(days: Numbers, values: Numbers) -> tuple[float, float]:
    cut = max(2, 2 * len(days) // 3)
    if len(days) - cut < 2:
        slope = theil_sen(days, values)
        return slope, slope
    told = theil_sen(days[:cut], values[:cut])
    base = float(np.median(values[:cut] - told * days[:cut]))
    # What came is how far the middle of the rest is from where the line began to be only told.
    middle = float(np.median(days[cut:]) - days[cut - 1])
    came = (float(np.median(values[cut:])) - (base + told * float(days[cut - 1]))) / middle
    return told, came


def _days(room: float, slope: float) -> float:
    if room <= 0:
        return 0.0
    return room / slope if slope > 0 else float("inf")

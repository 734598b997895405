"""A line through values that outliers do not bend, with an interval that nine of ten draws lie in.

Theil and Sen's slope is the median of the slopes between all pairs. How sure it is comes from the values themselves:
runs of deviations are drawn anew around the line (a bootstrap of blocks, since one value is like the next).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
DRAWS, SEED = 200, 23
LOW, HIGH = 5, 95  # percent: the interval holds nine of ten
_BLOCKS = 8


@dataclass(frozen=True)
class Line:
    """A line: its slope, between ``low`` and ``high`` in nine of ten draws, the ``level`` of its end, and how far the
    values lie ``apart`` from it (the median of the distances).
    """

    slope: float
    low: float
    high: float
    level: float
    apart: float

    @property
    def rises(self) -> bool:
        """Tell whether it surely rises."""
        return self.low > 0


def theil_sen(at: Numbers, values: Numbers) -> float:
    """Return the median of the slopes between all pairs; 0 where no two stand apart."""
    first, second = np.triu_indices(len(at), 1)
    apart = at[second] - at[first]
    there = apart != 0
    if not there.any():
        return 0.0
    return float(np.median((values[second] - values[first])[there] / apart[there]))


def line(at: Numbers, values: Numbers) -> Line:
    """Return the line through values; there are to be three or more, in ascending order of where they stand."""
    slope = theil_sen(at, values)
    base = float(np.median(values - slope * at))
    left = values - (base + slope * at)
    random, count = np.random.default_rng(SEED), len(at)
    block = max(2, count // _BLOCKS)
    slopes = np.empty(DRAWS)
    for draw in range(DRAWS):
        begins = random.integers(0, max(1, count - block + 1), -(-count // block))
        drawn = left[(begins[:, None] + np.arange(min(block, count))).ravel()[:count]]
        slopes[draw] = theil_sen(at, base + slope * at + drawn)
    low, high = (float(one) for one in np.percentile(slopes, (LOW, HIGH)))
    return Line(slope, min(low, slope), max(high, slope), base + slope * float(at[-1]), float(np.median(np.abs(left))))

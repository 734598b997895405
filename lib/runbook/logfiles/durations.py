"""Durations in bounded memory: counted by value to three significant digits, from which percentiles are exact."""

from array import array
from collections import Counter

import numpy as np
from numpy.typing import NDArray

_HELD = 4096
# Durations in microseconds at which one digit more is rounded away.
_DECADES = np.array([10**n for n in range(3, 15)])


class Durations:
    """How often each duration was seen, to three significant digits and no finer than a microsecond."""

    def __init__(self) -> None:
        self._held = array("d")
        self.append = self._held.append
        self.counted: Counter[int] = Counter()

    def settle(self) -> None:
        """Count what is held; called now and then, so that little is held."""
        if self._held:
            milliseconds = np.frombuffer(self._held, dtype=np.float64)
            told = milliseconds[~np.isnan(milliseconds)]
            self.count(np.rint(np.clip(told, 0, 1e9) * 1000).astype(np.int64))
            del milliseconds
            del self._held[:]

    def count(self, microseconds: NDArray[np.int64]) -> None:
        """Count many durations at once."""
        unit = 10 ** np.searchsorted(_DECADES, microseconds, side="right")
        values, counts = np.unique((microseconds + unit // 2) // unit * unit, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self.counted[value] += count

    @property
    def full(self) -> bool:
        """Tell whether so many are held that they are to be settled."""
        return len(self._held) >= _HELD


def percentile(counted: "dict[int, int]", share: float) -> float:
    """Return the duration in milliseconds that ``share`` (0 to 1) of those counted do not exceed (nearest rank)."""
    total = sum(counted.values())
    rank = max(1, -int(-share * total // 1))
    passed = 0
    for value in sorted(counted):
        passed += counted[value]
        if passed >= rank:
            return value / 1000
    return float("nan")

"""When did a figure step up or down for good: the day, then the hour.

A step is looked for among medians of days, so that an incident of hours is none; working days and weekends have their
own level. The cut that leaves the least absolute deviation is taken where it explains markedly more than none.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Numbers = npt.NDArray[np.float64]
# Of fewer days nothing is told; on each side of a step there are so many.
LEAST_DAYS, SIDE_DAYS = 7, 2
# How much better a cut must explain the days, for each ln(number of days): as for the price of a segment (BIC).
PRICE = 2.5
_ROUNDS = 12  # of the reweighting that turns least squares into least absolute deviations
_SATURDAY = 5


@dataclass(frozen=True)
class Step:
    """A lasting step: it happened between ``earliest`` and ``latest``; the levels are medians of ``days`` before and
    after it.
    """

    earliest: pd.Timestamp
    latest: pd.Timestamp
    before: float
    after: float
    days: tuple[int, int]

    @property
    def percent(self) -> float:
        """Return by how many percent the level rose (negative: fell); infinite from nothing."""
        return 100 * (self.after / self.before - 1) if self.before else float("inf")


def find_step(hours: "pd.Series[float]", daily: "pd.Series[float]", floor: float = 0.0) -> Step | None:
    """Return the clearest lasting step in the values of days, found to the hour in those of hours; None where there is
    none, or too few days. Both have an index of times (UTC).

    ``floor`` is what matters at least: values are compared as ratios, above it.
    """
    if len(daily) < LEAST_DAYS:
        return None
    levels = np.log(daily.to_numpy(dtype="float64").clip(min=0) + max(floor, 1e-9))
    weekend = (pd.DatetimeIndex(daily.index).day_of_week >= _SATURDAY).astype("float64")
    count = len(levels)
    ones = np.ones(count)
    usual = [ones, weekend] if 2 <= weekend.sum() <= count - 2 else [ones]
    none = _deviation(np.column_stack(usual), levels)
    best, place = none, 0
    for cut in range(SIDE_DAYS, count - SIDE_DAYS + 1):
        after = (np.arange(count) >= cut).astype("float64")
        left = _deviation(np.column_stack([*usual, after]), levels)
        if left < best - 1e-9:
            best, place = left, cut
    noise = 1e-3 * count  # steps of a thousandth are none, however still the rest is
    if not place or count * np.log((none + noise) / (best + noise)) <= PRICE * np.log(count):
        return None
    return _told(hours, daily, place)


def _told(hours: "pd.Series[float]", daily: "pd.Series[float]", place: int) -> Step:
    before, after = float(daily.iloc[:place].median()), float(daily.iloc[place:].median())
    earliest, latest = _hour(hours, daily.index[place], before, after)
    return Step(earliest, latest, before, after, (place, len(daily) - place))


def _hour(
    hours: "pd.Series[float]", day: pd.Timestamp, before: float, after: float
) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Return between which times near a day the values went from one level to the other: the hour, or a gap.

    The median of the day before tells nothing of its last hours, and that of the day itself nothing of its first ones.
    """
    near = hours[day - pd.Timedelta(days=1) : day + pd.Timedelta(days=1)]
    values = near.to_numpy(dtype="float64")
    costs = [np.abs(values[:cut] - before).sum() + np.abs(values[cut:] - after).sum() for cut in range(len(values) + 1)]
    cut = int(np.argmin(costs))
    hour = pd.Timedelta(hours=1)
    if cut == 0:
        return near.index[0] - hour, near.index[0] + hour
    if cut == len(values):
        return near.index[-1], near.index[-1] + 2 * hour
    # The hour in which it stepped is a mixture of both, and may stand on either side of the cut.
    return near.index[cut - 1], near.index[cut] + hour


def _deviation(design: Numbers, values: Numbers) -> float:
    """Return the sum of absolute deviations from the best fit."""
    weights = np.ones(len(values))
    left = np.abs(values)
    for _ in range(_ROUNDS):
        root = np.sqrt(weights)
        found, *_ = np.linalg.lstsq(design * root[:, None], values * root, rcond=None)
        left = np.abs(values - design @ found)
        weights = 1 / np.maximum(left, 1e-6)
    return float(left.sum())

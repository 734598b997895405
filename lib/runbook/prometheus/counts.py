"""How many requests came from scrape to scrape: from raw samples of counters, over resets, births and gaps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runbook.connections.prometheus import Series

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """What was counted in the intervals between scrapes: interval i ends at ``ends[i]`` and began at ``begins[i]``
    (seconds since 1970).
    """

    begins: Numbers
    ends: Numbers
    failed: Numbers
    requests: Numbers

    def cut(self, since: float, until: float) -> "Counts":
        """Return the intervals that end within a time."""
        inside = (self.ends > since) & (self.ends <= until)
        return Counts(self.begins[inside], self.ends[inside], self.failed[inside], self.requests[inside])


def counts_of(series: Sequence[Series], up: Sequence[Series] = ()) -> Counts:
    """Return what the counters of one path counted from scrape to scrape, all instances together.

    A counter that falls began anew, and counts what it shows. One that is born when its instance was scraped already
    began at 0: the first error of a status is an error, too. When it was scraped is told by ``up``, the series of that
    name, and by the path's own ones: a path that is asked for the first time has none before.

    Counts go to the first scrape at or after which they are known; scrapes of several instances that are not at the
    same moment are put on those of the busiest one.
    """
    grown = list(_all_grown(series, up))
    if not grown:
        nothing = np.array([], dtype="float64")
        return Counts(nothing, nothing, nothing, nothing)
    grid = max((scrapes for _, scrapes, _, _ in grown), key=len)
    failed, requests = np.zeros(len(grid)), np.zeros(len(grid))
    for one, _, times, values in grown:
        places = np.minimum(np.searchsorted(grid, times - 1e-6), len(grid) - 1)
        np.add.at(requests, places, values)
        if one.labels.get("status", "").startswith("5"):
            np.add.at(failed, places, values)
    return Counts(grid[:-1], grid[1:], failed[1:], requests[1:])


def by_status(series: Sequence[Series], up: Sequence[Series] = ()) -> dict[str, float]:
    """Return how many requests were answered with each status, as `counts_of` counts."""
    told: dict[str, float] = {}
    for one, _, _, values in _all_grown(series, up):
        status = one.labels.get("status", "")
        told[status] = told.get(status, 0.0) + float(values.sum())
    return told


def _all_grown(series: Sequence[Series], up: Sequence[Series]) -> Iterator[tuple[Series, Numbers, Numbers, Numbers]]:
    """Yield each counter with the scrapes of its instance, when it had grown, and by how much."""
    by_instance: dict[str, list[Series]] = {}
    for one in series:
        by_instance.setdefault(one.labels.get("instance", ""), []).append(one)
    for instance, of_one in by_instance.items():
        # A scrape that failed tells nothing: what is there at the next one may be older.
        told = [_times(one)[np.asarray(one.values) == 1] for one in up if one.labels.get("instance", "") == instance]
        scrapes = np.unique(np.concatenate([*map(_times, of_one), *told]))
        for one in of_one:
            yield one, scrapes, *_grown(one, scrapes)


def _times(one: Series) -> Numbers:
    return np.asarray(one.times, dtype="float64")


def _grown(one: Series, scrapes: Numbers) -> tuple[Numbers, Numbers]:
    """Return when a counter had grown, and by how much since its sample before."""
    times, values = _times(one), np.asarray(one.values, dtype="float64")
    there = ~np.isnan(values)
    times, values = times[there], values[there]
    if not len(times):
        return times, values
    apart = np.diff(values)
    grown = np.where(apart >= 0, apart, values[1:])
    if times[0] > scrapes[0] + 1e-6:
        return times, np.concatenate([[values[0]], grown])
    return times[1:], grown

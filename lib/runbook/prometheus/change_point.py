"""Since when do requests fail? The steps in a share, found in counts of requests by binomial likelihood.

A rate over five minutes smears a step over five minutes; counts from scrape to scrape do not. They are cut into
segments of a steady share, such that the segments explain the counts best and each further one is worth its price:
all cuts are tried (optimal partitioning), so that nothing hangs on where the search begins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
# What a further segment must explain better, in units of log-likelihood, for each ln(number of intervals). A step by
# chance in a hundred intervals is one in some thousands of series with it.
PRICE = 2.5
# A place is a twentieth as likely as the best one where its log-likelihood is this much less: nearer ones are told too.
DOUBT = 3.0
# A time without failures within one of failing is the end of it where it is that long, and so unlikely by chance.
GAP_SECONDS, CHANCE = 100.0, 0.01
# Of fewer failures after it nothing began anew: a request that had waited for long fails late.
ANEW = 2
# So much more is a step however much failed before; whoever is answered so often by an error works no more (P1).
MUCH = 0.1


@dataclass(frozen=True)
class Segment:
    """A time of a steady share: the intervals ``begin`` until just before ``end``, and what was counted in them."""

    begin: int
    end: int
    failed: float
    requests: float

    @property
    def share(self) -> float:
        """Return the share of requests that failed, from 0 to 1; 0 where there was none."""
        return self.failed / self.requests if self.requests else 0.0


@dataclass(frozen=True)
class Episode:
    """A time of failing that stands out: intervals ``begin`` to ``end`` (just after the last; None: it lasts).

    ``before`` is the share before it (NaN: it was there from the first interval on), ``share`` that within it.
    """

    begin: int
    end: int | None
    before: float
    share: float
    failed: float
    requests: float

    @property
    def from_the_start(self) -> bool:
        """Tell whether it was there from the first interval on: it began before."""
        return bool(np.isnan(self.before))


def segments(failed: Sequence[float] | Numbers, requests: Sequence[float] | Numbers) -> list[Segment]:
    """Return the segments of steady share that explain best how many of the requests of each interval failed.

    Intervals without a request say nothing and go with those before them. The failed ones of an interval are at most
    its requests. Without any request there is no segment.
    """
    told = np.flatnonzero(np.asarray(requests, dtype="float64") > 0)
    if not len(told):
        return []
    n = np.asarray(requests, dtype="float64")[told]
    k = np.minimum(np.asarray(failed, dtype="float64")[told], n)
    count = len(n)
    sum_n, sum_k = (np.concatenate([[0.0], np.cumsum(one)]) for one in (n, k))
    price = PRICE * np.log(max(count, 2))
    best = np.zeros(count + 1)
    best[0] = -price
    last = np.zeros(count + 1, dtype="int64")
    for end in range(1, count + 1):
        costs = best[:end] + _cost(sum_k[end] - sum_k[:end], sum_n[end] - sum_n[:end]) + price
        last[end] = int(costs.argmin())
        best[end] = costs[last[end]]
    cuts = [count]
    while cuts[-1] > 0:
        cuts.append(int(last[cuts[-1]]))
    places = [0, *(int(told[cut]) for cut in cuts[-2:0:-1]), len(requests)]
    bounds = list(reversed(cuts))
    return [
        Segment(begin, end, float(sum_k[b] - sum_k[a]), float(sum_n[b] - sum_n[a]))
        for begin, end, a, b in zip(places[:-1], places[1:], bounds[:-1], bounds[1:], strict=True)
    ]


def _cost(failed: Numbers, requests: Numbers) -> Numbers:
    """Return the negative log-likelihood of counts with their own share."""
    share = np.clip(failed / requests, 1e-12, 1 - 1e-12)
    cost: Numbers = -(failed * np.log(share) + (requests - failed) * np.log1p(-share))
    return cost


def episodes(parts: Sequence[Segment], *, least: float = 0.01, times: float = 3.0, few: float = 5.0) -> list[Episode]:
    """Return the times in which markedly more failed than at the best of times, in order.

    A segment stands out where its share is ``least`` more than the lowest share of all and ``times`` as high, or `MUCH`
    higher; segments side by side that do are one episode, but for one between two that are ``times`` as high as it is.
    One of no more than ``few`` failed requests is none. Where ``least`` and more fail even at the best of times, and
    none stands out, or as many as `MUCH` still fail after the last one, all of the time is one, which began before it.
    """
    calm = min((part.share for part in parts), default=0.0)
    out = [_stands_out(part, calm, least, times) and not _dip(parts, place, times) for place, part in enumerate(parts)]
    found: list[Episode] = []
    for failing, places in groupby(range(len(parts)), key=out.__getitem__):
        held = list(places)
        if not failing:
            continue
        first, last = held[0], held[-1]
        failed, requests = (sum(getattr(parts[one], name) for one in held) for name in ("failed", "requests"))
        if failed > few:
            before = parts[first - 1].share if first else float("nan")
            # A dip holds the edges of what lies on both sides of it: it is no measure of how it is else.
            before = calm if first and _stands_out(parts[first - 1], calm, least, times) else before
            end = parts[last].end if last + 1 < len(parts) else None
            found.append(Episode(parts[first].begin, end, before, failed / requests, failed, requests))
    over = bool(found) and found[-1].end is not None
    bad_after = over and not out[-1] and parts[-1].share >= MUCH
    if calm >= least and (not found or bad_after):
        failed, requests = (sum(getattr(one, name) for one in parts) for name in ("failed", "requests"))
        return (
            [Episode(parts[0].begin, None, float("nan"), failed / requests, failed, requests)] if failed > few else []
        )
    return found


def _dip(parts: Sequence[Segment], place: int, times: float) -> bool:
    """Tell whether a segment lies between two that are much higher."""
    if place in (0, len(parts) - 1):
        return False
    return times * parts[place].share <= min(parts[place - 1].share, parts[place + 1].share)


def parted(
    episode: Episode, failed: Sequence[float] | Numbers, requests: Sequence[float] | Numbers, lengths: Numbers
) -> list[Episode]:
    """Return an episode as the several ones that it was: parted where for long none of many requests failed.

    Segments have a price, and of few requests a short recovery is not worth it. How many requests without a failure
    are many follows from the share that fails: so many in a row would be there by chance once in a hundred times.
    ``lengths`` are those of the intervals (s).
    """
    stop = episode.end if episode.end is not None else len(requests)
    n = np.asarray(requests, dtype="float64")
    k = np.minimum(np.asarray(failed, dtype="float64"), n)
    at = [place for place in range(episode.begin, stop) if k[place] > 0]
    if not at:
        return [episode]
    parts, begin = [], episode.begin
    for place, following in zip(at, [*at[1:], stop], strict=True):
        calm = slice(place + 1, following)
        if lengths[calm].sum() < GAP_SECONDS or not _calm(n[calm].sum(), episode):
            continue
        parts.append((begin, place + 1))
        begin = following
    if begin < stop:
        parts.append((begin, stop))
    kept = [one for one in parts if k[slice(*one)].sum() >= ANEW]
    found = []
    for first, end in kept:
        of_part = (float(k[first:end].sum()), float(n[first:end].sum()))
        before = episode.before if first == episode.begin else 0.0
        last = episode.end if end == stop else end
        found.append(Episode(first, last, before, of_part[0] / of_part[1], *of_part))
    return found or [episode]


def _calm(requests: float, episode: Episode) -> bool:
    """Tell whether so many requests in a row without a failure are no chance within an episode."""
    others = episode.requests - requests
    share = min(episode.failed / others, 0.95) if others > 0 else 0.95
    return bool(episode.requests * share * (1 - share) ** requests < CHANCE)


def _stands_out(part: Segment, calm: float, least: float, times: float) -> bool:
    return part.share - calm >= least and (part.share >= times * calm or part.share - calm >= MUCH)


@dataclass(frozen=True)
class Run:
    """The intervals ``begin`` to ``end`` (just after the last) that most likely are the failing ones; that they begin
    anywhere from ``earliest`` to ``latest`` is nearly as likely.
    """

    begin: int
    end: int
    earliest: int
    latest: int


def failing_run(
    failed: Sequence[float] | Numbers, requests: Sequence[float] | Numbers, before: float, during: float
) -> Run | None:
    """Return where the share most likely was ``during`` instead of ``before``, in one piece; None where nowhere.

    It is the cumulative sum of the log-likelihood ratio (CUSUM): the piece between its lowest point and the highest
    one after that.
    """
    n = np.asarray(requests, dtype="float64")
    k = np.minimum(np.asarray(failed, dtype="float64"), n)
    # With nothing at all before, one failed request in many would count for everything.
    low, high = np.clip([before, during], 1e-3, 1 - 1e-3)
    gained = k * np.log(high / low) + (n - k) * np.log((1 - high) / (1 - low))
    course = np.concatenate([[0.0], np.cumsum(gained)])
    lowest = np.minimum.accumulate(course)
    end = int((course - lowest).argmax())
    most = course[end] - lowest[end]
    if most <= 0:
        return None
    rises = course[end] - course[:end]
    begin = int(np.flatnonzero(rises >= most - 1e-9).max())  # of equal ones the last: what is between has no request
    as_good = np.flatnonzero(rises >= most - DOUBT)
    return Run(begin, end, int(as_good.min()), int(as_good.max()))

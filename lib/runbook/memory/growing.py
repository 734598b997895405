"""What makes memory grow: a leak, a cache that fills up, or more work; told from samples, with an interval."""

from dataclasses import dataclass

import numpy as np

from runbook.series.slopes import Line, Numbers, line, theil_sen

STEADY, LOAD, LEVELS_OFF, JUMP, LATELY, UNDECIDED, LEAK = (
    "steady", "load", "levels off", "jump", "lately", "undecided", "leak",
)  # fmt: skip
# Fewer samples make no line.
FEWEST = 8
_MIB = 1 << 20
# Of its level: less than this is the unrest of any allocator.
_LEAST_SHARE = 0.02
# How much the requests must vary, of their median, before anything is told by them.
_VARIES = 0.25
# By how much better an explanation must fit than growth by time alone.
_BETTER = 0.6
# How much of a rise at once may be before and after it.
_FLAT = 0.3
# Of its level: what rose by more at the end of the samples is told, although their line is not bent by it.
_LATELY_SHARE = 0.25
# A third of the samples tells its own slope from so many on.
_THIRDS_FROM = 15


@dataclass(frozen=True)
class Growth:
    """How memory grew: its line over time (bytes a second), what makes it grow, by how much in all, and for each
    request (NaN: not known). ``ago`` is how many seconds before the end it rose, where it did so once.
    """

    kind: str
    line: Line
    grown: float
    per_request: float = float("nan")
    ago: float = float("nan")

    def seconds_until(self, limit: float) -> tuple[float, float]:
        """Return in how many seconds a limit is reached: as the line tells, and at the earliest; inf for never."""
        room = max(0.0, limit - self.line.level)
        likely, earliest = (room / slope if slope > 0 else float("inf") for slope in (self.line.slope, self.line.high))
        return likely, earliest


def growth(at: Numbers, memory: Numbers, rate: Numbers | None, least_mib: float = 2.0) -> Growth:
    """Return how memory (bytes) grew over time (s), beside the requests a second, where these are known.

    It is a leak where it rises and nothing else explains it: it follows the requests up and down where the *load* makes
    it grow, it rises ever less where something fills up, and what rose once was loaded. Where the requests rise as
    steadily, the two cannot be told apart yet; what rose lately, after a time without, is not understood yet.
    """
    told = line(at, memory)
    span = float(at[-1] - at[0])
    grown = told.slope * span
    served = float(np.trapezoid(rate, at)) if rate is not None else 0.0
    each = grown / served if served >= 1 else float("nan")
    if not told.rises or grown < max(least_mib * _MIB, _LEAST_SHARE * float(np.median(memory))):
        rose, ago = _lately(at, memory, told)
        if rose >= max(least_mib * _MIB, _LATELY_SHARE * told.level):
            return Growth(LATELY, told, rose, ago=ago)
        return Growth(STEADY, told, grown, each)
    by_requests = _by_requests(at, memory, rate, told) if rate is not None else ""
    if by_requests == LOAD:
        return Growth(LOAD, told, grown, each)
    if len(at) >= _THIRDS_FROM:
        jump = _jump(at, memory, told)
        if jump is not None:
            return Growth(JUMP, told, jump[0], each, jump[1])
        # What grows by requests slows down with them: then it is they that count, not the time.
        along = _served(at, rate) if rate is not None and served >= len(at) else at
        third = len(at) // 3
        begins, ends = line(along[:third], memory[:third]), line(along[-third:], memory[-third:])
        if begins.slope > 0 and (not ends.rises or ends.high < begins.low) and ends.slope < 0.35 * begins.slope:
            return Growth(LEVELS_OFF, told, grown, each)
    return Growth(by_requests or LEAK, told, grown, each)


def _lately(at: Numbers, memory: Numbers, told: Line) -> tuple[float, float]:
    """Return by how much the last samples lie above the line's end, and since how long they do (s)."""
    rose = float(np.median(memory[-3:])) - told.level
    low = np.flatnonzero(memory <= told.level + rose / 10)
    return rose, float(at[-1] - at[low[-1] if len(low) else 0])


def _served(at: Numbers, rate: Numbers) -> Numbers:
    """Return how many requests had been answered by each sample."""
    return np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(at))])


def _jump(at: Numbers, memory: Numbers, by_time: Line) -> tuple[float, float] | None:
    """Return by how much memory rose at once, and how long ago; None where it rose in other ways."""
    places = range(3, len(at) - 3)
    halves = [(memory[:place], memory[place:]) for place in places]
    apart = [np.abs(a - np.median(a)).sum() + np.abs(b - np.median(b)).sum() for a, b in halves]
    best = int(np.argmin(apart))
    before, after = halves[best]
    left = np.concatenate([before - np.median(before), after - np.median(after)])
    if float(np.median(np.abs(left))) >= _BETTER * by_time.apart:
        return None
    rose, place = float(np.median(after) - np.median(before)), places[best]
    within = (
        theil_sen(at[:place], before) * (at[place - 1] - at[0]),
        theil_sen(at[place:], after) * (at[-1] - at[place]),
    )
    return (rose, float(at[-1] - at[place])) if max(map(abs, within)) < _FLAT * rose else None


def _by_requests(at: Numbers, memory: Numbers, rate: Numbers, by_time: Line) -> str:
    """Return whether the requests explain it, or could: then they rise as steadily as the memory does; "" for no."""
    low, middle, high = np.percentile(rate, (10, 50, 90))
    if high - low < _VARIES * max(float(middle), 1e-9):
        return ""
    order = np.argsort(rate, kind="stable")
    by_load = line(rate[order], memory[order])
    if by_load.rises and by_load.apart < _BETTER * by_time.apart:
        return LOAD
    more = theil_sen(at, rate) * float(at[-1] - at[0])
    return UNDECIDED if by_load.rises and more > 2 * _VARIES * float(middle) else ""

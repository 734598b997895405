"""Tell at once of many timestamps whether they are in the form that the service writes."""

import itertools
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

import numpy as np

from runbook.logfiles.buffers import Places, Signs, words_at
from runbook.logfiles.entries import STAMP_CHARACTERS

_LOWEST = np.frombuffer(b"0000-00-00T00:00:00.000000Z", np.uint8)
_SPAN = np.frombuffer(b"9999-19-39T29:59:59.999999Z", np.uint8) - _LOWEST
_SECONDS = 17
_BY_HOUR = np.dtype([("hour", "S13"), ("rest", "S14")])


def all_canonical(stamps: list[str]) -> bool:
    """Tell whether all are moments in the form that the service writes, so that they compare as text."""
    if set(map(len, stamps)) != {STAMP_CHARACTERS}:
        return False
    joined = "".join(stamps)
    if not joined.isascii():
        return False
    signs = np.frombuffer(joined.encode(), np.uint8).reshape(-1, STAMP_CHARACTERS)
    if not ((signs - _LOWEST) <= _SPAN).all():  # what is too low is very high, by the sign that a byte has not
        return False
    hours = np.frombuffer(signs, _BY_HOUR)["hour"]
    begun = (hours[1:] != hours[:-1]).nonzero()[0] + 1
    return all(_is_hour(hour) for hour in {hours[0], *hours[begun]})


@lru_cache(maxsize=4096)
def _is_hour(hour: bytes) -> bool:
    try:
        datetime.fromisoformat(f"{hour.decode()}:00")
    except ValueError:
        return False
    return True


def minutes_of(signs: Signs, places: Places) -> dict[str, int]:
    """Return how many of the times that begin at some places are in each minute: their first 16 signs."""
    words = words_at(signs, places, 2)
    begun = np.flatnonzero((words[0, 1:] != words[0, :-1]) | (words[1, 1:] != words[1, :-1])) + 1
    edges = [0, *begun.tolist(), len(places)]
    minutes: dict[str, int] = {}
    for begin, end in itertools.pairwise(edges):
        minute = words[:, begin].tobytes().decode()
        minutes[minute] = minutes.get(minute, 0) + end - begin
    return minutes


def extreme(signs: Signs, places: Places, minute: str, size: int, chosen: Callable[[list[str]], str]) -> str:
    """Return the first or the last (``chosen`` is min or max) of those times of ``size`` signs that are in a minute."""
    words = words_at(signs, places, 2)
    first, second = np.frombuffer(minute.encode(), np.uint64)
    inside = places[(words[0] == first) & (words[1] == second)]
    # Eight signs, the seconds and most of their fraction, leave few.
    seconds = words_at(signs, inside + _SECONDS, 1)[0].byteswap()
    near = inside[seconds == (seconds.min() if chosen is min else seconds.max())]
    return chosen([signs[place : place + size].tobytes().decode() for place in near])

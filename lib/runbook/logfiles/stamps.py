"""Tell at once of many timestamps whether they are in the form that the service writes."""

from datetime import datetime
from functools import lru_cache

import numpy as np

from runbook.logfiles.entries import STAMP_CHARACTERS

_LOWEST = np.frombuffer(b"0000-00-00T00:00:00.000000Z", np.uint8)
_SPAN = np.frombuffer(b"9999-19-39T29:59:59.999999Z", np.uint8) - _LOWEST
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

"""Read the heads of many lines of the text format at once: their time and their level."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from runbook.logfiles.buffers import WORD, Frame, Places, Signs, signs_at, words_at
from runbook.logfiles.entries import LEVELS, utc_minute
from runbook.logfiles.stamps import extreme, minutes_of

# The lowest and the highest of each sign before the level; whether there is such a date and hour is looked at later.
_LOWEST = np.frombuffer(b"0000-00-00 00:00:00 [", np.uint8)
_SPAN = np.frombuffer(b"9999-19-39 29:59:59 [", np.uint8) - _LOWEST
SECOND_CHARACTERS = 19
_FRACTION = np.array([ord("."), ord(",")], np.uint8)
_ROOM = 8 * WORD
# Six signs tell the levels apart, the bracket before them included.
_LEVEL_MASK = np.uint64((1 << 48) - 1)
_SIX = [np.frombuffer(f"[{level}]".encode()[:6] + b"\0\0", np.uint64)[0] for level in LEVELS]
NONE = len(LEVELS)


class Heads(msgspec.Struct):
    """The lines of a piece: where each begins and ends in it, and the place of its level in `LEVELS`, or `NONE`.

    ``minutes`` are the numbers of lines by (UTC minute, level); ``low`` and ``high`` the first and the last time, to
    the second, in the form that the service writes.
    """

    begins: Places
    ends: Places
    levels: NDArray[np.int8]
    minutes: dict[tuple[str, str], int]
    low: str
    high: str


class HeadReader:
    """Reads the heads of one piece after another."""

    def __init__(self, zone: str) -> None:
        self._zone = zone
        self._frame = Frame()

    def read(self, piece: bytes) -> Heads | None:
        """Return the heads of a piece's lines; None where it has none, or times that must be looked at one by one."""
        if piece[-1:] != b"\n":
            return None
        signs, begins, ends = self._frame.lines(piece, _ROOM)
        # What is too low is very high, by the sign that a byte has not.
        timed = ((signs_at(signs, begins, len(_LOWEST)) - _LOWEST) <= _SPAN).all(axis=1)
        levels = _levels(signs, begins)
        levels[~timed] = NONE
        if (levels == NONE).all() or np.isin(signs[begins[~timed] + SECOND_CHARACTERS], _FRACTION).any():
            return None
        local: dict[str, str] = {}
        counted: dict[tuple[str, str], int] = {}
        for code in np.flatnonzero(np.bincount(levels, minlength=NONE)[:NONE]).tolist():
            for minute, count in minutes_of(signs, begins[levels == code]).items():
                try:
                    utc = local[minute] = utc_minute(minute, self._zone)
                except (ValueError, OverflowError):
                    return None
                counted[utc, LEVELS[code]] = counted.get((utc, LEVELS[code]), 0) + count
        fine = begins[levels != NONE]
        low, high = (
            _stamp(local[minute], extreme(signs, fine, minute, SECOND_CHARACTERS, chosen))
            for minute, chosen in ((min(local, key=local.__getitem__), min), (max(local, key=local.__getitem__), max))
        )
        return Heads(begins - _ROOM, ends - _ROOM, levels, counted, low, high)


def _stamp(minute: str, second: str) -> str:
    return f"{minute}{second[16:]}.000000Z"


def _levels(signs: Signs, begins: Places) -> NDArray[np.int8]:
    words = words_at(signs, begins + len(_LOWEST) - 1, 1)[0] & _LEVEL_MASK
    levels = np.full(len(begins), NONE, np.int8)
    for code, six in enumerate(_SIX):
        levels[words == six] = code
    return levels

"""Compare many places of a buffer of bytes with a pattern at once, eight bytes at a time."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Signs = NDArray[np.uint8]
Words = NDArray[np.uint64]
Places = NDArray[np.int64]
Mask = NDArray[np.bool_]

WORD, LINE_END = 8, ord("\n")
HIGH = np.uint64(0x8080808080808080)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


class Frame:
    """The bytes of one piece after another with room around them, so that words around each line can be read.

    The memory is used again: new memory of this size costs more than what is done with it.
    """

    def __init__(self) -> None:
        self._signs: Signs = np.zeros(0, np.uint8)
        self._is_end: Mask = np.empty(0, np.bool_)

    def lines(self, piece: bytes, room: int) -> tuple[Signs, Places, Places]:
        """Return a piece's bytes with room at both ends, and where in them each line begins and where it ends.

        The piece ends with a line end. All is good until the next call.
        """
        size = len(piece) + 2 * room
        if size > len(self._signs):
            self._signs, self._is_end = np.zeros(size, np.uint8), np.empty(size, np.bool_)
        signs = self._signs[:size]
        signs[:room] = signs[-room:] = 0
        signs[room:-room] = np.frombuffer(piece, np.uint8)
        ends = np.flatnonzero(np.equal(signs[room:-room], LINE_END, out=self._is_end[: len(piece)]))
        ends += room
        begins = np.empty_like(ends)
        begins[0], begins[1:] = room, ends[:-1] + 1
        return signs, begins, ends


def words_at(signs: Signs, places: Places, words: int) -> Words:
    """Return the words that begin at each place, as an array of (words, places): so each is worked on in one go."""
    size = WORD * words
    everywhere: NDArray[Any] = np.ndarray((max(0, len(signs) - size + 1),), f"V{size}", signs, 0, (1,))
    return np.ascontiguousarray(everywhere[places].view(np.uint64).reshape(len(places), words).T)


class Pattern:
    """Bytes of which each may be one of a range: from that of ``lowest`` to that of ``highest`` at the same place.

    ``size`` is its length filled up to whole words: behind it, or with ``at_end`` before it.
    """

    def __init__(self, lowest: bytes, highest: bytes, *, at_end: bool = False) -> None:
        self.length = len(lowest)
        filling = -self.length % WORD
        before, behind = (filling, 0) if at_end else (0, filling)
        low = np.frombuffer(bytes(before) + lowest + bytes(behind), np.uint8)
        high = np.frombuffer(bytes(before) + highest + bytes(behind), np.uint8)
        self.size = len(low)
        ranged = low != high
        self._values = _column(np.where(ranged, 0, low))
        self._fixed = _column(np.where((low > 0) & ~ranged, 0xFF, 0))
        self._loose = bool((self._fixed != _ALL).any())
        words = np.flatnonzero(ranged.reshape(-1, WORD).any(axis=1))
        self._ranged = slice(words[0], words[-1] + 1) if len(words) else slice(0)
        self._lowest = _column(np.where(ranged, low, 0))[self._ranged]
        self._above = _column(np.where(ranged, 0x7F - high, 0))[self._ranged]
        self._flags = _column(np.where(ranged, 0x80, 0))[self._ranged]

    def is_at(self, signs: Signs, places: Places) -> Mask:
        """Tell of each place whether the pattern, with its filling, begins there."""
        different = self._different(signs, places)
        return np.asarray(np.bitwise_or.reduce(different, axis=0) == 0)

    def begins_at(self, signs: Signs, places: Places, words: int) -> tuple[Mask, Mask]:
        """Tell of each place whether the first words of the pattern are there, and whether all of it is."""
        different = self._different(signs, places)
        first = np.bitwise_or.reduce(different[:words], axis=0) == 0
        return np.asarray(first), np.asarray(first & (np.bitwise_or.reduce(different[words:], axis=0) == 0))

    def _different(self, signs: Signs, places: Places) -> Words:
        words = words_at(signs, places, self.size // WORD)
        different = words ^ self._values
        if self._loose:
            different &= self._fixed
        if len(self._flags):
            told = words[self._ranged]
            # A byte plus 0x7f less the highest has its top bit set where it is above that; one with its top bit set,
            # less the lowest, has kept it where it is not below: so no byte touches its neighbour.
            outside = told + self._above
            outside |= told
            outside |= ~((told | HIGH) - self._lowest)
            outside &= self._flags
            different[self._ranged] |= outside
        return different


def _column(signs: NDArray[Any]) -> Words:
    return signs.astype(np.uint8).view(np.uint64)[:, None]

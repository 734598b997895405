"""The bytes of a piece of a log as an array, and what stands at many places of it at once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Signs = NDArray[np.uint8]
Words = NDArray[np.uint64]
Places = NDArray[np.int64]
Mask = NDArray[np.bool_]

WORD, LINE_END = 8, ord("\n")


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


def signs_at(signs: Signs, places: Places, count: int) -> Signs:
    """Return the bytes that stand from each place on, as an array of (places, count)."""
    everywhere: NDArray[Any] = np.ndarray((max(0, len(signs) - count + 1),), f"V{count}", signs, 0, (1,))
    return everywhere[places].view(np.uint8).reshape(len(places), count)


def words_at(signs: Signs, places: Places, words: int) -> Words:
    """Return the words of eight bytes that stand from each place on, as an array of (words, places)."""
    return np.ascontiguousarray(signs_at(signs, places, WORD * words).view(np.uint64).T)

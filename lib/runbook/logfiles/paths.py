"""Recognise the paths of many requests at once: the common ones, and those that end in an id."""

import re
from collections import Counter
from collections.abc import Callable

import numpy as np

from runbook.logfiles.masking import route
from runbook.logfiles.patterns import WORD, Mask, Places, Words
from runbook.logfiles.suspicious import rule_of

# The longest path that is recognised, in bytes.
LONGEST = 64
# A path is learned when one piece of the log holds it so often, until so many are known; others are read one by one.
_OFTEN, _MOST = 3, 200
_UNKNOWN = -1
_SHORTEST_ID = 8
_PLAIN = re.compile(r"(?:/[a-z0-9_-]*)+")
_BEFORE_ID = re.compile(r"(?:/[a-z_-]+)+/")

_PLACES = np.arange(LONGEST)
# By length, what keeps of a path only what stands before it.
_UNTIL = np.where(np.arange(LONGEST + 1)[:, None] > _PLACES, 0xFF, 0).astype(np.uint8).view(np.uint64)
# Odd numbers without a pattern, one for each word of a path.
_FACTORS = np.array(
    [0x9E3779B97F4A7C15 * (2 * place + 1) ** 3 % (1 << 64) for place in range(LONGEST // WORD)], np.uint64
)[:, None]


class Paths:
    """The paths that are known; ``routes`` are what they are counted as, in the order of their codes."""

    def __init__(self) -> None:
        self.routes: list[str] = []
        self._whole = _Table(self.routes, _route_of_whole)
        self._with_id = _Table(self.routes, _route_with_id)

    def codes(self, paths: Words, lengths: Places) -> Places:
        """Return for each path the place of its route in ``routes``, or -1 where it is unknown.

        A path is a column of eight words; what they hold behind its length does not count.
        """
        paths = paths & _until(lengths)
        codes = self._whole.codes(paths)
        missed = np.flatnonzero(codes == _UNKNOWN)
        if len(missed):
            has_id, begins = _ids(paths[:, missed], lengths[missed])
            with_id, without = missed[has_id], missed[~has_id]
            codes[with_id] = self._with_id.codes(paths[:, with_id] & _until(begins[has_id]), learn=True)
            codes[without] = self._whole.codes(paths[:, without], learn=True)
        return codes


class _Table:
    """Paths, or what stands before an id, each with the code of its route."""

    def __init__(self, routes: list[str], route_of: Callable[[str], str]) -> None:
        self._routes, self._route_of = routes, route_of
        self._known: dict[bytes, int] = {}
        self._keys = np.empty(0, np.uint64)
        self._paths = np.empty((0, LONGEST // WORD), np.uint64)
        self._codes = np.empty(0, np.int64)

    def codes(self, paths: Words, *, learn: bool = False) -> Places:
        if learn and len(self._routes) < _MOST:
            self._learn(paths)
        if not len(self._keys):
            return np.full(paths.shape[1], _UNKNOWN)
        near = np.searchsorted(self._keys, _keys(paths))
        near[near == len(self._keys)] = 0
        different = np.bitwise_or.reduce(np.ascontiguousarray(self._paths[near].T) ^ paths, axis=0)
        return np.where(different == 0, self._codes[near], _UNKNOWN)

    def _learn(self, paths: Words) -> None:
        before = len(self._known)
        for path, count in Counter(np.ascontiguousarray(paths.T).view(f"V{LONGEST}")[:, 0].tolist()).items():
            if count >= _OFTEN and path not in self._known:
                counted_as = self._route_of(path.rstrip(b"\0").decode("ascii", "replace"))
                if counted_as:
                    self._known[path] = len(self._routes)
                    self._routes.append(counted_as)
        if len(self._known) > before:
            paths = np.frombuffer(b"".join(self._known), np.uint64).reshape(len(self._known), -1)
            keys = _keys(np.ascontiguousarray(paths.T))
            order = np.argsort(keys)
            self._keys, self._paths = keys[order], paths[order]
            self._codes = np.array(list(self._known.values()))[order]


def _keys(paths: Words) -> Words:
    return np.asarray((paths * _FACTORS).sum(axis=0))


def _until(lengths: Places) -> Words:
    return np.ascontiguousarray(_UNTIL[lengths].T)


def _route_of_whole(path: str) -> str:
    return path if _PLAIN.fullmatch(path) and route(path) == path and not rule_of(path) else ""


def _route_with_id(before: str) -> str:
    return f"{before}{{id}}" if _BEFORE_ID.fullmatch(before) and not rule_of(f"{before}0") else ""


def _ids(paths: Words, lengths: Places) -> tuple[Mask, Places]:
    """Tell which paths end in an id (a number, or eight or more hexadecimal digits, some of them decimal) behind their
    last slash, and where it begins.
    """
    signs = np.ascontiguousarray(paths.T).view(np.uint8)
    begins: Places = LONGEST - np.argmax(signs[:, ::-1] == ord("/"), axis=1)
    inside = (begins[:, None] <= _PLACES) & (lengths[:, None] > _PLACES)
    decimal = (signs - np.uint8(ord("0"))) < 10
    hexadecimal = decimal | ((signs - np.uint8(ord("a"))) < 6)
    size = lengths - begins
    number = (decimal | ~inside).all(axis=1) & (size > 0)
    mixed = (hexadecimal | ~inside).all(axis=1) & (decimal & inside).any(axis=1) & (size >= _SHORTEST_ID)
    return number | mixed, begins

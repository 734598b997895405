"""Read the requests that went well, which are most of a log, as columns of numbers instead of line by line.

The service writes one form of line for them: constant text around a time, a method, a path, a status, a duration and
the uptime. The form is learned from the log itself. A line counts here only where every byte of it is as the form
says, so that decoding it could not tell anything else; all others are handed back.
"""

import re
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from runbook.logfiles.entries import STAMP_CHARACTERS, Entry, decode_line
from runbook.logfiles.paths import LONGEST, Paths
from runbook.logfiles.patterns import HIGH, WORD, Frame, Mask, Pattern, Places, Signs, Words, words_at
from runbook.logfiles.stamps import HIGHEST, LOWEST, extreme, is_hour, minutes_of

_FORM = re.compile(
    rb'(?P<begin>\{"timestamp": ?")(?P<stamp>[0-9T:.-]{26}Z)'
    rb'(?P<what>(?P<level>", ?"level": ?"INFO", ?")[^\\\n]*"method": ?")(?P<method>[A-Z]{3,7})'
    rb'(?P<name>", ?"path": ?")(?P<path>/[^"\\\n]*)'
    rb'(?P<answer>", ?"status_code": ?)(?P<status>[123]\d\d)'
    rb'(?P<lasting>, ?"duration_ms": ?)(?P<duration>\d+\.\d+)'
    rb'(?P<rest>, ?[^\\\n]*?"(?P<last>\w+)": ?)(?P<number>\d+\.\d+)\}\n'
)
# A form is looked for in so many pieces one after another; then what the log holds is something else.
_TRIES = 8
_HOUR = 13

_1, _7, _8, _10, _15, _16, _32, _100, _10000 = map(np.uint64, (1, 7, 8, 10, 15, 16, 32, 100, 10000))
_EVERY_2ND, _EVERY_4TH, _LOWER_HALF = map(np.uint64, (0x00FF00FF00FF00FF, 0x0000FFFF0000FFFF, 0x00000000FFFFFFFF))
_EACH = 0x0101010101010101
_BOTTOM, _QUOTES, _DIGITS, _NOT_DIGIT = (np.uint64(_EACH * sign) for sign in (1, ord('"'), ord("0"), 0x80 - 10))
_ABOVE_Z, _LETTER_A = np.uint64(_EACH * (0x7F - ord("Z"))), np.uint64(_EACH * ord("A"))
_BYTE, _DOT = np.uint64(0xFF), np.uint64(ord(".") ^ ord("0"))
# By the length of a number with its dot, the least that fills it.
_TENS = np.array([0, 0, 0, 10, 100, 1000, 10_000, 100_000, 1_000_000], np.uint64)
_THOUSANDTHS = np.array([1000, 100, 10, 1], np.int64)


class Ordinary(msgspec.Struct):
    """Entries of level INFO: how many there are in each UTC minute, and of those that are requests the path (its place
    in ``routes``) and the duration of each.

    ``low`` and ``high`` are their first and last time.
    """

    minutes: dict[str, int]
    low: str
    high: str
    routes: list[str]
    codes: NDArray[np.int64]
    microseconds: NDArray[np.int64]


class Columns:
    """Takes the ordinary requests out of pieces of JSON lines."""

    def __init__(self) -> None:
        self._form: _Form | None = None
        self._tries = 0
        self._paths = Paths()
        self._frame = Frame()

    def take(self, piece: bytes) -> tuple[Ordinary, bytes] | None:
        """Return the ordinary requests of a piece and its other lines; None where it has none or holds other things
        than JSON lines.
        """
        if piece[-1:] != b"\n" or not self._has_form(piece):
            return None
        assert self._form is not None
        signs, begins, ends = self._frame.lines(piece, self._form.room)
        if not (signs[begins] == ord("{")).all():
            return None
        lines = self._form.lines(signs, begins, ends)
        if not len(lines.requests):
            self._form = None
            return None
        self._tries = 0
        codes = self._paths.codes(lines.paths, lines.lengths)
        known = np.flatnonzero(codes >= 0)
        others = np.ones(len(begins), bool)
        others[lines.requests[known]] = False
        plain = lines.informing & others
        others[_only_counted(_joined(signs, begins, ends, plain), np.flatnonzero(plain))] = False
        if others.all():
            return None
        stamps = begins[~others] + self._form.stamp
        minutes = minutes_of(signs, stamps)
        if not all(is_hour(minute[:_HOUR].encode()) for minute in minutes):
            return None
        low = extreme(signs, stamps, min(minutes), STAMP_CHARACTERS, min)
        high = extreme(signs, stamps, max(minutes), STAMP_CHARACTERS, max)
        routes = self._paths.routes
        return (
            Ordinary(minutes, low, high, routes, codes[known], lines.microseconds[known]),
            _joined(signs, begins, ends, others),
        )

    def _has_form(self, piece: bytes) -> bool:
        if self._form is None and self._tries < _TRIES:
            self._tries += 1
            found = next(filter(_means_what_it_says, _FORM.finditer(piece)), None)
            if found is not None:
                self._form = _Form(found)
        return self._form is not None


def _means_what_it_says(found: "re.Match[bytes]") -> bool:
    entry = decode_line(found[0])
    return (
        entry is not None
        and found["last"].decode() not in Entry.__struct_fields__
        and (entry.timestamp, entry.level, entry.path) == (found["stamp"].decode(), "INFO", found["path"].decode())
        and (entry.status_code, entry.duration_ms) == (int(found["status"]), float(found["duration"]))
    )


class _Told(msgspec.Struct, gc=False):
    """What makes an entry more than one that is only counted."""

    path: Any = None
    duration_ms: Any = None


_told = msgspec.json.Decoder(_Told)


def _only_counted(lines: bytes, places: Places) -> Places:
    """Return the places of those lines of level INFO of which nothing is asked but their number."""
    try:
        told = _told.decode_lines(lines)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return places[:0]
    return places[[entry.path is None and entry.duration_ms is None for entry in told]]


class _Lines(msgspec.Struct):
    """Lines of level INFO: which of all they are, and which are requests of the form; of those the paths, how long
    these are, and the durations.
    """

    informing: Mask
    requests: Places
    paths: Words
    lengths: Places
    microseconds: Places


class _Form:
    """The constant text of the lines, and how to find what stands between it."""

    def __init__(self, found: "re.Match[bytes]") -> None:
        begin, what, name = found["begin"], found["what"], found["name"]
        self.stamp = len(begin)
        self._level_words = -(-len(begin + LOWEST + found["level"]) // WORD)
        self._head = Pattern(begin + LOWEST + what, begin + HIGHEST + what)
        self._name = Pattern(name, name, at_end=True)
        self._answer = Pattern(
            found["answer"] + b"100" + found["lasting"], found["answer"] + b"399" + found["lasting"], at_end=True
        )
        self._tails = _Tails(found["rest"], found["number"])
        self.room = max(self._head.size, self._answer.size, self._tails.size) + 2 * LONGEST

    def lines(self, signs: Signs, begins: Places, ends: Places) -> _Lines:
        """Return the lines that are of level INFO, and among them those of the form."""
        informing, begun = self._head.begins_at(signs, begins, self._level_words)
        where, commas = self._tails.of(signs, np.flatnonzero(begun), ends)
        digits, microseconds = _durations(words_at(signs, commas - WORD, 1)[0])
        path_ends = commas - digits - self._answer.length
        fine = self._answer.is_at(signs, commas - digits - self._answer.size) & (microseconds >= 0)
        method = begins[where] + self._head.length
        paths = method + _letters(words_at(signs, method, 1)[0]) + self._name.length
        fine &= self._name.is_at(signs, paths - self._name.size)
        lengths = path_ends - paths
        fine &= (lengths > 0) & (lengths <= LONGEST)
        words = words_at(signs, paths[fine], LONGEST // WORD)
        return _Lines(informing, where[fine], words, lengths[fine], microseconds[fine])


class _Tails:
    """What follows the duration: constant text and a last number, whose decimals differ a little from line to line."""

    _MOST_DIGITS = 12

    def __init__(self, text: bytes, number: bytes) -> None:
        self._patterns: dict[tuple[int, int], Pattern] = {}
        for whole in range(1, self._MOST_DIGITS):
            for decimals in range(1, self._MOST_DIGITS):
                lowest = (b"1" if whole > 1 else b"0") + b"0" * (whole - 1) + b"." + b"0" * decimals
                highest = b"9" * whole + b"." + b"9" * decimals
                self._patterns[whole, decimals] = Pattern(text + lowest + b"}", text + highest + b"}", at_end=True)
        before, _, behind = number.partition(b".")
        self._usual = len(before), len(behind)
        self.size = max(pattern.size for pattern in self._patterns.values())

    def of(self, signs: Signs, where: Places, ends: Places) -> tuple[Places, Places]:
        """Return those of some lines that end as they should, and where the text behind the duration begins."""
        begins = np.full(len(where), -1)
        left = np.arange(len(where))
        whole, decimals = self._usual
        # Zeros at the end are not written; now and then the number grows by a digit.
        for shape in [(whole + more, decimals - less) for more in (0, 1) for less in (0, 1, 2)]:
            pattern = self._patterns.get(shape)
            if pattern is not None and len(left):
                fine = pattern.is_at(signs, ends[where[left]] - pattern.size)
                begins[left[fine]] = ends[where[left[fine]]] - pattern.length
                left = left[~fine]
                if fine.sum() > len(where) // 2:
                    self._usual = shape
        found = begins >= 0
        return where[found], begins[found]


def _durations(words: Words) -> tuple[Places, Places]:
    """Return how many signs the number at the end of each word has, and it in thousandths; -1 where it is none.

    A number is digits, a dot, one to three digits, behind a space.
    """
    # The last sign first, and digits as their values: then the n-th byte counts 10 to the n, once the dot is out.
    signs = words.byteswap() ^ _DIGITS
    others = ((signs + _NOT_DIGIT) | signs) & HIGH
    dot = others & (~others + _1)
    space = others ^ dot
    space &= ~space + _1
    behind, inside = (dot >> _7) - _1, (space >> _15) - _1
    value = ((signs & behind) | ((signs >> _8) & ~behind)) & inside
    value = (value & _EVERY_2ND) + ((value >> _8) & _EVERY_2ND) * _10
    value = (value & _EVERY_4TH) + ((value >> _16) & _EVERY_4TH) * _100
    value = (value & _LOWER_HALF) + (value >> _32) * _10000
    decimals = (np.bitwise_count(behind) >> 3).astype(np.int64)
    length = (np.bitwise_count((space >> _7) - _1) >> 3).astype(np.int64)
    is_dot = (signs & ((dot >> _7) * _BYTE)) == (dot >> _7) * _DOT
    fine = is_dot & (space > 0) & (decimals >= 1) & (decimals <= 3) & (length >= decimals + 2)
    fine &= (length == decimals + 2) | (value >= _TENS[length])  # more digits than one do not begin with zero
    return length, np.where(fine, value.astype(np.int64) * _THOUSANDTHS[np.minimum(decimals, 3)], -1)


def _letters(words: Words) -> Places:
    """Return how many capital letters stand before the first quotation mark of each word; -1 for other signs."""
    quotes = words ^ _QUOTES
    quotes = (quotes - _BOTTOM) & ~quotes & HIGH
    before = ((quotes & (~quotes + _1)) >> _7) - _1
    other = ((words + _ABOVE_Z) | words | ~((words | HIGH) - _LETTER_A)) & HIGH & before
    return np.where(other == 0, (np.bitwise_count(before) >> 3).astype(np.int64), -1)


def _joined(signs: Signs, begins: Places, ends: Places, wanted: Mask) -> bytes:
    """Return the wanted lines."""
    turns = np.flatnonzero(np.diff(np.concatenate(([False], wanted, [False])).astype(np.int8)))
    held = signs.data
    return b"".join(
        [
            held[begin : end + 1]
            for begin, end in zip(begins[turns[::2]].tolist(), ends[turns[1::2] - 1].tolist(), strict=True)
        ]
    )

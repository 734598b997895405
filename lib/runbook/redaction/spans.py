"""Places in a text that are to be scrubbed, and how they are replaced."""

import re
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

_ESCAPE = re.compile(r"(?:\x1b|\\{1,2}x1b|\\{1,2}u001b|\\{1,2}033|\\e)\[[0-9;]*[A-Za-z]")
_STARTS_OF_ESCAPES = ("\x1b", "x1b[", "u001b[", "033[", "\\e[", "x1B[", "u001B[")


class Span(NamedTuple):
    """A place in a text, and the kind of secret that stands there."""

    start: int
    end: int
    kind: str


class Plain:
    """A text without its colour codes, and where its places are in the text with them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._ends: list[int] = []
        self._removed: list[int] = []
        if any(start in text for start in _STARTS_OF_ESCAPES):
            self._take_out_codes(text)

    def _take_out_codes(self, text: str) -> None:
        pieces, before, removed = [], 0, 0
        for code in _ESCAPE.finditer(text):
            pieces.append(text[before : code.start()])
            before = code.end()
            self._ends.append(code.start() - removed)
            removed += code.end() - code.start()
            self._removed.append(removed)
        self.text = "".join([*pieces, text[before:]])

    def in_coloured(self, span: Span) -> Span:
        """Return where a span of the plain text is in the coloured one, the codes inside it included."""
        if not self._ends:
            return span
        return Span(self._place(span.start), self._place(span.end - 1) + 1, span.kind)

    def _place(self, position: int) -> int:
        before = bisect_right(self._ends, position)
        return position + (self._removed[before - 1] if before else 0)


def codes_in(text: str) -> str:
    """Return the colour codes of a text, one after the other: what follows a removed place keeps its colour."""
    return "".join(_ESCAPE.findall(text))


def merge(spans: Iterable[Span], first: str) -> list[Span]:
    """Return spans in order, those that overlap as one; of their kinds, ``first`` or that of the longest counts."""
    merged: list[Span] = []
    longest = 0
    for span in sorted(spans):
        if merged and span.start < merged[-1].end:
            known = merged[-1]
            length = span.end - span.start
            kind = span.kind if known.kind != first and (span.kind == first or length > longest) else known.kind
            merged[-1] = Span(known.start, max(known.end, span.end), kind)
            longest = max(longest, length)
        else:
            merged.append(span)
            longest = span.end - span.start
    return merged


def without(spans: Iterable[Span], kept: list[tuple[int, int]], text: str) -> list[Span]:
    """Return spans cut around the places that are to be kept; what is left of one and holds no sign of it goes."""
    if not kept:
        return list(spans)
    starts = [start for start, _ in kept]
    left = []
    for span in spans:
        at = span.start
        index = max(bisect_right(starts, at) - 1, 0)
        while index < len(kept) and kept[index][0] < span.end:
            start, end = kept[index]
            if start > at:
                left.append(Span(at, start, span.kind))
            at = max(at, end)
            index += 1
        if at < span.end:
            left.append(Span(at, span.end, span.kind))
    return [span for span in left if any(map(str.isalnum, text[span.start : span.end]))]

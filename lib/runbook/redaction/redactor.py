"""Scrub text and nested data of secrets: of those that a target knows, and of what has a secret's form."""

import re
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

from runbook.redaction import scan
from runbook.redaction.images import without_text
from runbook.redaction.keys import kind_of_key, named_values
from runbook.redaction.known import KnownSecrets
from runbook.redaction.renderings import SHORTEST_ANYWHERE
from runbook.redaction.rules import KUBERNETES
from runbook.redaction.spans import Plain, Span, codes_in, merge, without
from runbook.redaction.values import may_be_secret

KNOWN = "a secret of the target"
MARK = f"[redacted: {KNOWN}]"
_MARKS = re.compile("|".join(re.escape(f"[redacted: {kind}]") for kind in (KNOWN, *scan.KINDS)))


class Redactor:
    """Scrubs secrets out of text and nested data, and leaves marks that say what was there.

    ``secrets`` are scrubbed in all their renderings. What the rules know by its form is scrubbed too, unless it is one
    of ``allow``; that never holds for ``secrets``. ``count`` is how many places were scrubbed so far, ``counts`` how
    many of each kind. Any failure raises: the caller must then write nothing.
    """

    def __init__(self, secrets: Iterable[str], *, allow: Iterable[str] = ()) -> None:
        self._known = KnownSecrets(secrets)
        self._allowed = frozenset(allow)
        self.counts: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """Return how many places were scrubbed so far."""
        return self.counts.total()

    def text(self, text: str) -> str:
        """Return the text with each secret replaced by a mark; what is scrubbed already stays as it is."""
        return self._scrub(text)

    def _scrub(self, text: str, whole: str | None = None) -> str:
        """Scrub a text; ``whole`` says of what kind it is where it stands in a secret's place."""
        plain = Plain(text)
        found = [Span(*place, KNOWN) for place in self._known.spans(plain.text)]
        by_form = list(scan.spans(plain.text))
        if whole is not None and may_be_secret(plain.text):
            by_form.append(Span(0, len(plain.text), whole))
        found += [span for span in by_form if plain.text[span.start : span.end] not in self._allowed]
        if not found:
            return text
        marks = [mark.span() for mark in _MARKS.finditer(plain.text)]
        pieces, end = [], 0
        for span in map(plain.in_coloured, without(merge(found, KNOWN), marks, plain.text)):
            self.counts[span.kind] += 1
            pieces += [text[end : span.start], f"[redacted: {span.kind}]", codes_in(text[span.start : span.end])]
            end = span.end
        return "".join([*pieces, text[end:]])

    def data(self, value: Any) -> Any:
        """Return a copy of nested dictionaries, lists and scalars with every string scrubbed, keys included.

        What stands under a key such as "password", and text in pictures, goes whatever it is.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self.text(value.decode("utf-8", "backslashreplace"))
        if isinstance(value, dict):
            named = named_values(value)
            return {self.data(key): self._under(key, item, named.get(key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and len(str(value)) >= SHORTEST_ANYWHERE:
            # A secret of digits may be told as a number.
            number = str(value)
            return self.text(number) if (0, len(number)) in self._known.spans(number) else value
        return value

    def frame(self, frame: Any) -> Any:
        """Return a copy of a DataFrame with every text scrubbed, the names of columns and rows included, and what it
        holds beside its rows (``attrs``, which a Parquet file keeps too).
        """
        counted = type(frame.index).__name__ == "RangeIndex"  # rows without a name of their own
        scrubbed = frame.rename(index=None if counted else self.data, columns=self.data)
        scrubbed.attrs = self.data(frame.attrs)
        for at, (column, kind) in enumerate(zip(scrubbed.columns, frame.dtypes, strict=True)):
            if not kind_is_plain(kind):
                named = kind_of_key(column)
                scrub = self.data if named is None else partial(self._of_kind, kind=named)
                scrubbed.isetitem(at, scrubbed.iloc[:, at].map(scrub, na_action="ignore"))
        return scrubbed

    def _under(self, key: Any, value: Any, kind: str | None) -> Any:
        """Return the scrubbed value of a key."""
        if key in ("image/png", "image/jpeg") and isinstance(value, str):
            return self.text(without_text(value))
        return self.data(value) if kind is None else self._of_kind(value, kind)

    def _of_kind(self, value: Any, kind: str) -> Any:
        if isinstance(value, str):
            return self._scrub(value, kind)
        if isinstance(value, list | tuple):
            return [self._of_kind(item, kind) for item in value]
        if isinstance(value, dict) and kind == KUBERNETES:
            return {self.data(key): self._of_kind(item, kind) for key, item in value.items()}
        return self.data(value)


def kind_is_plain(kind: Any) -> bool:
    """Tell whether a column's type can hold numbers or times only."""
    return getattr(kind, "kind", "O") in "biufcmM"

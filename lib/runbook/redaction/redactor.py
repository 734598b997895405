"""Scrub text and nested data of a target's secrets."""

import re
from collections.abc import Iterable
from typing import Any

from runbook.redaction.renderings import SHORTEST_ANYWHERE, patterns

MARK = "[redacted: a secret of the target]"


class Redactor:
    """Scrubs the known secrets of a target, in all their renderings, out of text and nested data.

    ``count`` is how many places were scrubbed so far. Any failure raises: the caller must then write nothing.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        found = sorted({pattern for secret in secrets if secret for pattern in patterns(secret)}, key=len, reverse=True)
        self._pattern = re.compile("|".join(found)) if found else None
        self.count = 0

    def text(self, text: str) -> str:
        """Return the text with each secret replaced by a mark that says what was there."""
        if self._pattern is None:
            return text
        scrubbed, times = self._pattern.subn(MARK, text)
        self.count += times
        return scrubbed

    def data(self, value: Any) -> Any:
        """Return a copy of nested dictionaries, lists and scalars with every string scrubbed, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self.text(value.decode("utf-8", "backslashreplace"))
        if isinstance(value, dict):
            return {self.data(key): self.data(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and len(str(value)) >= SHORTEST_ANYWHERE:
            # A secret of digits may be told as a number.
            return value if self._pattern is None or not self._pattern.fullmatch(str(value)) else self.text(str(value))
        return value

    def frame(self, frame: Any) -> Any:
        """Return a copy of a DataFrame with every text scrubbed, the names of columns and rows included."""
        scrubbed = frame.rename(index=self.data, columns=self.data)
        for column in scrubbed.columns[[not kind_is_plain(kind) for kind in scrubbed.dtypes]]:
            scrubbed[column] = scrubbed[column].map(self.data, na_action="ignore")
        return scrubbed


def kind_is_plain(kind: Any) -> bool:
    """Tell whether a column's type can hold numbers or times only."""
    return getattr(kind, "kind", "O") in "biufcmM"

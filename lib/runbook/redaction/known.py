"""Find the known secrets of a target in a text, in all their renderings, whole or cut."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from runbook.redaction.renderings import CUT, Rendering, renderings

# What can stand between the characters of a secret that is broken over lines goes, and letters become small: what is
# left of a rendering is then one piece in what is left of the text, and quickly looked for.
_BETWEEN = "\r\n\t >│|\\nrNR".encode()
_SMALL = bytes(range(256)).lower()


def squeezed(text: str) -> bytes:
    """Return a text without what a line's end may put between two characters, in small letters."""
    return text.encode("utf-8", "surrogatepass").translate(_SMALL, _BETWEEN)


class KnownSecrets:
    """Secrets whose values are known."""

    def __init__(self, secrets: Iterable[str]) -> None:
        found = {rendering.pattern: rendering for secret in secrets if secret for rendering in renderings(secret)}
        self._renderings = sorted(found.values(), key=lambda rendering: len(rendering.pattern), reverse=True)
        self._pieces = [(squeezed(one.piece), squeezed(one.head_piece)) for one in self._renderings]

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where a secret stands in a text without colour codes."""
        if not self._renderings:
            return
        small = squeezed(text)
        heads = [index for index, (_, head) in enumerate(self._pieces) if head in small]
        if not heads:
            return
        whole = [self._renderings[index] for index in heads if self._pieces[index][0] in small]
        if whole:
            for found in _any_of(tuple(one.pattern for one in whole)).finditer(text):
                yield found.span()
        for index in heads:
            yield from _cut_short(self._renderings[index], text)


def _cut_short(rendering: Rendering, text: str) -> Iterator[tuple[int, int]]:
    """Yield where a rendering begins and is then cut: by an ellipsis, or by the text's end."""
    if not rendering.head:
        return
    for head in re.finditer(rendering.head, text):
        end = head.end()
        for character in rendering.tail:
            following = re.compile(character).match(text, end)
            if following is None:
                break
            end = following.end()
        if CUT.match(text, end):
            yield head.start(), end


@lru_cache(maxsize=64)
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(patterns))

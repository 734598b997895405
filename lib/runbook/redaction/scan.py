"""Apply the rules to a text: look for the literals at which they begin, and try them only there."""

import re
from collections import defaultdict
from collections.abc import Iterator

from runbook.redaction.rules import KUBERNETES, RULES, Rule, kubernetes_spans
from runbook.redaction.spans import Span

KINDS = sorted({rule.kind for rule in RULES} | {KUBERNETES})


def spans(text: str) -> Iterator[Span]:
    """Yield what the rules find in a text without colour codes."""
    for hit in _STARTS.finditer(_in_small_letters(text)):
        position = hit.start()
        for rule in _BY_START[hit[0]]:
            yield from rule.spans(text, position)
    yield from kubernetes_spans(text)


def _in_small_letters(text: str) -> str:
    """Return the text in small letters, each in the place of its own."""
    small = text.lower()
    return small if len(small) == len(text) else "".join(c.lower() if c.isascii() else c for c in text)


def _by_start() -> dict[str, list[Rule]]:
    found: dict[str, list[Rule]] = defaultdict(list)
    for start in sorted({start for rule in RULES for start in rule.starts}):
        # A literal that begins with another one is a place for the rules of both.
        found[start] = [rule for rule in RULES if any(start.startswith(one) for one in rule.starts)]
    return found


def _starts_pattern(rules: dict[str, list[Rule]]) -> re.Pattern[str]:
    """Return a pattern for all literals, ordered by their first character: it decides most places at once."""
    by_first: dict[str, list[str]] = defaultdict(list)
    for start in sorted(rules, key=len, reverse=True):
        aheads = {rule.ahead for rule in rules[start]}
        ahead = "" if "" in aheads else f"(?={'|'.join(sorted(aheads))})"
        by_first[start[0]].append(re.escape(start[1:]) + ahead)
    return re.compile("|".join(f"{re.escape(first)}(?:{'|'.join(rest)})" for first, rest in by_first.items()))


_BY_START = _by_start()
_STARTS = _starts_pattern(_BY_START)

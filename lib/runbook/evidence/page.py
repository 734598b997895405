"""What all pages of the archive share: templates that escape by themselves, styles, and what a browser may do."""

import base64
import hashlib
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from runbook.evidence.visible import visible, visible_text
from runbook.model import Status
from runbook.model.text import shortened

# Each status is told by its word and by a sign of its own form, never by colour alone.
SIGNS = {
    Status.CRITICAL.value: "✖",
    Status.UNKNOWN.value: "?",
    Status.WARNING.value: "▲",
    Status.OK.value: "✔",
    Status.SKIPPED.value: "–",
    "FAILED": "✖",
    "DID NOT END": "…",
    "PRUNED": "∅",
    "NOTED": "✎",
}


@cache
def part(name: str) -> str:
    """Return the text of a file among the templates."""
    return (files("runbook.evidence") / "templates" / name).read_text()


@cache
def template(name: str) -> Any:
    """Return a compiled template; every text in it is escaped, invisible signs are made visible."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    # `visible` escapes: what it returns is not escaped again.
    environment = Environment(
        loader=FunctionLoader(part),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters["plain"] = visible_text
    environment.filters["shortened"] = shortened
    environment.globals["signs"] = SIGNS
    return environment.get_template(name)


def _finalize(value: object) -> object:
    if isinstance(value, Markup):
        return value
    return _short_visible(value) if isinstance(value, str) and len(value) <= 200 else visible(value)


# Names and statuses occur ten thousand times on the list of runs.
_short_visible = lru_cache(maxsize=20_000)(visible)


def policy(style: str, script: str = "") -> str:
    """Return the Content-Security-Policy of a page: its own styles and script by digest, inline pictures, no more."""
    parts = [
        "default-src 'none'",
        "img-src data:",
        f"style-src-elem {source_digest(style)}",
        "style-src-attr 'unsafe-inline'",  # the alignment of table cells, which the sanitizer let pass
        *([f"script-src {source_digest(script)}"] if script else []),
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join(parts)


def source_digest(text: str) -> str:
    """Return a style or a script as a policy names it: by its digest."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def style_class(status: str) -> str:
    """Return the class by which a status is styled; a word that is no status gets that of UNKNOWN."""
    return status.replace(" ", "-") if status in SIGNS else Status.UNKNOWN.value


def counted(things: Iterable[str]) -> dict[str, int]:
    """Return how often each word occurs, statuses first and the worst of them on top."""
    counts: dict[str, int] = {}
    for thing in things:
        counts[thing] = counts.get(thing, 0) + 1
    order = list(SIGNS)
    return dict(sorted(counts.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))

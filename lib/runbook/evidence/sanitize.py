"""Foreign HTML made harmless: an allowlist of elements and attributes, by nh3."""

import re
from dataclasses import dataclass
from typing import Any

import nh3

from runbook.evidence.visible import signs_marked
from runbook.model import Status

_TEXT = {
    "b",
    "strong",
    "i",
    "em",
    "u",
    "s",
    "del",
    "code",
    "pre",
    "kbd",
    "samp",
    "var",
    "sub",
    "sup",
    "small",
    "mark",
    "br",
    "hr",
    "p",
    "div",
    "span",
    "blockquote",
}
_LISTS = {"ul", "ol", "li", "dl", "dt", "dd"}
_TABLES = {"table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"}
_FOLDS = {"details", "summary"}
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
# The text inside of these is nothing that a reader was to see.
_WITH_CONTENT = {"script", "style", "template", "iframe", "object", "title", "noscript", "noembed", "noframes"}

_CELL = {"style", "class", "colspan", "rowspan"}
_ATTRIBUTES = {
    "table": {"border", "class"},
    "thead": {"style"},
    "tr": {"style", "class"},
    "th": {*_CELL, "scope"},
    "td": _CELL,
    "p": {"style"},
    "div": {"style"},
}
_VALUES = {
    "border": re.compile(r"[0-9]{1,2}"),
    "colspan": re.compile(r"[0-9]{1,3}"),
    "rowspan": re.compile(r"[0-9]{1,4}"),
    "scope": re.compile("row|col|rowgroup|colgroup"),
}
# What pandas writes. Any other class could borrow the looks of the report itself.
_CLASS = re.compile(r"dataframe|blank|col_heading|row_heading|index_name|data|(?:level|row|col)[0-9]{1,6}")
_ALIGN = re.compile(r"\s*text-align\s*:\s*(left|right|center)\s*;?\s*")
_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+")
_LINK = re.compile(r"(?:https?://|mailto:)[^\s]+", re.IGNORECASE)
_BADGE = re.compile(f"<span>({'|'.join(Status)})</span>")

# An HTML parser takes quadratic time for elements that are never closed. Cells of tables cannot be that.
_FORMATTING = re.compile(r"<(?:a|b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)\b", re.IGNORECASE)
_OPENING = re.compile(r"<(?!(?:t[rdh]|br|p|li)\b)[a-z]", re.IGNORECASE)
_FOREIGN = re.compile(r"<(?:svg|math)\b", re.IGNORECASE)
_ANY = re.compile(r"<[a-z]", re.IGNORECASE)


class TooMuch(ValueError):
    """HTML that would take too long to look through: to be shown as text."""


@dataclass
class Effort:
    """How much more may be looked through for one page, as counts of elements."""

    formatting: int = 10_000
    elements: int = 100_000
    one_formatting: int = 3_000
    one_elements: int = 20_000

    def spend(self, markup: str) -> None:
        """Count a text's elements; raises `TooMuch` where it has too many, or those before it had."""
        formatting = len(_FORMATTING.findall(markup))
        nesting = _ANY if _FOREIGN.search(markup) else _OPENING
        elements = len(nesting.findall(markup))
        if (
            formatting > self.one_formatting
            or elements > self.one_elements
            or formatting > self.formatting
            or elements > self.elements
        ):
            raise TooMuch("it has more elements than can be looked through")
        self.formatting -= formatting
        self.elements -= elements


def output_html(markup: str, effort: Effort) -> str:
    """Return an output's HTML with nothing in it that runs, loads, links or looks like the page itself.

    Raises `TooMuch`.
    """
    effort.spend(markup)
    return _clean(markup, tags=_TEXT | _LISTS | _TABLES | _FOLDS | _HEADINGS, attributes=_ATTRIBUTES)


def prose_html(markup: str, effort: Effort) -> str:
    """Return the HTML of rendered Markdown, which may also hold links that a reader follows, and inline pictures.

    Raises `TooMuch`.
    """
    effort.spend(markup)
    tags = _TEXT | _LISTS | _TABLES | _FOLDS | _HEADINGS | {"a", "img"}
    return _clean(markup, tags=tags, attributes={**_ATTRIBUTES, "a": {"href"}, "img": {"src", "alt"}})


def _clean(markup: str, **allowed: Any) -> str:
    cleaned = nh3.clean(
        markup,
        **allowed,
        clean_content_tags=_WITH_CONTENT,
        attribute_filter=_filtered,
        url_schemes={"http", "https", "mailto", "data"},
        url_relative="deny",
        strip_comments=True,
    )
    # No attribute that is left holds a "<": what matches is an element.
    return _BADGE.sub(r'<span class="badge \1">\1</span>', signs_marked(cleaned))


def _filtered(tag: str, name: str, value: str) -> str | None:
    """Return what may stay of an attribute's value, or None where it must go."""
    if re.search('[<>"]', value):
        return None
    if name == "style":
        align = _ALIGN.fullmatch(value)
        return f"text-align: {align[1]}" if align else None
    if name == "class":
        return " ".join(word for word in value.split() if _CLASS.fullmatch(word)) or None
    if name == "src":
        return value if _PICTURE.fullmatch(value) else None
    if name == "href":
        return value if _LINK.fullmatch(value) else None
    if name in _VALUES:
        return value if _VALUES[name].fullmatch(value) else None
    return value if name in ("alt", "rel") else None

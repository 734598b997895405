"""Texts as they are, for a page: escaped, and with every sign that hides, reorders or imitates made visible."""

import html
import re
import unicodedata

from markupsafe import Markup

# Letters and symbols by category that nevertheless show nothing.
_BLANK = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}
_SELECTORS = (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
# More marks than this on one letter are piled up to cover the lines around it; no written language needs as many.
_MARKS = 4
_PILE = re.compile(rf"[^\x00-\u02ff]{{{_MARKS + 1},}}")
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


class _Signs(dict[int, str | None]):
    """What to show for each code point, found out when it is first met; None where it stands for itself."""

    def __init__(self, form: str) -> None:
        super().__init__({ord("\n"): "\n", ord("\t"): "\t", ord(" "): " "})
        self.form = form

    def __missing__(self, code: int) -> str:
        hides = unicodedata.category(chr(code)) in _HIDDEN or code in _BLANK or code in _SELECTORS
        self[code] = shown = self.form % code if hides else chr(code)
        return shown


_AS_TEXT = _Signs("‹U+%04X›")
_AS_HTML = _Signs('<span class="sign">U+%04X</span>')


def visible(value: object) -> Markup:
    """Return a text escaped for HTML, its invisible signs as marked code points (U+202E)."""
    escaped = html.escape(_calm(str(value)))
    return Markup(escaped if _plain(escaped) else escaped.translate(_AS_HTML))  # noqa: S704 - escaped just above


def visible_text(text: str) -> str:
    """Return a text, not escaped, with its invisible signs as code points: for attributes and titles."""
    text = _calm(text)
    return text if _plain(text) else text.translate(_AS_TEXT)


def signs_marked(markup: str) -> str:
    """Return markup whose own tags are ASCII with the invisible signs of its texts as code points.

    They become plain text, which is harmless inside an attribute too.
    """
    return visible_text(markup)


def without_colours(text: str) -> str:
    """Return a terminal's text without its colours; what else a terminal would obey stays, to be made visible."""
    return _COLOUR.sub("", text).replace("\r\n", "\n")


def _plain(text: str) -> bool:
    return text.isascii() and text.replace("\n", "").replace("\t", "").isprintable()


def _calm(text: str) -> str:
    """Return a text whose piled-up marks are written as code points."""
    return text if text.isascii() else _PILE.sub(_spread, text)


def _spread(match: re.Match[str]) -> str:
    spread, marks = [], 0
    for sign in match[0]:
        marks = marks + 1 if unicodedata.category(sign) in ("Mn", "Me") else 0
        spread.append(_AS_TEXT.form % ord(sign) if marks > _MARKS else sign)
    return "".join(spread)

"""The cells of an executed notebook as harmless HTML: prose, code, and what each cell put out."""

import base64
import binascii
import html
import json
import re
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from runbook.evidence.sanitize import Effort, TooMuch, output_html, prose_html
from runbook.evidence.visible import visible, visible_text, without_colours
from runbook.model.protocol import FINDINGS_MIME
from runbook.model.units import as_bytes

# What is longer is cut: a page must open. The notebook beside it has all of it.
TEXT_SHOWN = 2_000_000
PAGE_TEXT = 20_000_000
LEAST_SHOWN = 4_000
PICTURE_SHOWN = 10_000_000
CODE_COLOURED = 50_000
PROSE_RENDERED = 100_000

_PICTURES = {"image/png": b"\x89PNG\r\n", "image/jpeg": b"\xff\xd8\xff", "image/gif": b"GIF8", "image/webp": b"RIFF"}
_SVG = "image/svg+xml"
# Shown when nothing better is there; what stands in neither list is named, not shown.
_TEXTS = ("text/html", "text/markdown", "text/latex", "application/json", "text/plain")
_QUIET = {FINDINGS_MIME}  # stands at the top of the page already
_ATTACHED = re.compile(r"\]\(attachment:([^)\s]+)\)")


@dataclass
class Room:
    """What of a page's bounds is left."""

    text: int = PAGE_TEXT
    effort: Effort = field(default_factory=Effort)

    def cut(self, text: str) -> tuple[str, str]:
        """Return a text's beginning and, where it was too long to show whole, a sentence that says so, else ""."""
        allowed = max(min(TEXT_SHOWN, self.text), LEAST_SHOWN)
        self.text -= min(len(text), allowed)
        if len(text) <= allowed:
            return text, ""
        size = as_bytes(len(text.encode(errors="surrogatepass")))
        return text[:allowed], f"cut: the first {allowed:,} of {len(text):,} characters ({size}); the notebook has all"


@dataclass(frozen=True)
class Cell:
    """A cell to be shown: ``prose`` for Markdown, else ``code`` with its number and its ``outputs``."""

    prose: Markup | None
    code: Markup | None
    number: str
    outputs: list[Markup]


def cells_of(document: Any) -> list[Cell]:
    """Return a notebook's cells as HTML; what has not the form of a cell is shown as text."""
    room = Room()
    found = document.get("cells") if isinstance(document, dict) else None
    return [_cell(cell, room) for cell in (found if isinstance(found, list) else []) if isinstance(cell, dict)]


def _cell(cell: dict[str, Any], room: Room) -> Cell:
    source = _text(cell.get("source", ""))
    if cell.get("cell_type") == "markdown":
        return Cell(_prose(source, _attachments(cell), room), None, "", [])
    if cell.get("cell_type") != "code":
        return Cell(_pre(source, room), None, "", [])
    outputs = cell.get("outputs")
    shown = [_output(o, room) for o in (outputs if isinstance(outputs, list) else []) if isinstance(o, dict)]
    number = cell.get("execution_count")
    return Cell(None, _code(source, room), str(number) if isinstance(number, int) else "not run", shown)


def _output(output: dict[str, Any], room: Room) -> Markup:
    kind = output.get("output_type")
    if kind == "stream":
        name = "stderr" if output.get("name") == "stderr" else "stdout"
        return _pre(without_colours(_text(output.get("text", ""))), room, name)
    if kind == "error":
        traceback = output.get("traceback")
        text = "\n".join(map(str, traceback)) if isinstance(traceback, list) else _text(traceback or "")
        what = f"{output.get('ename', '')}: {output.get('evalue', '')}"
        return _pre(without_colours(text or what), room, "error")
    data = output.get("data")
    return _bundle(data if isinstance(data, dict) else {}, room)


def _bundle(data: dict[str, Any], room: Room) -> Markup:
    """Return the richest form of an output that can be shown safely, and the names of what was left out."""
    alternative = _text(data.get("text/plain", ""))
    shown = next((p for kind in _PICTURES if kind in data and (p := _picture(kind, data[kind], alternative))), None)
    if shown is None and _SVG in data:
        shown = _drawing(_text(data[_SVG]), alternative)
    kind = next((kind for kind in _TEXTS if kind in data), None) if shown is None else None
    if kind is not None:
        shown = _textual(kind, data[kind], room)
    if shown is not None:
        return shown
    left_out = ", ".join(str(kind) for kind in data if kind not in _QUIET)
    return Markup('<p class="note">not shown: {}</p>').format(visible(left_out[:500])) if left_out else Markup("")


def _textual(kind: str, value: Any, room: Room) -> Markup:
    if kind == "application/json" and not isinstance(value, str):
        return _pre(json.dumps(value, indent=1, ensure_ascii=False), room)
    text = _text(value)
    if kind == "text/markdown":
        return _prose(text, {}, room)
    if kind != "text/html":
        return _pre(without_colours(text), room)
    shown, cut = room.cut(text)
    try:
        return Markup('<div class="out">{}</div>{}').format(
            Markup(output_html(shown, room.effort)),  # noqa: S704 - the sanitizer's own words
            _note(cut),
        )
    except TooMuch as why:
        return Markup("{}{}").format(_pre(shown, room), _note(f"HTML shown as text: {why}"))


def _prose(text: str, attachments: dict[str, str], room: Room) -> Markup:
    if len(text) > PROSE_RENDERED:
        return _pre(text, room)
    room.text -= len(text)
    text = _ATTACHED.sub(lambda match: f"]({attachments.get(match[1], '')})", text)
    try:
        rendered = prose_html(str(_markdown()(text)), room.effort)
    except (TooMuch, RecursionError):
        return _pre(text, room)
    return Markup('<div class="prose">{}</div>').format(Markup(rendered))  # noqa: S704 - the sanitizer's own words


def _markdown() -> Any:
    global _renderer  # noqa: PLW0603 - made once, on first use
    if _renderer is None:
        import mistune

        _renderer = mistune.create_markdown(escape=False, plugins=["table", "strikethrough"])
    return _renderer


_renderer: Any = None


def _attachments(cell: dict[str, Any]) -> dict[str, str]:
    """Return a Markdown cell's attached pictures as data: addresses by name."""
    attached = cell.get("attachments")
    found = {}
    for name, bundle in attached.items() if isinstance(attached, dict) else ():
        for kind, value in bundle.items() if isinstance(bundle, dict) else ():
            if kind in _PICTURES and (address := _address(kind, value)):
                found[str(name)] = address
    return found


def _code(text: str, room: Room) -> Markup:
    if len(text) > CODE_COLOURED:
        return _pre(text, room)
    from pygments import highlight
    from pygments.formatters.html import HtmlFormatter
    from pygments.lexers.python import PythonLexer

    coloured = highlight(visible_text(text), PythonLexer(stripnl=False), HtmlFormatter(nowrap=True))
    return Markup('<pre class="code">{}</pre>').format(Markup(coloured))  # noqa: S704 - the formatter escapes


def _pre(text: str, room: Room, name: str = "text") -> Markup:
    shown, cut = room.cut(text)
    return Markup('<pre class="{}">{}</pre>{}').format(name, visible(shown), _note(cut))


def _note(text: str) -> Markup:
    return Markup('<p class="note">{}</p>').format(visible(text)) if text else Markup("")


def _picture(kind: str, value: Any, alternative: str) -> Markup | None:
    address = _address(kind, value)
    return _image(address, alternative) if address else None


def _address(kind: str, value: Any) -> str:
    """Return a picture as a data: address, or "" where it is none of its kind or too large."""
    text = _text(value)
    if len(text) > PICTURE_SHOWN:
        return ""
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return ""
    return f"data:{kind};base64,{_base64(content)}" if content.startswith(_PICTURES[kind]) else ""


def _drawing(text: str, alternative: str) -> Markup | None:
    """Return an SVG as a picture: in an <img>, a browser runs no script of it and loads nothing for it."""
    if len(text) > PICTURE_SHOWN or "<!ENTITY" in text.upper():
        return None
    return _image(f"data:{_SVG};base64,{_base64(text.encode(errors='replace'))}", alternative)


def _image(address: str, alternative: str) -> Markup:
    return Markup('<p class="plot"><img alt="{}" src="{}"></p>').format(
        Markup(html.escape(visible_text(alternative[:1000]))),  # noqa: S704 - escaped right here
        address,
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _text(value: Any) -> str:
    """Return the lines of a notebook's multi-line string as one text."""
    return "".join(map(str, value)) if isinstance(value, list) else str(value)


def prose_of(text: str) -> Markup:
    """Return a Markdown text that a person wrote as HTML with nothing in it that runs or loads."""
    return _prose(text, {}, Room())

"""The forms in which one and the same secret can appear in text."""

import base64
import html.entities
import re
from dataclasses import dataclass

# Shorter values would hit ordinary words; such a secret is scrubbed only as a whole word.
SHORTEST_ANYWHERE = 6
# A secret printed across the end of a line, with the line's end as itself or escaped, and what may follow it.
_LINE_END = r"(?:\r?\n|\\r\\n|\\n|\\\r?\n)[ \t>│|]*"
_LINE_BREAK = f"(?:{_LINE_END})?"
_ESCAPED = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}
_BACKSLASHES = r"\\{0,3}"  # as JSON, JSON inside JSON and repr set them before what they escape


# A text is cut here: at its end, or before an ellipsis.
CUT = re.compile(r"\s*(?:…|\.\.\.|&hellip;|&#8230;|\\{1,3}u2026|<|\Z)")
# A cut secret is scrubbed from this many of its characters on: fewer could be any word.
SHORTEST_CUT = 8


@dataclass(frozen=True)
class Rendering:
    """One form of a secret.

    ``pattern`` finds it whole. ``head`` finds its beginning, and each of ``tail`` one more character, where it may be
    cut; they are empty where a cut one is not looked for. ``piece`` and ``head_piece`` are text that stands in whatever
    ``pattern`` and ``head`` find, but for line ends between its characters and for the case of its letters.
    """

    pattern: str
    piece: str
    head: str = ""
    tail: tuple[str, ...] = ()
    head_piece: str = ""


def renderings(secret: str) -> list[Rendering]:
    """Return the forms in which a secret can appear."""
    if len(secret) < SHORTEST_ANYWHERE:
        return [Rendering(rf"(?<!\w){re.escape(secret)}(?!\w)", secret, head_piece=secret)]
    raw = secret.encode()
    found = [
        _rendering(list(map(_any_form, secret)), SHORTEST_CUT, "".join(c if _is_plain(c) else "\0" for c in secret))
    ]
    encoded = {*_base64_at_three_offsets(raw), *_base64_at_three_offsets(raw, urlsafe=True)}
    found += [_rendering(list(map(re.escape, text)), SHORTEST_CUT * 4 // 3 + 1, text) for text in encoded]
    hexadecimal = raw.hex()
    either_case = [f"[{sign}{sign.upper()}]" if sign.isalpha() else sign for sign in hexadecimal]
    return [*found, _rendering(either_case, SHORTEST_CUT * 2, hexadecimal)]


def _rendering(characters: list[str], shortest_cut: int, text: str) -> Rendering:
    """Return the rendering of these expressions for its characters; NUL in ``text`` is one of several forms."""
    whole, piece = _LINE_BREAK.join(characters), max(text.split("\0"), key=len)
    if len(characters) <= shortest_cut:
        return Rendering(whole, piece, head_piece=piece)
    head = _LINE_BREAK.join(characters[:shortest_cut])
    tail = tuple(_LINE_BREAK + character for character in characters[shortest_cut:])
    return Rendering(whole, piece, head, tail, max(text[:shortest_cut].split("\0"), key=len))


def _is_plain(character: str) -> bool:
    """Tell whether all encoders leave a character as it is."""
    return character.isascii() and (character.isalnum() or character in "_-")


def _any_form(character: str) -> str:
    """Return an expression for a character in each of its escaped forms: each encoder leaves others as they are."""
    if _is_plain(character):
        return re.escape(character)
    code, raw = ord(character), character.encode()
    units = [character.encode("utf-16-be")[i : i + 2].hex() for i in range(0, len(character.encode("utf-16-be")), 2)]
    forms = [_across_lines("".join(f"%{byte:02x}" for byte in raw)), f"&#0*{code};", f"&#x0*{code:x};"]
    forms += [f"&{name}" for name, one in html.entities.html5.items() if one == character and name.endswith(";")]
    if character in _ESCAPED:
        forms.append(rf"\\{{1,3}}{_ESCAPED[character]}")
    forms += ["".join(rf"\\{{1,3}}u{unit}" for unit in units), "".join(rf"\\{{1,3}}x{byte:02x}" for byte in raw)]
    if code < 256:
        forms.append(rf"\\{{1,3}}x{code:02x}")
    escaped = f"(?i:{'|'.join(forms)})"
    if character == "\\":
        return rf"(?:\\{{1,4}}?|{escaped})"
    if character in "\"'/":
        return f"(?:{_BACKSLASHES}(?:{character * 2}|{character}|{escaped}))"
    if character == " ":
        return rf"(?:[ +]|{escaped}|{_LINE_END})"
    return f"(?:{re.escape(character)}|{escaped})"


def _across_lines(text: str) -> str:
    return _LINE_BREAK.join(re.escape(character) for character in text)


def _base64_at_three_offsets(raw: bytes, *, urlsafe: bool = False) -> list[str]:
    """Return what is certain of the secret's base64 when 0, 1 or 2 bytes stand before it."""
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    certain = []
    for offset in range(3):
        text = encode(b"\0" * offset + raw).decode().rstrip("=")
        start = (0, 2, 3)[offset]
        # The last character also holds bits of what follows, unless the secret ends on a whole group.
        end = len(text) if (offset + len(raw)) % 3 == 0 else len(text) - 1
        certain.append(text[start:end])
    return [text for text in certain if len(text) >= SHORTEST_ANYWHERE]

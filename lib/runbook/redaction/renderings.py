"""The forms in which one and the same secret can appear in text."""

import base64
import html.entities
import re

# Shorter values would hit ordinary words; such a secret is scrubbed only as a whole word.
SHORTEST_ANYWHERE = 6
# A secret printed across the end of a line, with the line's end as itself or escaped, and what may follow it.
_LINE_END = r"(?:\r?\n|\\r\\n|\\n|\\\r?\n)[ \t>│|]*"
_LINE_BREAK = f"(?:{_LINE_END})?"
_ESCAPED = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}
_BACKSLASHES = r"\\{0,3}"  # as JSON, JSON inside JSON and repr set them before what they escape


def patterns(secret: str) -> list[str]:
    """Return regular expressions for the renderings of a secret, the longest first."""
    if len(secret) < SHORTEST_ANYWHERE:
        return [rf"(?<!\w){re.escape(secret)}(?!\w)"]
    raw = secret.encode()
    found = {_LINE_BREAK.join(map(_any_form, secret))}
    for encoded in (*_base64_at_three_offsets(raw), *_base64_at_three_offsets(raw, urlsafe=True)):
        found.add(_across_lines(encoded))
    found.add("(?i:" + _across_lines(raw.hex()) + ")")
    return sorted(found, key=len, reverse=True)


def _any_form(character: str) -> str:
    """Return an expression for a character in each of its escaped forms: each encoder leaves others as they are."""
    if character.isascii() and (character.isalnum() or character in "_-"):
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

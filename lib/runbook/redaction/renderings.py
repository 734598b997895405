"""The forms in which one and the same secret can appear in text."""

import base64
import html
import json
import re
from urllib.parse import quote, quote_plus

# Shorter values would hit ordinary words; such a secret is scrubbed only as a whole word.
SHORTEST_ANYWHERE = 6
# A secret printed across the end of a line, with the line's end as itself or escaped, and what may follow it.
_LINE_BREAK = r"(?:(?:\r?\n|\\r\\n|\\n|\\\r?\n)[ \t>│|]*)?"


def patterns(secret: str) -> list[str]:
    """Return regular expressions for the renderings of a secret, the longest first."""
    if len(secret) < SHORTEST_ANYWHERE:
        return [rf"(?<!\w){re.escape(secret)}(?!\w)"]
    plain = _plain_renderings(secret)
    found = {_across_lines(text) for text in plain}
    raw = secret.encode()
    for encoded in (*_base64_at_three_offsets(raw), *_base64_at_three_offsets(raw, urlsafe=True)):
        found.add(_across_lines(encoded))
    found.add("(?i:" + _across_lines(raw.hex()) + ")")
    return sorted(found, key=len, reverse=True)


def _plain_renderings(secret: str) -> set[str]:
    renderings = {secret}
    renderings |= {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    renderings |= {re.sub("%[0-9A-F]{2}", lambda m: m[0].lower(), text) for text in renderings}
    renderings |= {html.escape(secret), html.escape(secret, quote=False), secret.replace("&", "&amp;")}
    renderings |= {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    # Once more inside JSON inside JSON, as a log line in a notebook is.
    renderings |= {json.dumps(text)[1:-1] for text in list(renderings)}
    renderings |= {secret.replace("'", "''"), secret.replace("'", "\\'"), secret.replace('"', '\\"')}
    return {text for text in renderings if text}


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

"""Take the texts out of pictures: a PNG's text chunks, a JPEG's comments; the pixels stay as they are."""

import base64
import binascii

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"eXIf"})
_JPEG = b"\xff\xd8"
_START_OF_SCAN = 0xDA
# Comments, and the segments of applications but for the first and Adobe's, which decide how colours are read.
_JPEG_TEXTS = frozenset({0xFE, *range(0xE1, 0xEE), 0xEF})


def without_text(encoded: str) -> str:
    """Return a picture in base64 without the texts in it; what is no picture, or holds none, is returned as it is."""
    try:
        content = base64.b64decode(encoded)
    except (ValueError, binascii.Error):
        return encoded
    if content.startswith(_PNG):
        stripped = _png_without_text(content)
    elif content.startswith(_JPEG):
        stripped = _jpeg_without_text(content)
    else:
        return encoded
    return encoded if stripped == content else base64.b64encode(stripped).decode()


def _png_without_text(content: bytes) -> bytes:
    kept, position = [content[: len(_PNG)]], len(_PNG)
    while position + 12 <= len(content):
        end = position + 12 + int.from_bytes(content[position : position + 4])
        kind = content[position + 4 : position + 8]
        if kind not in _PNG_TEXTS:
            kept.append(content[position:end])
        position = end
        if kind == b"IEND":
            break  # what follows the end is no part of the picture
    return b"".join(kept)


def _jpeg_without_text(content: bytes) -> bytes:
    kept, position = [content[:2]], 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == _START_OF_SCAN:
            break
        end = position + 2 + int.from_bytes(content[position + 2 : position + 4])
        if marker not in _JPEG_TEXTS:
            kept.append(content[position:end])
        position = end
    return b"".join([*kept, content[position:]])

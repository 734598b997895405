"""Texts that come from elsewhere, made safe to show."""


def printable(text: str) -> str:
    """Return a text on one line, without anything that a terminal would obey or that UTF-8 cannot hold."""
    return "".join(sign if sign.isprintable() else " " if sign in "\r\n\t" else "�" for sign in text)

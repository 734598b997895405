"""Texts that come from elsewhere, made safe to show, and commands to type."""

import shlex

# What a check, which does not know the target, leaves to the session.
TARGET = "--target {target}"
# What is longer, a path of anybody's, leaves no room for what is said of it.
SHOWN_CHARACTERS = 120


def to_run(notebook: str, **parameters: object) -> str:
    """Return the command that runs a notebook on the target of the run; the session fills in the target's name."""
    given = [f"-p {shlex.quote(f'{name}={value}')}" for name, value in parameters.items()]
    return " ".join([f"runbook run {notebook} {TARGET}", *given])


def printable(text: str) -> str:
    """Return a text on one line, without anything that a terminal would obey or that UTF-8 cannot hold."""
    return "".join(sign if sign.isprintable() else " " if sign in "\r\n\t" else "�" for sign in text)


def shortened(text: str, most: int = SHOWN_CHARACTERS) -> str:
    """Return a text to be shown: of a long one the beginning and the end, by which it is known, with … in between."""
    return text if len(text) <= most else f"{text[: most - most // 3 - 1]}…{text[-(most // 3) :]}"

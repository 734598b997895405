"""Texts that come from elsewhere, made safe to show, and commands to type."""

import shlex

# What a check, which does not know the target, leaves to the session.
TARGET = "--target {target}"


def to_run(notebook: str, **parameters: object) -> str:
    """Return the command that runs a notebook on the target of the run; the session fills in the target's name."""
    given = [f"-p {shlex.quote(f'{name}={value}')}" for name, value in parameters.items()]
    return " ".join([f"runbook run {notebook} {TARGET}", *given])


def printable(text: str) -> str:
    """Return a text on one line, without anything that a terminal would obey or that UTF-8 cannot hold."""
    return "".join(sign if sign.isprintable() else " " if sign in "\r\n\t" else "�" for sign in text)

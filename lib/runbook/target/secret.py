"""Secrets by reference: a profile says where one is, never what it is."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from runbook.model import CouldNotFindOut

_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:[/~].*|keyring:[^/]+/.+")


def is_reference(value: str) -> bool:
    """Tell whether a text says where a secret is: env:NAME, file:/PATH or keyring:SERVICE/NAME."""
    return _REFERENCE.fullmatch(value) is not None


def _require_reference(value: str) -> str:
    if not is_reference(value):
        raise PydanticCustomError(
            "literal_secret",
            "a secret stands here itself, or something that is no reference; "
            "write where it is instead: env:NAME, file:/PATH or keyring:SERVICE/NAME",
        )
    return value


def references(part: Any) -> Iterator[str]:
    """Yield the references to secrets in a profile, or a part of one, as plain data."""
    if isinstance(part, dict | list):
        for value in part.values() if isinstance(part, dict) else part:
            yield from references(value)
    elif isinstance(part, str) and is_reference(part):
        yield part


SecretReference = Annotated[str, AfterValidator(_require_reference)]


def resolve(reference: str) -> str:
    """Return the secret that a reference names; raises `CouldNotFindOut` saying what is missing where."""
    scheme, _, place = reference.partition(":")
    if scheme == "env":
        value = os.environ.get(place)
        if not value:
            raise CouldNotFindOut(f"the environment variable {place} is not set; the profile takes a secret from it")
        return value
    if scheme == "file":
        try:
            value = Path(place).expanduser().read_text(encoding="utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            raise CouldNotFindOut(f"the secret's file {place} cannot be read: {why}") from error
        if not value:
            raise CouldNotFindOut(f"the secret's file {place} is empty")
        return value
    return _from_keyring(*place.split("/", 1))


def _from_keyring(service: str, name: str) -> str:
    try:
        import keyring
    except ImportError as error:
        raise CouldNotFindOut("secrets by keyring: need the extra `keyring` (pip install 'lib[keyring]')") from error
    try:
        value: str | None = keyring.get_password(service, name)
    except keyring.errors.KeyringError as error:
        raise CouldNotFindOut(f"the keyring did not give {service}/{name}: {type(error).__name__}") from error
    if not value:
        raise CouldNotFindOut(f"the keyring holds nothing under {service}/{name}")
    return value

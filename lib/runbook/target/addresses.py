"""Addresses and paths as a profile may give them: whole, and without a secret in them."""

from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

_REFUSED_PASSWORD = PydanticCustomError(
    "literal_secret",
    'a password stands in this address; take it out and write `password = "env:NAME"` (or file:, keyring:) beside it',
)


_SECRETS_OF_LIBPQ = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")


def _require_url(*schemes: str) -> AfterValidator:
    def check(value: str) -> str:
        try:
            parts = urlsplit(value)
            in_query = any("password" in key for key in parse_qs(parts.query))  # redis-py takes it from there too
            has_password, has_place = (
                parts.password is not None or in_query,
                bool(parts.netloc or parts.scheme == "unix"),
            )
            _ = parts.port
        except ValueError as error:
            raise PydanticCustomError("bad_url", "this is no address: host or port cannot be read") from error
        if has_password:
            raise _REFUSED_PASSWORD
        if parts.query and "redis" in schemes:
            raise PydanticCustomError("bad_url", "an address of Redis takes no ?options here")
        if parts.scheme not in schemes or not has_place:
            raise PydanticCustomError("bad_url", f"an address begins with {' or '.join(s + '://' for s in schemes)}")
        return value

    return AfterValidator(check)


def _require_dsn(value: str) -> str:
    import psycopg

    try:
        parts = psycopg.conninfo.conninfo_to_dict(value)
    except psycopg.ProgrammingError as error:
        # libpq's own message repeats the text, and with it a password that may be in it.
        raise PydanticCustomError(
            "bad_dsn",
            'libpq cannot read this; write postgresql://USER@HOST:PORT/DATABASE or "host=… port=… user=… dbname=…"',
        ) from error
    ports = str(parts.get("port") or "5432").split(",")
    if not all(port.isdigit() and 0 < int(port) < 65536 for port in ports):
        raise PydanticCustomError("bad_dsn", "the port is no number from 1 to 65535")
    if any(parts.get(key) for key in _SECRETS_OF_LIBPQ):
        raise _REFUSED_PASSWORD
    if not parts.get("dbname"):
        raise PydanticCustomError("bad_dsn", "the database is not named; without it libpq takes the user's name for it")
    return value


def _require_absolute(value: Path) -> Path:
    if not value.is_absolute() or ".." in value.parts:
        raise PydanticCustomError("bad_folder", "this is to be an absolute path without ..")
    if not str(value).isprintable():
        raise PydanticCustomError("bad_folder", "this path holds what cannot be shown")
    return value


Folder = Annotated[Path, AfterValidator(_require_absolute)]
Dsn = Annotated[str, AfterValidator(_require_dsn)]
HttpUrl = Annotated[str, _require_url("http", "https")]
RedisUrl = Annotated[str, _require_url("redis", "rediss", "unix")]

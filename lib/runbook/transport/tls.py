"""How certificates are judged, and why a connection over HTTP did not come about, in words."""

import ssl
from pathlib import Path

from runbook.model import Unreachable


def tls(name: str, ca_file: Path | None) -> ssl.SSLContext:
    """Return what certificates are judged by: those of a CA file, else the machine's; raises `Unreachable` where that
    file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise Unreachable(name, "tls", f"the CA file {ca_file} cannot be used: {error}") from error


def not_accepted(error: ssl.SSLError) -> str:
    """Return why TLS did not come about, in words."""
    why = getattr(error, "verify_message", "") or error.reason or "TLS failed"
    return f"its certificate or TLS is not accepted: {why}"


def root(error: BaseException) -> BaseException:
    """Return the operating system's or TLS's error that lies behind a client's."""
    while True:
        inner = error.__cause__ or error.__context__
        if inner is None:
            return error
        error = inner

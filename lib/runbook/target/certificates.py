"""What a profile says of certificates: where they are served, where they lie, who renews them."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError


class _Strict(BaseModel):
    # hide_input: as for the rest of a profile, an error must not repeat what may be a secret.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def split_place(at: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT; a host of IPv6 stands in brackets."""
    host, _, port = at.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _require_place(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536) or not value.isprintable():
        raise PydanticCustomError("bad_place", "this is to be HOST:PORT, the port from 1 to 65535")
    if (":" in host) != (host.startswith("[") and host.endswith("]")) or set(host) & set("@/ "):
        raise PydanticCustomError("bad_place", "this is no host; one of IPv6 stands in brackets, [::1]:443")
    return value


def _require_absolute(value: Path) -> Path:
    if not value.is_absolute() or not str(value).isprintable():
        raise PydanticCustomError("bad_file", "this is to be an absolute path that can be shown")
    return value


AbsoluteFile = Annotated[Path, AfterValidator(_require_absolute)]


class Endpoint(_Strict):
    """A place where a certificate is served: ``at`` HOST:PORT, asked for ``server_name`` (SNI), the host without one.

    ``protocol`` "postgres" asks PostgreSQL for TLS first. ``ca_file`` are the CAs that its clients trust, the system's
    without one. ``file`` and ``key_file`` are what should be served, as they lie on this machine. ``clients`` says what
    of it the clients check: all, the CA but not the name, or nothing.
    """

    at: Annotated[str, AfterValidator(_require_place)]
    server_name: str | None = Field(None, min_length=1, max_length=253, pattern=r"^[^\s/@]+$")
    protocol: Literal["tls", "postgres"] = "tls"
    ca_file: AbsoluteFile | None = None
    file: AbsoluteFile | None = None
    key_file: AbsoluteFile | None = None
    clients: Literal["check all", "check the CA", "check nothing"] = "check all"

    @property
    def name(self) -> str:
        """Return the name that the certificate must be for."""
        return self.server_name or split_place(self.at)[0]

    @property
    def label(self) -> str:
        """Return how the endpoint is called in findings."""
        return f"{self.at} ({self.server_name})" if self.server_name else self.at


class Certbot(_Strict):
    """The certbot on this machine that renews: its folders, and the ACME ``server`` that it must renew from.

    ``ca_file`` are the CAs by which the server itself is trusted, where it is one of one's own.
    """

    config_dir: AbsoluteFile = Path("/etc/letsencrypt")
    work_dir: AbsoluteFile = Path("/var/lib/letsencrypt")
    logs_dir: AbsoluteFile = Path("/var/log/letsencrypt")
    program: str = Field("certbot", min_length=1)
    server: str | None = Field(None, pattern=r"^https?://[^\s/@?#]+(/[^\s?#]*)?$")
    ca_file: AbsoluteFile | None = None


class Reload(_Strict):
    """How the server takes a new certificate up: a command by its words, or a signal to the process of a pid file.

    ``program`` is the name that this process must have.
    """

    argv: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(None, min_length=1)
    pid_file: AbsoluteFile | None = None
    signal: Literal["HUP", "USR1", "USR2"] = "HUP"
    program: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.argv is None) == (self.pid_file is None):
            raise PydanticCustomError("one_way", "give argv or pid_file, one of them")
        return self


class Certificates(_Strict):
    """The certificates of a deployment: where they are served, further ``files``, certbot, and the reload."""

    endpoints: tuple[Endpoint, ...] = Field((), max_length=200)
    files: tuple[AbsoluteFile, ...] = Field((), max_length=200)
    certbot: Certbot | None = None
    reload: Reload | None = None

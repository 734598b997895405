"""What is served over TLS where the profile says: certificates, what a client thinks of them, versions of TLS."""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from runbook.connections.connection import Connection
from runbook.model import Unreachable
from runbook.target import Endpoint, Target, split_place

# PostgreSQL's SSLRequest: its length, and the number that stands for it.
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
VERSIONS = {
    "TLS 1.0": ssl.TLSVersion.TLSv1,
    "TLS 1.1": ssl.TLSVersion.TLSv1_1,
    "TLS 1.2": ssl.TLSVersion.TLSv1_2,
    "TLS 1.3": ssl.TLSVersion.TLSv1_3,
}
_SPEAKS_NO_TLS = {
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "UNEXPECTED_MESSAGE",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
}
# What OpenSSL says before anything was sent: it is this machine that cannot.
_OURS = {"NO_PROTOCOLS_AVAILABLE", "NO_CIPHERS_AVAILABLE", "UNSUPPORTED_PROTOCOL_VERSION", "INTERNAL_ERROR"}
# What the other side says, or OpenSSL of its answer, where they have no version in common.
_REFUSED = {
    "UNSUPPORTED_PROTOCOL",
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "VERSION_TOO_LOW",
}


class _NoTls(Exception):
    """What listens there answers, and not with TLS."""


@dataclass
class Served:
    """What was seen at an endpoint.

    ``chain`` are the certificates that it sends, its own first, as DER. ``problem`` says why they could not be seen;
    ``speaks_tls`` is False where something else answered. ``verify_code`` is what OpenSSL thinks of the chain at the
    level that its clients have (0: trusted; the name is not looked at), None where that could not be found out, with
    ``verify_message``. ``versions`` tells which versions of TLS are taken; None is not known.
    """

    endpoint: Endpoint
    chain: tuple[bytes, ...] = ()
    problem: str = ""
    speaks_tls: bool = True
    verify_code: int | None = None
    verify_message: str = ""
    versions: Mapping[str, bool | None] = field(default_factory=lambda: dict.fromkeys(VERSIONS))


class TlsEndpoints(Connection):
    """What each endpoint of the profile serves, all looked at when it is opened, at once and within the deadline."""

    name = "certificates"

    def __init__(self, served: list[Served]) -> None:
        self.served = served
        seen = sum(bool(one.chain) for one in served)
        self.identity = {"what": f"{seen} of {len(served)} endpoints showed a certificate"}

    @classmethod
    def open(cls, target: Target, label: str) -> Self:
        """Shake hands with every endpoint; one that does not answer costs the deadline once, beside the others."""
        if lacking := cls.lacking(target):
            raise Unreachable(cls.name, "not-configured", lacking)
        return cls(look(endpoints(target), target.deadlines.connect))

    @classmethod
    def lacking(cls, target: Target) -> str:
        """Return what the profile lacks: certificates of any kind."""
        if target.certificates is None and not endpoints(target):
            return (
                f"the profile of {target.name} has no [certificates], and neither its [api] nor its [postgres] asks "
                "for TLS"
            )
        return ""

    def close(self) -> None:
        """Hold nothing, so give nothing back."""


def endpoints(target: Target) -> list[Endpoint]:
    """Return the endpoints of a profile: those that it names, and those that [api] and [postgres] use with TLS."""
    found = list(target.certificates.endpoints) if target.certificates else []
    known = {endpoint.at for endpoint in found}
    return found + [one for one in (*_of_api(target), *_of_postgres(target)) if one.at not in known]


def _of_api(target: Target) -> list[Endpoint]:
    parts = urlsplit(target.api.url) if target.api else None
    if target.api is None or parts is None or parts.scheme != "https" or not parts.hostname:
        return []
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    ca_file = target.api.ca_file.absolute() if target.api.ca_file else None
    return [Endpoint.model_validate({"at": f"{host}:{parts.port or 443}", "ca_file": ca_file})]


def _of_postgres(target: Target) -> list[Endpoint]:
    if target.postgres is None:
        return []
    import psycopg

    found: dict[str, Endpoint] = {}
    for dsn in filter(None, (target.postgres.application_dsn, target.postgres.dsn)):
        parts: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(dsn)
        clients = {"require": "check nothing", "verify-ca": "check the CA", "verify-full": "check all"}.get(
            str(parts.get("sslmode"))
        )
        hosts = str(parts.get("host") or "").split(",")
        ports = str(parts.get("port") or 5432).split(",")
        for number, host in enumerate(hosts):
            if clients is None or not host or host.startswith(("/", "@")):
                continue
            at = f"[{host}]" if ":" in host else host
            more = {"ca_file": parts["sslrootcert"]} if str(parts.get("sslrootcert", "")).startswith("/") else {}
            place = f"{at}:{ports[number] if number < len(ports) else ports[0]}"
            facts = {"at": place, "protocol": "postgres", "clients": clients, **more}
            found.setdefault(place, Endpoint.model_validate(facts))
    return list(found.values())


def look(wanted: list[Endpoint], seconds: float) -> list[Served]:
    """Return what each endpoint serves, all looked at at once, within so many seconds."""
    looks = [_Look(endpoint, seconds) for endpoint in wanted]
    threads = [threading.Thread(target=one.run, daemon=True) for one in looks]
    for thread in threads:
        thread.start()
    for one, thread in zip(looks, threads, strict=True):
        thread.join(max(0.0, one.end - time.monotonic()))
    return [one.result() for one in looks]


class _Look:
    """One look at an endpoint; it goes on in its thread when nobody waits any more, until its sockets are closed."""

    def __init__(self, endpoint: Endpoint, seconds: float) -> None:
        self._endpoint, self._seconds = endpoint, seconds
        self.end = time.monotonic() + seconds
        self._served = Served(endpoint)
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._given_up = self._seen = False
        self._step = "connecting"

    def result(self) -> Served:
        """Return what was seen until now, and end what still goes on."""
        with self._lock:
            self._given_up = True
            held, self._open = self._open, []
            for wire in held:
                with suppress(OSError):
                    wire.shutdown(socket.SHUT_RDWR)
            if not self._seen and not self._served.problem:
                self._served.problem = self._late()
            return self._served

    def run(self) -> None:
        """Look: first the certificates, then what a client thinks of them and which versions are taken."""
        try:
            chain = self._chain()
        except Exception as error:  # noqa: BLE001 - whatever one endpoint does, it is told of that one
            self._failed(error)
            return
        with self._lock:
            self._served.chain, self._seen = chain, True
        # One after another: each is a few milliseconds, and a server that counts connections is not to be rushed.
        self._verify()
        for name, version in VERSIONS.items():
            self._try(name, version)

    def _chain(self) -> tuple[bytes, ...]:
        context = _lenient()
        with self._handshake(context) as wire:
            own = wire.getpeercert(binary_form=True)
            told = _chain_of(wire)
        return told or ((own,) if own else ())

    def _verify(self) -> None:
        try:
            context = ssl.create_default_context(cafile=str(self._endpoint.ca_file) if self._endpoint.ca_file else None)
        except (OSError, ssl.SSLError) as error:
            why = getattr(error, "strerror", None) or "it holds no certificate"
            self._served.verify_message = f"the CA file {self._endpoint.ca_file} cannot be used: {why}"
            return
        context.check_hostname = False  # names are compared by themselves
        context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
        try:
            self._handshake(context).close()
            self._served.verify_code = 0
        except ssl.SSLCertVerificationError as error:
            self._served.verify_code, self._served.verify_message = error.verify_code, error.verify_message
        except (OSError, ValueError, _NoTls) as error:
            self._served.verify_message = f"a client with the usual settings does not come through: {_words(error)}"

    def _try(self, name: str, version: ssl.TLSVersion) -> None:
        taken = self._takes(version)
        if taken is None:
            # A refusal may be lost where the other side closes at once: asked once more, it mostly arrives.
            taken = self._takes(version)
        with self._lock:
            self._served.versions = {**self._served.versions, name: taken}

    def _takes(self, version: ssl.TLSVersion) -> bool | None:
        """Return whether the other side takes a version; None where nothing that can be read was told."""
        context = _lenient()
        try:
            context.minimum_version = context.maximum_version = version
            self._handshake(context).close()
        except (ConnectionResetError, ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return False  # hung up in the handshake; by which of the three it is told depends on Python's version
        except ssl.SSLError as error:
            refused = error.reason in _REFUSED or "ALERT" in (error.reason or "")
            return False if refused and error.reason not in _OURS else None
        except (OSError, ValueError, _NoTls):
            return None
        return True

    def _handshake(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        host, port = split_place(self._endpoint.at)
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        wire = socket.create_connection((host, port), timeout=left)
        try:
            self._hold(wire)
            if self._endpoint.protocol == "postgres":
                self._step = "asking for TLS"
                _ask_for_tls(wire)
            self._step = "the TLS handshake"
            wire.settimeout(max(0.01, self.end - time.monotonic()))
            secured = context.wrap_socket(wire, server_hostname=self._endpoint.name, do_handshake_on_connect=False)
            wire = secured
            self._hold(secured)
            secured.do_handshake()
        except BaseException:
            wire.close()
            raise
        finally:
            with self._lock:
                self._open.clear()
        return secured

    def _hold(self, wire: socket.socket) -> None:
        """Remember a socket, so that whoever gives up can wake the thread that waits in it."""
        with self._lock:
            if self._given_up:
                raise TimeoutError
            self._open.append(wire)

    def _failed(self, error: Exception) -> None:
        with self._lock:
            if self._given_up:
                return
            self._served.speaks_tls = not isinstance(error, _NoTls) and not (
                isinstance(error, ssl.SSLError) and error.reason in _SPEAKS_NO_TLS
            )
            if isinstance(error, TimeoutError):
                self._served.problem = self._late()
            elif not self._served.speaks_tls:
                self._served.problem = str(error) if isinstance(error, _NoTls) else "what answers there is not TLS"
            else:
                self._served.problem = _words(error)

    def _late(self) -> str:
        if self._step == "connecting":
            return f"no connection within {self._seconds:g} s"
        return f"took the connection and hung in {self._step}: no end of it within {self._seconds:g} s"


def _lenient() -> ssl.SSLContext:
    """Return a context that takes what a client should refuse, since it is to be seen: nothing is sent over it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def _chain_of(wire: ssl.SSLSocket) -> tuple[bytes, ...]:
    """Return all certificates that the server sent, as DER; only Python 3.13 says it without its inner object."""
    public = getattr(wire, "get_unverified_chain", None)
    if public is not None:
        return tuple(public())
    inner: Any = getattr(wire, "_sslobj", None)
    told = inner.get_unverified_chain() if hasattr(inner, "get_unverified_chain") else None
    return tuple(ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in told or ())


def _ask_for_tls(wire: socket.socket) -> None:
    wire.sendall(_SSL_REQUEST)
    answer = wire.recv(1)
    if answer == b"N":
        raise _NoTls("PostgreSQL answers that it takes no TLS (ssl = off)")
    if answer != b"S":
        raise _NoTls("what answers there is not PostgreSQL")


def _words(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "it refuses connections: nothing listens there"
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(error, ConnectionResetError):
        return "it broke the connection off"
    if isinstance(error, ssl.SSLError):
        return f"the TLS handshake failed: {(error.reason or 'no reason told').replace('_', ' ').lower()}"
    if isinstance(error, UnicodeError | ValueError):
        return "its name is no host name"
    return getattr(error, "strerror", None) or f"it broke off ({type(error).__name__})"

"""The service's HTTP interface: every request bounded in time, size and redirects."""

import socket
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self

import httpx
import msgspec

from runbook.connections.clock import ClockReading, now
from runbook.connections.connection import Connection
from runbook.model import CouldNotFindOut, Unreachable
from runbook.target import Target, resolve

# More than any answer of the service that the runbook reads; what is larger is cut and said so.
BODY_LIMIT = 1 << 20
MAX_REDIRECTS = 5
# As long as the most patient question waits: slow is not silent.
READ_SECONDS = 10.0


@dataclass(frozen=True)
class Response:
    """One answer: ``body`` holds at most `BODY_LIMIT` bytes, ``cut`` says that there was more."""

    path: str
    status: int
    seconds: float
    content_type: str
    body: bytes
    cut: bool

    def json(self) -> Any:
        """Return the body as JSON; raises `CouldNotFindOut` saying what came instead."""
        if self.cut:
            raise CouldNotFindOut(f"{self.path} answered more than {BODY_LIMIT >> 20} MB; reading stopped there")
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            what = "HTML" if b"<html" in self.body[:2000].lower() or "html" in self.content_type else "no valid JSON"
            raise CouldNotFindOut(f"{self.path} answered {self.status} with {what} where JSON was expected") from error

    def mapping(self) -> dict[str, Any]:
        """Return the body as a JSON object; raises `CouldNotFindOut` for anything else."""
        body = self.json()
        if not isinstance(body, dict):
            raise CouldNotFindOut(f"{self.path} answered JSON, but no object: {type(body).__name__}")
        return body


class ApiConnection(Connection):
    """The service over HTTP. ``get`` never raises for a status: a 500 is an answer."""

    name = "api"

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._silent: Unreachable | None = None
        self.identity = {}

    @classmethod
    def open(cls, target: Target, label: str) -> Self:
        """Connect and ask /health once, for version and clock; any HTTP answer counts as reachable."""
        if target.api is None:
            raise Unreachable("api", "not-configured", f"the profile of {target.name} has no [api]")
        # Not compressed: what is small on the way could be huge once it is unpacked.
        headers = {"user-agent": label, "accept-encoding": "identity"}
        if target.api.token is not None:
            token = resolve(target.api.token)
            if not (token.isascii() and token.isprintable()):
                raise Unreachable(
                    "api", "not-configured", "the token of the profile holds signs that no header may carry"
                )
            headers["authorization"] = f"Bearer {token}"
        # A dripping server could keep each read under its own limit: the run's deadline bounds the whole.
        client = httpx.Client(
            base_url=target.api.url,
            headers=headers,
            timeout=httpx.Timeout(READ_SECONDS, connect=target.deadlines.connect),
            follow_redirects=True,
            max_redirects=MAX_REDIRECTS,
            verify=_tls(target),
            trust_env=False,
        )
        api = cls(client)
        try:
            health = api.get("/health", seconds=target.deadlines.connect)
        except BaseException:
            client.close()
            raise
        api.identity = {"what": "service", "where": target.api.url, "version": _version(health)}
        return api

    def get(self, path: str, seconds: float = READ_SECONDS) -> Response:
        """Return the answer to GET, at most `BODY_LIMIT` of its body; raises `Unreachable` where none came in time."""
        if self._silent is not None:
            raise self._silent
        before, began = now(), time.monotonic()
        try:
            with self._client.stream("GET", path, timeout=seconds) as response:
                told_at = now()
                body = bytearray()
                for chunk in response.iter_raw():
                    body += chunk
                    if len(body) > BODY_LIMIT:
                        break
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            told = self._explain(error, path, seconds)
            # A service that kept one request waiting for the whole deadline is not given a second one.
            self._silent = told if told.kind == "timeout" else None
            raise told from error
        self._note_clock(response.headers.get("date", ""), before, told_at)
        return Response(
            path=path,
            status=response.status_code,
            seconds=time.monotonic() - began,
            content_type=response.headers.get("content-type", ""),
            body=bytes(body[:BODY_LIMIT]),
            cut=len(body) > BODY_LIMIT,
        )

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def _note_clock(self, date: str, before: datetime, after: datetime) -> None:
        try:
            remote = parsedate_to_datetime(date).astimezone(UTC)
        except (ValueError, OverflowError):
            return
        if remote.year < 2000:  # the year 1 stands for "no date"
            return
        # The header tells whole seconds, rounded down, and servers renew it once a second.
        self.clock = ClockReading.between(remote, before, after, resolution=2.0)

    def _explain(self, error: Exception, path: str, seconds: float) -> Unreachable:
        place = f"{self._client.base_url.copy_with(path='/')}".rstrip("/")
        cause = _root(error)
        asked = _asked(error)
        if asked and not asked.startswith(place):
            return Unreachable(
                "api", "redirects", f"{place}{path} broke off: it leads to {asked}, which does not answer"
            )
        if isinstance(error, httpx.TooManyRedirects):
            return Unreachable("api", "redirects", f"{place}{path} redirects more than {MAX_REDIRECTS} times in a row")
        if isinstance(error, httpx.TimeoutException):
            what = (
                "could not be connected to" if isinstance(error, httpx.ConnectTimeout) else "accepted and kept silent"
            )
            return Unreachable("api", "timeout", f"{place} {what}: no answer within {seconds:g} s")
        if isinstance(cause, ssl.SSLError):
            why = getattr(cause, "verify_message", "") or cause.reason or "TLS failed"
            return Unreachable("api", "tls", f"{place}: its certificate or TLS is not accepted: {why}")
        if isinstance(cause, socket.gaierror):
            return Unreachable("api", "name", f"the name of {place} cannot be resolved")
        if isinstance(cause, ConnectionRefusedError):
            return Unreachable("api", "refused", f"{place} refuses connections: nothing listens there")
        # The client's words may repeat a header, and with it the token.
        return Unreachable("api", "protocol", f"{place}{path} broke off: {type(error).__name__}")


def _tls(target: Target) -> ssl.SSLContext:
    assert target.api is not None
    try:
        return ssl.create_default_context(cafile=str(target.api.ca_file) if target.api.ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise Unreachable("api", "tls", f"the CA file {target.api.ca_file} cannot be used: {error}") from error


def _asked(error: Exception) -> str:
    """Return the address that was being asked when an error came: another one than ours after a redirect."""
    try:
        return str(error.request.url) if isinstance(error, httpx.RequestError) else ""
    except RuntimeError:
        return ""


def _root(error: BaseException) -> BaseException:
    """Return the operating system's or TLS's error that lies behind a client's."""
    while True:
        inner = error.__cause__ or error.__context__
        if inner is None:
            return error
        error = inner


def _version(health: Response) -> str:
    try:
        return str(health.mapping().get("version", "not told"))
    except CouldNotFindOut:
        return "not told"

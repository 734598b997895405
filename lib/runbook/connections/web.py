"""What connections over HTTP share: answers bounded in time and size, errors in words, the other side's clock."""

import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

import httpx
import msgspec

from runbook.connections.clock import ClockReading, now
from runbook.connections.connection import Connection
from runbook.model import CouldNotFindOut, Unreachable
from runbook.target import resolve
from runbook.transport.tls import not_accepted, root, tls

# More than any answer of the service that the runbook reads; what is larger is cut and said so.
BODY_LIMIT = 1 << 20
MAX_REDIRECTS = 5
# As long as the most patient question waits: slow is not silent.
READ_SECONDS = 10.0


@dataclass(frozen=True)
class Response:
    """One answer: ``body`` holds at most ``limit`` bytes, ``cut`` says that there was more, ``leads_to`` where a
    redirect that was not followed points. ``headers`` are by their names in small letters.
    """

    path: str
    status: int
    seconds: float
    content_type: str
    body: bytes
    cut: bool
    limit: int = BODY_LIMIT
    leads_to: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def allows(self) -> tuple[str, ...]:
        """Return the methods that the answer says to be allowed there."""
        return tuple(filter(None, re.split(r"[,\s]+", self.headers.get("allow", "")[:200].upper())))

    @property
    def is_html(self) -> bool:
        """Tell whether it is a page for people."""
        return b"<html" in self.body[:2000].lower() or "html" in self.content_type

    def json(self) -> Any:
        """Return the body as JSON; raises `CouldNotFindOut` saying what came instead."""
        self.require_whole()
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            what = "HTML" if self.is_html else "no valid JSON"
            raise CouldNotFindOut(f"{self.path} answered {self.status} with {what} where JSON was expected") from error

    def mapping(self) -> dict[str, Any]:
        """Return the body as a JSON object; raises `CouldNotFindOut` for anything else."""
        body = self.json()
        if not isinstance(body, dict):
            raise CouldNotFindOut(f"{self.path} answered JSON, but no object: {type(body).__name__}")
        return body

    def require_whole(self) -> None:
        """Raise `CouldNotFindOut` where the body was cut."""
        if self.cut:
            raise CouldNotFindOut(f"{self.path} answered more than {self.limit >> 20} MB; reading stopped there")


class WebConnection(Connection):
    """One HTTP client of a run. ``get`` never raises for a status: a 500 is an answer.

    One that gave no answer for ``patience`` seconds or longer counts as silent, and is not asked again.
    """

    body_limit: ClassVar[int] = BODY_LIMIT

    def __init__(self, client: httpx.Client, patience: float = READ_SECONDS) -> None:
        self._client = client
        self.patience = patience
        self._silent: Unreachable | None = None
        self.identity = {}

    @property
    def place(self) -> str:
        """Return where the other side is: scheme, host and port."""
        return f"{self._client.base_url.copy_with(path='/')}".rstrip("/")

    def get(
        self,
        path: str,
        seconds: float = READ_SECONDS,
        parameters: Mapping[str, str | list[str]] | None = None,
        within: float | None = None,
        *,
        anonymous: bool = False,
        headers: Mapping[str, str] | None = None,
        method: Literal["GET", "OPTIONS"] = "GET",
    ) -> Response:
        """Return the answer to GET, at most ``body_limit`` of its body; raises `Unreachable` where none came in time.

        ``seconds`` bounds each wait for the other side, ``within`` (the same where none is given) the whole answer,
        which could come drop by drop; ``parameters`` go into the address, encoded; ``anonymous`` leaves out the token,
        or the user and password. To be connected takes no longer than the client allows, nor than ``seconds``.
        ``method`` may be the other one that changes nothing either.
        """

        def asked(timeout: httpx.Timeout) -> httpx.Request:
            request = self._client.build_request(method, path, params=parameters, headers=headers, timeout=timeout)
            if anonymous:
                for name in ("authorization", "cookie"):  # a cookie may stand for who asked before
                    request.headers.pop(name, None)
            return request

        return self._exchange(asked, path, seconds, within, anonymous=anonymous)

    def send(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: Mapping[str, Any] | None = None,
        seconds: float = READ_SECONDS,
    ) -> Response:
        """Return the answer to a request of the holder of ``token`` (None: of nobody), with ``body`` as JSON.

        It is sent once and follows no redirect, so that what is in it reaches nobody else. Raises `Unreachable` where
        no answer came; whether the request arrived is told by its kind (refused, name, tls: it did not).
        """

        def asked(timeout: httpx.Timeout) -> httpx.Request:
            request = self._client.build_request(method, path, json=body, timeout=timeout)
            for name in ("authorization", "cookie"):  # those of the profile
                request.headers.pop(name, None)
            if token is not None:
                request.headers["authorization"] = f"Bearer {token}"
            return request

        return self._exchange(asked, path, seconds, None, anonymous=True, follow=False)

    def _exchange(
        self,
        asked: Callable[[httpx.Timeout], httpx.Request],
        path: str,
        seconds: float,
        within: float | None,
        *,
        anonymous: bool,
        follow: bool = True,
    ) -> Response:
        if self._silent is not None:
            raise self._silent
        before, began = now(), time.monotonic()
        limit = self.body_limit
        connect = min(seconds, self._client.timeout.connect or seconds)
        whole = seconds if within is None else within
        auth = None if anonymous else httpx.USE_CLIENT_DEFAULT
        try:
            request = asked(httpx.Timeout(seconds, connect=connect))
            follow = follow and self._client.follow_redirects
            response = self._client.send(request, stream=True, auth=auth, follow_redirects=follow)
            with closing(response):
                told_at = now()
                body = bytearray()
                for chunk in response.iter_raw():
                    body += chunk
                    if len(body) > limit:
                        break
                    if time.monotonic() - began > whole:
                        raise httpx.ReadTimeout("the answer goes on and on", request=response.request)
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            told = self._explain(error, path, connect if isinstance(error, httpx.ConnectTimeout) else seconds)
            # One that kept a request waiting for all of its time is not given a second one; whoever had less time may
            # have met one that is busy. It stays silent, whatever a request beside that one came to.
            if told.kind == "timeout" and seconds >= self.patience:
                self._silent = told
            raise told from error
        self._note_clock(response.headers.get("date", ""), before, told_at)
        return Response(
            path=path,
            status=response.status_code,
            seconds=time.monotonic() - began,
            content_type=response.headers.get("content-type", ""),
            body=bytes(body[:limit]),
            cut=len(body) > limit,
            limit=limit,
            leads_to=response.headers.get("location", "") if response.is_redirect else "",
            headers={name.lower(): value for name, value in response.headers.items()},
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
        place = self.place
        cause = root(error)
        asked = _asked(error)
        if asked and not asked.startswith(place):
            return Unreachable(
                self.name, "redirects", f"{place}{path} broke off: it leads to {asked}, which does not answer"
            )
        if isinstance(error, httpx.TooManyRedirects):
            return Unreachable(
                self.name, "redirects", f"{place}{path} redirects more than {MAX_REDIRECTS} times in a row"
            )
        if isinstance(error, httpx.TimeoutException):
            what = (
                "could not be connected to" if isinstance(error, httpx.ConnectTimeout) else "accepted and kept silent"
            )
            return Unreachable(self.name, "timeout", f"{place} {what}: no answer within {seconds:g} s")
        if isinstance(cause, ssl.SSLError):
            return Unreachable(self.name, "tls", f"{place}: {not_accepted(cause)}")
        if isinstance(cause, socket.gaierror):
            return Unreachable(self.name, "name", f"the name of {place} cannot be resolved")
        if isinstance(cause, ConnectionRefusedError):
            return Unreachable(self.name, "refused", f"{place} refuses connections: nothing listens there")
        # The client's words may repeat a header, and with it the token.
        return Unreachable(self.name, "protocol", f"{place}{path} broke off: {type(error).__name__}")


def web_client(
    name: str,
    url: str,
    label: str,
    connect: float,
    *,
    ca_file: Path | None = None,
    token: str | None = None,
    user: tuple[str, str] | None = None,
    follow: bool = False,
) -> httpx.Client:
    """Return a client for one dependency, ``name``; ``token`` and the password of ``user`` are references.

    Redirects are followed only where ``follow`` says so. Raises `Unreachable` for a CA file or a secret that cannot be
    used, `CouldNotFindOut` for a secret that is not there.
    """
    # Not compressed: what is small on the way could be huge once it is unpacked.
    headers = {"user-agent": label, "accept-encoding": "identity"}
    if token is not None:
        headers["authorization"] = f"Bearer {_for_a_header(name, 'token', resolve(token))}"
    # A dripping server could keep each read under its own limit: the run's deadline bounds the whole.
    return httpx.Client(
        base_url=url,
        headers=headers,
        auth=httpx.BasicAuth(user[0], resolve(user[1])) if user is not None else None,
        timeout=httpx.Timeout(READ_SECONDS, connect=connect),
        follow_redirects=follow,
        max_redirects=MAX_REDIRECTS,
        verify=tls(name, ca_file),
        trust_env=False,
    )


def _for_a_header(name: str, what: str, secret: str) -> str:
    if not (secret.isascii() and secret.isprintable()):
        raise Unreachable(name, "not-configured", f"the {what} of the profile holds signs that no header may carry")
    return secret


def _asked(error: Exception) -> str:
    """Return the address that was being asked when an error came: another one than ours after a redirect."""
    try:
        return str(error.request.url) if isinstance(error, httpx.RequestError) else ""
    except RuntimeError:
        return ""

"""Post a message to a webhook: bounded, never led elsewhere, and exact about whether it arrived."""

import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from runbook.model import ChangeFailed, CouldNotFindOut
from runbook.model.deadline import DeadlinePassed, Pending
from runbook.target import Webhook, resolve
from runbook.transport.tls import not_accepted, root, tls

RETRY_SECONDS = 1.0
_BODY_READ = 1000
# Slack's own words for what it refuses, such as channel_is_archived; anything else of a body is not repeated.
_WORD = re.compile(rb"[a-z]+(_[a-z]+){1,6}")


@dataclass(frozen=True)
class Place:
    """Where a webhook is. ``url`` is a secret; ``host``, with its port, is what may be shown."""

    url: str
    host: str
    encrypted: bool


def place(webhook: Webhook) -> Place:
    """Return where a profile's webhook is; raises `CouldNotFindOut` where that is not there, or no address."""
    url = resolve(webhook.url)
    wrong = CouldNotFindOut(f"what {webhook.url} holds is no address of HTTP")
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise wrong
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise wrong
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Place(url, f"{name}:{port}" if port else name, parts.scheme == "https")


def slack(text: str) -> dict[str, Any]:
    """Return a Slack message of plain text: with these three escaped nothing in it is a mention or a hidden link."""
    return {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}


def deliver(webhook: Webhook, body: bytes, label: str, host: str | None = None) -> str:
    """Post the body, to ``host`` alone where one is given, and return how it was taken.

    Raises `ChangeFailed` where it surely was not taken, `CouldNotFindOut` where the answer did not come: then it may
    have arrived. An error of the server (500 to 599) is tried once more.
    """
    try:
        at, context = place(webhook), tls("webhook", webhook.ca_file)
    except CouldNotFindOut as error:
        raise ChangeFailed(f"not delivered: {error}") from error
    if host is not None and at.host != host:
        raise ChangeFailed(f"not delivered: the profile's webhook is at {at.host} now, no longer at {host}")
    sending = _Sending(at, context, body, label, webhook.timeout)
    first = sending.attempt()
    if first.status < 500:
        return _judged(first, at, "")
    time.sleep(RETRY_SECONDS)
    again = sending.attempt()
    if again.status >= 500:
        raise ChangeFailed(
            f"not delivered: {at.host} answered {first.status}, and {again.status} when it was tried once more"
        )
    return _judged(again, at, f" when it was tried once more, after {first.status}: it may have arrived twice")


@dataclass(frozen=True)
class _Answer:
    status: int
    word: str
    leads_to: str


def _judged(answer: _Answer, at: Place, tried: str) -> str:
    word = f" ({answer.word})" if answer.word else ""
    if answer.status < 300:
        return f"{at.host} answered {answer.status}{tried}"
    if answer.status < 400:
        where = f" to {answer.leads_to}" if answer.leads_to else ""
        raise ChangeFailed(f"not delivered: {at.host} redirects{where} ({answer.status}), which is not followed{tried}")
    raise ChangeFailed(f"not delivered: {at.host} answered {answer.status}{word}{tried}")


class _Gate:
    """Knows whether anything of a request went out; once closed, nothing goes out any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = self._closed = False

    def trace(self, event: str, _: Mapping[str, Any]) -> None:
        """Take what the client tells; raises where it would begin to send after the gate was closed."""
        if event.endswith("send_request_headers.started"):
            with self._lock:
                if self._closed:
                    raise httpx.RequestError("given up before it was sent")
                self._begun = True

    def close(self) -> bool:
        """Close it and tell whether anything went out."""
        with self._lock:
            self._closed = True
            return self._begun


@dataclass(frozen=True)
class _Sending:
    at: Place
    context: ssl.SSLContext
    body: bytes
    label: str
    seconds: float

    def attempt(self) -> _Answer:
        """Post once, the whole within so many seconds."""
        gate = _Gate()
        try:
            return Pending(lambda: self._post(gate.trace)).result(self.seconds)
        except DeadlinePassed:
            why = f"no answer within {self.seconds:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
            # The client's words may repeat the address.
            why = _reason(error, self.seconds)
        if not gate.close():
            raise ChangeFailed(f"not delivered: {self.at.host}: {why}")
        raise CouldNotFindOut(
            f"{self.at.host} took the connection, then: {why}. It may have arrived: look there before it is sent again."
        )

    def _post(self, trace: Callable[[str, Mapping[str, Any]], None]) -> _Answer:
        headers = {"content-type": "application/json", "user-agent": self.label, "accept-encoding": "identity"}
        with (
            httpx.Client(timeout=self.seconds, follow_redirects=False, verify=self.context, trust_env=False) as client,
            client.stream(
                "POST", self.at.url, content=self.body, headers=headers, extensions={"trace": trace}
            ) as answer,
        ):
            told = b""
            if answer.status_code >= 400:
                for chunk in answer.iter_raw():
                    told += chunk
                    if len(told) >= _BODY_READ:
                        break
            word = told.strip()
            named = word.decode() if len(word) < 60 and _WORD.fullmatch(word) else ""
            return _Answer(answer.status_code, named, _host(answer.headers.get("location", "")))


def _host(location: str) -> str:
    try:
        host = urlsplit(location).hostname or ""
    except ValueError:
        return ""
    return host if host.isascii() and host.isprintable() else ""


def _reason(error: BaseException, seconds: float) -> str:
    cause = root(error)
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {seconds:g} s"
    if isinstance(cause, ssl.SSLError):
        return not_accepted(cause)
    if isinstance(cause, ConnectionRefusedError):
        return "it refuses connections: nothing listens there"
    if isinstance(cause, OSError) and type(cause).__name__ == "gaierror":
        return "its name cannot be resolved"
    return f"it broke off ({type(error).__name__})"

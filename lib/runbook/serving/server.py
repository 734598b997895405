"""The server: uvicorn, with bounds for those who connect and then send slowly, or nothing."""

import asyncio
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from runbook.model import RunFailed, UsageError
from runbook.serving.app import ANSWER_SECONDS, HEADERS

# At a time; more are hung up on.
MOST_CONNECTIONS = 256
# A handshake, and a request with its whole body; then nothing, until the next one.
HANDSHAKE_SECONDS, RECEIVE_SECONDS, IDLE_SECONDS = 5.0, 10.0, 5
HEADER_BYTES = 16_384
END_SECONDS = 5
START_SECONDS = 20.0


class Protocol(H11Protocol):
    """HTTP for one client, which has sent its request whole within a time, or is left."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin with a client, unless there are too many."""
        if len(self.connections) >= MOST_CONNECTIONS:
            self.transport = transport
            transport.abort()
            return
        super().connection_made(transport)
        self._expect(RECEIVE_SECONDS)

    def data_received(self, data: bytes) -> None:
        """Take what a client sends."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._expect(IDLE_SECONDS + RECEIVE_SECONDS)
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """End with a client."""
        self._expect(None)
        super().connection_lost(exc)

    def _look(self) -> None:
        """See whether the request has come whole: then the answer has its time, also where it is read slowly."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            self._expect(ANSWER_SECONDS + IDLE_SECONDS)

    def _expect(self, seconds: float | None) -> None:
        if self._late is not None:
            self._late.cancel()
        self._late = self.loop.call_later(seconds, self.transport.abort) if seconds is not None else None


class _Server(uvicorn.Server):
    """Listens on a socket that is there already, and leaves signals to whoever started it."""

    def __init__(self, config: uvicorn.Config, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        super().__init__(config)
        self._listening, self._tls = listening, tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        def protocol() -> asyncio.Protocol:
            return Protocol(config=self.config, server_state=self.server_state, app_state={})

        bounds: dict[str, Any] = {}
        if self._tls is not None:
            bounds = {"ssl_handshake_timeout": HANDSHAKE_SECONDS, "ssl_shutdown_timeout": 2.0}
        loop = asyncio.get_running_loop()
        server = await loop.create_server(protocol, sock=self._listening, ssl=self._tls, backlog=128, **bounds)
        self.servers = [server]
        self.started = True


class Listening:
    """An application that is served by a thread of its own."""

    def __init__(
        self, app: ASGIApp, listening: socket.socket, tls: ssl.SSLContext | None, tell: Callable[[str], None]
    ) -> None:
        _tell_of_uvicorn(tell)
        headers = {**HEADERS, **({"strict-transport-security": "max-age=31536000"} if tls is not None else {})}
        config = uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            headers=list(headers.items()),
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=END_SECONDS,
            h11_max_incomplete_event_size=HEADER_BYTES,
        )
        self._server = _Server(config, listening, tls)
        self._thread = threading.Thread(target=self._server.run, name="serve-http", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Tell whether it still serves."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to serve; raises `RunFailed` where that does not come about."""
        self._thread.start()
        until = time.monotonic() + START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > until:
                raise RunFailed("the server did not start")
            time.sleep(0.02)

    def stop(self) -> None:
        """Take no more requests, and give those that are being answered a few seconds."""
        self._server.should_exit = True
        self._thread.join(END_SECONDS + 5)


def listen(address: str, port: int) -> socket.socket:
    """Return a socket that listens there; raises `RunFailed` where that cannot be, as where the port is taken."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise RunFailed(f"{address} is no address to listen at: {error.strerror}") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(place)
        made.listen(128)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise RunFailed(f"{address}:{port} cannot be listened at: {error.strerror}") from error
    return made


def _no_words() -> str:
    """Answer for a key that wants words: it is refused then, where OpenSSL would ask for them on the terminal."""
    return ""


def tls_of(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return how this proves who it is; raises `UsageError` where the files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An encrypted key would be asked for at the terminal.
        context.load_cert_chain(certificate, key, _no_words)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or getattr(error, "reason", None) or "they do not fit"
        raise UsageError(f"certificate {certificate} and key {key} cannot be used: {why}") from error
    return context


def _tell_of_uvicorn(tell: Callable[[str], None]) -> None:
    """Have what uvicorn says of its own mistakes told in a line, without what came in."""

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kind = record.exc_info[0] if record.exc_info else None
            tell(f"http: {record.getMessage().splitlines()[0][:200]}" + (f" ({kind.__name__})" if kind else ""))

    logger = logging.getLogger("uvicorn.error")
    logger.handlers, logger.propagate = [Told()], False
    logger.setLevel(logging.ERROR)

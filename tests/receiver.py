"""A webhook on loopback, which answers as a test wants it to."""

import http.server
import json
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

SECRET_PATH = "/services/T0PLANTED1/B0PLANTED2/plantedWebhookToken4567"


@dataclass
class Hook:
    """A webhook on loopback; ``answers`` are what it does with each request, the last one from then on."""

    answers: list[Any] = field(default_factory=lambda: [200])
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{SECRET_PATH}"

    def answer(self) -> Any:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def text(self) -> str:
        return str(json.loads(self.bodies[-1])["text"])


def serve(told: Hook, tls: ssl.SSLContext | None = None) -> http.server.ThreadingHTTPServer:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.paths.append(self.path)
            told.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            what = told.answer()
            if what == "hang":
                told.released.wait(20)
                return
            if what == "break":
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if what == "drip":
                while not told.released.wait(0.1):
                    self.wfile.write(b"H")
                return
            status, body, headers = what if isinstance(what, tuple) else (what, b"ok", {})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError):
                super().handle()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    told.port = server.server_port
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server

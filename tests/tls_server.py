"""A TLS server of a test's own on loopback: it serves the certificate for the name that is asked for (SNI)."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runbook_sandbox.authority import Issued


class TlsServer:
    """Serves, at one port, each certificate under the name that it was added for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._mute: set[str] = set()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.at = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def add(
        self, name: str, issued: Issued, *, whole: bool = True, old: bool = False, mute: bool = False, pem: bytes = b""
    ) -> None:
        """Serve a certificate under a name; ``old`` takes TLS 1.0 and 1.1 as well, ``mute`` hangs up on them without
        telling why, ``pem`` is a chain of one's own.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1 if old else ssl.TLSVersion.TLSv1_2
        certificate, key = self._folder / "served.pem", self._folder / "served.key"
        certificate.write_bytes(pem or issued.pem(whole=whole))
        key.write_bytes(issued.key_pem())
        context.load_cert_chain(certificate, key)
        key.unlink()
        self._contexts[name] = context
        if mute:
            self._mute.add(name)

    def close(self) -> None:
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                wire, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(wire,), daemon=True).start()

    def _answer(self, wire: socket.socket) -> None:
        wire.settimeout(5)
        name = _name_asked(wire)
        context = self._contexts.get(name)
        with suppress(OSError, ssl.SSLError):
            if name in self._mute and wire.recv(4096, socket.MSG_PEEK)[9:11] < b"\x03\x03":
                wire.recv(4096)  # with something left unread, closing would be a reset
            elif context is not None:
                with context.wrap_socket(wire, server_side=True) as served:
                    served.recv(1)
        wire.close()


def _name_asked(wire: socket.socket) -> str:
    """Return the name in a ClientHello, which is left to be read: no version is agreed on before."""
    hello = wire.recv(4096, socket.MSG_PEEK)
    at = 5 + 4 + 2 + 32
    with suppress(IndexError):
        at += 1 + hello[at]
        at += 2 + int.from_bytes(hello[at : at + 2])
        at += 1 + hello[at]
        end = at + 2 + int.from_bytes(hello[at : at + 2])
        at += 2
        while at < end:
            kind, length = int.from_bytes(hello[at : at + 2]), int.from_bytes(hello[at + 2 : at + 4])
            if kind == 0:
                return hello[at + 9 : at + 4 + length].decode()
            at += 4 + length
    return ""


@contextmanager
def silent_server(answer: bytes = b"") -> Iterator[str]:
    """Give the address of a server that takes connections, says what it was given, and nothing more."""
    held = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    wire, _ = listening.accept()
                except OSError:
                    return
                held.append(wire)
                with suppress(OSError):
                    wire.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    for wire in held:
        wire.close()

"""The service over TLS: a front that hands its connections on, with a certificate of an authority of the sandbox's own.

Run by `stack.up` as a process: ``python -m runbook_sandbox.tls_front FOLDER FD``. On SIGHUP it takes the certificate up
that lies on the disk then, for new connections, as nginx and others do.
"""

import asyncio
import json
import signal
import socket
import ssl
import sys
from contextlib import suppress
from pathlib import Path

PART = "tls"
NAME = "api.sandbox.test"  # whom the certificate is for, beside localhost
FOLDER, CERTIFICATE, KEY, CA = "tls", "served.pem", "served.key", "ca.pem"
PID_FILE = "tls.pid"
# What the faults put in the served one's place, and heal back.
GOOD, SOON, NEXT = "good.pem", "soon.pem", "next.pem"
SOON_DAYS = 5.0


def write_certificates(folder: Path) -> None:
    """Make the authority and its certificates, all for one key: the one that is served, and those of the faults.

    The authority's own key is kept nowhere.
    """
    from runbook_sandbox.authority import DAYS, Authority

    folder.mkdir(mode=0o700)
    authority = Authority()
    authority.write(folder / CA)
    names = [NAME, "localhost", "127.0.0.1"]
    good = authority.issue(names, age=0.02)
    good.write(folder / CERTIFICATE, folder / KEY)
    good.write(folder / GOOD)
    authority.issue(names, days=SOON_DAYS, age=DAYS - SOON_DAYS, key=good.key).write(folder / SOON)
    authority.issue(names, key=good.key).write(folder / NEXT)


def main() -> None:
    """Serve on the socket that the parent opened."""
    place = Path(sys.argv[1])
    port = json.loads((place / "state.json").read_text())["ports"]["api"]
    asyncio.run(_serve(place / FOLDER, socket.socket(fileno=int(sys.argv[2])), port))


async def _serve(folder: Path, listening: socket.socket, port: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2

    def take_up() -> None:
        context.load_cert_chain(folder / CERTIFICATE, folder / KEY)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, take_up)
    take_up()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ssl.SSLError):
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(_hand_on(reader, inner_writer), _hand_on(inner_reader, writer))
        writer.close()

    server = await asyncio.start_server(answer, sock=listening, ssl=context, ssl_handshake_timeout=10)
    await server.serve_forever()


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except (OSError, ssl.SSLError):
        return  # one side has gone: so does the other
    finally:
        writer.close()


if __name__ == "__main__":
    main()

"""The command ``serve``: everything is checked first, then it listens until it is told to end."""

import argparse
import os
import stat
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from runbook.kernels import DEFAULT
from runbook.model import CouldNotFindOut, UsageError
from runbook.model.status import EXIT_FAILED
from runbook.model.text import printable, shortened

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from runbook.kernels.owner import Template
    from runbook.redaction import Redactor
    from runbook.serving.ledger import Ledger
    from runbook.serving.story import Storyteller
    from runbook.target import Target

SHORTEST_TOKEN, LONGEST_TOKEN = 16, 4096
_LINE_TOLD = 1_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to the parser of ``serve``."""
    parser.add_argument("--target", default="sandbox", metavar="T", help="the profile of what the alerts tell of")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="the token, in a file for you alone (0600)")
    parser.add_argument("--address", metavar="A", help="where to listen (127.0.0.1); another wants TLS")
    parser.add_argument("--port", type=_port, metavar="N", help="(8930; 0 for any that is free)")
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="for TLS, with those that it rests on (PEM)")
    parser.add_argument("--key", type=Path, metavar="FILE", help="its key (PEM)")
    told = "let what runs go on for so long when this is told to end, in seconds (30)"
    parser.add_argument("--grace", type=_grace, metavar="S", help=told)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C; everything that is wrong is said before anything is taken."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"serve needs the extra `serve` ({error.name} is missing): pip install './lib[serve]'"
        ) from error
    from runbook.cli.run import stopping, template
    from runbook.target import load_target

    target = load_target(arguments.target)
    token = _token(target, arguments.token_file)
    address, port, tls = _place(target, arguments)
    with stopping() as asked, template(DEFAULT, 2) as forking:
        from runbook.cli.names import check_names
        from runbook.evidence.archive import archive_folder
        from runbook.runner.run import operator
        from runbook.serving.ledger import held
        from runbook.serving.server import listen
        from runbook.serving.story import Storyteller

        check_names(target, forking)
        story = Storyteller(target, archive_folder(), f"alertmanager ({operator() or 'serve'})", token)
        with held(target.name, story.archive) as ledger, listen(address, port) as listening:
            serving = _Serving(target, story, ledger, forking, teller(story.redactor))
            serving.start(listening, tls, token)
            url = _url(address, listening.getsockname()[1], tls is not None)
            sys.stdout.write(f"serving {story.archive} at {url}/\ntaking alerts of {target.name} at {url}/alerts\n")
            sys.stdout.flush()
            waiting = threading.Event()
            while asked.reason is None and serving.is_alive:
                waiting.wait(0.2)
            serving.stop(asked.reason or "a part of it ended by a mistake of its own", arguments.grace)
            return 0 if asked.reason is not None else EXIT_FAILED


class _Serving:
    """What goes on while it serves."""

    def __init__(
        self,
        target: "Target",
        story: "Storyteller",
        ledger: "Ledger",
        forking: "Template | None",
        tell: "Callable[[str], None]",
    ) -> None:
        from runbook.model.collection import all_notebooks
        from runbook.serving.desk import Desk
        from runbook.serving.leads import Leads

        self._target, self._story, self._tell = target, story, tell
        leads = Leads(all_notebooks())
        self._desk = Desk(target, leads=leads, ledger=ledger, storyteller=story, template=forking, tell=tell)
        if ledger.put_aside is not None:
            tell(f"what was taken before is damaged, and was put aside: {ledger.put_aside}")

    def start(self, listening: "socket.socket", tls: "ssl.SSLContext | None", token: str) -> None:
        """Begin to take alerts, and to show the archive."""
        from runbook.evidence.index import rebuild_index
        from runbook.model.layout import make_private
        from runbook.serving.app import application
        from runbook.serving.server import Listening

        make_private(self._story.archive)
        rebuild_index(self._story.archive)
        app = application(self._desk, self._story.archive, token, self._tell)
        self._served = Listening(app, listening, tls, self._tell)
        self._desk.start()
        self._served.start()

    @property
    def is_alive(self) -> bool:
        """Tell whether all of it still works."""
        return self._served.is_alive and self._desk.is_alive

    def stop(self, reason: str, grace: float | None) -> None:
        """End in a bounded time, and say what was taken and is not done."""
        self._tell(f"ending: {reason}")
        self._served.stop()
        left = self._desk.stop(reason, self._target.serve.grace if grace is None else grace)
        if left:
            self._tell(f"taken and not done, kept for the next start: {'; '.join(left)}")


def teller(redactor: "Callable[[], Redactor]") -> "Callable[[str], None]":
    """Return what writes a line to stderr, with its time; what came in from outside is scrubbed and made harmless."""
    lock = threading.Lock()

    def tell(text: str) -> None:
        told = printable(redactor().text(shortened(text, 4 * _LINE_TOLD)))
        with lock, suppress(OSError):
            sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {shortened(told, _LINE_TOLD)}\n")
            sys.stderr.flush()

    return tell


def _token(target: "Target", file: Path | None) -> str:
    """Return the token by which requests are let in; raises `UsageError` where there is none that is fit for it."""
    from runbook.target import resolve

    if file is not None:
        token, where = _read_token(file), str(file)
    elif target.serve.token is None:
        raise UsageError(
            "serve wants a token, which Alertmanager and readers have to give: name it in the profile ([serve] token, "
            "a reference), or in --token-file, as `openssl rand -hex 32` makes one"
        )
    else:
        where = target.serve.token
        try:
            token = resolve(where)
        except CouldNotFindOut as error:
            raise UsageError(f"profile {target.name}: serve.token: {error}") from error
    if not SHORTEST_TOKEN <= len(token) <= LONGEST_TOKEN:
        raise UsageError(f"the token in {where} is to have at least {SHORTEST_TOKEN} signs, at most {LONGEST_TOKEN}")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError(f"the token in {where} is to be of printable ASCII signs without spaces")
    return token


def _read_token(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"the token's file {path} cannot be read: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"the token's file {path} is no file")
        if found.st_uid not in (os.geteuid(), 0) or stat.S_IMODE(found.st_mode) & 0o077:
            raise UsageError(f"others may read or change the token's file {path}: `chmod 600` it")
        return os.read(descriptor, LONGEST_TOKEN + 2).decode(errors="replace").strip("\r\n")
    finally:
        os.close(descriptor)


def _place(target: "Target", arguments: argparse.Namespace) -> "tuple[str, int, ssl.SSLContext | None]":
    """Return where to listen, and how it is proved who listens; raises `UsageError` where others could listen in."""
    settings = target.serve
    address: str = arguments.address or settings.address
    port: int = settings.port if arguments.port is None else arguments.port
    certificate, key = arguments.certificate or settings.certificate, arguments.key or settings.key
    if (certificate is None) != (key is None):
        raise UsageError("--certificate and --key go together")
    if certificate is not None and key is not None:
        from runbook.serving.server import tls_of

        return address, port, tls_of(certificate, key)
    if not _is_loopback(address):
        raise UsageError(
            f"{address} is no loopback address: others could read the token on its way. Name --certificate and --key, "
            "or listen at 127.0.0.1 behind a server that has TLS"
        )
    return address, port, None


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _url(address: str, port: int, encrypted: bool) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"http{'s' if encrypted else ''}://{host}:{port}"


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:6]) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def _grace(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 600:
        raise argparse.ArgumentTypeError(f"{text!r} is to be a number of seconds, at most 600")
    return seconds

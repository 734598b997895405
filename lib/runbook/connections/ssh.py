"""A host over ssh: this machine's own client, without a password, by argv, one connection for all that is asked."""

import os
import re
import select
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Self

from runbook.connections.clock import ClockReading, now
from runbook.connections.elsewhere import CALL_SECONDS, Ended, end_process, read_process, read_whole, told
from runbook.model import CouldNotFindOut, Unreachable
from runbook.model.text import printable
from runbook.target import Ssh

NAME = "host"
_BLOCK = 128 << 10
_BROKE_OFF = 255  # what ssh itself ends with; a program there hardly does
# The path of a socket is short, and ssh adds 17 signs to it while it makes it.
_LONGEST_FOLDER = 60
# What is set whatever the user's ssh_config says: it may say how a host is reached, and nothing else.
_OPTIONS = (
    "BatchMode=yes", "StrictHostKeyChecking=yes", "UpdateHostKeys=no", "ForwardAgent=no", "ForwardX11=no",
    "ClearAllForwardings=yes", "PermitLocalCommand=no", "RemoteCommand=none", "RequestTTY=no", "EscapeChar=none",
    "ControlPersist=no", "LogLevel=ERROR", "NumberOfPasswordPrompts=0",
    "ServerAliveInterval=5", "ServerAliveCountMax=2",
)  # fmt: skip
_HELLO = b"runbook-is-here\n"
_REASONS = (
    ("host-key", "REMOTE HOST IDENTIFICATION HAS CHANGED",
     "{at} shows another host key than the one that is known: it was made anew, or somebody else answers there. "
     "Compare with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` at its console before `ssh-keygen -R {host}`"),
    ("host-key", "host key is known for",
     "the host key of {at} is not known: compare `ssh-keyscan {host}` with `ssh-keygen -lf "
     "/etc/ssh/ssh_host_ed25519_key.pub` at its console, and add it to known_hosts"),
    ("host-key", "Host key verification failed", "the host key of {at} could not be verified"),
    ("host-key", "no mutual signature|host key type|No matching host key",
     "{at} shows no host key of a kind that is taken"),
    ("password", "Permission denied|Too many authentication failures|Load key|bad permissions",
     "{at} refuses the runbook's key ({words}): add the public key to ~/.ssh/authorized_keys of that user"),
    ("name", "Could not resolve hostname", "the name of {at} leads nowhere ({words})"),
    ("refused", "Connection refused", "{at} refuses the connection: no sshd listens there"),
    ("timeout", "timed out|Connection timeout", "{at} does not answer within {seconds:g} s"),
    ("other", "No route to host|Network is unreachable", "{at} cannot be reached ({words})"),
)  # fmt: skip


class SshHost:
    """A host that ssh leads to. ``label`` is its name, ``system`` what it runs, ``clock`` what time it is there."""

    def __init__(self, ssh: Ssh, seconds: float) -> None:
        self.ssh = ssh
        self.label = ssh.at.rpartition("@")[2]
        self.system = ""
        self.clock: ClockReading | None = None
        self._seconds = seconds
        self._folder = Path(tempfile.mkdtemp(prefix="rb-", dir=_short_folder()))
        self._socket = self._folder / "s"
        self._master: subprocess.Popen[bytes] | None = None

    @property
    def closed(self) -> bool:
        """Tell whether the connection has ended."""
        return self._master is None or self._master.poll() is not None

    def connect(self) -> None:
        """Connect, and read the host's name, system and time; raises `Unreachable` with the reason."""
        end = time.monotonic() + self._seconds
        try:
            self._open(end)
            self._look(end)
        except BaseException:
            self.close()
            raise

    def call(self, argv: Sequence[str], seconds: float = CALL_SECONDS) -> Ended:
        """Return how a program ended there; raises `CouldNotFindOut` where it takes longer, says more than is taken, or
        the connection ends.
        """
        ended = read_whole(self._start(argv, subprocess.PIPE), self.label, argv[0], seconds)
        if ended.status == _BROKE_OFF:
            raise self._broke_off(ended.err)
        return ended

    def stream(self, argv: Sequence[str], seconds: float) -> Iterator[bytes]:
        """Yield what a program prints there, in blocks; raises `CouldNotFindOut` where it cannot be read to its end."""
        end = time.monotonic() + seconds
        with tempfile.TemporaryFile(dir=self._folder) as complaint:
            process = self._start(argv, complaint)
            assert process.stdout
            try:
                while True:
                    ready, _, _ = select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))
                    if not ready:
                        raise CouldNotFindOut(f"{self.label}: {argv[0]} was not read to its end within {seconds:g} s")
                    block = os.read(process.stdout.fileno(), _BLOCK)
                    if not block:
                        break
                    yield block
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired as error:
                raise CouldNotFindOut(f"{self.label}: {argv[0]} did not end within {seconds:g} s") from error
            finally:
                end_process(process)
            complaint.seek(0)
            words = complaint.read(4096).decode("utf-8", "replace")
        if process.returncode == _BROKE_OFF:
            raise self._broke_off(words)
        if process.returncode != 0:
            raise CouldNotFindOut(f"{self.label}: {told(Ended(process.returncode, b'', words))}")

    def shown(self, argv: Sequence[str]) -> str:
        """Return the command that does the same by hand."""
        port = ["-p", str(self.ssh.port)] if self.ssh.port else []
        return shlex.join(["ssh", *port, self.ssh.at, "--", shlex.join(argv)])

    def close(self) -> None:
        """End the connection, and what is left of it on this machine."""
        if self._master is not None:
            end_process(self._master)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, argv: Sequence[str], complaint: "int | IO[bytes]") -> "subprocess.Popen[bytes]":
        if self.closed:
            raise Unreachable(NAME, "other", f"the connection to {self.ssh.at} has ended")
        # Never a connection of its own: where the shared one has gone, it ends. What sshd hands to the login shell is
        # quoted; the messages are to be those that are known here.
        command = shlex.join(["env", "LC_ALL=C", *argv])
        own = ("-o", "ControlMaster=no", "-o", "ProxyCommand=false")
        return subprocess.Popen(
            [*self._client(), *own, "--", self.ssh.at, command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaint,
        )  # fmt: skip

    def _client(self) -> list[str]:
        ssh = self.ssh
        argv = ["ssh", "-T", "-a", "-x", "-o", f"ConnectTimeout={max(1, round(self._seconds))}"]
        argv += [part for option in _OPTIONS for part in ("-o", option)]
        argv += ["-F", str(ssh.config_file)] if ssh.config_file else []
        argv += ["-p", str(ssh.port)] if ssh.port else []
        argv += ["-i", _plain(ssh.identity_file), "-o", "IdentitiesOnly=yes"] if ssh.identity_file else []
        if ssh.known_hosts:
            argv += ["-o", f'UserKnownHostsFile="{_plain(ssh.known_hosts)}"', "-o", "GlobalKnownHostsFile=/dev/null"]
        return [*argv, "-S", _plain(self._socket)]

    def _open(self, end: float) -> None:
        """Start the one connection. It lasts while its input does: a kernel that is killed leaves none behind."""
        argv = [*self._client(), "-o", "ControlMaster=yes", "--", self.ssh.at, "cat"]
        pipe = subprocess.PIPE
        try:
            self._master = master = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe)
        except FileNotFoundError as error:
            raise Unreachable(NAME, "other", "this machine has no ssh (Debian: openssh-client)") from error
        assert master.stdin and master.stdout and master.stderr
        with suppress(BrokenPipeError):
            master.stdin.write(_HELLO)
            master.stdin.flush()
        heard = b""
        while _HELLO not in heard:
            ready, _, _ = select.select([master.stdout], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise Unreachable(NAME, "timeout", self._words("timeout"))
            block = os.read(master.stdout.fileno(), _BLOCK)
            if not block:
                raise self._refused(self._complaint(end), heard)
            heard += block
            if len(heard) > _BLOCK:
                break
        if not heard.startswith(_HELLO):
            printed = _line(heard.partition(_HELLO)[0])
            raise Unreachable(
                NAME, "protocol",
                f"the login shell at {self.ssh.at} prints text of its own ({printed!r}), among which answers "
                "cannot be told: have its start-up files print nothing where no terminal is",
            )  # fmt: skip

    def _complaint(self, end: float) -> str:
        assert self._master and self._master.stderr
        with suppress(TimeoutError):
            return read_process(self._master, max(0.2, end - time.monotonic()))[1].decode("utf-8", "replace")
        return ""

    def _look(self, end: float) -> None:
        left = max(0.5, end - time.monotonic())
        names = self.call(("uname", "-n", "-s", "-r"), left).text.split()
        if len(names) == 3:  # the order is uname's own: system, name, release
            self.label, self.system = printable(names[1]), printable(f"{names[0]} {names[2]}")
        before = now()
        stamp = self.call(("date", "-u", "+%s.%N"), left).text.strip()
        after = now()
        found = re.fullmatch(r"(\d{9,11})(?:\.(\d{9})?.*)?", stamp)
        if found is not None:
            exact = found[2] is not None
            moment = datetime.fromtimestamp(float(f"{found[1]}.{found[2]}" if exact else found[1]), UTC)
            self.clock = ClockReading.between(moment, before, after, 0.0 if exact else 1.0)

    def _refused(self, words: str, heard: bytes = b"") -> Unreachable:
        for kind, sign, _ in _REASONS:
            if re.search(sign, words):
                return Unreachable(NAME, kind, self._words(sign, words))
        said = _line(words.encode()) or _line(heard) or "it said nothing"
        return Unreachable(NAME, "other", f"ssh does not reach a shell at {self.ssh.at}: {said}")

    def _words(self, sign: str, words: str = "") -> str:
        text = next(text for kind, known, text in _REASONS if sign in (kind, known))
        host, line = self.ssh.at.rpartition("@")[2], _line(words.encode())
        return text.format(at=self.ssh.at, host=host, words=line, seconds=self._seconds)

    def _broke_off(self, words: str) -> CouldNotFindOut:
        said = _line(words.encode())
        return CouldNotFindOut(f"the connection to {self.ssh.at} broke off{f': {said}' if said else ''}")


def _plain(path: Path) -> str:
    """Return a path in which ssh puts nothing of its own in the place of anything."""
    return str(path).replace("%", "%%")


def _line(text: bytes) -> str:
    lines = [line.strip() for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
    return printable(lines[-1])[:200] if lines else ""


def _short_folder() -> str | None:
    return "/tmp" if len(tempfile.gettempdir()) > _LONGEST_FOLDER else None  # noqa: S108 - a folder of its own is made


@dataclass
class _Held:
    """A connection that several parts of a run share: who comes first opens it, the others wait for that."""

    host: SshHost
    users: int = 1
    ready: threading.Event = field(default_factory=threading.Event)
    failed: BaseException | None = None


class SharedHost:
    """The one connection of this process to a host, for as long as somebody uses it."""

    _held: "dict[Ssh, _Held]" = {}  # noqa: RUF012 - shared on purpose
    _lock = threading.Lock()

    def __init__(self, held: _Held) -> None:
        self.host = held.host
        self._entry: _Held | None = held

    @classmethod
    def take(cls, ssh: Ssh, seconds: float, name: str | None = None) -> Self:
        """Return the host, connected, which may be known by a name; raises `Unreachable`."""
        with cls._lock:
            held = cls._held.get(ssh)
            if held is not None and held.ready.is_set() and held.host.closed:
                held = None  # it broke off: those who use it still find that out by themselves
            first = held is None
            if held is None:
                held = cls._held[ssh] = _Held(SshHost(ssh, seconds))
            else:
                held.users += 1
        if first:
            try:
                held.host.connect()
            except BaseException as error:
                held.failed = error
                with cls._lock:
                    if cls._held.get(ssh) is held:
                        del cls._held[ssh]
                raise
            finally:
                held.ready.set()
        elif not held.ready.wait(seconds):
            cls(held).give_back()
            raise Unreachable(NAME, "timeout", f"{ssh.at} does not answer within {seconds:g} s")
        if held.failed is not None:
            if isinstance(held.failed, Unreachable):
                raise Unreachable(NAME, held.failed.kind, held.failed.reason)
            raise CouldNotFindOut(f"{ssh.at} could not be reached: the attempt was ended")
        held.host.label = name or held.host.label
        return cls(held)

    def give_back(self) -> None:
        """Use it no more; the last one ends the connection."""
        held, self._entry = self._entry, None
        if held is None:
            return
        with self._lock:
            held.users -= 1
            last = held.users == 0
            if last and self._held.get(held.host.ssh) is held:
                del self._held[held.host.ssh]
        if last:
            held.host.close()

"""A real sshd of the tests: on loopback, with its own configuration, keys and port, ended by its pid."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from monitoring import free_port
from running import wait_for

_PROGRAMS = ("/usr/sbin", "/usr/local/sbin")


@dataclass
class Sshd:
    """An sshd that runs: where, and the keys that it and its only user have."""

    folder: Path
    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def user(self) -> str:
        """Return the user that it lets in: the one that runs the tests."""
        return pwd.getpwuid(os.getuid()).pw_name

    @property
    def log(self) -> str:
        """Return what it logged."""
        return (self.folder / "log").read_text()

    @property
    def section(self) -> str:
        """Return the profile's section that leads to it."""
        return (
            f'[host.ssh]\nat = "{self.user}@127.0.0.1"\nport = {self.port}\nidentity_file = "{self.folder}/user"\n'
            f'known_hosts = "{self.folder}/known_hosts"\nconfig_file = "/dev/null"\n'
        )

    def know(self, key: str = "host") -> None:
        """Have clients know one of its keys, and no other."""
        told = (self.folder / f"{key}.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {told}")

    def allow(self, key: str = "user", options: str = "") -> None:
        """Let one key in, and no other; ``options`` are those of authorized_keys."""
        told = (self.folder / f"{key}.pub").read_text()
        (self.folder / "authorized_keys").write_text(f"{options} {told}".lstrip())

    def hang(self) -> None:
        """Have it, and all that it has started, stand still."""
        for pid in self._pids():
            os.kill(pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it go on."""
        for pid in self._pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _pids(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]


@contextmanager
def sshd(folder: Path) -> Iterator[Sshd]:
    """Run an sshd while the block lasts; skips where none is installed."""
    program = next((found for place in _PROGRAMS if (found := shutil.which("sshd", path=place))), None)
    if program is None or shutil.which("ssh") is None:
        pytest.skip("openssh-server and openssh-client are not installed")
    folder.mkdir(mode=0o700)
    for name in ("host", "other-host", "user", "stranger"):
        made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name]
        subprocess.run(made, check=True, capture_output=True)
    port = free_port()
    settings = {
        "Port": port, "ListenAddress": "127.0.0.1", "HostKey": folder / "host", "PidFile": folder / "pid",
        "AuthorizedKeysFile": folder / "authorized_keys", "UsePAM": "no", "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no", "StrictModes": "no", "PermitRootLogin": "prohibit-password",
        "LogLevel": "VERBOSE", "PrintMotd": "no",
    }  # fmt: skip
    (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # what it gives up its rights in; Debian makes it when it starts
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-D", "-e", "-f", str(folder / "config")], stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    running = Sshd(folder, port, process)
    running.know()
    running.allow()
    try:
        wait_for(lambda: "Server listening" in running.log or process.poll() is not None)
        assert process.poll() is None, running.log
        yield running
    finally:
        running.go_on()
        process.terminate()
        process.wait(10)


def folder_of_its_own() -> Path:
    """Return a new folder: the path of a socket in it is to be short."""
    return Path(tempfile.mkdtemp(prefix="sshd-"))

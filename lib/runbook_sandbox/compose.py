"""The sandbox's service as a Compose project, so that it can have several containers.

They lie in a network of their own and reach PostgreSQL and Redis by the sockets in the sandbox's folder.
"""

import os
import secrets
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from runbook.docker.compose import program
from runbook.model import CouldNotFindOut
from runbook_sandbox import containers
from runbook_sandbox.place import MARK, Place, SandboxError

FILE = "compose.yaml"
PORT = 8000
# How many containers of the service there can be: each has a port of the machine.
MOST = 10
_SECONDS = 60
_FIRST, _LAST = 20_000, 32_000


def write(place: Place, argv: Sequence[str | Path], first_port: int) -> None:
    """Write the project's file: the service, from the image that the sandbox makes, with limits that can be scaled."""
    from ruamel.yaml import YAML

    with containers.engine() as client:
        image = containers.image(client, containers.SERVICE)
    service = {
        "image": image,
        "command": [os.fspath(part) for part in argv],
        "user": f"{os.getuid()}:{os.getgid()}",
        "working_dir": str(place.folder),
        "environment": {MARK: str(place.folder), "PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
        "volumes": [f"{path}:{bound['bind']}:{bound['mode']}" for path, bound in containers.volumes(place).items()],
        "labels": {containers.LABEL: str(place.folder)},
        "ports": [f"127.0.0.1:{first_port}-{first_port + MOST - 1}:{PORT}"],
        "deploy": {"resources": {"limits": {"memory": "512M"}, "reservations": {"memory": "64M"}}},
        "stop_grace_period": "3s",
    }
    yaml = YAML()
    yaml.width = 4096
    with (place.folder / FILE).open("w") as file:
        file.write("# The practice stack's service; `sandbox up --compose` wrote this.\n")
        yaml.dump({"services": {containers.SERVICE: service}}, file)


def up(place: Place) -> int:
    """Make or start the service's containers and return the pid of the first process in the first of them."""
    _call(place, "up", "--detach", "--no-build", containers.SERVICE)
    told = containers.first_of_service(place)
    if told is None:
        raise SandboxError("Compose made no container of the service")
    return int(told["State"]["Pid"])


def down(place: Place) -> None:
    """Remove the project's containers and its network."""
    if (place.folder / FILE).exists():
        _call(place, "down", "--timeout", "1")


def free_ports() -> int:
    """Return the first of as many free ports in a row as there can be containers; raises `SandboxError`.

    They lie below those that systems give to whoever asks for any: a container that is made anew finds its own free.
    """
    for _ in range(50):
        held: list[socket.socket] = []
        start = _FIRST + secrets.randbelow(_LAST - _FIRST)
        try:
            held += [socket.create_server(("127.0.0.1", start + more)) for more in range(MOST)]
            return start
        except (OSError, OverflowError):
            continue
        finally:
            for taken in held:
                taken.close()
    raise SandboxError(f"there are no {MOST} free ports in a row")


def _call(place: Place, *arguments: str) -> None:
    try:
        argv = [*program(), "--file", str(place.folder / FILE), "--project-name", place.name, *arguments]
        subprocess.run(argv, check=True, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL)
    except CouldNotFindOut as error:
        raise SandboxError(f"{error}; on Debian or Ubuntu: apt install docker-compose") from error
    except subprocess.TimeoutExpired as error:
        raise SandboxError(f"Compose did not end within {_SECONDS} s") from error

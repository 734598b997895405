"""The sandbox's parts as containers on a real Docker engine, from an image that is made here: nothing is ever pulled.

The image holds a static busybox; the machine's own programs and libraries are mounted into it, read-only. So the
containers run the very servers that the sandbox would start itself, and the engine kills, limits and restarts them.
"""

import io
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from runbook_sandbox.place import MARK, Place, SandboxError

LABEL = "runbook.sandbox"
SERVICE = "api"  # the part that Compose may hold, and its name there
IMAGE = "runbook-sandbox/{part}"
# What each part may use: enough for a practice stack, and something to be judged.
MEMORY = {"postgres": "512m", "redis": "128m", "api": "512m"}
LIMIT_OF_SERVICE = 512 << 20  # bytes: as above
_MOUNTED = (
    "/usr", "/lib", "/lib64", "/etc/passwd", "/etc/group", "/etc/ld.so.cache", "/etc/ssl", "/etc/localtime",
    "/etc/alternatives",
)  # fmt: skip
_SECONDS = 30


@contextmanager
def engine() -> Iterator[Any]:
    """Hold a client of the engine that DOCKER_HOST or the usual socket leads to; raises `SandboxError`."""
    import docker

    try:
        found = docker.from_env(timeout=_SECONDS)
        found.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise SandboxError(
            "no Docker engine answers; start one (it needs no network: "
            "`dockerd --bridge=none --iptables=false` does), or leave --docker out"
        ) from error
    try:
        yield found
    finally:
        found.close()


def container_name(place: Place, part: str) -> str:
    """Return the name of a part's container: shrimp-api in the sandbox named `sandbox`, or as Compose has it."""
    if part == SERVICE and place.read("state.json").get("compose"):
        told = first_of_service(place)
        return str(told["Name"]).lstrip("/") if told is not None else f"{place.name}_{SERVICE}_1"
    return f"shrimp-{part}" if place.name == "sandbox" else f"{place.name}-shrimp-{part}"


def first_of_service(place: Place) -> dict[str, Any] | None:
    """Return what the engine knows of the first container that Compose made of the service; None without one."""
    wanted = [f"com.docker.compose.project={place.name}", f"com.docker.compose.service={SERVICE}"]
    with engine() as client:
        found = client.api.containers(all=True, filters={"label": wanted})
        told = [client.api.inspect_container(container["Id"]) for container in found]
    number = "com.docker.compose.container-number"
    return min(told, key=lambda facts: int(facts["Config"]["Labels"][number]), default=None)


def start(place: Place, part: str, argv: Sequence[str | Path], *, cwd: Path, user: int | None) -> int:
    """Start a part's container, which is made on the first call, and return the pid of its first process."""
    import docker

    name = container_name(place, part)
    with engine() as client, _starting(name):
        try:
            container = client.containers.get(name)
            if container.labels.get(LABEL) != str(place.folder):
                raise SandboxError(f"there is a container {name} that is none of this sandbox; choose another --name")
            container.start()
        except docker.errors.NotFound:
            container = client.containers.run(
                image(client, part),
                [os.fspath(part) for part in argv],
                name=name,
                detach=True,
                network_mode="host",  # an engine without a bridge publishes no ports
                user=f"{user}:{user}" if user is not None else f"{os.getuid()}:{os.getgid()}",
                working_dir=os.fspath(cwd),
                environment={MARK: str(place.folder), "PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
                volumes=volumes(place),
                labels={LABEL: str(place.folder)},
                mem_limit=MEMORY[part],
                memswap_limit=MEMORY[part],
                stop_signal="SIGINT" if part == "postgres" else "SIGTERM",
            )
        container.reload()
        return int(container.attrs["State"]["Pid"])


def images_of(place: Place, parts: Sequence[str]) -> dict[str, str]:
    """Return the id of the image that each part's container runs, by the container's name."""
    with engine() as client:
        names = [container_name(place, part) for part in parts]
        return {name: str(client.api.inspect_container(name)["Image"]) for name in names}


@contextmanager
def _starting(name: str) -> Iterator[None]:
    import docker

    try:
        yield
    except docker.errors.DockerException as error:
        raise SandboxError(f"container {name} did not start: {getattr(error, 'explanation', None) or error}") from error


def pid(place: Place, part: str) -> int | None:
    """Return the pid of the first process in a part's container; None where it does not run."""
    import docker

    with engine() as client, suppress(docker.errors.NotFound):
        return int(client.api.inspect_container(container_name(place, part))["State"]["Pid"]) or None
    return None


def unpause(place: Place, part: str) -> bool:
    """Let a part's container go on where somebody paused it; return whether that was so."""
    import docker

    with engine() as client, suppress(docker.errors.NotFound):
        container = client.containers.get(container_name(place, part))
        if container.status == "paused":
            container.unpause()
            return True
    return False


def tail(place: Place, part: str) -> str:
    """Return the last lines that a part's container wrote."""
    import docker

    with engine() as client, suppress(docker.errors.DockerException):
        told: bytes = client.containers.get(container_name(place, part)).logs(tail=5)
        return told.decode("utf-8", "replace")
    return ""


def remove(place: Place) -> None:
    """Remove every container of a sandbox; raises `SandboxError` where the engine does not answer."""
    with engine() as client:
        for container in client.containers.list(all=True, filters={"label": f"{LABEL}={place.folder}"}):
            container.remove(force=True)


def image(client: Any, part: str) -> str:
    """Return the name of a part's image, which is made on first use."""
    import docker

    name = IMAGE.format(part=part)
    try:
        client.images.get(name)
    except docker.errors.ImageNotFound:
        client.api.import_image_from_data(image_of_busybox(), repository=name, tag="latest")
    return name


def image_of_busybox(**files: bytes) -> bytes:
    """Return an image, as a tar file to be imported: a static busybox, and files by their paths in it."""
    found = shutil.which("busybox")
    if found is None:
        raise SandboxError("the images are made of a static busybox; on Debian or Ubuntu: apt install busybox-static")
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        tar.add(os.path.realpath(found), "bin/busybox")
        for tool in ("sh", "cat", "sleep"):
            link = tarfile.TarInfo(f"bin/{tool}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for folder in ("tmp", "run"):
            told = tarfile.TarInfo(folder)
            told.type, told.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(told)
        for path, content in files.items():
            told = tarfile.TarInfo(path)
            told.size = len(content)
            tar.addfile(told, io.BytesIO(content))
    return held.getvalue()


def volumes(place: Place) -> dict[str, dict[str, str]]:
    """Return what of this machine a part's container sees: its programs, read-only, and the sandbox's folder."""
    library = Path(__file__).parent.parent
    read_only = [*_MOUNTED, sys.prefix, sys.base_prefix, str(library)]
    mounts = {path: {"bind": path, "mode": "ro"} for path in read_only if Path(path).exists()}
    return {**mounts, str(place.folder): {"bind": str(place.folder), "mode": "rw"}}

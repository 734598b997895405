"""The Docker engine of this machine, asked for the containers that the profile names."""

import os
import re
import shlex
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from runbook.connections.connection import Connection
from runbook.connections.elsewhere import CALL_SECONDS, MOST_BYTES, Ended, told, too_much
from runbook.connections.images import KEEP, Image, images_and_their_use
from runbook.model import ChangeFailed, CouldNotFindOut, Unreachable
from runbook.target import Target

# How many events the engine keeps, of all containers, networks and images together.
_REMEMBERED = 256
_WHILE_IT_ANSWERS = timedelta(seconds=0.1)


class ContainersConnection(Connection):
    """The Docker engine of this machine; ``named`` are the containers of the target's parts, by part.

    What it returns is the engine's own JSON. Every question to it raises `CouldNotFindOut` where the engine does not
    answer.
    """

    name = "containers"

    def __init__(self, client: Any, named: dict[str, str]) -> None:
        self._client = client
        self.named = named
        self.identity = {}

    @classmethod
    def open(cls, target: Target, label: str) -> Self:
        """Connect to the engine that DOCKER_HOST or the usual socket leads to and read each container's id."""
        if target.containers is None or not target.containers.named:
            raise Unreachable("containers", "not-configured", f"the profile of {target.name} names no containers")
        import docker

        engine = os.environ.get("DOCKER_HOST") or "the local socket"
        try:
            client = docker.from_env(timeout=target.deadlines.connect)
            connection = cls(client, target.containers.named)
            version = client.version()
            connection.identity = {"what": f"Docker engine {version.get('Version', '')}", "where": engine}
            for part, name in connection.named.items():
                connection.identity[part] = _container(client, name)
        except (docker.errors.DockerException, OSError) as error:
            told = f"the Docker engine at {engine} does not answer: {why(error)}"
            raise Unreachable("containers", "other", told) from error
        return connection

    def inspect(self, name: str) -> dict[str, Any] | None:
        """Return what the engine knows of a container; None where there is none of that name."""
        import docker

        with _answering():
            try:
                found: dict[str, Any] = self._client.api.inspect_container(name)
            except docker.errors.NotFound:
                return None
            return found

    def changed_files(self, name: str, seconds: float) -> list[dict[str, Any]]:
        """Return each path of a container that differs from its image, as the engine tells it: Path, and Kind (0: it
        was changed, 1: added, 2: removed). The engine compares file by file, which may take so long.
        """
        import docker

        with _answering():
            client = docker.from_env(timeout=seconds)
            try:
                return list(client.api.diff(name) or [])
            finally:
                client.close()

    def stats(self, name: str) -> dict[str, Any] | None:
        """Return a container's use of memory, processors and processes at this moment; None where it does not run."""
        import docker

        with _answering():
            try:
                used: dict[str, Any] = self._client.api.stats(name, stream=False, one_shot=True)
            except docker.errors.NotFound:
                return None
            return used if used.get("memory_stats") else None

    def inside(self, name: str, part: str = "") -> "Inside":
        """Return a container as a place where programs are called, to look at what is in it."""
        return Inside(name, part)

    def events(self, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """Return what happened to the named containers between two moments, the oldest first."""
        wanted = {"type": "container", "container": list(self.named.values())}
        # Whole seconds would leave out what happened in this one, or wait for its end.
        span = {name: f"{moment.timestamp():.9f}" for name, moment in (("since", since), ("until", until))}
        with _answering():
            return list(self._client.api.events(**span, filters=wanted, decode=True))

    def remembered_since(self) -> datetime | None:
        """Return since when the engine remembers what happened, where its memory of 256 events is full; else None.

        Everything counts there, of all containers; health checks make three events each time.
        """
        # A moment past when it answers leaves out what happened since: a full memory would not look full.
        until = datetime.now(UTC) + _WHILE_IT_ANSWERS
        with _answering():
            told = list(self._client.api.events(since="0", until=f"{until.timestamp():.9f}", decode=True))
        return datetime.fromtimestamp(told[-_REMEMBERED]["timeNano"] / 1e9, UTC) if len(told) >= _REMEMBERED else None

    def containers_of(self, project: str, service: str) -> list[dict[str, Any]]:
        """Return what the engine knows of the containers of one service of a Compose project, also those that ended."""
        labels = [f"com.docker.compose.project={project}", f"com.docker.compose.service={service}"]
        with _answering():
            found = self._client.api.containers(all=True, filters={"label": labels})
            told = [self.inspect(container["Id"]) for container in found]
            return [facts for facts in told if facts is not None]

    def images(self) -> list[dict[str, Any]]:
        """Return all images of the engine, those without a name as well."""
        with _answering():
            found: list[dict[str, Any]] = self._client.api.images(all=False)
            return found

    def images_and_their_use(self, keep: int = KEEP) -> list[Image]:
        """Return each image of the engine with why it is kept; see `runbook.connections.images`."""
        with _answering():
            containers = list(self._client.api.containers(all=True))
        return images_and_their_use(self.images(), containers, keep)

    def image(self, identity: str) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
        """Return what the engine knows of an image, and the steps that built it; None where it is not there."""
        import docker

        with _answering():
            try:
                return self._client.api.inspect_image(identity), self._client.api.history(identity)
            except docker.errors.NotFound:
                return None

    def tail(self, name: str, lines: int) -> list[str] | None:
        """Return the last lines that a container wrote, each with its time in front; None where there is none."""
        import docker

        with _answering():
            try:
                told: bytes = self._client.api.logs(name, tail=lines, timestamps=True)
            except docker.errors.NotFound:
                return None
            return told.decode("utf-8", "replace").splitlines()

    def mounts(self) -> list[tuple[str, str, bool]]:
        """Return what the containers that run mount from this machine: container, source, whether it may be written."""
        with _answering():
            found = self._client.api.containers()
            return [
                (container["Names"][0].lstrip("/"), mount["Source"], bool(mount.get("RW", True)))
                for container in found
                for mount in container.get("Mounts", [])
                if mount.get("Source")
            ]

    def warnings(self) -> list[str]:
        """Return what the engine warns of, such as an interface that it offers to the network."""
        with _answering():
            return [str(warning) for warning in self._client.info().get("Warnings") or []]

    def engine(self) -> str:
        """Return what tells this engine from all others."""
        with _answering():
            return str(self._client.info().get("ID", ""))

    def machine(self) -> tuple[int, int]:
        """Return how many bytes of memory and how many processors the engine's machine has."""
        with _answering():
            told = self._client.info()
            return int(told.get("MemTotal", 0)), int(told.get("NCPU", 0))

    @contextmanager
    def changing(self, seconds: float) -> Iterator[Any]:
        """Yield the engine's client for one change, which may take so long.

        Raises `ChangeFailed` where the engine refuses: then nothing has happened. Raises `CouldNotFindOut` where it
        breaks off.
        """
        import docker

        client = docker.from_env(timeout=seconds)
        try:
            yield client.api
        except docker.errors.APIError as error:
            raise ChangeFailed(f"the Docker engine refused: {error.explanation or error}") from error
        except _breaks() as error:
            raise CouldNotFindOut(f"the Docker engine broke off: {why(error)}") from error
        finally:
            client.close()

    def update(self, name: str, limits: dict[str, int], seconds: float) -> list[str]:
        """Set limits of a container, as the engine's own fields, and return its warnings; raises as `changing`."""
        with self.changing(seconds) as engine:
            # The client's own method knows no number of processors.
            answer = engine._post_json(engine._url("/containers/{0}/update", name), data=limits)
            return list(engine._result(answer, json=True).get("Warnings") or [])

    def close(self) -> None:
        """Close the client."""
        self._client.close()


def why(error: Exception) -> str:
    """Return in a few words why the engine does not answer; the client wraps the system's words four layers deep."""
    system = re.search(r"No such file or directory|Permission denied|Connection refused|timed out", str(error))
    if system and system[0] == "Permission denied":
        return "Permission denied; the runbook's user must be in the group docker, or DOCKER_HOST lead elsewhere"
    return system[0] if system else type(error).__name__


@contextmanager
def _answering() -> Iterator[None]:
    """Turn the client's own errors into one that says what is missing."""
    try:
        yield
    except _breaks() as error:
        raise CouldNotFindOut(f"the Docker engine did not answer: {why(error)}") from error


def _breaks() -> tuple[type[Exception], ...]:
    """Return what the client raises where the engine breaks off, also in the middle of a stream."""
    import docker
    import urllib3

    return (docker.errors.DockerException, urllib3.exceptions.HTTPError, OSError, struct.error, ValueError)


def _container(client: Any, name: str) -> str:
    import docker

    try:
        container = client.containers.get(name)
    except docker.errors.NotFound:
        return f"{name} does not exist"
    return f"{name} {container.short_id} {container.status}"


class Inside:
    """The inside of a container: programs that it has are called there by argv, as its own user, to look."""

    def __init__(self, name: str, part: str = "") -> None:
        self.name = name
        self.label = f"{part} ({name})" if part else name

    def call(self, argv: Sequence[str], seconds: float = CALL_SECONDS) -> Ended:
        """Return how a program ended there; 126 or 127 where the container has none of that name.

        Raises `CouldNotFindOut` where the container does not run, or the program takes longer or says more than is
        taken.
        """
        out, err = b"", b""
        with self._started(argv, seconds) as (engine, identity, blocks):
            end = time.monotonic() + seconds
            for said, complained in blocks:
                out, err = out + (said or b""), err + (complained or b"")
                if len(out) + len(err) > MOST_BYTES:
                    raise too_much(self.label, argv[0])
                if time.monotonic() > end:
                    raise CouldNotFindOut(f"{self.label}: {argv[0]} did not end within {seconds:g} s")
            status = engine.exec_inspect(identity).get("ExitCode")
        if status in (126, 127) and not err:
            out, err = b"", out  # the runtime complains where the program would have spoken
        return Ended(int(status or 0), out, err.decode("utf-8", "replace"))

    def stream(self, argv: Sequence[str], seconds: float) -> Iterator[bytes]:
        """Yield what a program prints there, in blocks; raises `CouldNotFindOut` where it cannot be read to its end."""
        err, end = b"", time.monotonic() + seconds
        with self._started(argv, seconds) as (engine, identity, blocks):
            for said, complained in blocks:
                err = (err + (complained or b""))[-4096:]
                if said:
                    yield said
                if time.monotonic() > end:
                    raise CouldNotFindOut(f"{self.label}: {argv[0]} was not read to its end within {seconds:g} s")
            status = engine.exec_inspect(identity).get("ExitCode")
        if status:
            raise CouldNotFindOut(f"{self.label}: {told(Ended(int(status), b'', err.decode('utf-8', 'replace')))}")

    def shown(self, argv: Sequence[str]) -> str:
        """Return the command that does the same by hand."""
        return shlex.join(["docker", "exec", self.name, *argv])

    @contextmanager
    def _started(self, argv: Sequence[str], seconds: float) -> Iterator[tuple[Any, str, Iterator[tuple[Any, Any]]]]:
        import docker

        with _answering():
            client = docker.from_env(timeout=seconds)
        try:
            with _answering():
                try:
                    made = client.api.exec_create(self.name, list(argv), environment=["LC_ALL=C"])["Id"]
                    yield client.api, made, client.api.exec_start(made, stream=True, demux=True)
                except docker.errors.NotFound as error:
                    raise CouldNotFindOut(f"there is no container {self.name}") from error
                except docker.errors.APIError as error:
                    if error.status_code != 409:
                        raise
                    raise CouldNotFindOut(f"nothing can be called in {self.name}: it is stopped or paused") from error
        finally:
            client.close()


def container_output(name: str, since: datetime, until: datetime, seconds: float) -> Iterator[bytes]:
    """Return what a container wrote to its output between two moments, in blocks.

    Raises `CouldNotFindOut` where the engine or the container cannot be asked, also in the middle.
    """
    import docker

    try:
        client = docker.from_env(timeout=seconds)
        container = client.containers.get(name)
    except docker.errors.NotFound as error:
        raise CouldNotFindOut(f"there is no container {name}") from error
    except (docker.errors.DockerException, OSError) as error:
        raise CouldNotFindOut(f"the Docker engine does not answer, so the output of {name} cannot be read") from error

    def blocks() -> Iterator[bytes]:
        try:
            # Without follow=False the client waits for what a running container will write.
            yield from container.logs(stream=True, follow=False, since=since.timestamp(), until=until.timestamp())
        except _breaks() as error:
            raise CouldNotFindOut(f"the output of {name} could not be read to its end") from error
        finally:
            client.close()

    return blocks()

"""Which containers the target's parts run in, so that a run can prove what it looked at."""

import os
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Self

from runbook.connections.connection import Connection
from runbook.model import CouldNotFindOut, Unreachable
from runbook.target import Target


class ContainersConnection(Connection):
    """The Docker engine of this machine, asked for the containers that the profile names."""

    name = "containers"

    def __init__(self, client: Any) -> None:
        self._client = client
        self.identity = {}

    @classmethod
    def open(cls, target: Target, label: str) -> Self:
        """Connect to the engine that DOCKER_HOST or the usual socket leads to and read each container's id."""
        if target.containers is None or not target.containers.named:
            raise Unreachable("containers", "not-configured", f"the profile of {target.name} names no containers")
        import docker

        engine = os.environ.get("DOCKER_HOST", "the local socket")
        try:
            client = docker.from_env(timeout=target.deadlines.connect)
            connection = cls(client)
            version = client.version()
            connection.identity = {"what": f"Docker engine {version.get('Version', '')}", "where": engine}
            for part, name in target.containers.named.items():
                connection.identity[part] = _container(client, name)
        except (docker.errors.DockerException, OSError) as error:
            # The client wraps the system's own words four layers deep.
            system = re.search(r"No such file or directory|Permission denied|Connection refused|timed out", str(error))
            why = system[0] if system else type(error).__name__
            raise Unreachable("containers", "other", f"the Docker engine at {engine} does not answer: {why}") from error
        return connection

    def close(self) -> None:
        """Close the client."""
        self._client.close()


def _container(client: Any, name: str) -> str:
    import docker

    try:
        container = client.containers.get(name)
    except docker.errors.NotFound:
        return f"{name} does not exist"
    return f"{name} {container.short_id} {container.status}"


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
            yield from container.logs(stream=True, since=since.timestamp(), until=until.timestamp())
        except (docker.errors.DockerException, OSError) as error:
            raise CouldNotFindOut(f"the output of {name} could not be read to its end") from error
        finally:
            client.close()

    return blocks()

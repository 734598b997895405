"""A Docker engine of the tests: started on a socket in a folder of its own, without a network, and ended with it."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import psutil
import pytest

from runbook_sandbox.containers import image_of_busybox

SECONDS = 40


@dataclass
class Engine:
    """A running engine; ``host`` is what DOCKER_HOST must be to reach it."""

    host: str
    client: docker.DockerClient

    def image(self, name: str, **files: bytes) -> None:
        """Make an image of busybox and some files in its root."""
        self.client.api.import_image_from_data(image_of_busybox(**files), repository=name, tag="latest")

    def run(self, name: str, image: str, *command: str) -> None:
        """Start a container under a name."""
        self.client.containers.run(image, list(command), name=name, detach=True, network_mode="none")


@contextmanager
def engine() -> Iterator[Engine]:
    """Start an engine and end it with everything in it; skips where it cannot be."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None or shutil.which("busybox") is None:
        pytest.skip("a Docker engine of the tests' own needs root, dockerd and busybox")
    # Not below the session's folder: the path of a socket is short.
    place = Path(tempfile.mkdtemp(prefix="rbd-", dir="/tmp"))
    host = f"unix://{place}/docker.sock"
    with (place / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "dockerd",
                "--bridge=none",
                "--iptables=false",
                "--ip6tables=false",
                f"--data-root={place}/data",
                f"--exec-root={place}/exec",
                f"--pidfile={place}/docker.pid",
                f"--host={host}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Engine(host, _answering(host, process, place / "dockerd.log"))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _end_what_is_left(place)
        # What the engine mounted for its containers' networks outlives it.
        mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for point in sorted((point for point in mounted if point.startswith(f"{place}/")), reverse=True):
            subprocess.run(["umount", point], check=False, capture_output=True)
        shutil.rmtree(place)


def _end_what_is_left(place: Path) -> None:
    """End what an engine that was killed has left: its containerd, and what keeps its containers, with all of these."""
    for keeper in psutil.process_iter():
        with suppress(psutil.Error):
            if any(str(place) in part for part in keeper.cmdline()):
                for process in (*keeper.children(recursive=True), keeper):
                    process.kill()


def _answering(host: str, process: "subprocess.Popen[bytes]", log: Path) -> docker.DockerClient:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        try:
            client = docker.DockerClient(base_url=host, timeout=10)
            client.ping()
        except docker.errors.DockerException:
            time.sleep(0.2)
        else:
            return client
    raise AssertionError(log.read_text(errors="replace")[-2000:])

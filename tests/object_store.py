"""An S3 interface on loopback, by moto: what is told to an object store, and what it answers, is real HTTP."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def object_store(tools: str, folder: Path, patch: pytest.MonkeyPatch, bucket: str) -> Iterator[str]:
    """Start an object store with one bucket, name it in the environment, and yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {
        "AWS_ACCESS_KEY_ID": "runbook",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }
    for name, value in told.items():
        patch.setenv(name, value)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    argv = [tools, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "store.log").open("wb") as log:
        server = subprocess.Popen(argv, stdout=log, stderr=log, env=environment, cwd=folder)
    try:
        for _ in range(300):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, (folder / "store.log").read_text()
            time.sleep(0.1)
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()  # one that knows the store of another test
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir(bucket)
        yield told["AWS_ENDPOINT_URL"]
    finally:
        server.kill()
        server.wait()

"""A real pgbouncer in transaction mode before a test's server."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
import pytest
from cluster import Cluster, free_port

from runbook_sandbox import postgres_server

SECONDS = 15


@contextmanager
def pgbouncer(server: Cluster, role: str) -> Iterator[int]:
    """Start a pgbouncer before a server, for one role, and yield its port; skips where there is none."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    port, folder = free_port(), server.folder
    settings = {
        "listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": folder, "auth_type": "trust",
        "auth_file": folder / "users.txt",
        "pool_mode": "transaction", "max_client_conn": 50, "default_pool_size": 2, "logfile": folder / "pgbouncer.log",
        "pidfile": folder / "pgbouncer.pid", "ignore_startup_parameters": "extra_float_digits,options",
    }  # fmt: skip
    (folder / "users.txt").write_text(f'"{role}" ""\n')
    path = folder / "pgbouncer.ini"
    with path.open("w") as ini:
        ini.write(f"[databases]\n* = host={folder} port={server.port}\n[pgbouncer]\n")
        ini.writelines(f"{key} = {value}\n" for key, value in settings.items())
    user = postgres_server.server_user()
    process = subprocess.Popen(
        [program, "-q", str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        user=user, group=user, extra_groups=[] if user is not None else None, start_new_session=True,
    )  # fmt: skip
    try:
        _wait(process, port, role)
        yield port
    finally:
        process.terminate()
        process.wait(SECONDS)


def _wait(process: "subprocess.Popen[bytes]", port: int, role: str) -> None:
    end = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < end:
        with suppress(psycopg.OperationalError):
            psycopg.connect(host="127.0.0.1", port=port, user=role, dbname="postgres", connect_timeout=2).close()
            return
        time.sleep(0.05)
    raise AssertionError("pgbouncer did not answer")

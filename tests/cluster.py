"""A PostgreSQL cluster of a test's own: of any version found, with any settings, reached as its superuser."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runbook_sandbox import postgres_server, servers

# Whether the server that the sandbox and the tests take comes with what PostgreSQL calls contrib.
CONTRIB = servers.has_library(servers.find_postgres(), "pg_stat_statements")
needs_contrib = pytest.mark.skipif(not CONTRIB, reason="this PostgreSQL comes without contrib")


@dataclass
class Cluster:
    """A running server on loopback and on a socket in ``folder``; ``binaries`` is where its programs are."""

    binaries: Path
    folder: Path
    port: int
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def connect(self, database: str = "postgres", user: str = "postgres", **more: Any) -> "psycopg.Connection[Any]":
        """Connect by the socket, as anybody without a password, in autocommit."""
        return psycopg.connect(
            host=str(self.folder), port=self.port, user=user, dbname=database, autocommit=True, **more
        )

    def execute(self, *statements: str, database: str = "postgres", user: str = "postgres") -> list[Any]:
        """Execute statements and return the rows of the last one."""
        with self.connect(database, user) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def dsn(self, user: str = "postgres", database: str = "postgres") -> str:
        """Return an address for a profile: by the socket, so that it takes no password."""
        return f"host={self.folder} port={self.port} user={user} dbname={database}"

    def profile(self, user: str = "postgres", database: str = "postgres", *, more: str = "") -> str:
        """Return the text of a profile whose every role is the same one; ``more`` goes into [postgres]."""
        dsn = self.dsn(user, database)
        return f'[postgres]\ndsn = "{dsn}"\napplication_dsn = "{dsn}"\noperator_dsn = "{dsn}"\n{more}\n'

    def start(self) -> None:
        """Start the server and wait until it answers; it is at once where it runs already."""
        self._call("pg_ctl", "-D", self.data, "-w", "-t", "30", "-l", self.folder / "log", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: fast, immediate or smart."""
        self._call("pg_ctl", "-D", self.data, "-w", "-m", mode, "stop")

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def _call(self, program: str, *arguments: object) -> None:
        user = postgres_server.server_user()
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        ended = subprocess.run(
            [self.binaries / program, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, cwd=self.folder, user=user, group=user, env=environment,
            extra_groups=[] if user is not None else None,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr


def readable_binaries(binaries: Path, folder: Path) -> Path:
    """Return programs that PostgreSQL's user can read: those of a package may lie in a closed folder."""
    if binaries not in servers.wheel_folders() or postgres_server.server_user() is None:
        return binaries
    if all(parent.stat().st_mode & 0o001 for parent in binaries.parents):
        return binaries
    installation, package = binaries.parent, binaries.parent.parent
    copy = folder / "server" / package.name / installation.name
    shutil.copytree(installation, copy, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / "server" / libraries.name)
    for made in (folder / "server", copy.parent):
        made.chmod(0o755)
    return copy / binaries.name


@contextmanager
def cluster(binaries: Path | None = None, **settings: Any) -> Iterator[Cluster]:
    """Make, start and yield a cluster, the newest installed server's where none is named; end it and remove it."""
    # Not below the test's folder: the path of a socket is short.
    folder = Path(tempfile.mkdtemp(prefix="rbp-", dir="/tmp"))
    folder.chmod(0o711)
    made = Cluster(readable_binaries(binaries or servers.find_postgres(), folder), folder, free_port(), settings)
    try:
        user = postgres_server.server_user()
        if user is not None:
            os.chown(folder, user, user)
        made._call(
            "initdb", "-D", made.data, "-U", "postgres", "-k", "--auth=trust", "--locale=C", "--encoding=UTF8",
            "--no-sync", "--no-instructions",
        )  # fmt: skip
        own = {
            "listen_addresses": "127.0.0.1", "port": made.port, "unix_socket_directories": folder, "timezone": "UTC",
            "shared_buffers": "16MB", "fsync": "off", "full_page_writes": "off", "max_connections": 40,
        }  # fmt: skip
        with (made.data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{key} = '{value}'\n" for key, value in {**own, **settings}.items())
        made.start()
        yield made
    finally:
        if (made.data / "postmaster.pid").exists():
            made.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])

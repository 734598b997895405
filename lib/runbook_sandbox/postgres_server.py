"""The sandbox's PostgreSQL: the folder it is made in, the user it runs as, and its superuser."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg

from runbook_sandbox.place import Place
from runbook_sandbox.seeding import DATABASE
from runbook_sandbox.servers import has_library, wheel_folders

MAX_CONNECTIONS = 40


def server_user() -> int | None:
    """Return the user id that PostgreSQL runs as: another than root, which it refuses; None for this user."""
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_uid
    except KeyError:
        return pwd.getpwnam("nobody").pw_uid


def readable_by(folder: Path, place: Place) -> Path:
    """Return a folder with the same server that PostgreSQL's user can read, copied where that takes a copy.

    A server that came as a Python package may lie in a home folder that is closed to others.
    """
    user = server_user()
    if user is None or folder not in wheel_folders() or all(p.stat().st_mode & 0o001 for p in folder.parents):
        return folder
    # The programs find their libraries by a path relative to themselves: the packages' layout is kept.
    installation, package = folder.parent, folder.parent.parent
    copy = place.folder / "server" / package.name / installation.name
    shutil.copytree(installation, copy, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, place.folder / "server" / libraries.name)
    for made in (place.folder / "server", copy.parent):
        made.chmod(0o755)
    return copy / folder.name


def initdb(place: Place) -> None:
    """Make the database folder: page checksums on, passwords for everyone who comes by TCP."""
    folder = Path(place.read("state.json")["postgres_bin"])
    home = place.folder / "postgres"
    user = server_user()
    if user is not None:
        os.chown(home, user, user)
    data = home / "data"
    subprocess.run(
        [folder / "initdb", "-D", data, "-U", "postgres", "-k", "--auth-local=trust", "--auth-host=scram-sha-256",
         "--locale=C", "--encoding=UTF8", "--no-sync", "--no-instructions"],
        check=True, capture_output=True, text=True, cwd=home, user=user, group=user,
        extra_groups=[] if user is not None else None,
        env={key: value for key, value in os.environ.items() if not key.startswith("PG")},
    )  # fmt: skip
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": place.read("state.json")["ports"]["postgres"],
        "unix_socket_directories": home,
        "max_connections": MAX_CONNECTIONS,
        "shared_buffers": "16MB",
        "fsync": "off",
        "full_page_writes": "off",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "timezone": "UTC",
    }
    if has_library(folder, "pg_stat_statements"):
        settings["shared_preload_libraries"] = "pg_stat_statements"
    with (data / "postgresql.conf").open("a") as conf:
        conf.writelines(f"{key} = '{value}'\n" for key, value in settings.items())


def superuser(place: Place, database: str = DATABASE) -> "psycopg.Connection[tuple[Any, ...]]":
    """Return a connection to the server as its superuser, in autocommit: for making, breaking and healing it."""
    return psycopg.connect(
        host=str(place.folder / "postgres"),
        port=place.read("state.json")["ports"]["postgres"],
        user="postgres",
        dbname=database,
        autocommit=True,
        connect_timeout=5,
    )

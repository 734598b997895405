"""The stand-in for the service in a container: ``python -m runbook_sandbox.official FOLDER ADDRESS:PORT``.

Takes POSTGRES (host:port), REDIS (host:port) and SANDBOX_PASSWORD, the password of everyone in this practice stack,
from the environment; makes the database on the first start.
"""

import json
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

from runbook_sandbox import service
from runbook_sandbox.passwords import hash_password
from runbook_sandbox.seeding import DATABASE, ROLES, USERS, seed

SECONDS = 60.0


def main() -> None:
    """Write the service's settings, make the database where it is not there, and become the service."""
    folder = Path(sys.argv[1])
    password = os.environ["SANDBOX_PASSWORD"]
    host, _, port = os.environ["POSTGRES"].rpartition(":")

    def connect(database: str) -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(
            host=host, port=port, user="postgres", password=password, dbname=database, autocommit=True,
            connect_timeout=5,
        )  # fmt: skip

    _wait(connect)
    if not _is_seeded(connect):
        seed(connect, dict.fromkeys([*ROLES, *USERS], password))
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    settings = {
        "mode": "documented",
        "dsn": psycopg.conninfo.make_conninfo(
            host=host, port=port, user="shrimp_user", password=password, dbname=DATABASE
        ),
        "redis_url": f"redis://:{password}@{os.environ['REDIS']}/0",
        "signing_key": secrets.token_urlsafe(32),
        "users": {name: hash_password(password) for name in USERS},
    }
    path = folder / "service.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(settings))
    service.main()


def _wait(connect: Any) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            connect("postgres").close()
            return
        except psycopg.OperationalError as error:
            if time.monotonic() > end:
                sys.exit(f"PostgreSQL did not answer within {SECONDS:.0f} s: {error}")
            time.sleep(0.5)


def _is_seeded(connect: Any) -> bool:
    with connect("postgres") as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
        return found.fetchone() is not None


if __name__ == "__main__":
    main()

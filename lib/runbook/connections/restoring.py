"""Into any database of the target's cluster, as the role that makes and restores databases."""

from typing import Any

import psycopg

from runbook.model import CouldNotFindOut
from runbook.target import Target, resolve


def restoring_conninfo(target: Target, database: str) -> str:
    """Return how programs reach a database of the cluster; no password is in it."""
    parts: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(str(target.backups.restore_dsn if target.backups else ""))
    parts.pop("password", None)
    return psycopg.conninfo.make_conninfo(**{**parts, "dbname": database})


def restoring_secrets(target: Target) -> dict[str, str]:
    """Return what such a program has to have in its environment: the password, where there is one."""
    password = target.backups.restore_password if target.backups else None
    return {"PGPASSWORD": resolve(password)} if password else {}


def restoring_connection(target: Target, database: str) -> "psycopg.Connection[tuple[Any, ...]]":
    """Return a connection to a database of the cluster, in autocommit; raises `CouldNotFindOut`."""
    secrets = restoring_secrets(target)
    try:
        return psycopg.connect(
            restoring_conninfo(target, database),
            password=secrets.get("PGPASSWORD"),
            autocommit=True,
            connect_timeout=10,
            client_encoding="UTF8",
            application_name="runbook",
        )
    except psycopg.Error as error:
        raise CouldNotFindOut(f"database {database} cannot be reached: {str(error).strip()}") from error

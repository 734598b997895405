"""Into any database of the target's cluster, as the role that makes and restores databases."""

from datetime import datetime
from typing import Any

import psycopg

from runbook.connections.postgres import explained
from runbook.model import Unreachable
from runbook.target import Target, resolve

_CONNECT_SECONDS = 10
# The bytes that PostgreSQL keeps of a name, and those of the time in it.
_NAME, _TIME = 63, len("20260131_235959")


def names_beside(database: str, word: str) -> str:
    """Return what the names of databases begin with that lie beside another: its own, cut where the time that follows
    would not fit any more, and what they are (``restored``, ``before``).
    """
    end = f"_{word}_"
    return database.encode()[: _NAME - _TIME - len(end)].decode(errors="ignore") + end


def name_beside(database: str, word: str, moment: datetime, form: str = "%Y%m%d_%H%M%S") -> str:
    """Return the name of one that lies beside another database, since this moment."""
    return f"{names_beside(database, word)}{moment:{form}}"


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
    """Return a connection to a database of the cluster, in autocommit; raises `Unreachable`, of the kind other where
    that has no everyday reason.
    """
    secrets, conninfo = restoring_secrets(target), restoring_conninfo(target, database)
    try:
        return psycopg.connect(
            conninfo,
            password=secrets.get("PGPASSWORD"),
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
            client_encoding="UTF8",
            application_name="runbook",
        )
    except psycopg.OperationalError as error:
        parts: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(conninfo)
        place = f"{parts.get('host', 'the local socket')}:{parts.get('port', 5432)}"
        why = explained("restoring database", place, parts, error, _CONNECT_SECONDS)
        raise Unreachable(why.dependency, why.kind, f"database {database} cannot be reached: {why.reason}") from error

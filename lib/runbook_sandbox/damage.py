"""Damage the database of a practice stack as a failing disk does, in a copy; what it was is put aside until healed."""

import os
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from runbook_sandbox import postgres_server, processes, stack
from runbook_sandbox.place import Place
from runbook_sandbox.seeding import DATABASE

ASIDE = "put_aside_by_a_fault"
HIDDEN = "INSERT INTO documents VALUES ('doc013', 'Report 13', 'hidden', 'In no index.', now())"
_TRIES = 20
# Where rows lie on a page of 8 KiB, which is filled from its end.
_IN_THE_ROWS, _BYTES = 8192 - 64, 16


def put_aside(place: Place, *, copied: bool) -> None:
    """Have the service's database stand under a name that nobody knows; with ``copied``, a copy in its place."""
    both = [sql.Identifier(DATABASE), sql.Identifier(ASIDE)]
    with postgres_server.superuser(place, "postgres") as connection:
        _alone(connection, sql.SQL("ALTER DATABASE {} RENAME TO {}").format(*both))
        if copied:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER shrimp_user").format(*both))


def _alone(connection: "psycopg.Connection[tuple[Any, ...]]", statement: sql.Composed) -> None:
    """Execute what takes a database without a session; whoever comes back meanwhile is sent away once more."""
    for left in reversed(range(_TRIES)):
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname LIKE %s", (f"{DATABASE}%",)
        )
        try:
            connection.execute(statement)
            return
        except psycopg.errors.ObjectInUse:
            if not left:
                raise


def bring_back(place: Place) -> None:
    """Have it be there as it was, and nothing of what a recovery has made."""
    like = (f"{DATABASE}%",)
    with postgres_server.superuser(place, "postgres") as connection:
        for (name,) in connection.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", like).fetchall():
            _alone(connection, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        both = [sql.Identifier(ASIDE), sql.Identifier(DATABASE)]
        connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(*both))
    if not processes.of_part(place, "api"):
        stack.start_part(place, "api")
        stack.wait_for(place, "api")


def damage_page(place: Place) -> None:
    """Have some bytes of a page of the candidates be others."""
    put_aside(place, copied=True)
    flip(place, "candidates", 0)


def hide_row(place: Place) -> None:
    """Have one document not stand in the index of its primary key."""
    put_aside(place, copied=True)
    with postgres_server.superuser(place) as connection:
        hide(connection, "documents_pkey", HIDDEN)


def hide(connection: "psycopg.Connection[tuple[Any, ...]]", index: str, writing: str) -> None:
    """Write a row while an index takes none."""
    ready = "UPDATE pg_index SET indisready = %s WHERE indexrelid = to_regclass(%s)"
    connection.execute(ready, (False, index))
    connection.execute(writing.encode())
    connection.execute(ready, (True, index))


def flip(place: Place, table: str, block: int, at: int = _IN_THE_ROWS, database: str = DATABASE) -> None:
    """Change bytes of a page on the disk, where the server has to read it anew."""
    with postgres_server.superuser(place, database) as connection:
        connection.execute("CHECKPOINT")
        row = connection.execute("SELECT pg_relation_filepath(to_regclass(%s))", (table,)).fetchone()
    assert row is not None
    processes.end(processes.of_part(place, "postgres"))
    flip_bytes(place.folder / "postgres" / "data" / str(row[0]), block, at)
    stack.start_part(place, "postgres")
    stack.wait_for(place, "postgres")


def flip_bytes(path: Path, block: int, at: int = _IN_THE_ROWS) -> None:
    """Change some bytes of a page in a file of a server that does not run."""
    handle = os.open(path, os.O_RDWR)
    try:
        place = block * 8192 + at
        before = os.pread(handle, _BYTES, place)
        os.pwrite(handle, bytes(byte ^ 0xFF for byte in before), place)
    finally:
        os.close(handle)

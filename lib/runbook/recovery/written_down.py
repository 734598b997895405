"""What is written down in a database of what was saved into it."""

import psycopg

from runbook.connections import read_sql
from runbook.connections.restoring import restoring_connection
from runbook.model import CouldNotFindOut
from runbook.target import Target


def saved_tables(target: Target, database: str) -> tuple[list[str], bool]:
    """Return the tables that were saved into a database, and whether all was; raises `CouldNotFindOut`."""
    with restoring_connection(target, database) as connection:
        try:
            there = connection.execute(read_sql(__package__, "salvage_there")).fetchone()
            if there is None or not there[0]:
                return [], False
            names = [str(row[0]) for row in connection.execute(read_sql(__package__, "salvage_told")).fetchall()]
            ended = connection.execute("SELECT 1 FROM runbook_salvage.finished").fetchone()
        except psycopg.Error as error:
            raise CouldNotFindOut(f"{database} cannot be read: {str(error).strip().splitlines()[0]}") from error
        return names, ended is not None


def is_salvaged(target: Target, database: str) -> bool:
    """Tell whether all that could be read of a damaged database was saved into this one."""
    return saved_tables(target, database)[1]

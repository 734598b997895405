"""PostgreSQL: read-only transactions of packaged SQL, bounded on the server and on this side."""

import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from runbook.connections.clock import ClockReading, now
from runbook.connections.connection import Connection
from runbook.model import ChangeFailed, CouldNotFindOut, Unreachable
from runbook.target import Target, resolve

if TYPE_CHECKING:
    import pandas as pd

STATEMENT_TIMEOUT_MS = 5000
# A monitoring query never queues behind a lock: whoever waits is itself a lock that others queue behind.
LOCK_TIMEOUT_MS = 50
LOCKED = "another session locks what this asks for; it was not waited for"
TOO_LONG = "the query took longer than"

# libpq gives no SQLSTATE for a refused connection; its words are all there is. Where it tried with and without TLS,
# they tell of both attempts.
_REASONS = (
    ("slots", r"too many clients|remaining connection slots are reserved|too many connections"),
    ("tls-required", r"(?s)\A(?!.*, SSL encryption).*no pg_hba\.conf entry .*, no encryption"),
    (
        "password",
        r"password authentication failed|no password supplied|authentication failed|no pg_hba\.conf entry"
        r"|pg_hba\.conf rejects connection|role \".*\" does not exist|is not permitted to log in",
    ),
    ("no-database", r"database \".*\" does not exist"),
    ("shutting-down", r"the database system is shutting down|due to administrator command"),
    (
        "starting",
        r"the database system is (starting up|in recovery|not yet accepting)|is not currently accepting connections",
    ),
    ("refused", r"[Cc]onnection refused|No such file or directory"),
    ("name", r"failed to resolve host|could not translate host name|Name or service not known"),
    ("timeout", r"timeout expired|timed out|connection timeout"),
    ("tls", r"SSL|certificate"),
)


# Runs one statement, its values bound by name, and returns its rows.
Rows = Callable[..., "pd.DataFrame"]


@cache
def read_sql(package: str, name: str) -> str:
    """Return the text of a question's SQL: the file ``sql/NAME.sql`` of a package."""
    return resources.files(package).joinpath("sql", f"{name}.sql").read_text(encoding="utf-8").strip()


class PostgresConnection(Connection):
    """The database with the runbook's own role; ``sees_all`` tells whether it may see what all others do."""

    name = "postgres"

    def __init__(self, connection: "psycopg.Connection[tuple[Any, ...]]", place: str) -> None:
        self._connection = connection
        self.place = place
        self.identity = {}

    @classmethod
    def open(cls, target: Target, label: str) -> Self:
        """Connect and read version, system identifier, role and clock."""
        dsn, password = cls._access(target)
        parts: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(dsn)
        place = f"{parts.get('host', 'the local socket')}:{parts.get('port', 5432)}"
        try:
            connection = psycopg.connect(
                dsn,
                password=resolve(password) if password else parts.get("password") or os.environ.get("PGPASSWORD"),
                application_name=label,
                connect_timeout=max(2, round(target.deadlines.connect)),  # libpq takes less than 2 s for 2 s
                tcp_user_timeout=10_000,
                autocommit=True,
                client_encoding="UTF8",
                prepare_threshold=None,  # pgbouncer in transaction mode keeps no prepared statements
                row_factory=tuple_row,
            )
        except psycopg.OperationalError as error:
            raise explained(cls.name, place, parts, error, target.deadlines.connect) from error
        connection.read_only = True  # of transactions, and all but a plan's acts are in one
        database = cls(connection, place)
        try:
            database._identify()
        except BaseException:
            connection.close()
            raise
        return database

    @staticmethod
    def _access(target: Target) -> tuple[str, str | None]:
        if target.postgres is None:
            raise Unreachable("postgres", "not-configured", f"the profile of {target.name} has no [postgres]")
        return target.postgres.dsn, target.postgres.password

    def _identify(self) -> None:
        before = now()
        row = self.rows(read_sql(__package__, "identity")).iloc[0]
        self.clock = ClockReading.between(row["clock"].to_pydatetime(), before, now())
        self.version_num = int(row["version_num"])
        self.sees_all = bool(row["sees_all"])
        self.identity = {
            "what": f"PostgreSQL {row['version']}" + _mode(row["in_recovery"], row["read_only"]),
            "where": self.place,
            "database": row["database"],
            "role": row["role"] + (" (superuser)" if row["is_superuser"] else ""),
            "system": self._system_identifier(),
        }

    def _system_identifier(self) -> str:
        """Return what tells this cluster from all others; some managed servers keep it to themselves."""
        try:
            return str(self.rows(read_sql(__package__, "system_identifier")).iloc[0, 0])
        except Unreachable:
            raise
        except CouldNotFindOut:
            return "not told"

    def rows(
        self,
        statement: sql.Composed | str,
        values: Mapping[str, Any] | None = None,
        seconds: float | None = None,
        grant: str = "",
    ) -> "pd.DataFrame":
        """Return the rows of a packaged statement, or of one composed for the catalog's names, run in a bounded
        read-only transaction; ``seconds`` gives it less time than usual.

        Raises `CouldNotFindOut` with what is missing (a right, a table, time), `Unreachable` when the server is gone.
        ``grant`` is what gives the right, told where that is what is missing.
        """
        try:
            with self.bounded(seconds) as run:
                # A text comes from the package's own files; values are always bound.
                return run(statement, values)
        except CouldNotFindOut as reason:
            if not grant or not isinstance(reason.__cause__, psycopg.errors.InsufficientPrivilege):
                raise
            raise CouldNotFindOut(f"{reason}; {grant}") from reason.__cause__

    @contextmanager
    def bounded(self, seconds: float | None = None) -> Iterator[Rows]:
        """Give a function that runs one statement and returns its rows: all in one bounded read-only transaction.

        It is always rolled back. A composed statement (`psycopg.sql`) may hold a text of anybody's: the server then
        takes it for one statement, never for several. Raises what `rows` raises; ``seconds`` bounds each statement, 5 s
        where it is not given.
        """
        import pandas as pd

        limit_ms = STATEMENT_TIMEOUT_MS if seconds is None else min(STATEMENT_TIMEOUT_MS, max(1, round(seconds * 1000)))

        def run(statement: str | sql.Composed, values: Mapping[str, Any] | None = None) -> "pd.DataFrame":
            one = isinstance(statement, sql.Composed)  # by the protocol that takes no second statement
            text = statement if isinstance(statement, sql.Composed) else statement.encode()
            cursor = self._connection.execute(text, values, binary=one)
            names = [column.name for column in cursor.description or ()]
            return pd.DataFrame(cursor.fetchall() if names else [], columns=names)

        try:
            with self._connection.transaction(force_rollback=True):
                # The planner takes a question about the catalog for dear: to compile it takes longer than to answer it.
                self._connection.execute(
                    "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true), "
                    "set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO', true), "
                    "set_config('jit', 'off', true)",
                    (str(limit_ms), str(LOCK_TIMEOUT_MS)),
                )
                yield run
        except psycopg.errors.InsufficientPrivilege as error:
            raise CouldNotFindOut(f"the role may not: {_first_line(error)}") from error
        except psycopg.errors.QueryCanceled as error:
            raise CouldNotFindOut(f"{TOO_LONG} {limit_ms / 1e3:g} s and was ended") from error
        except psycopg.errors.LockNotAvailable as error:
            raise CouldNotFindOut(LOCKED) from error
        except psycopg.Error as error:
            if self._connection.closed:
                raise Unreachable(
                    self.name, "other", f"{self.place} closed the connection: {_first_line(error)}"
                ) from error
            raise CouldNotFindOut(f"PostgreSQL: {_first_line(error)}") from error

    @property
    def closed(self) -> bool:
        """Tell whether the server has ended the connection, as it does when it restarts."""
        return self._connection.closed

    def close(self) -> None:
        """Close the connection."""
        with suppress(psycopg.Error):
            self._connection.close()

    def abort(self) -> None:
        """Shut the socket down under a thread that waits on it; closing it from here would not wake that thread."""
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self._connection.fileno())) as wire:
            wire.shutdown(socket.SHUT_RDWR)


def application_database(target: Target) -> str:
    """Return the name of the database that the service works with; raises `CouldNotFindOut`."""
    if target.postgres is None:
        raise CouldNotFindOut(f"the profile of {target.name} has no [postgres]")
    parts = psycopg.conninfo.conninfo_to_dict(target.postgres.application_dsn or target.postgres.dsn)
    return str(parts["dbname"])


def monitor_grant(role: str = "") -> str:
    """Return what lets a role see what others do and all settings; that of the runbook where none is named."""
    name = sql.Identifier(role.removesuffix(" (superuser)")).as_string() if role else "the runbook's role"
    return f"as a superuser: GRANT pg_monitor TO {name}"


class OperatorDatabase(PostgresConnection):
    """The database with the role that carries plans out: what it may change is decided by its grants alone."""

    name = "operator database"

    @classmethod
    def lacking(cls, target: Target) -> str:
        """Return what the profile lacks: the address that a plan's acts go to."""
        if target.postgres is None or target.postgres.operator_dsn is None:
            return f"the profile of {target.name} names no operator_dsn in [postgres], whose role carries plans out"
        return ""

    @staticmethod
    def _access(target: Target) -> tuple[str, str | None]:
        if target.postgres is None or target.postgres.operator_dsn is None:
            raise Unreachable("operator database", "not-configured", OperatorDatabase.lacking(target))
        return target.postgres.operator_dsn, target.postgres.operator_password

    def change(
        self, statement: sql.Composed | str, values: Mapping[str, Any] | None = None, *, seconds: float = 10.0
    ) -> list[dict[str, Any]]:
        """Execute one statement outside of a transaction block and return its rows, each by its columns' names.

        It may take ``seconds``, a hundredth of that waiting for locks, 5 s at most: whoever waits for a strong lock
        makes all others wait behind it. Raises `ChangeFailed` where the server refused it or ended it: then nothing of
        it has happened, but for what runs in several transactions. Raises `CouldNotFindOut` where the connection broke.
        """
        lock_ms = str(round(min(5.0, max(1.0, seconds / 100)) * 1000))
        try:
            self._connection.execute(
                "SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false)",
                (str(round(seconds * 1000)), lock_ms),
            )
            text = statement.encode() if isinstance(statement, str) else statement
            cursor = self._connection.execute(text, values)
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in (cursor.fetchall() if names else [])]
        except psycopg.Error as error:
            if self._connection.closed:
                raise CouldNotFindOut(f"{self.place} closed the connection: {_first_line(error)}") from error
            raise ChangeFailed(f"PostgreSQL refused: {_first_line(error)}") from error

    def change_together(self, statements: Sequence[sql.Composed], *, seconds: float = 10.0) -> None:
        """Execute statements in one transaction: all of them happen, or none; raises as `change` does."""
        self.change("BEGIN READ WRITE", seconds=seconds)
        try:
            for statement in statements:
                self.change(statement, seconds=seconds)
            self.change("COMMIT", seconds=seconds)
        except ChangeFailed:
            # Nothing but this is taken in a transaction that has failed, not even a setting.
            with suppress(psycopg.Error):
                self._connection.execute("ROLLBACK")
            raise


class RestoringDatabase(OperatorDatabase):
    """The cluster with the role that makes and restores databases, whatever has become of the application's own."""

    name = "restoring database"

    @classmethod
    def lacking(cls, target: Target) -> str:
        """Return what the profile lacks: an address of a role that may make databases."""
        if target.backups is None or target.backups.restore_dsn is None:
            return (
                f"the profile of {target.name} names no restore_dsn in [backups]: a role that may create databases and "
                "extensions, at a database that is always there (postgres)"
            )
        return ""

    @staticmethod
    def _access(target: Target) -> tuple[str, str | None]:
        if target.backups is None or target.backups.restore_dsn is None:
            raise Unreachable("restoring database", "not-configured", RestoringDatabase.lacking(target))
        return target.backups.restore_dsn, target.backups.restore_password


class StandbyDatabase(PostgresConnection):
    """The standby of the target's database on this machine, with the runbook's own role."""

    name = "standby database"

    @staticmethod
    def _access(target: Target) -> tuple[str, str | None]:
        standby, postgres = target.standby, target.postgres
        if standby is None or postgres is None:
            missing = "[standby]" if postgres is not None else "[postgres]"
            raise Unreachable("standby database", "not-configured", f"the profile of {target.name} has no {missing}")
        if standby.read_dsn is not None:
            return standby.read_dsn, standby.read_password
        dsn = psycopg.conninfo.make_conninfo(postgres.dsn, host="127.0.0.1", hostaddr=None, port=standby.port)
        return dsn, postgres.password


def streams_from(target: Target) -> str:
    """Return the system identifier of the cluster that the target's standby would stream from.

    It is asked as the standby would: over the protocol of replication. Raises `Unreachable` with the reason.
    """
    standby = target.standby
    if standby is None:
        raise Unreachable("primary", "not-configured", f"the profile of {target.name} has no [standby]")
    parts: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(standby.primary_dsn)
    place = f"{parts.get('host', 'the local socket')}:{parts.get('port', 5432)}"
    seconds = target.deadlines.connect
    try:
        with psycopg.connect(
            psycopg.conninfo.make_conninfo(standby.primary_dsn, replication="true"),
            password=resolve(standby.primary_password) if standby.primary_password else None,
            connect_timeout=max(2, round(seconds)),
            autocommit=True,
        ) as connection:
            told = connection.pgconn.exec_(b"IDENTIFY_SYSTEM")
            value = told.get_value(0, 0) if told.ntuples else None
            if value is None:
                raise Unreachable("primary", "other", f"PostgreSQL at {place} does not tell what it is")
            return value.decode()
    except psycopg.OperationalError as error:
        raise explained("primary", place, {**parts, "dbname": "replication"}, error, seconds) from error


class ApplicationDatabase(PostgresConnection):
    """The database as the application connects to it: its own role and path; the runbook's where none is named."""

    name = "application database"

    @staticmethod
    def _access(target: Target) -> tuple[str, str | None]:
        if target.postgres is not None and target.postgres.application_dsn is not None:
            return target.postgres.application_dsn, target.postgres.application_password
        return PostgresConnection._access(target)


def _mode(in_recovery: bool, read_only: bool) -> str:
    return " (in recovery)" if in_recovery else " (read-only)" if read_only else ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def explained(
    name: str, place: str, parts: Mapping[str, Any], error: psycopg.OperationalError, deadline: float
) -> Unreachable:
    """Return why a connection could not be made, by its kind and in words."""
    text = str(error)
    kind = "timeout" if isinstance(error, psycopg.errors.ConnectionTimeout) else "other"
    if kind == "other":
        kind = next((kind for kind, words in _REASONS if re.search(words, text)), "other")
    user, database = parts.get("user", "the current user"), parts.get("dbname", "")
    told = {
        "slots": f"PostgreSQL at {place} has no connection slot left for role {user}",
        "password": f"PostgreSQL at {place} is up and refused the log-in of role {user}",
        "no-database": f"PostgreSQL at {place} is up and has no database {database}",
        "tls-required": f"PostgreSQL at {place} is up and has no entry in pg_hba.conf that lets role {user} into "
        f"{database} without TLS",
        "starting": f"PostgreSQL at {place} does not accept connections yet: {_last_words(text)}",
        "shutting-down": f"PostgreSQL at {place} is shutting down, and takes no new connection",
        "refused": f"PostgreSQL at {place} refuses connections: nothing listens there",
        "name": f"the host name in {place} cannot be resolved",
        "timeout": f"PostgreSQL at {place} kept silent: no answer within {deadline:g} s",
    }
    return Unreachable(name, kind, told.get(kind, f"PostgreSQL at {place}: {_last_words(text)}"))


def _last_words(text: str) -> str:
    """Return what the server said, without libpq's list of the addresses it tried."""
    return re.split(r"FATAL:\s*|failed: ", text.strip().splitlines()[-1])[-1]

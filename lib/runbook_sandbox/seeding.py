"""The database of a practice stack: its roles, its tables, and the same small data every time."""

import uuid
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from runbook_sandbox import monitoring
from runbook_sandbox.passwords import hash_password

DATABASE = "shrimp_annotation"
ROLES = ("shrimp_user", "runbook", "operator")
STATISTICS_LOADED = "SELECT current_setting('shared_preload_libraries') ~ 'pg_stat_statements'"
# What looks into tables and indexes, where the server has it: part of contrib.
AVAILABLE = "SELECT 1 FROM pg_available_extensions WHERE name = %s"
INSPECTORS: Mapping[str, tuple[LiteralString, ...]] = {
    "amcheck": (
        "GRANT EXECUTE ON FUNCTION bt_index_check(regclass, boolean) TO runbook",
        "GRANT EXECUTE ON FUNCTION verify_heapam(regclass, boolean, boolean, text, bigint, bigint) TO runbook",
    ),
    "pgstattuple": (),  # its functions are pg_monitor's already
}
# What it takes to look at how roles log in, without seeing a password or its hash.
LOOKED_AT: tuple[LiteralString, ...] = (
    "GRANT SELECT ON pg_hba_file_rules TO runbook",
    "GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO runbook",
    "CREATE VIEW role_password_kinds AS SELECT rolname::text AS role, rolcanlogin AS can_log_in, CASE "
    "WHEN rolpassword IS NULL THEN 'none' WHEN rolpassword LIKE 'SCRAM-SHA-256%' THEN 'scram-sha-256' "
    "WHEN rolpassword ~ '^md5[0-9a-f]{32}$' THEN 'md5' ELSE 'plain' END AS kind FROM pg_authid "
    "WHERE rolname NOT LIKE 'pg\\_%' ORDER BY rolname",
    "GRANT SELECT ON role_password_kinds TO runbook",
)
KEYS = {
    "documents": ("doc_id",),
    "sentences": ("id", "doc_id", "text"),
    "candidates": ("id", "sentence_id", "start_offset", "end_offset"),
    "gold_annotations": ("sentence_id",),
    "auto_accept_rules": ("id",),
    "auto_accept_decisions": ("rule_id",),
}
PER_PARAMETER = 150_000  # from this version on, a role may be given single parameters
USERS = {"admin": "admin", "annotator1": "annotator"}


def seed(
    connect: Callable[[str], "psycopg.Connection[tuple[Any, ...]]"],
    passwords: Mapping[str, str],
    *,
    documented: bool = True,
) -> None:
    """Make roles, database, tables and users.

    ``connect`` opens a superuser's connection to a database by its name, in autocommit; ``passwords`` has one for each
    of `ROLES` and `USERS`, and of the exporter's role where there is monitoring. Only a service that is as
    ``documented`` has written down that its users logged in.
    """
    with connect("postgres") as connection:
        for role in ROLES:
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(passwords[role]))
            )
        connection.execute("GRANT pg_monitor TO runbook")
        if monitoring.ROLE in passwords:
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE pg_monitor").format(
                    sql.Identifier(monitoring.ROLE), sql.Literal(passwords[monitoring.ROLE])
                )
            )
        connection.execute("GRANT pg_signal_backend, shrimp_user, pg_monitor TO operator")
        if connection.info.server_version >= PER_PARAMETER:
            connection.execute("GRANT SET, ALTER SYSTEM ON PARAMETER log_min_duration_statement TO operator")
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER shrimp_user").format(sql.Identifier(DATABASE)))
    with connect(DATABASE) as connection:
        if connection.execute(STATISTICS_LOADED).fetchone() == (True,):
            connection.execute("CREATE EXTENSION pg_stat_statements")
        for statement in LOOKED_AT:
            connection.execute(statement)
        for extension, grants in INSPECTORS.items():
            if connection.execute(AVAILABLE, (extension,)).fetchone():
                connection.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(extension)))
                for grant in grants:
                    connection.execute(grant)
        if connection.info.server_version >= PER_PARAMETER:
            # Rights on functions are those of one database: it is given where the operator works.
            connection.execute("GRANT EXECUTE ON FUNCTION pg_reload_conf() TO operator")
        connection.execute("SET ROLE shrimp_user")
        connection.execute(resources.files(__package__).joinpath("seed.sql").read_bytes())
        connection.execute("GRANT SELECT ON triage_items TO runbook")
        connection.execute("GRANT SELECT (annotator_email, timestamp, processing_time) ON annotation_events TO runbook")
        # What it takes to see whether every key finds its row, and the service's own rules hold.
        for table, columns in KEYS.items():
            names = sql.SQL(", ").join(map(sql.Identifier, columns))
            connection.execute(sql.SQL("GRANT SELECT ({}) ON {} TO runbook").format(names, sql.Identifier(table)))
        connection.execute(
            "GRANT SELECT (id, username, email, role, is_active, created_at, last_login) ON users TO runbook"
        )
        for username, role in USERS.items():
            connection.execute(
                "INSERT INTO users (id, username, email, hashed_password, role, created_at, last_login) VALUES (%s, "
                "%s, %s, %s, %s, now() - interval '400 days', CASE WHEN %s THEN now() - interval '20 minutes' END)",
                (str(uuid.uuid5(uuid.NAMESPACE_DNS, username)), username, f"{username}@example.com",
                 hash_password(passwords[username]), role, documented),
            )  # fmt: skip

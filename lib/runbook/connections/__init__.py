"""Connections to the parts of a target: opened once per run, bounded, read-only, and plain about why they failed."""

from runbook.connections.clock import ClockReading
from runbook.connections.connection import Connection
from runbook.connections.containers import ContainersConnection
from runbook.connections.http import ApiConnection, Response
from runbook.connections.logs import LogsConnection
from runbook.connections.machine import Machine
from runbook.connections.postgres import (
    ApplicationDatabase,
    OperatorDatabase,
    PostgresConnection,
    StandbyDatabase,
    read_sql,
    streams_from,
)
from runbook.connections.redis import RedisConnection

KINDS: dict[str, type[Connection]] = {
    kind.name: kind
    for kind in (
        ApiConnection,
        PostgresConnection,
        ApplicationDatabase,
        OperatorDatabase,
        StandbyDatabase,
        RedisConnection,
        Machine,
        ContainersConnection,
        LogsConnection,
    )
}

__all__ = [
    "KINDS",
    "ApiConnection",
    "ApplicationDatabase",
    "ClockReading",
    "Connection",
    "ContainersConnection",
    "LogsConnection",
    "Machine",
    "OperatorDatabase",
    "PostgresConnection",
    "RedisConnection",
    "Response",
    "StandbyDatabase",
    "read_sql",
    "streams_from",
]

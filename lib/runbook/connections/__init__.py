"""Connections to the parts of a target: opened once per run, bounded, read-only, and plain about why they failed."""

from runbook.connections.clock import ClockReading
from runbook.connections.connection import Connection
from runbook.connections.containers import ContainersConnection
from runbook.connections.generator import LoadGenerator
from runbook.connections.http import EXPOSITION, ApiConnection, Response
from runbook.connections.kubernetes import KubernetesConnection
from runbook.connections.llm import LanguageModelConnection
from runbook.connections.logs import LogsConnection
from runbook.connections.machine import Machine
from runbook.connections.postgres import (
    ApplicationDatabase,
    OperatorDatabase,
    PostgresConnection,
    RestoringDatabase,
    StandbyDatabase,
    application_database,
    monitor_grant,
    read_sql,
    streams_from,
)
from runbook.connections.prometheus import AlertmanagerConnection, PrometheusConnection
from runbook.connections.redis import RedisConnection, answers_without_password
from runbook.connections.tls import Served, TlsEndpoints, endpoints

KINDS: dict[str, type[Connection]] = {
    kind.name: kind
    for kind in (
        ApiConnection,
        PostgresConnection,
        ApplicationDatabase,
        OperatorDatabase,
        RestoringDatabase,
        StandbyDatabase,
        RedisConnection,
        Machine,
        ContainersConnection,
        KubernetesConnection,
        LogsConnection,
        PrometheusConnection,
        AlertmanagerConnection,
        LanguageModelConnection,
        TlsEndpoints,
        LoadGenerator,
    )
}

__all__ = [
    "EXPOSITION",
    "KINDS",
    "AlertmanagerConnection",
    "ApiConnection",
    "ApplicationDatabase",
    "ClockReading",
    "Connection",
    "ContainersConnection",
    "KubernetesConnection",
    "LanguageModelConnection",
    "LoadGenerator",
    "LogsConnection",
    "Machine",
    "OperatorDatabase",
    "PostgresConnection",
    "PrometheusConnection",
    "RedisConnection",
    "Response",
    "RestoringDatabase",
    "Served",
    "StandbyDatabase",
    "TlsEndpoints",
    "answers_without_password",
    "application_database",
    "endpoints",
    "monitor_grant",
    "read_sql",
    "streams_from",
]

"""Prometheus, Alertmanager and the exporters of a sandbox: plain processes on loopback, where they are installed."""

from runbook_sandbox.monitoring.parts import (
    COMPONENTS,
    JOBS,
    ROLE,
    answers,
    command,
    environment,
    installed,
    missing,
    profile,
    remember,
    tell_targets,
    write,
)

__all__ = [
    "COMPONENTS",
    "JOBS",
    "ROLE",
    "answers",
    "command",
    "environment",
    "installed",
    "missing",
    "profile",
    "remember",
    "tell_targets",
    "write",
]

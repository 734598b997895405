"""Targets: the deployments that notebooks look at, as named profiles."""

from runbook.target.find import load_target, profile_folders, target_names
from runbook.target.profile import Api, Compose, Contact, Deadlines, Host, Logs, Postgres, Redis, Share, Target, Webhook
from runbook.target.secret import SecretReference, resolve

__all__ = [
    "Api",
    "Compose",
    "Contact",
    "Deadlines",
    "Host",
    "Logs",
    "Postgres",
    "Redis",
    "SecretReference",
    "Share",
    "Target",
    "Webhook",
    "load_target",
    "profile_folders",
    "resolve",
    "target_names",
]

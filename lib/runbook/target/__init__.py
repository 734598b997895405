"""Targets: the deployments that notebooks look at, as named profiles."""

from runbook.target.backups import Backups, BackupSet
from runbook.target.certificates import Certbot, Certificates, Endpoint, Reload, split_place
from runbook.target.find import find_profile, load_target, profile_folders, read_profile, target_names
from runbook.target.groups import Named, expand
from runbook.target.kubernetes import Kubernetes, TlsSecret
from runbook.target.notifications import Notifications, Webhook
from runbook.target.profile import (
    Alertmanager,
    Api,
    Compose,
    Contact,
    Deadlines,
    Host,
    Jobs,
    Load,
    Logs,
    Postgres,
    Prometheus,
    Redis,
    Share,
    Ssh,
    Target,
)
from runbook.target.recovery import Recovery
from runbook.target.schedule import DAYS, OFF, When, read_when
from runbook.target.secret import SecretReference, is_reference, references, resolve
from runbook.target.serve import Serve

__all__ = [
    "DAYS",
    "OFF",
    "Alertmanager",
    "Api",
    "BackupSet",
    "Backups",
    "Certbot",
    "Certificates",
    "Compose",
    "Contact",
    "Deadlines",
    "Endpoint",
    "Host",
    "Jobs",
    "Kubernetes",
    "Load",
    "Logs",
    "Named",
    "Notifications",
    "Postgres",
    "Prometheus",
    "Recovery",
    "Redis",
    "Reload",
    "SecretReference",
    "Serve",
    "Share",
    "Ssh",
    "Target",
    "TlsSecret",
    "Webhook",
    "When",
    "expand",
    "find_profile",
    "is_reference",
    "load_target",
    "profile_folders",
    "read_profile",
    "read_when",
    "references",
    "resolve",
    "split_place",
    "target_names",
]

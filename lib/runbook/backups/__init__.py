"""Questions about backups: how old, how large, how sound, and restored for practice."""

from runbook.backups.age import age
from runbook.backups.drill import drill
from runbook.backups.plots import BackupSizes
from runbook.backups.replay import replay
from runbook.backups.restore import restore
from runbook.backups.restored import restored
from runbook.backups.retention import retention
from runbook.backups.roles import roles
from runbook.backups.sizes import sizes
from runbook.backups.sound import readings, sound

questions = (age, sizes, retention, sound, drill, restored)
changes = (restore, replay, roles)

__all__ = [
    "BackupSizes",
    "age",
    "changes",
    "drill",
    "questions",
    "readings",
    "replay",
    "restore",
    "restored",
    "retention",
    "roles",
    "sizes",
    "sound",
]

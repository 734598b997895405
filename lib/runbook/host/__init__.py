"""Questions on the machine that the target lives on, where that is this one."""

from runbook.host.disk import disk
from runbook.host.load import load
from runbook.host.memory import memory

questions = (disk, memory, load)

__all__ = ["disk", "load", "memory", "questions"]

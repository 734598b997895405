"""Questions on the machine that the target lives on, where that is this one."""

from runbook.host.disk import disk
from runbook.host.listening_ports import listening_ports
from runbook.host.load import load
from runbook.host.memory import memory

questions = (disk, memory, load, listening_ports)

__all__ = ["disk", "listening_ports", "load", "memory", "questions"]

"""Questions on the machine that the target lives on: this one, one over ssh, exporters' hosts, or its containers."""

from runbook.host.disk import disk
from runbook.host.listening_ports import listening_ports
from runbook.host.load import load
from runbook.host.memory import memory
from runbook.host.reachable import reachable

questions = (reachable, disk, memory, load, listening_ports)

__all__ = ["disk", "listening_ports", "load", "memory", "questions", "reachable"]

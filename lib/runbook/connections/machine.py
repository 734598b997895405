"""The machine that the notebooks run on, where the target lives there too."""

import os
import platform
import socket
import time
from pathlib import Path
from typing import Self

import psutil

from runbook.connections.connection import Connection
from runbook.model import Unreachable
from runbook.target import Host, Target


class Machine(Connection):
    """This machine, or the share of it that the target owns."""

    name = "host"

    def __init__(self, host: Host) -> None:
        self.host = host
        self.label = host.name or socket.gethostname()
        # Taken now, so that who asks for the load later need not wait for a second figure.
        self.opened_at, self.spent = time.monotonic(), self.cpu_seconds()
        self.identity = {
            "what": f"{platform.system()} {platform.release()}",
            "where": self.label,
            "judged": "a share of the machine" if host.share else "the whole machine",
        }

    @classmethod
    def open(cls, target: Target, label: str) -> Self:
        """Return this machine; refuses where the profile says that the target lives elsewhere."""
        if target.host.where != "here":
            raise Unreachable(
                "host",
                "not-configured",
                f"{target.name} does not live on this machine (profile: host.where); its disk, memory and load are "
                "not to be seen from here",
            )
        return cls(target.host)

    def processes(self) -> list[psutil.Process]:
        """Return the processes whose working folder lies in the target's share of the machine; none without a share."""
        return _processes(self.host.share.folder) if self.host.share else []

    def cpu_seconds(self) -> dict[int, float]:
        """Return how many seconds of a processor each process of the share has used, by pid."""
        spent = {}
        for process in self.processes():
            try:
                times = process.cpu_times()
            except psutil.Error:
                continue
            spent[process.pid] = times.user + times.system
        return spent

    def close(self) -> None:
        """Hold nothing, so give nothing back."""


def _processes(folder: Path) -> list[psutil.Process]:
    found = []
    inside = os.path.realpath(folder)
    for process in psutil.process_iter():
        try:
            cwd = process.cwd()
        except psutil.Error:
            continue
        if cwd == inside or cwd.startswith(inside + os.sep):
            found.append(process)
    return found

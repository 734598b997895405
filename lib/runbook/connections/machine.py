"""The machine that the notebooks run on, where the target lives there too."""

import platform
import socket
from typing import Self

from runbook.connections.connection import Connection
from runbook.model import Unreachable
from runbook.target import Host, Target


class Machine(Connection):
    """This machine, or the share of it that the target owns."""

    name = "host"

    def __init__(self, host: Host) -> None:
        self.host = host
        self.label = host.name or socket.gethostname()
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

    def close(self) -> None:
        """Hold nothing, so give nothing back."""

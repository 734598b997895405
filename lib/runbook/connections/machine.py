"""The machine that the target lives on: this one, one over ssh, those of Prometheus' exporters, or its containers."""

import os
import platform
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Self

import psutil

from runbook.connections.connection import Connection
from runbook.connections.containers import ContainersConnection
from runbook.connections.elsewhere import Elsewhere, ThisMachine
from runbook.connections.prometheus import PrometheusConnection
from runbook.connections.ssh import SharedHost, SshHost
from runbook.model import CouldNotFindOut, Unreachable
from runbook.procfs.spent import processor_seconds
from runbook.target import Host, Jobs, Target


class Machine(Connection):
    """Where the target lives: this machine, or the share of it that it owns; or another, as the profile says.

    ``elsewhere`` are the places that are looked at from inside: the host over ssh, or the containers. ``watcher`` is
    the Prometheus that is asked instead, ``engine`` the Docker engine of the containers.
    """

    name = "host"

    def __init__(self, host: Host) -> None:
        self.host = host
        self.label = host.name or socket.gethostname()
        self.elsewhere: tuple[Elsewhere, ...] = ()
        self.watcher: PrometheusConnection | None = None
        self.engine: ContainersConnection | None = None
        self.node_job = Jobs().node
        self._lost: Callable[[], bool] = lambda: False
        self._give_back: Callable[[], None] = lambda: None
        # Taken now, so that who asks for the load later need not wait for a second figure.
        self.opened_at, self.spent = time.monotonic(), self.cpu_seconds()
        self.identity = {
            "what": f"{platform.system()} {platform.release()}",
            "where": self.label,
            "judged": "a share of the machine" if host.share else "the whole machine",
        }

    @classmethod
    def open(cls, target: Target, label: str) -> Self:
        """Return the machine of the target's profile; refuses where that says that it is not to be seen from here."""
        where = target.host.where
        if where == "elsewhere":
            raise Unreachable(
                "host",
                "not-configured",
                f"{target.name} does not live on this machine (profile: host.where); its disk, memory and load are "
                'not to be seen from here, unless it says how: "ssh", "prometheus" or "containers"',
            )
        machine = cls(target.host)
        if where == "ssh":
            machine._over_ssh(target.deadlines.connect)
        elif where == "prometheus":
            machine._by_exporters(target, label)
        elif where == "containers":
            machine._in_containers(target, label)
        return machine

    @property
    def closed(self) -> bool:
        """Tell whether the connection to it has broken off."""
        return self._lost()

    @property
    def places(self) -> tuple[Elsewhere, ...]:
        """Return where programs can be called to look: this machine, or elsewhere; raises `CouldNotFindOut` for hosts
        that only their exporters tell of.
        """
        if self.watcher is not None:
            raise CouldNotFindOut(
                f"node_exporter does not tell it of {self.label}; over ssh it is seen (profile: host.where)"
            )
        return self.elsewhere or (ThisMachine(self.label),)

    def require_here(self, what: str) -> None:
        """Raise `CouldNotFindOut` where the target does not live on the machine that runs the notebooks."""
        if self.host.where != "here":
            raise CouldNotFindOut(
                f"{what} only where the notebooks run on the target's own machine, and {self.label} is looked at from "
                f'elsewhere (profile: host.where = "{self.host.where}")'
            )

    def _over_ssh(self, seconds: float) -> None:
        assert self.host.ssh is not None
        shared = SharedHost.take(self.host.ssh, seconds, self.host.name)
        far = shared.host
        self.label, self.elsewhere = far.label, (far,)
        self.clock = replace(far.clock, whose=far.label) if far.clock is not None else None
        self._lost, self._give_back = (lambda: far.closed), shared.give_back
        self.identity = {
            "what": far.system, "where": f"{far.label}, over ssh ({far.ssh.at})", "judged": "the whole machine",
        }  # fmt: skip

    def _by_exporters(self, target: Target, label: str) -> None:
        try:
            watcher = PrometheusConnection.open(target, label)
        except Unreachable as error:
            raise Unreachable("host", error.kind, f"the hosts' exporters cannot be asked: {error.reason}") from error
        self.watcher, self._give_back = watcher, watcher.close
        if target.prometheus is not None:
            self.node_job = target.prometheus.jobs.node
        asked = ", ".join(self.host.instances) or f"all of the job {self.node_job}"
        self.label = self.host.name or asked
        self.identity = {"what": "node_exporter", "where": watcher.identity["where"], "judged": asked}

    def _in_containers(self, target: Target, label: str) -> None:
        engine = ContainersConnection.open(target, label)
        self.engine, self._give_back = engine, engine.close
        self.elsewhere = tuple(engine.inside(name, part) for part, name in engine.named.items())
        self.label = self.host.name or "the containers"
        self.identity = {
            "what": engine.identity["what"], "where": engine.identity["where"],
            "judged": ", ".join(engine.named.values()),
        }  # fmt: skip

    def processes(self) -> list[psutil.Process]:
        """Return the processes whose working folder lies in the target's share of the machine; none without a share."""
        return _processes(self.host.share.folder) if self.host.share else []

    def cpu_seconds(self) -> dict[int, float]:
        """Return how many seconds of a processor each process of the share has used, by pid."""
        return processor_seconds(self.processes())

    def close(self) -> None:
        """Give back what leads to it."""
        self._give_back()

    def abort(self) -> None:
        """Give up a host that is silent: whoever shares the connection to it is not kept waiting either."""
        for place in self.elsewhere:
            if isinstance(place, SshHost):
                place.close()
        self._give_back()


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

"""The processes of the service, where they run on this machine: by their port, or by their container."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import psutil

from runbook.connections import ContainersConnection
from runbook.model import Asking, CouldNotFindOut


@dataclass(frozen=True)
class Service:
    """The service's processes, its first one and all that it started; ``told`` says which these are."""

    processes: Sequence[psutil.Process]
    told: str

    @property
    def pid(self) -> int:
        """Return the pid of the first one."""
        return self.processes[0].pid

    def processor_seconds(self) -> dict[int, float]:
        """Return how many seconds of a processor each of them has used; those that are gone are left out."""
        used = {}
        for process in self.processes:
            try:
                times = process.cpu_times()
            except psutil.Error:
                continue
            used[process.pid] = times.user + times.system
        return used


def service_of(asking: Asking) -> Service:
    """Return the service's processes on this machine; raises `CouldNotFindOut` with what is missing."""
    named = asking.target.containers
    if named is not None and named.api:
        found = asking.connection(ContainersConnection).inspect(named.api)
        pid = int(found["State"]["Pid"]) if found is not None else 0
        if not pid or not psutil.pid_exists(pid):
            raise CouldNotFindOut(
                f"container {named.api} has no process on this machine: it does not run, or elsewhere"
            )
        return _with_children(pid, f"container {named.api}")
    api = asking.target.api
    if api is None:
        raise CouldNotFindOut(f"the profile of {asking.target.name} has no [api]")
    parts = urlsplit(api.url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if not _is_here(host):
        raise CouldNotFindOut(
            f"the service at {host} does not run on this machine: run this notebook there, where its process is"
        )
    listening = _listening(port)
    if listening is None:
        raise CouldNotFindOut(
            f"who listens on port {port} is not to be seen: nobody does, or this user may not see whose it is; run "
            "this notebook as the service's user or as root"
        )
    return _with_children(listening, f"who listens on port {port}")


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        if ip_address(host).is_loopback:
            return True
    except ValueError:
        return False
    own = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    return host in own


def _listening(port: int) -> int | None:
    """Return the pid of the process that listens on a port, the one that the others were started by."""
    try:
        found = {
            one.pid for one in psutil.net_connections("tcp")
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port and one.pid
        }  # fmt: skip
    except psutil.Error:
        return None
    return min(found, default=None)


def _with_children(pid: int, told: str) -> Service:
    try:
        first = psutil.Process(pid)
        return Service([first, *first.children(recursive=True)], told)
    except psutil.Error as error:
        raise CouldNotFindOut(f"process {pid} ({told}) cannot be looked at: {type(error).__name__}") from error

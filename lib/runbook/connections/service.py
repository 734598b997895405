"""The processes of the service, where they run on this machine: those of its container, or that listen for it."""

import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import psutil

from runbook.connections.containers import ContainersConnection
from runbook.model import Asking, CouldNotFindOut
from runbook.procfs.spent import processor_seconds


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
        return processor_seconds(self.processes)


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
        return _with_children({pid}, f"container {named.api}")
    api = asking.target.api
    if api is None:
        raise CouldNotFindOut(f"the profile of {asking.target.name} has no [api]")
    return listening_at(api.url)


def listening_at(url: str) -> Service:
    """Return the processes that listen at an address on this machine; raises `CouldNotFindOut` where none is seen."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    here = _addresses(host)
    if not here:
        raise CouldNotFindOut(
            f"the service at {host} does not run on this machine: run this notebook there, where its process is"
        )
    found = set()
    with suppress(psutil.Error):
        found = {
            one.pid for one in psutil.net_connections("tcp")
            if one.status == psutil.CONN_LISTEN and one.pid and one.laddr
            and one.laddr.port == port and one.laddr.ip in here
        }  # fmt: skip
    if not found:
        raise CouldNotFindOut(
            f"who listens on port {port} is not to be seen: nobody does, or this user may not see whose it is; run "
            "this notebook as the service's user or as root"
        )
    return _with_children(found, f"who listens on port {port}")


def _addresses(host: str) -> set[str]:
    """Return at which addresses somebody listens who is reached by a host of this machine; none for another one's.

    Nothing is looked up for that: a name is known where it is this machine's own.
    """
    own = {address.address.partition("%")[0] for each in psutil.net_if_addrs().values() for address in each}
    every = {"0.0.0.0", "::"}  # noqa: S104 - what listens there is looked for
    if host == "localhost":
        return {"127.0.0.1", "::1"} | every
    if host == socket.gethostname():
        return own | every
    with suppress(ValueError):
        if host in own or ip_address(host).is_loopback:
            return {host} | every
    return set()


def _with_children(pids: set[int], told: str) -> Service:
    """Return processes and all that they started, whichever started the others first."""
    found: dict[int, psutil.Process] = {}
    parents: dict[int, int] = {}
    for pid in sorted(pids):
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            for one in (process, *process.children(recursive=True)):
                parents[one.pid] = one.ppid()
                found[one.pid] = one
    if not found:
        raise CouldNotFindOut(f"the process of the service ({told}) cannot be looked at")
    return Service(sorted(found.values(), key=lambda one: parents[one.pid] in found), told)

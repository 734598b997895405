"""The processes of the service on this machine: those of its container, or those that listen where it is reached."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import psutil

from runbook.connections import ContainersConnection, Machine
from runbook.model import Asking, CouldNotFindOut, Unreachable


def listening_on(url: str | None) -> list[psutil.Process]:
    """Return the processes that listen on the port of an address, and what they started; none where none is seen."""
    port = urlsplit(url).port if url else None
    try:
        held = {one.pid for one in psutil.net_connections(kind="tcp") if one.status == psutil.CONN_LISTEN and one.pid
                and one.laddr and one.laddr.port == port}  # fmt: skip
    except psutil.Error:
        return []
    return _with_children(held)


def of_service(asking: Asking) -> list[psutil.Process]:
    """Return the processes of the service, the largest first.

    Raises `CouldNotFindOut` where it does not run on the machine that runs the notebooks, or cannot be told there.
    """
    asking.connection(Machine).require_here("a process is looked into")
    try:
        connection = asking.connection(ContainersConnection)
    except Unreachable as error:
        if error.kind != "not-configured":
            raise
        api = asking.target.api
        found = listening_on(api.url if api is not None else None)
    else:
        name = connection.named.get("api")
        told: Mapping[str, Any] = (connection.inspect(name) if name else None) or {}
        found = _with_children({int((told.get("State") or {}).get("Pid") or 0)} - {0})
    if not found:
        raise CouldNotFindOut("no process of the service is seen on this machine")
    return sorted(found, key=lambda process: -_size(process))


def _with_children(pids: set[int]) -> list[psutil.Process]:
    found: dict[int, psutil.Process] = {}
    for pid in pids:
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            found |= {one.pid: one for one in (process, *process.children(recursive=True))}
    return list(found.values())


def _size(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0

"""Who could command the Docker engine, and with it be root on its machine?"""

import grp
import os
import stat
from pathlib import Path
from typing import Any

import pandas as pd

from runbook.connections import ContainersConnection
from runbook.docker.explanations import EXPLAINED_BY
from runbook.model import Asking, Finding, Question, Status, first_of

DEFAULT = "/var/run/docker.sock"
_NAMES = ("docker.sock", "containerd.sock")


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each way to the engine: kind (socket, network, container, own), name, mode (octal), group,
    told, and writable (by all, of a socket; of a mount, by its container).
    """
    connection = asking.connection(ContainersConnection)
    host = os.environ.get("DOCKER_HOST") or f"unix://{DEFAULT}"
    rows = [_socket(host.removeprefix("unix://"))] if host.startswith("unix://") else [_reached(host)]
    rows += [_row("network", warning) for warning in connection.warnings() if "API is accessible" in warning]
    for container, source, writable in connection.mounts():
        if _leads_to_it(source, host.removeprefix("unix://")):
            rows.append(_row("container", container, told=source, writable=writable))
    return pd.DataFrame(rows)


def _row(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "name": name, "mode": "", "group": "", "told": "", "writable": False, "member": False, **more}


def _reached(host: str) -> dict[str, Any]:
    protected = host.startswith(("ssh://", "https://")) or bool(os.environ.get("DOCKER_TLS_VERIFY"))
    return _row("network", host, told="protected" if protected else "")


def _socket(path: str) -> dict[str, Any]:
    try:
        found = Path(path).stat()
    except OSError as error:
        return _row("socket", path, told=str(error.strerror))
    mode = stat.S_IMODE(found.st_mode)
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    # Whoever may write to it commands the engine; to read is not enough.
    member = os.geteuid() != 0 and found.st_gid in {os.getegid(), *os.getgroups()} and bool(mode & stat.S_IWGRP)
    return _row("socket", path, mode=f"{mode:04o}", group=group, writable=bool(mode & stat.S_IWOTH), member=member)


def _leads_to_it(source: str, socket: str) -> bool:
    """Tell whether what a container mounts is the engine's socket, or a folder that it lies in."""
    real = Path(socket).resolve()
    return Path(source).name in _NAMES or Path(source).resolve() in (real, *real.parents)


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge each way: open to all or to the network is CRITICAL; a container that has it is WARNING, since whoever
    breaks into that container is root on the machine.
    """
    findings = [_judged(row) for row in frame.to_dict("records")]
    return first_of(sorted(findings, key=lambda one: one.status.severity), "ways")


def _judged(row: dict[Any, Any]) -> Finding:
    if row["kind"] == "network":
        tls = bool(row["told"])
        status = Status.OK if tls else Status.CRITICAL
        message = (
            f"the engine is reached over the network{'' if tls else ', where whoever connects is root'}: {row['name']}"
        )
        return Finding(object="network", status=status, message=message)
    if row["kind"] == "container":
        message = f"has {row['told']} from the machine: whoever breaks into it commands the engine, which is to be root"
        return Finding(object=f"container {row['name']}", status=Status.WARNING, message=message)
    subject = f"socket {row['name']}"
    if not row["mode"]:
        return Finding(object=subject, status=Status.UNKNOWN, message=f"could not be looked at: {row['told']}")
    told = f"mode {row['mode']}, group {row['group']}"
    if row["writable"]:
        message = f"everybody on the machine commands the engine, and is root by that ({told})"
        return Finding(object=subject, status=Status.CRITICAL, message=message, value=row["mode"])
    own = "; the runbook's user is in that group, which makes it root on this machine" if row["member"] else ""
    message = f"root and the group {row['group']} command the engine ({told}){own}"
    return Finding(object=subject, status=Status.OK, message=message, value=row["mode"])


socket_exposure = Question(
    name="docker.socket_exposure",
    title="Who could command the Docker engine, and be root on its machine?",
    probe=probe,
    check=check,
    source=(
        "stat -c '%a %U %G %n' /var/run/docker.sock; docker info --format '{{json .Warnings}}'\n"
        "docker ps -q | xargs docker inspect --format '{{.Name}} {{range .Mounts}}{{.Source}} {{end}}'"
    ),
    needs=(ContainersConnection,),
    deadline=10.0,
    next="take the socket out of the container, or put a proxy before it that lets through only what it needs",
    explained_by=EXPLAINED_BY,
)

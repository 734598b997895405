"""Can who breaks into a container get out of it?"""

from typing import Any

import pandas as pd

from runbook.connections import ContainersConnection
from runbook.docker.explanations import EXPLAINED_BY
from runbook.model import Asking, Finding, Question, Status, first_of

# With these a process in a container is as good as root on the machine.
_AS_ROOT = frozenset(
    ["ALL", "SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO", "SYS_BOOT", "BPF", "DAC_READ_SEARCH"]
)
# Folders whose content is the machine itself, and sockets of engines.
_MACHINE = ("/boot", "/dev", "/etc", "/proc", "/root", "/run", "/sys", "/var/lib/docker", "/var/run")
_ENGINES = ("docker.sock", "containerd.sock", "crio.sock", "podman.sock")
_KEPT_INSIDE = ("postgres", "redis")
_MOST = 11
COLUMNS = [
    "part", "container", "there", "privileged", "capabilities", "namespaces", "unconfined", "engine_sockets",
    "machine_folders", "writable_folders", "root", "no_new_privileges", "memory", "cpus", "pids", "published",
]  # fmt: skip


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each named container: part, container, there, privileged, capabilities (added ones), namespaces
    (of the machine that it shares), unconfined (seccomp, apparmor or labels that were switched off), engine_sockets and
    machine_folders (mounted), writable_folders (those of them that can be written), root (whether its first process
    starts as root), no_new_privileges, memory, cpus, pids (whether each is limited), published (ports on all
    addresses).

    Lists are texts, with commas.
    """
    connection = asking.connection(ContainersConnection)
    rows = []
    for part, name in connection.named.items():
        told = connection.inspect(name)
        row = {"part": part, "container": name, "there": told is not None}
        rows.append({**row, **(_facts(told) if told is not None else {})})
    return pd.DataFrame(rows, columns=COLUMNS)


def _facts(told: dict[str, Any]) -> dict[str, Any]:
    host, config = told.get("HostConfig") or {}, told.get("Config") or {}
    ports = (told.get("NetworkSettings") or {}).get("Ports")
    options = [str(option) for option in host.get("SecurityOpt") or []]
    mounts = [
        (str(m.get("Source", "")), bool(m.get("RW"))) for m in told.get("Mounts") or [] if m.get("Type") == "bind"
    ]
    sensitive = [(source, writable) for source, writable in mounts if _is_machines(source)]
    sensitive += [(str(device.get("PathOnHost", "")), True) for device in host.get("Devices") or []]
    user = str(config.get("User") or "").partition(":")[0]
    modes = {"network": "NetworkMode", "pid": "PidMode", "ipc": "IpcMode", "uts": "UTSMode", "user": "UsernsMode"}
    return {
        "privileged": bool(host.get("Privileged")),
        "capabilities": ", ".join(sorted(str(one).removeprefix("CAP_") for one in host.get("CapAdd") or [])),
        "namespaces": ", ".join(name for name, key in modes.items() if host.get(key) == "host"),
        "unconfined": ", ".join(option for option in options if option.endswith(("unconfined", "disable"))),
        "engine_sockets": ", ".join(source for source, _ in mounts if source.endswith(_ENGINES)),
        "machine_folders": ", ".join(source for source, _ in sensitive),
        "writable_folders": ", ".join(source for source, writable in sensitive if writable),
        "root": user in ("", "0", "root"),
        "no_new_privileges": any(
            option.startswith("no-new-privileges") and "false" not in option for option in options
        ),
        "memory": bool(host.get("Memory")),
        "cpus": bool(host.get("NanoCpus") or (host.get("CpuQuota") or 0) > 0),
        "pids": (host.get("PidsLimit") or 0) > 0,
        # What was published at a free port stands with the ports that it has while it runs.
        "published": ", ".join(dict.fromkeys(_published(ports or host.get("PortBindings") or {}))),
    }


def _is_machines(source: str) -> bool:
    if source.endswith(_ENGINES):
        return False
    # Whoever has a folder above one of them has that one, too.
    return source == "/" or any(f"{source}/".startswith(f"{one}/") or one.startswith(f"{source}/") for one in _MACHINE)


def _published(bindings: dict[str, Any]) -> list[str]:
    return [
        f"{place.get('HostPort') or 'any port'} → {inside}"
        for inside, places in sorted(bindings.items())
        for place in places or []
        if place.get("HostIp", "") in ("", "0.0.0.0", "::")  # noqa: S104 - looked for, not bound
    ]


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge each container by what CIS' benchmark for Docker (section 5) says of running ones: a way out to the machine
    is CRITICAL; rights and reach that it may not need are WARNING.
    """
    findings: list[Finding] = []
    for row in frame.to_dict("records"):
        name = f"{row['part']} ({row['container']})"
        if not row["there"]:
            message = "there is no such container to look at"
            findings.append(Finding(object=name, status=Status.UNKNOWN, message=message))
            continue
        told = [*_ways_out(row), *_reach(row)]
        findings += [Finding(object=f"{name} {what}", status=status, message=said) for what, status, said in told]
        if not told:
            message = "no way out to the machine, an own user, all limits set"
            findings.append(Finding(object=name, status=Status.OK, message=message))
    return first_of(sorted(findings, key=lambda one: one.status.severity), "findings", _MOST)


def _ways_out(row: dict[Any, Any]) -> list[tuple[str, Status, str]]:
    told = []
    if row["privileged"]:
        told.append(("privileged", Status.CRITICAL, "runs privileged: its root is the machine's root"))
    if row["engine_sockets"]:
        message = f"{row['engine_sockets']} is mounted: whoever speaks to it starts containers as root of the machine"
        told.append(("engine's socket", Status.CRITICAL, message))
    if row["machine_folders"]:
        status = Status.CRITICAL if row["writable_folders"] else Status.WARNING
        how = "and can be written" if row["writable_folders"] else "read-only"
        message = f"folders of the machine are mounted, {how}: {row['writable_folders'] or row['machine_folders']}"
        told.append(("mounts", status, message))
    added = set(filter(None, row["capabilities"].split(", ")))
    if added:
        strong = added & _AS_ROOT
        message = f"has more capabilities than a container begins with: {row['capabilities']}"
        told.append(("capabilities", Status.CRITICAL if strong else Status.WARNING, message))
    shared = set(filter(None, row["namespaces"].split(", ")))
    if shared:
        status = Status.CRITICAL if "pid" in shared else Status.WARNING
        message = f"shares with the machine: {row['namespaces']}"
        if "network" in shared:
            message += "; all that it listens on is open as if it ran there"
        told.append(("namespaces", status, message))
    return told


def _reach(row: dict[Any, Any]) -> list[tuple[str, Status, str]]:
    told = []
    if row["unconfined"]:
        message = f"its confinement is switched off: {row['unconfined']}"
        told.append(("confinement", Status.WARNING, message))
    if row["root"]:
        message = "its first process starts as root"
        message += "" if row["no_new_privileges"] else ", and its programs may gain rights (no no-new-privileges)"
        told.append(("user", Status.WARNING, message))
    lacking = [
        what
        for what, limited in (("memory", "memory"), ("processors", "cpus"), ("processes", "pids"))
        if not row[limited]
    ]
    if lacking:
        message = f"no limit of its {', '.join(lacking)}: it can take all that the machine has"
        told.append(("limits", Status.WARNING, message))
    if row["published"]:
        status = Status.CRITICAL if row["part"] in _KEPT_INSIDE else Status.WARNING
        message = f"ports are published on all addresses, past the machine's firewall: {row['published']}"
        told.append(("published ports", status, message))
    return told


privileges = Question(
    name="docker.privileges",
    title="Can who breaks into a container get out of it?",
    probe=probe,
    check=check,
    source="docker inspect --format '{{json .HostConfig}} {{json .Mounts}} {{.Config.User}}' NAME",
    needs=(ContainersConnection,),
    deadline=10.0,
    explained_by=EXPLAINED_BY,
    next="take it out of the Compose file (privileged, cap_add, volumes, ports: 127.0.0.1:…), add user:, mem_limit:, "
    "pids_limit: and security_opt: [no-new-privileges:true], and have the container made anew",
)

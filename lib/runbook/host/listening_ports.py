"""Does just that listen which should?"""

import ipaddress
import re
from collections.abc import Hashable
from typing import Any

import msgspec
import pandas as pd
import psutil

from runbook.connections import Machine
from runbook.connections.elsewhere import Elsewhere, told
from runbook.host.seen import Row, from_inside
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, first_of
from runbook.model.units import counted
from runbook.procfs.sockets import listening as sockets_of

EVERYWHERE = "*"
# What is never meant for everybody: whoever reaches it reads or runs all there is.
CLOSED = {
    2375: "the Docker engine without TLS", 2376: "the Docker engine", 3306: "MySQL", 5432: "PostgreSQL",
    5433: "PostgreSQL", 6379: "Redis", 6380: "Redis", 6432: "pgbouncer", 8888: "JupyterLab", 9090: "Prometheus",
    9093: "Alertmanager", 9100: "the exporter of the host's metrics", 9187: "PostgreSQL's exporter",
    9200: "Elasticsearch", 10250: "the kubelet", 11211: "memcached", 11434: "Ollama", 27017: "MongoDB",
}  # fmt: skip
_MOST = 10
_FILES = ("/proc/net/tcp", "/proc/net/tcp6")


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each TCP socket that listens: address ("*" for all of the machine's), port, program (its name;
    "" where that takes more rights), local (whether only this machine reaches it), and one for each that the profile
    expects and that is not there (``there`` False). ``expected`` says whether the profile names it.

    Of a share of the machine only the sockets of its processes are looked at. attrs hold ``told``: whether the profile
    says at all what is expected; of another machine than this also ``source`` and, by host, ``problems``. Exporters do
    not tell: then it raises `CouldNotFindOut`.
    """
    machine = asking.connection(Machine)
    named = machine.host.listening
    if machine.watcher is not None:
        raise CouldNotFindOut(
            f"node_exporter does not tell what listens on {machine.label}; over ssh it is seen (profile: host.where)"
        )
    listening, attrs = _inside(machine) if machine.elsewhere else (_here(machine), {})
    wanted = [_place(text) for text in named or ()]
    rows: list[dict[str, Any]] = [
        {"address": address, "port": port, "program": program, "local": _is_local(address), "there": True,
         "expected": any(_covers(place, (address, port)) for place in wanted),
         "by_address": (address, port) in wanted}
        for (address, port), program in sorted(listening.items(), key=lambda item: (item[0][1], item[0][0]))
    ]  # fmt: skip
    rows += [
        {"address": address, "port": port, "program": "", "local": False, "there": False, "expected": True,
         "by_address": address != ""}
        for address, port in wanted
        if not any(_covers((address, port), place) for place in listening)
    ]  # fmt: skip
    columns = ["address", "port", "program", "local", "there", "expected", "by_address"]
    frame = pd.DataFrame(rows, columns=columns)
    frame.attrs = {**attrs, "told": named is not None, "host": machine.label}
    return frame


def _here(machine: Machine) -> dict[tuple[str, int], str]:
    try:
        sockets = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied as error:
        raise CouldNotFindOut("the machine's sockets may only be listed by root on this system") from error
    own = {process.pid for process in machine.processes()} if machine.host.share else None
    found: dict[tuple[str, int], str] = {}
    for one in sockets:
        if one.status == psutil.CONN_LISTEN and one.laddr and (own is None or one.pid in own):
            place = (_address(one.laddr.ip), int(one.laddr.port))
            found[place] = found.get(place) or _program(one.pid)
    return found


def _inside(machine: Machine) -> tuple[dict[tuple[str, int], str], dict[Hashable, Any]]:
    """Return what listens where the target lives, and why a place could not be looked at.

    Containers of one network see the same sockets: each counts once. Whose a socket is would take root's rights.
    """
    rows = from_inside(machine, _sockets, {"sockets": None})
    problems = {row["host"]: row["problem"] for row in rows if row["problem"]}
    if len(problems) == len(rows):
        raise CouldNotFindOut("; ".join(f"{host}: {problem}" for host, problem in problems.items()))
    found = {(_address(ip), port): "" for row in rows for ip, port in row["sockets"] or ()}
    return found, {"problems": problems, "source": next(row["source"] for row in rows if row["source"])}


def _sockets(place: Elsewhere) -> list[Row]:
    ended = place.call(("cat", *_FILES))
    if ended.status != 0 and "local_address" not in ended.text:  # a machine without IPv6 has one of them only
        raise CouldNotFindOut(f"no program cat: {told(ended)}" if ended.lacks_program else told(ended))
    return [{"sockets": sorted(sockets_of(ended.text)), "source": place.shown(("cat", *_FILES))}]


def _address(text: str) -> str:
    """Return an address as it is compared: that of all interfaces is one, whether of IPv4 or IPv6."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return EVERYWHERE if address.is_unspecified else str(address)


def _place(text: str) -> tuple[str, int]:
    """Return what an entry of the profile names: an address ("" for any) and a port."""
    address, _, port = text.rpartition(":")
    address = address.strip("[]")
    return (address if address in ("", EVERYWHERE, "localhost") else _address(address)), int(port)


def _covers(wanted: tuple[str, int], place: tuple[str, int]) -> bool:
    if wanted[1] != place[1]:
        return False
    return wanted[0] in ("", place[0]) or (wanted[0] == "localhost" and _is_local(place[0]))


def _is_local(address: str) -> bool:
    return address != EVERYWHERE and ipaddress.ip_address(address).is_loopback


def _program(pid: int | None) -> str:
    try:
        return re.sub(r"[^\x20-\x7e]", "?", psutil.Process(pid).name())[:40] if pid is not None else ""
    except psutil.Error:
        return ""


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge what listens beyond what the profile expects, and what it expects and does not.

    What serves a database, a cache or an engine to all of the machine's addresses is CRITICAL, unless the profile names
    it with that address: a port alone may have been meant for the machine itself.
    """
    source = frame.attrs.get("source", "")
    unseen = [
        Finding(object=f"{host} sockets", status=Status.UNKNOWN, message=f"cannot be looked at: {problem}")
        for host, problem in frame.attrs.get("problems", {}).items()
    ]
    return [msgspec.structs.replace(one, source=source) for one in [*unseen, *_judged(frame)]]


def _judged(frame: pd.DataFrame) -> list[Finding]:
    there = frame[frame["there"].astype(bool)]
    findings = [_open(row) for row in there.to_dict("records") if _is_open(row)]
    if frame.attrs["told"]:
        beyond = [row for row in there.to_dict("records") if not row["expected"] and not _is_open(row)]
        findings += [_beyond(row) for row in beyond]
        findings += [_missing(row) for row in frame[~frame["there"].astype(bool)].to_dict("records")]
        if findings:
            return first_of(findings, "sockets", _MOST)
        message = f"{counted(len(there), 'TCP socket')} on {frame.attrs['host']}, all of them expected"
        return [Finding(object="sockets", status=Status.OK, message=message, value=float(len(there)), unit="sockets")]
    places = [f"{row['address']}:{row['port']}" for row in there.to_dict("records")]
    message = (
        f"the profile does not say what is to listen; {counted(len(places), 'TCP socket')} on {frame.attrs['host']}: "
        f"{', '.join(places[:_MOST])}{' …' if len(places) > _MOST else ''}"
    )
    after = 'name what is right in the profile: [host] listening = ["127.0.0.1:8000", "*:443"]'
    return [
        *first_of(findings, "sockets", _MOST),
        Finding(object="sockets", status=Status.UNKNOWN, message=message, next=after),
    ]


def _is_open(row: dict[Any, Any]) -> bool:
    return row["address"] == EVERYWHERE and int(row["port"]) in CLOSED and not row["by_address"]


def _open(row: dict[Any, Any]) -> Finding:
    message = f"{CLOSED[int(row['port'])]} listens on all addresses{_by(row)}: whoever reaches the machine reaches it"
    after = "bind it to 127.0.0.1 or to the network of the service, and close the port in the firewall until then"
    return _finding(row, Status.CRITICAL, message, after)


def _beyond(row: dict[Any, Any]) -> Finding:
    reach = "this machine only" if row["local"] else "other machines"
    return _finding(row, Status.WARNING, f"listens{_by(row)}, open to {reach}, and the profile does not expect it", "")


def _missing(row: dict[Any, Any]) -> Finding:
    return _finding(row, Status.WARNING, "the profile expects it, and nothing listens there", "see whether it runs")


def _by(row: dict[Any, Any]) -> str:
    return f" ({row['program']})" if row["program"] else " (whose program takes more rights to see)"


def _finding(row: dict[Any, Any], status: Status, message: str, after: str) -> Finding:
    shown = f"[{row['address']}]" if ":" in str(row["address"]) else row["address"]
    return Finding(object=f"{shown or 'port'}:{row['port']}", status=status, message=message, next=after)


listening_ports = Question(
    name="host.listening_ports",
    title="Does just that listen which should?",
    probe=probe,
    check=check,
    source="ss -ltnp",
    needs=(Machine,),
    next="find out what started it (ss -ltnp, as root); stop it, or name it in the profile",
)

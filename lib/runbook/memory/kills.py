"""Did the kernel kill anything for want of memory?"""

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from runbook.connections import ContainersConnection, Machine
from runbook.connections.elsewhere import Elsewhere, told
from runbook.connections.exporters import NOTHING_KNOWN
from runbook.memory.groups import Held, groups
from runbook.memory.watched import figures, query
from runbook.model import Asking, CouldNotFindOut, DoesNotApply, Finding, Question, Status, Unreachable
from runbook.model.text import printable, to_run
from runbook.model.units import as_bytes, counted, length

HOURS = 24.0
COLUMNS = ["whose", "kills", "last", "what", "runs", "now", "source", "problem"]
_KILLED = re.compile(
    r"^\[ *(\d+\.\d+)\] .*(?:Out of memory|Memory cgroup out of memory): Kill(?:ed)? process \d+ \(([^)]*)\)"
    r"(?:.*anon-rss:(\d+)kB)?",
    re.MULTILINE,
)
_COUNTER = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
_OOM = 137


def probe(asking: Asking, *, hours: float = HOURS) -> pd.DataFrame:
    """Return a row for each container and machine: whose, kills (that are known of), last (UTC; NaT: not known), what
    (was killed), runs (whether the container does now), now, source, problem.

    Of a container its control group counts (since it started), the engine remembers (its last end, and events of the
    last ``hours``); of a machine the kernel counts since it started, and its log tells when. A share of a machine has
    none of its own: raises `DoesNotApply` where there is nothing else.
    """
    now = datetime.now(UTC)
    rows = [*_of_containers(asking, now, hours), *_of_machine(asking, now, hours)]
    if not rows:
        raise DoesNotApply(
            "this target is a share of a machine, whose kernel kills for others too, and has no container"
        )
    return pd.DataFrame([{**row, "now": now} for row in rows], columns=COLUMNS).astype({"last": "datetime64[us, UTC]"})


def _of_containers(asking: Asking, now: datetime, hours: float) -> Iterator[dict[str, Any]]:
    try:
        connection = asking.connection(ContainersConnection)
        held = groups(connection)
        happened = connection.events(now - timedelta(hours=hours), now)
    except CouldNotFindOut as error:
        if not (isinstance(error, Unreachable) and error.kind == "not-configured"):
            yield {"whose": "containers", "problem": str(error), "source": ""}
        return
    for one in held:
        if not one.inspected:
            yield {"whose": one.label, "problem": one.problem, "source": ""}
            continue
        row = _of_container(one, [event for event in happened if event.get("Action") == "oom"])
        if one.group is not None and one.group.kills is None and not row["kills"]:
            row["problem"] = _forgotten(connection, now - timedelta(hours=hours))
            row["kills"] = None if row["problem"] else 0
        yield row


def _forgotten(connection: ContainersConnection, since: datetime) -> str:
    """Return why the engine, which nothing but its events tells of kills, does not know of all; "" where it does."""
    try:
        remembers = connection.remembered_since()
    except CouldNotFindOut as error:
        return str(error)
    if remembers is None or remembers <= since:
        return ""
    return f"its control group does not tell, and the engine remembers only what happened since {remembers:%H:%M} UTC"


def _of_container(one: Held, events: list[dict[str, Any]]) -> dict[str, Any]:
    state = one.inspected["State"]
    own = [event for event in events if event["Actor"]["Attributes"].get("name") == one.name]
    moments = [datetime.fromtimestamp(event["timeNano"] / 1e9, UTC) for event in own]
    counted_here = one.group.kills if one.group is not None else None
    # It stays when the container is started again, and its events are soon forgotten.
    killed, runs = bool(state.get("OOMKilled")), bool(state["Running"])
    if killed and (counted_here == 0 or not runs):
        moments.append(_moment(state["FinishedAt"]))
    return {
        "whose": one.label, "kills": max(len(own), counted_here or 0, int(killed)), "last": max(moments, default=None),
        "what": " or ".join(["the container"] * killed + ["a process in it"] * runs) or "a process in it",
        "runs": runs,
        "source": f"docker inspect --format '{{{{.State.OOMKilled}}}}' {one.name}; docker events --filter event=oom",
        "problem": "",
    }  # fmt: skip


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)


def _of_machine(asking: Asking, now: datetime, hours: float) -> Iterator[dict[str, Any]]:
    try:
        machine = asking.connection(Machine)
        if machine.host.share is not None or machine.engine is not None:
            return  # what the kernel kills there is others' too; of containers it was told
        if machine.watcher is not None:
            yield from _watched(machine, hours)
            return
        place = machine.places[0]
        text = place.call(("cat", "/proc/vmstat", "/proc/uptime")).text
    except CouldNotFindOut as error:
        yield {"whose": "machine", "problem": str(error), "source": ""}
        return
    count = _COUNTER.search(text)
    source = place.shown(("dmesg",))
    if count is None:
        yield {"whose": machine.label, "problem": "its kernel does not count them (/proc/vmstat)", "source": source}
        return
    uptime = float(text.strip().splitlines()[-1].split()[0])
    what, last, problem = "", None, ""
    if int(count[1]):
        what, last, problem = _log(place, now - timedelta(seconds=uptime))
    yield {
        "whose": machine.label, "kills": int(count[1]), "last": last, "what": what, "runs": True, "source": source,
        "problem": problem,
    }  # fmt: skip


def _watched(machine: Machine, hours: float) -> Iterator[dict[str, Any]]:
    window = f"{max(1, round(hours * 60))}m"
    for host, count in figures(machine, "killed", window).items():
        known = not math.isnan(count)
        yield {
            "whose": host, "kills": round(count) if known else None, "what": "", "runs": True,
            "source": query(machine, "killed", window), "problem": "" if known else NOTHING_KNOWN,
        }  # fmt: skip


def _log(place: Elsewhere, started: datetime) -> tuple[str, datetime | None, str]:
    """Return what the kernel's log tells of the last kill, and when; else why it does not."""
    try:
        ended = place.call(("dmesg",))
    except CouldNotFindOut as error:
        return "", None, f"when and whom is not told: {error}"
    if ended.status != 0:
        reason = f"no program dmesg ({told(ended)})" if ended.lacks_program else told(ended)
        return "", None, f"when and whom is not told: the kernel's log may not be read: {reason}"
    found = _KILLED.findall(ended.text)
    if not found:
        return "", None, "when and whom is not told: the kernel's log has been overwritten since"
    seconds, name, size = found[-1]
    kept = f" with {as_bytes(int(size) * 1024)}" if size else ""
    return f"{printable(name)[:40]}{kept}", started + timedelta(seconds=float(seconds)), ""


def check(frame: pd.DataFrame, *, hours: float = HOURS) -> list[Finding]:
    """Judge whether the kernel killed for want of memory within ``hours``: CRITICAL for a container that has not come
    back, a WARNING for all others. One a day is one too many: what was killed lost what it did.
    """
    findings = []
    for row in frame.to_dict("records"):
        known = pd.notna(row["kills"])
        status, message, after = Status.OK, "nothing was killed for want of memory", ""
        if row["problem"] and not (known and row["kills"]):
            status, message = Status.UNKNOWN, f"cannot be looked at: {row['problem']}"
        elif row["kills"]:
            ago = (row["now"] - row["last"]).total_seconds() if pd.notna(row["last"]) else None
            when = f", the last {length(ago)} ago" if ago is not None else ""
            message = f"{counted(int(row['kills']), 'kill')} for want of memory{when}"
            message += f": {row['what']}" if row["what"] else ""
            message += f"; {row['problem']}" if row["problem"] else ""
            if not row["runs"]:
                status, message = Status.CRITICAL, f"{message}; it does not run"
                after = f"start it, and give it more: {to_run('api-down')}"
            elif ago is None or ago <= hours * 3600:
                status = Status.WARNING
        findings.append(
            Finding(
                object=row["whose"], status=status, message=message, next=after, source=row["source"], unit="kills",
                value=float(row["kills"]) if known else None,
            )
        )  # fmt: skip
    return findings


kills = Question(
    name="memory.kills",
    title="Did the kernel kill anything for want of memory?",
    probe=probe,
    check=check,
    source="docker events --filter event=oom; dmesg | grep -i 'out of memory'; grep oom_kill /proc/vmstat",
    needs=(Machine, ContainersConnection),
    deadline=12.0,
    next="more memory keeps it from happening again only where nothing leaks: see what grows, below",
)

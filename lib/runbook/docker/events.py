"""What happened to the containers lately?"""

from datetime import UTC, datetime, timedelta

import pandas as pd

from runbook.connections import ContainersConnection
from runbook.model import Asking, Finding, Question, Status
from runbook.model.units import counted

COLUMNS = ["time", "container", "event", "exit_code", "image"]
# What somebody or something did to a container; exec and health checks come by the thousand.
_TOLD = {
    "create", "start", "restart", "stop", "kill", "die", "oom", "pause", "unpause", "destroy", "update", "rename",
    "health_status: unhealthy",
}  # fmt: skip


def probe(asking: Asking, *, hours: float = 24.0) -> pd.DataFrame:
    """Return a row for each event of the last ``hours``: time (UTC), container, event, exit_code (of die), image.

    The engine remembers the last 256 events of all, and forgets them when it is restarted itself.
    """
    connection = asking.connection(ContainersConnection)
    until = datetime.now(UTC)
    rows = []
    for event in connection.events(until - timedelta(hours=hours), until):
        actor = event.get("Actor", {}).get("Attributes", {})
        action = str(event.get("Action", ""))
        if action in _TOLD:
            moment = datetime.fromtimestamp(event["timeNano"] / 1e9, UTC)
            rows.append((moment, actor.get("name", ""), action, actor.get("exitCode", ""), actor.get("image", "")))
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame.attrs = {"hours": hours}
    return frame


def check(frame: pd.DataFrame, *, deaths: float = 3) -> list[Finding]:
    """Judge each container by what happened to it: out of memory is CRITICAL, more than ``deaths`` ends are WARNING.

    A deployment ends a container once; whatever ends more often than three times a day is not well.
    """
    findings = []
    for name, happened in frame.groupby("container"):
        seen = happened["event"].value_counts()
        told = ", ".join(f"{count} × {event}" for event, count in seen.items())
        last = happened.iloc[-1]
        message = f"{told}; last: {last['event']} at {last['time']:%Y-%m-%d %H:%M:%S} UTC"
        status = Status.OK
        if seen.get("die", 0) > deaths:
            status = Status.WARNING
        if seen.get("oom", 0):
            status = Status.CRITICAL
        findings.append(Finding(object=str(name), status=status, message=message, value=len(happened), unit="events"))
    if not findings:
        told = f"nothing happened to the containers in {counted(int(frame.attrs['hours']), 'hour')}"
        findings.append(Finding(object="containers", status=Status.OK, message=told, value=0, unit="events"))
    return findings


events = Question(
    name="docker.events",
    title="What happened to the containers lately?",
    probe=probe,
    check=check,
    source="docker events --since 24h --until 0s --filter container=NAME",
    needs=(ContainersConnection,),
    deadline=8,
    next="what happened first is the lead: look for what else changed at that moment",
)

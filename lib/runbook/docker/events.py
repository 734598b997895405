"""What happened to the containers lately?"""

from datetime import UTC, datetime, timedelta

import pandas as pd

from runbook.connections import ContainersConnection
from runbook.docker.explanations import EXPLAINED_BY
from runbook.model import Asking, Finding, Question, Status, UsageError
from runbook.model.units import counted

COLUMNS = ["time", "container", "event", "exit_code", "image"]
# What somebody or something did to a container; exec and health checks come by the thousand.
_TOLD = {
    "create", "start", "restart", "stop", "kill", "die", "oom", "pause", "unpause", "destroy", "update", "rename",
    "health_status: unhealthy",
}  # fmt: skip
MOST_TOLD = 5


def probe(asking: Asking, *, hours: float = 24.0) -> pd.DataFrame:
    """Return a row for each event of the last ``hours``: time (UTC), container, event, exit_code (of die), image.

    The engine remembers the last 256 events of all, and forgets them when it is restarted itself.
    """
    if not hours > 0:
        raise UsageError(f"hours is {hours:g}: a time of more than 0 hours can be looked back on")
    connection = asking.connection(ContainersConnection)
    until = datetime.now(UTC)
    rows = []
    for event in connection.events(until - timedelta(hours=hours), until):
        actor = event.get("Actor", {}).get("Attributes", {})
        action = str(event.get("Action", ""))
        if action in _TOLD:
            moment = datetime.fromtimestamp(event["timeNano"] / 1e9, UTC)
            rows.append((moment, actor.get("name", ""), action, actor.get("exitCode", ""), actor.get("image", "")))
    # What happens while the engine answers, it tells as remembered and as just happened.
    frame = pd.DataFrame(rows, columns=COLUMNS).drop_duplicates(ignore_index=True)
    forgotten = _forgotten(connection, set(frame["container"]), until, hours)
    frame.attrs = {"hours": hours, "forgotten": forgotten, "since": None}
    if forgotten:
        frame.attrs["since"] = connection.remembered_since()
    return frame


def _forgotten(connection: ContainersConnection, remembered: set[str], until: datetime, hours: float) -> dict[str, str]:
    """Return the containers that were started or ended in this time without the engine's remembering it, and when."""
    found = {}
    for name in connection.named.values():
        state = (connection.inspect(name) or {}).get("State", {})
        moments = [str(state.get(key, ""))[:19] for key in ("StartedAt", "FinishedAt")]
        last = max(moments)
        if name not in remembered and last >= f"{until - timedelta(hours=hours):%Y-%m-%dT%H:%M:%S}":
            found[name] = last.replace("T", " ")
    return found


def check(frame: pd.DataFrame, *, deaths: float = 3) -> list[Finding]:
    """Judge each container by what happened to it: killed for want of memory is CRITICAL until it is started again,
    then WARNING, as are more than ``deaths`` ends.

    A deployment ends a container once; whatever ends more often than three times a day is not well.
    """
    findings = []
    for name, happened in frame.groupby("container"):
        seen = happened["event"].value_counts()
        last = happened.tail(MOST_TOLD)
        told = ", ".join(f"{row['event']} {row['time']:%H:%M:%S}" for row in last.to_dict("records"))
        message = f"{counted(len(happened), 'event')}, the last ones: {told} UTC of {last['time'].iloc[-1]:%Y-%m-%d}"
        status = Status.OK
        if seen.get("die", 0) > deaths:
            status, message = Status.WARNING, f"ended {seen['die']} times; {message}"
        if seen.get("oom", 0):
            # What runs again is judged by its state; that it was killed stays to be known.
            after = happened[happened["time"] > happened.loc[happened["event"] == "oom", "time"].max()]
            status = Status.WARNING if "start" in set(after["event"]) else Status.CRITICAL
            moment = happened.loc[happened["event"] == "oom", "time"].max()
            message = f"killed for want of memory, last at {moment:%Y-%m-%d %H:%M:%S} UTC; {message}"
        findings.append(Finding(object=str(name), status=status, message=message, value=len(happened), unit="events"))
    findings += [_of_forgotten(name, moment, frame.attrs["since"]) for name, moment in frame.attrs["forgotten"].items()]
    if not findings:
        told = f"nothing happened to the containers in {counted(int(frame.attrs['hours']), 'hour')}"
        findings.append(Finding(object="containers", status=Status.OK, message=told, value=0, unit="events"))
    return findings


def _of_forgotten(name: str, moment: str, since: datetime | None) -> Finding:
    """Return what is told of a container that was started or ended without the engine's remembering it."""
    if since is not None and moment <= f"{since:%Y-%m-%d %H:%M:%S}":
        message = (
            f"started or ended last at {moment} UTC; nothing happened to it since {since:%Y-%m-%d %H:%M:%S} UTC, and "
            "no further back does the engine remember: it keeps 256 events, and health checks fill them"
        )
        return Finding(object=name, status=Status.OK, message=message, value=0, unit="events")
    message = (
        f"the engine remembers nothing of it, although it started or ended at {moment} UTC: it was restarted itself, "
        "and forgets what was before"
    )
    return Finding(object=name, status=Status.UNKNOWN, message=message)


events = Question(
    name="docker.events",
    title="What happened to the containers lately?",
    probe=probe,
    check=check,
    source="docker events --since 24h --until 0s --filter container=NAME",
    needs=(ContainersConnection,),
    explained_by=EXPLAINED_BY,
    deadline=8,
    next="what happened first is the lead: look for what else changed at that moment",
)

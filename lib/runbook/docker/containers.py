"""Do the containers run, and if not, why not?"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from runbook.connections import ContainersConnection
from runbook.docker.explanations import EXPLAINED_BY
from runbook.model import Asking, Finding, Question, Status
from runbook.model.units import as_bytes, counted

_NEVER = "0001-01-01"
# Exit codes of a container whose image is broken, or the wrong one: it ends so however often it is started.
BROKEN_IMAGE = (125, 126, 127)
# Exit codes above 128 are signals; these are the ones that say something.
_ENDED_BY = {
    125: "the engine could not start it",
    126: "its command cannot be executed: a broken image or wrong rights",
    127: "its command is not there: a broken image, or the wrong one",
    134: "aborted by itself (SIGABRT)",
    137: "killed (SIGKILL): by somebody, by a stop that took too long, or by the machine for want of memory",
    139: "crashed (segmentation fault)",
    143: "told to end (SIGTERM): by somebody, or by the engine",
}


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each named container: part, container, state (absent, created, running, paused, restarting,
    exited, dead …), exit_code (the last one; NaN: nobody remembers), oom_killed, memory_limit (bytes; 0: none),
    restarts, policy (restart policy), health ("" without a health check), health_said (its last output), error (of the
    engine), image, created, started, finished (UTC; None: never), ended_by (stop or kill where somebody had the engine
    do it), removed (when, and what it ran), now.
    """
    connection = asking.connection(ContainersConnection)
    now = datetime.now(UTC)
    lately = connection.events(now - timedelta(days=1), now)
    rows: list[dict[str, Any]] = []
    for part, name in connection.named.items():
        told = connection.inspect(name)
        row = {"part": part, "container": name, "now": now, **(state_of(told) if told else {"state": "absent"})}
        happened = [event for event in lately if event["Actor"]["Attributes"].get("name") == name]
        if row.get("restarts") and row["state"] == "running":
            # While it runs the engine itself says 0.
            row["exit_code"] = _last_exit(happened)
        rows.append(row | {"ended_by": _ended_by(happened), "removed": _removed(happened)})
    return pd.DataFrame(rows, columns=COLUMNS)


COLUMNS = [
    "part", "container", "state", "exit_code", "oom_killed", "memory_limit", "restarts", "policy", "health",
    "health_said", "error", "image", "created", "started", "finished", "ended_by", "removed", "now",
]  # fmt: skip


def state_of(told: dict[str, Any]) -> dict[str, Any]:
    """Return what the engine says of a container's state, as the columns of `probe`."""
    state, host = told["State"], told.get("HostConfig", {})
    health = state.get("Health") or {}
    log = health.get("Log") or [{}]
    return {
        "state": state["Status"],
        "exit_code": int(state.get("ExitCode", 0)),
        "oom_killed": bool(state.get("OOMKilled")),
        "memory_limit": int(host.get("Memory") or 0),
        "restarts": int(told.get("RestartCount", 0)),
        "policy": str((host.get("RestartPolicy") or {}).get("Name") or "no"),
        "health": str(health.get("Status", "")),
        "health_said": str(log[-1].get("Output", "")).strip()[:200],
        "error": str(state.get("Error", ""))[:300],
        "image": str(told.get("Config", {}).get("Image", "")),
        "created": _moment(told.get("Created", "")),
        "started": _moment(state.get("StartedAt", "")),
        "finished": _moment(state.get("FinishedAt", "")),
    }


def _last_exit(happened: list[dict[str, Any]]) -> int | None:
    """Return the code that a container ended with last; None where the engine does not remember."""
    codes = [int(e["Actor"]["Attributes"].get("exitCode", 0)) for e in happened if e.get("Action") == "die"]
    return codes[-1] if codes else None


def _ended_by(happened: list[dict[str, Any]]) -> str:
    """Return whether somebody had the engine end a container the last time: "stop", "kill", or "" for neither."""
    since = max((place for place, e in enumerate(happened) if e.get("Action") == "start"), default=-1)
    actions = {str(event.get("Action")) for event in happened[since + 1 :]}
    return next((action for action in ("stop", "kill") if action in actions), "")


def _removed(happened: list[dict[str, Any]]) -> str:
    """Return when a container was removed and what it ran, as far as the engine remembers."""
    gone = [event for event in happened if event.get("Action") == "destroy"]
    if not gone:
        return ""
    image = gone[-1]["Actor"]["Attributes"].get("image", "")
    return f"{datetime.fromtimestamp(gone[-1]['timeNano'] / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC; it ran {image}"


def _moment(text: str) -> datetime | None:
    """Return the engine's time, which has nanoseconds; None where it says that it never was."""
    if not text or text.startswith(_NEVER):
        return None
    return datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)


def check(
    frame: pd.DataFrame, *, restarts: float = 3, minutes: float = 10, deployed_minutes: float = 60
) -> list[Finding]:
    """Judge the state of each container; one that runs, but was restarted ``restarts`` times and started anew within
    ``minutes``, is in a crash loop.

    The engine doubles its pause between restarts, from 0.1 s on: after three it is no accident, and whoever looks in
    between sees "running". What is not well and was made within ``deployed_minutes`` is told with that: the last
    deployment is the commonest cause of an outage.
    """
    return [_judged(row, restarts, minutes, deployed_minutes) for row in frame.to_dict("records")]


def _judged(row: dict[Any, Any], restarts: float, minutes: float, deployed_minutes: float) -> Finding:
    status, message, then = _told(row, restarts, minutes)
    age = _minutes(row["now"], row["created"])
    if status is not Status.OK and age < deployed_minutes:
        message += f"; it was deployed {age:,.0f} min ago from {row['image']} ({row['created']:%Y-%m-%d %H:%M:%S} UTC)"
    return Finding(
        object=f"{row['part']} ({row['container']})",
        status=status,
        message=message,
        next=then,
        value=row["state"],
        source=f"docker inspect {row['container']}",
    )


def _told(row: dict[Any, Any], restarts: float, minutes: float) -> tuple[Status, str, str]:
    """Return the verdict on one container, the reason, and what to do about it."""
    name, state = row["container"], row["state"]
    ends = f"docker logs --tail 50 {name}"
    if state == "absent":
        told = "there is no such container: it was never made, or has another name"
        if row["removed"]:
            told = f"there is no such container: it was removed at {row['removed']}"
        return Status.CRITICAL, told, "make it: docker compose up -d; docker ps --all shows what there is"
    if in_crash_loop(row, restarts, minutes):
        told = f"in a crash loop: {counted(int(row['restarts']), 'restart')} (policy {row['policy']}); it {_ended(row)}"
        if row["oom_killed"]:
            return Status.CRITICAL, told, _after(row, ends)
        return Status.CRITICAL, told, f"{ends}; more restarts do not help until what ends it is mended"
    if state in ("exited", "dead"):
        return Status.CRITICAL, f"does not run: it {_ended(row)}{_ago(row)}", _after(row, ends)
    if state == "paused":
        told = "is paused: its processes stand still, connections to it hang"
        return Status.CRITICAL, told, f"find out who paused it, then docker unpause {name}"
    if state == "created":
        reason = row["error"] or "nobody started it"
        return (
            Status.CRITICAL,
            f"was made and never ran: {reason}",
            f"mend the image or the command; docker start {name}",
        )
    if state != "running":
        return Status.CRITICAL, f"is {state}", f"docker inspect {name}"
    since = f"runs since {row['started']:%Y-%m-%d %H:%M} UTC"
    if row["health"] == "unhealthy":
        told = f"{since}, and its own health check fails: {row['health_said'] or 'without a word'}"
        return Status.CRITICAL, told, ends
    if row["health"] == "starting":
        return Status.WARNING, f"{since}; its health check has not passed yet", "look again in a minute"
    healthy = "healthy" if row["health"] == "healthy" else "no health check"
    again = f", {counted(int(row['restarts']), 'restart')}" if row["restarts"] else ""
    return Status.OK, f"{since}, {healthy}{again}", ""


def in_crash_loop(row: Mapping[Any, Any], restarts: float, minutes: float) -> bool:
    """Tell whether a container ends again and again, and the engine restarts it each time."""
    again = row["state"] == "running" and row["restarts"] >= restarts
    return row["state"] == "restarting" or (again and _minutes(row["now"], row["started"]) < minutes)


def _ended(row: dict[Any, Any]) -> str:
    """Return how a container ended, as a predicate."""
    if pd.isna(row["exit_code"]):
        return "ended before, nobody remembers how"
    code = int(row["exit_code"])
    if row["oom_killed"]:
        limit = f" of {as_bytes(row['memory_limit'])}" if row["memory_limit"] else ""
        return f"was killed for want of memory (its limit{limit} was reached; exit code {code})"
    if row["ended_by"] == "stop":
        return f"was stopped: somebody had the engine stop it (exit code {code})"
    if row["ended_by"] == "kill":
        return f"was killed: somebody had the engine kill it (exit code {code})"
    if code == 0:
        return "ended with exit code 0: by itself, or because the engine itself was stopped"
    said = f": {row['error']}" if row["error"] else ""
    return f"ended with exit code {code} ({_ENDED_BY[code]}){said}" if code in _ENDED_BY else f"ended with {code}{said}"


def _after(row: dict[Any, Any], ends: str) -> str:
    if row["oom_killed"]:
        name = row["container"]
        return (
            f"{ends}; docker start {name} helps for a while; find what grew, or raise the limit: "
            f"docker update --memory MORE --memory-swap MORE {name}"
        )
    if row["exit_code"] in BROKEN_IMAGE:
        return "go back to the previous image: docker.images names it"
    return f"{ends}; then docker start {row['container']}"


def _ago(row: dict[Any, Any]) -> str:
    if row["finished"] is None or pd.isna(row["finished"]):
        return ""
    ago = _minutes(row["now"], row["finished"])
    told = f"{ago:,.0f} min ago" if ago >= 1 else "just now"
    return f", {told} ({row['finished']:%Y-%m-%d %H:%M:%S} UTC)"


def _minutes(now: datetime, then: datetime | None) -> float:
    return (now - then).total_seconds() / 60 if then is not None and not pd.isna(then) else float("inf")


containers = Question(
    name="docker.containers",
    title="Do the containers run, and if not, why not?",
    probe=probe,
    check=check,
    source="docker inspect NAME",
    needs=(ContainersConnection,),
    explained_by=EXPLAINED_BY,
    next="see the container's last lines",
)

"""What happens now: the last minutes, refreshed by reading only what was added."""

import pandas as pd

from runbook.connections import LogsConnection
from runbook.logfiles.entries import FAILED
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, at_most
from runbook.model.units import counted


def probe(asking: Asking, *, minutes: float = 15.0) -> pd.DataFrame:
    """Return a row for each of the last minutes with entries: minute (UTC), entries, errors, warnings, requests, failed
    (5xx); ``attrs`` have read (bytes that this call read), top (the most frequent error) and problems (of the files
    and containers that are not followed, by name).

    Asked again in the same run, only what was added to the files since is read. Raises `CouldNotFindOut` where these
    minutes have no entry.
    """
    logs = asking.connection(LogsConnection)
    tail = logs.recent(minutes)
    problems = logs.not_followed() | tail.problems
    rows = []
    top: dict[str, int] = {}
    for minute, tally in sorted(tail.minutes.items()):
        counted = {level: count for (_, level), count in tally.timeline.items()}
        failed = sum(seen.count for key, seen in tally.refused.items() if key[0].startswith("5"))
        errors = sum(counted.get(level, 0) for level in FAILED)
        rows.append((minute, tally.entries, errors, counted.get("WARNING", 0), tally.requests, failed))
        for (level, _, message), seen in tally.messages.items():
            if level in FAILED:
                top[message] = top.get(message, 0) + seen.count
    if not rows:
        unread = "".join(f"; {name}: {problem}" for name, problem in problems.items())
        raise CouldNotFindOut(
            f"the log has no entry of the last {minutes:g} minutes: does the service run? "
            f"See morning-health-check{unread}"
        )
    frame = pd.DataFrame(rows, columns=["minute", "entries", "errors", "warnings", "requests", "failed"])
    frame["minute"] = pd.to_datetime(frame["minute"], utc=True)
    frame.attrs = {"read": tail.read, "top": max(top, key=lambda key: top[key], default=""), "minutes": minutes}
    frame.attrs["problems"] = problems
    return frame


def check(frame: pd.DataFrame, *, warning: float = 5, critical: float = 30) -> list[Finding]:
    """Judge the errors per minute of the last five minutes that the log tells of.

    Five a minute, for five minutes, are no coincidence; thirty are most of what a service of this size does.
    """
    last = frame.tail(5)
    rate = float(last["errors"].sum()) / len(last)
    entries, errors = int(frame["entries"].sum()), int(frame["errors"].sum())
    message = f"{counted(entries, 'entry', 'entries')}, {counted(errors, 'error')} in {frame.attrs['minutes']:g} min"
    if frame.attrs["top"]:
        message += f"; most often: {frame.attrs['top'][:120]}"
    mend = "give the runbook's user the right to read it, or mend the place in the profile; then run this again"
    watch = "watch it where it is written: docker logs --follow, tail -F"
    problems = [
        Finding(
            object=name,
            status=Status.UNKNOWN,
            message=problem,
            next=watch if not name.startswith("/") else mend,
        )
        for name, problem in frame.attrs["problems"].items()
    ]
    return [at_most("last minutes", rate, warning, critical, unit="errors/min", message=message), *problems]


recent = Question(
    name="logs.recent",
    title="What happens now?",
    probe=probe,
    check=check,
    source="tail -F of the log files",
    needs=(LogsConnection,),
    deadline=30,
    next="run the cell again to see whether it goes on; if it does, see what changed: logs.compared above",
)

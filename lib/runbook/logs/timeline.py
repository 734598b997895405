"""When did it happen: entries by minute and level."""

import pandas as pd

from runbook.connections import LogsConnection
from runbook.logfiles.entries import FAILED
from runbook.logs.window import DEADLINE, Window, one_pass, require_entries
from runbook.model import Asking, Finding, Question, at_most
from runbook.model.units import counted


def probe(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return a row for each minute and level with entries: minute (UTC), level, count; in the order of time."""
    reading, tally, about = one_pass(asking, window)
    require_entries(reading, tally)
    rows = [(minute, level, count) for (minute, level), count in sorted(tally.timeline.items())]
    frame = pd.DataFrame(rows, columns=["minute", "level", "count"])
    frame["minute"] = pd.to_datetime(frame["minute"], utc=True)
    frame.attrs = {"since": about.since.isoformat(), "until": about.until.isoformat()}
    return frame


def check(frame: pd.DataFrame, *, warning: float = 30, critical: float = 200) -> list[Finding]:
    """Judge the minute with the most errors.

    Errors spread over a day are noise; thirty in one minute are an event with a beginning, to be looked for there.
    """
    failed = frame[frame["level"].isin(FAILED)].groupby("minute")["count"].sum()
    entries, minutes = int(frame["count"].sum()), frame["minute"].nunique()
    told = f"{counted(entries, 'entry', 'entries')} in {counted(minutes, 'minute')}"
    if failed.empty:
        return [at_most("busiest minute", 0.0, warning, critical, unit="errors/min", message=f"{told}, no error")]
    worst = failed.idxmax()
    message = f"{told}; the most errors in one minute: {failed.max():,}, at {worst:%Y-%m-%d %H:%M} UTC"
    return [at_most("busiest minute", float(failed.max()), warning, critical, unit="errors/min", message=message)]


timeline = Question(
    name="logs.timeline",
    title="When did it happen?",
    probe=probe,
    check=check,
    source="the entries of the window, by minute and level",
    needs=(LogsConnection,),
    deadline=DEADLINE,
    next="open log-analysis with moment= this minute: it compares before and after, and shows the lines around it",
)

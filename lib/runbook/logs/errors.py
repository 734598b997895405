"""How many errors does the service log, and which?"""

import pandas as pd

from runbook.connections import LogsConnection
from runbook.logfiles.entries import FAILED
from runbook.logs.beside import beside
from runbook.logs.window import DEADLINE, Window, one_pass, require_entries
from runbook.model import Asking, Finding, Question, at_most
from runbook.model.units import counted


def probe(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return a row for each level, logger and message of ERROR and CRITICAL, the most frequent first: level, logger,
    message (ids as <id>, numbers as #), count, first, last (UTC), example.

    The frame's ``attrs`` say hours and note (what the runbook's own command prints). Raises `CouldNotFindOut` where the
    window has no entry at all.
    """
    reading, tally, about = one_pass(asking, window)
    require_entries(reading, tally)
    rows = [
        (*key, seen.count, seen.first[:19], seen.last[:19], seen.example)
        for key, seen in tally.messages.items()
        if key[0] in FAILED
    ]
    columns = ["level", "logger", "message", "count", "first", "last", "example"]
    frame = pd.DataFrame(rows, columns=columns).sort_values(["count", "message"], ascending=[False, True])
    frame.attrs = {"hours": about.hours, "note": asking.connection(LogsConnection).grep("ERROR")}
    return frame


def check(frame: pd.DataFrame, *, warning: float = 20, critical: float = 200) -> list[Finding]:
    """Judge the number of errors per hour of the window.

    The runbook gives no figure. The service logs two ERROR entries for a failed request, and one for each "nothing
    there" that it answers with 500; a handful an hour is its ordinary state.
    """
    hours = float(frame.attrs["hours"])
    count = int(frame["count"].sum())
    per_hour = count / hours
    message = f"{counted(count, 'error')} in {hours:g} h"
    if len(frame):
        top = frame.iloc[0]
        message += f", {len(frame):,} different; most often ({top['count']:,}): {top['message'][:120]}"
    finding = at_most("service", per_hour, warning, critical, unit="errors/h", message=message)
    return beside(frame.attrs["note"], [finding])


errors = Question(
    name="logs.errors",
    title="How many errors does the service log, and which?",
    probe=probe,
    check=check,
    source='grep -hE \'\\[(ERROR|CRITICAL)\\]|"level": "(ERROR|CRITICAL)"\' FILES, of the window',
    needs=(LogsConnection,),
    deadline=DEADLINE,
    caused_by={"llm.reachable": ("LLM ", "/candidates")},  # as the service logs it
    next="read the examples in the table; open log-analysis for the lines around the first one",
)

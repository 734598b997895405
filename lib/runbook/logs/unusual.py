"""What does the log say that it did not say before?"""

import pandas as pd

from runbook.connections import LogsConnection
from runbook.logs.window import DEADLINE, Window, one_pass, require_entries
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status

MOST_TOLD = 20


def probe(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return a row for each message of WARNING and worse: level, logger, message (masked), count, per_hour,
    before_per_hour, times (how many times the usual rate; infinite where it is new), first (UTC), example.

    Raises `CouldNotFindOut` where nothing was logged in the time before the window, which it compares with.
    """
    reading, tally, about = one_pass(asking, window)
    require_entries(reading, tally)
    before = reading.periods["before"]
    if not before.entries:
        raise CouldNotFindOut("the log has nothing of the time before this window to compare with")
    before_hours = about.before.total_seconds() / 3600
    rows = []
    for key, seen in tally.messages.items():
        usual = before.messages[key].count / before_hours if key in before.messages else 0.0
        rate = seen.count / about.hours
        times = rate / usual if usual else float("inf")
        rows.append((*key, seen.count, rate, usual, times, seen.first[:19], seen.example))
    names = ["level", "logger", "message", "count", "per_hour", "before_per_hour", "times", "first", "example"]
    return pd.DataFrame(rows, columns=names).sort_values(["times", "count"], ascending=False, ignore_index=True)


def check(frame: pd.DataFrame, *, times: float = 5, at_least: float = 5) -> list[Finding]:
    """Name each message that is new, and each that comes ``times`` as often as before (and ``at_least`` so many).

    What broke is mostly told by a line that was never there before. New messages of a single occurrence are told too.
    """
    # A line with damaged bytes is none that was never there before.
    new = frame[(frame["times"] == float("inf")) & ~frame["message"].str.contains("\ufffd")]
    more = frame[(frame["times"] != float("inf")) & (frame["times"] >= times) & (frame["count"] >= at_least)]
    findings = []
    for rows, how in ((new, "never seen before"), (more, "")):
        for row in rows.head(MOST_TOLD).to_dict("records"):
            usual = how or f"{row['times']:.1f} times its usual rate"
            message = f"{usual}: {row['count']:,} × {row['level']} since {row['first']} UTC"
            findings.append(
                Finding(
                    object=f"{row['logger']}: {row['message'][:150]}",
                    status=Status.WARNING,
                    message=message,
                    value=float(row["count"]),
                    unit="entries",
                )
            )
    left = len(new) + len(more) - len(findings)
    if left > 0:
        told = f"{left:,} more unusual messages are in the table"
        findings.append(Finding(object="others", status=Status.WARNING, message=told, value=left, unit="messages"))
    if not findings:
        told = f"all {len(frame):,} messages of WARNING and worse are known, at no more than {times:g} times the rate"
        findings.append(Finding(object="messages", status=Status.OK, message=told))
    return findings


unusual_messages = Question(
    name="logs.unusual_messages",
    title="What does the log say that it did not say before?",
    probe=probe,
    check=check,
    source="messages of WARNING and worse, in the window and in the time before",
    needs=(LogsConnection,),
    deadline=DEADLINE,
    next="a new message is the best lead there is: open log-analysis with moment= its first time",
)

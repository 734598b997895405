"""Was every file of the log read, and is it well?"""

import pandas as pd

from runbook.connections import LogsConnection
from runbook.logs.window import DEADLINE, Window, one_pass
from runbook.model import Asking, Finding, Question, Status, at_most
from runbook.model.units import as_bytes, counted


def probe(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return a row for each file: path, read (bytes), json_lines, text_lines, other_lines, malformed, unordered,
    problem, and for all of them future (entries later than now) and newest (time of the newest entry, UTC).

    A file that was written last before the window has nothing read. Every line of what is read is decoded, so malformed
    ones are all counted.
    """
    reading, _, _ = one_pass(asking, window)
    rows = [
        {
            "path": file.path,
            "read": file.bytes,
            "json_lines": file.json_lines,
            "text_lines": file.text_lines,
            "other_lines": file.other_lines,
            "malformed": file.malformed,
            "unordered": file.unordered,
            "problem": file.problem,
            "future": reading.future,
            "newest": reading.newest,
        }
        for file in reading.files.values()
    ]
    return pd.DataFrame(rows)


def check(frame: pd.DataFrame, *, warning: float = 1, critical: float = 10) -> list[Finding]:
    """Judge the share of malformed lines (%), entries from the future, and files that could not be read.

    A service that is killed leaves a cut line now and then; one line of a hundred is more than that explains.
    """
    findings = [
        Finding(object=row["path"], status=Status.UNKNOWN, message=row["problem"])
        for row in frame.to_dict("records")
        if row["problem"]
    ]
    lines = int(frame[["json_lines", "text_lines", "other_lines", "malformed"]].to_numpy().sum())
    malformed = int(frame["malformed"].sum())
    size = as_bytes(frame["read"].sum())
    message = f"{counted(lines, 'line')} of {counted(len(frame), 'file')} read ({size}), {malformed:,} malformed"
    if frame["unordered"].any():
        message += "; some files are not in the order of time, and were read whole there"
    share = 100 * malformed / lines if lines else 0.0
    findings.append(at_most("lines", share, warning, critical, unit="%", message=message))
    future = int(frame["future"].max())
    if future:
        told = f"{future:,} entries are later than now: a clock or a time zone is wrong, and windows miss them"
        findings.append(Finding(object="clock", status=Status.WARNING, message=told, value=future, unit="entries"))
    return findings


coverage = Question(
    name="logs.coverage",
    title="Could the whole log be read?",
    probe=probe,
    check=check,
    source="the files that the profile names under [logs]",
    needs=(LogsConnection,),
    deadline=DEADLINE,
    next="give the runbook's user the right to read the file, or mend the pattern in the profile; then run this again",
)

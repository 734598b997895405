"""What did the container write last?"""

import pandas as pd

from runbook.connections import ContainersConnection
from runbook.docker.explanations import EXPLAINED_BY
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, UsageError
from runbook.model.units import counted

COLUMNS = ["time", "line"]
LONGEST_LINE, MOST_LINES = 2000, 10_000


def probe(asking: Asking, *, part: str = "api", lines: int = 50) -> pd.DataFrame:
    """Return a row for each of the last lines that a part's container wrote: time (UTC, as the engine noted it), line.

    Raises `CouldNotFindOut` where there is no such container.
    """
    if not 1 <= lines <= MOST_LINES:
        raise UsageError(f"lines is {lines}: from 1 to {MOST_LINES} of the last lines can be read")
    connection = asking.connection(ContainersConnection)
    name = connection.named.get(part)
    if name is None:
        raise CouldNotFindOut(f"the profile names no container of {part}")
    told = connection.tail(name, lines)
    if told is None:
        raise CouldNotFindOut(f"there is no container {name}, so what it wrote is gone")
    parts = [line.partition(" ") for line in told]
    frame = pd.DataFrame(
        [(time[:19].replace("T", " "), line[:LONGEST_LINE]) for time, _, line in parts], columns=COLUMNS
    )
    frame.attrs = {"container": name, "lines": lines}
    return frame


def check(frame: pd.DataFrame) -> list[Finding]:
    """Tell how many lines there are; they are to be read, not judged."""
    last = f"; the last at {frame['time'].iloc[-1]} UTC: {frame['line'].iloc[-1][:200]}" if len(frame) else ""
    message = f"{counted(len(frame), 'line')}{last}" if len(frame) else "it wrote nothing at all"
    name = frame.attrs["container"]
    source = f"docker logs --tail {frame.attrs['lines']} --timestamps {name}"
    return [Finding(object=name, status=Status.OK, message=message, value=len(frame), unit="lines", source=source)]


output = Question(
    name="docker.output",
    title="What did the container write last?",
    probe=probe,
    check=check,
    source="docker logs --tail 50 --timestamps NAME",
    needs=(ContainersConnection,),
    explained_by=EXPLAINED_BY,
    next="read the last lines before it ended",
)

"""Which lines are it: by field, by expression, or around a moment."""

import re
from datetime import datetime, timedelta

import pandas as pd

from runbook.connections import LogsConnection
from runbook.logfiles.entries import FAILED, as_stamp
from runbook.logfiles.search import Condition, Found, Search, SearchTooLong, search
from runbook.logs.window import DEADLINE, Window, moment_of, one_pass
from runbook.logs.window import window as last_hours
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, UsageError

SEARCH_SECONDS = 20.0
MOST_LINES = 200
COLUMNS = ["time", "file", "line"]
_CONDITION = re.compile(r"(\w+)(>=|<=|!=|=|>|<|~)(\"[^\"]*\"|\S+)")


def conditions_of(where: str) -> list[Condition]:
    """Return the conditions of a text like ``level=ERROR status_code>=500 path~/documents message~"no such"``.

    All must hold; ``~`` is "holds, in any case", and ``=`` may name several values, parted by ``|``. Raises
    `UsageError` for what cannot be read.
    """
    rest = _CONDITION.sub("", where).strip()
    if rest:
        raise UsageError(
            f"cannot read {rest!r}: conditions are FIELD=VALUE, with = != > < >= <= or ~ (holds), parted by spaces"
        )
    return [Condition(name, operator, value.strip('"')) for name, operator, value in _CONDITION.findall(where)]


def _search(asking: Asking, since: datetime, until: datetime, pattern: str, where: str) -> Found:
    logs = asking.connection(LogsConnection)
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"the pattern {pattern!r} is no regular expression: {error}") from error
    files, streams, problems = logs.searched("api", since, until)
    wanted = Search(
        files=files,
        since=as_stamp(since),
        until=as_stamp(until),
        zone=logs.logs.timezone,
        pattern=pattern,
        conditions=conditions_of(where),
        limit=MOST_LINES,
    )
    try:
        found = search(wanted, SEARCH_SECONDS, streams)
    except SearchTooLong as reason:
        raise CouldNotFindOut(f"{reason}; take a simpler expression or a shorter window") from reason
    found.problems |= problems
    return found


def _frame(found: Found) -> pd.DataFrame:
    rows = [(stamp[:23].replace("T", " "), path, line) for stamp, path, line in found.lines]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame.attrs = {"count": found.count, "problems": found.problems}
    return frame


def probe_matching(asking: Asking, *, window: Window | None = None, pattern: str = "", where: str = "") -> pd.DataFrame:
    """Return the first lines that match: time (UTC), file, line as it stands; ``attrs`` have the count of all.

    ``pattern`` is a regular expression on the raw line, ``where`` conditions on its fields (`conditions_of`); both must
    hold, and where neither is given the lines are those of ERROR and CRITICAL. Raises `CouldNotFindOut` where the
    search takes too long.
    """
    where = where if where or pattern else f"level={'|'.join(sorted(FAILED))}"
    about = window or last_hours()
    return _frame(_search(asking, about.since, about.until, pattern, where))


def probe_around(
    asking: Asking, *, moment: str = "", seconds: float = 30.0, window: Window | None = None
) -> pd.DataFrame:
    """Return the lines within ``seconds`` of a moment (ISO, UTC), as `probe_matching` does.

    Without a moment they are those around the window's last error; raises `CouldNotFindOut` where it has none.
    """
    middle = moment_of(moment or _last_error(asking, window))
    around = timedelta(seconds=seconds)
    return _frame(_search(asking, middle - around, middle + around, "", ""))


def _last_error(asking: Asking, window: Window | None) -> str:
    _, tally, _ = one_pass(asking, window)
    last = max((seen.last for key, seen in tally.messages.items() if key[0] in FAILED), default="")
    if not last:
        raise CouldNotFindOut("no moment is given, and the window has no error to look around")
    return last


def check_lines(frame: pd.DataFrame) -> list[Finding]:
    """Tell how many lines there are; lines are to be read, not judged."""
    count = int(frame.attrs["count"])
    shown = f", the first {len(frame):,} in the table" if count > len(frame) else ""
    findings = [
        Finding(object=path, status=Status.UNKNOWN, message=problem)
        for path, problem in frame.attrs["problems"].items()
    ]
    return [
        Finding(
            object="lines",
            status=Status.OK,
            message=f"{count:,} line{'s' * (count != 1)}{shown}",
            value=count,
            unit="lines",
        ),
        *findings,
    ]


matching = Question(
    name="logs.matching",
    title="Which lines match?",
    probe=probe_matching,
    check=check_lines,
    source="the lines of the window, by expression and fields",
    needs=(LogsConnection,),
    deadline=2 * SEARCH_SECONDS + 5,
    next="narrow it by where= and pattern=, or take a shorter window",
)

around = Question(
    name="logs.around",
    title="What stands around that moment?",
    probe=probe_around,
    check=check_lines,
    source="the lines around the moment",
    needs=(LogsConnection,),
    deadline=DEADLINE + SEARCH_SECONDS,
    next="give the moment= yourself, or more seconds= around it",
)

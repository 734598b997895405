"""Which log files are older than they are to be kept?"""

from glob import glob

import pandas as pd

from runbook.connections import LogsConnection
from runbook.logfiles.old import OldFile, old_files
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status
from runbook.model.units import as_bytes, counted

# The runbook's own: find logs/ -mtime +30.
DAYS = 30.0
_COLUMNS = ["file", "bytes", "written", "kept"]


def files_of(asking: Asking, days: float = DAYS) -> list[OldFile]:
    """Return the target's log files that were not written for so many days, the oldest first; raises `CouldNotFindOut`
    where none of its logs is a file of this machine.
    """
    here, elsewhere = _places(asking)
    if not any(glob(place) for place in here):  # noqa: PTH207 - patterns are whole paths
        told = f"no file fits {', '.join(here)}" if here else "none of its logs is a file of this machine"
        raise CouldNotFindOut(told + (f"; not looked at: {', '.join(elsewhere)}" if elsewhere else ""))
    return old_files(here, days)


def _places(asking: Asking) -> tuple[list[str], list[str]]:
    """Return the patterns of files of this machine, and the logs that lie elsewhere."""
    logs = asking.connection(LogsConnection).logs
    places = (*logs.api, *logs.postgres, *logs.redis)
    return [one for one in places if one.startswith("/")], [one for one in places if not one.startswith("/")]


def probe(asking: Asking, *, days: float = DAYS) -> pd.DataFrame:
    """Return a row for each log file that was not written for ``days``, the oldest first: file, bytes, written (UTC),
    kept (why it stays all the same, "": it may go). attrs hold ``days`` and ``elsewhere`` (logs that were not looked
    at: of containers, of other machines).
    """
    rows = [(one.path, one.bytes, one.written, one.kept) for one in files_of(asking, days)]
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    frame.attrs = {"days": days, "elsewhere": _places(asking)[1]}
    return frame


def check(frame: pd.DataFrame, *, most_mib: float = 500.0) -> list[Finding]:
    """Judge what is old by the disk that it takes (MiB): it is told, and a WARNING where that is much.

    Half a gigabyte is what a busy service writes in a week.
    """
    gone, days = frame[frame["kept"] == ""], frame.attrs["days"]
    mib = float(gone["bytes"].sum()) / (1 << 20)
    told = f"{counted(len(gone), 'file')} older than {days:g} days may go"
    told += f", {as_bytes(gone['bytes'].sum())}, the oldest {gone['file'].iloc[0]}" if len(gone) else ""
    kept = len(frame) - len(gone)
    told += f"; {counted(kept, 'old one')} kept: {frame[frame['kept'] != '']['kept'].iloc[0]}" if kept else ""
    elsewhere = frame.attrs["elsewhere"]
    told += f"; not looked at: {', '.join(elsewhere)}" if elsewhere else ""
    status = Status.WARNING if mib > most_mib else Status.OK
    return [Finding(object="logs", status=status, message=told, value=round(mib, 1), threshold=most_mib, unit="MiB")]


old_logs = Question(
    name="upkeep.old_logs",
    title="Which log files are older than they are to be kept?",
    probe=probe,
    check=check,
    source="find FILES -mtime +30 -ls   # the patterns of [logs]; lsof FILE",
    needs=(LogsConnection,),
    deadline=15.0,
    next="the plan below deletes them one by one; where an incident is open, keep them until it is closed",
)

"""What did the archived runs of the month find, again and again?"""

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

import pandas as pd

from runbook.evidence.archive import NotTrusted, archive_folder
from runbook.evidence.keys import trusted_keys
from runbook.evidence.ledger import BROKEN, NOT_REACHED, NOT_SEALED, UNKNOWN_KEY, Ledger, ledger
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, UsageError, first_of
from runbook.model.units import counted

DEADLINE, SECONDS = 60.0, 45.0
SEVERITY = {"CRITICAL": 3, "UNKNOWN": 2, "WARNING": 1}


def read_duckdb(name: str) -> str:
    """Return the text of a file ``duckdb/NAME.sql``: a query on the ledger, in DuckDB's SQL."""
    return resources.files(__package__).joinpath("duckdb", f"{name}.sql").read_text(encoding="utf-8").strip()


AGAIN = read_duckdb("found_again")
VERDICTS = read_duckdb("verdicts")
SOURCE = f"runbook evidence list; the findings of all runs whose seal holds, asked with DuckDB:\n{AGAIN}"
COLUMNS = [
    "check", "object", "bad_runs", "runs", "bad_days", "days_since_good", "first", "last", "bad_now", "status_now",
]  # fmt: skip


def month_of(days: float) -> Ledger:
    """Return the ledger of the archive's last days; raises `CouldNotFindOut` where the archive cannot be read."""
    archive = archive_folder()
    try:
        try:
            keys = trusted_keys([])
        except UsageError:
            keys = {}
        found = ledger(archive, keys, datetime.now(UTC) - timedelta(days=days), SECONDS)
        found.left_out.pop(os.environ.get("RUNBOOK_RUN_ID", ""), None)  # this run, which is at work
        return found
    except (NotTrusted, OSError) as strange:
        raise CouldNotFindOut(f"the archive {archive} cannot be read: {strange}") from strange


def probe(asking: Asking, *, days: float = 30.0) -> pd.DataFrame:
    """Return a row for each finding that was bad in an archived run of this target within the last days: check, object,
    bad_runs of runs (that asked), bad_days, days_since_good (on so many days it was bad, and never good since), first
    and last (UTC), bad_now (in the last of those runs), status_now.

    Only runs whose seal holds count, by the keys that are trusted here. Attrs: ``verdicts`` (a row for each run: day,
    notebook, status), ``left_out`` (runs that do not count, by reason), ``why`` (of each broken one), ``days``.
    """
    told = month_of(days)
    frame, verdicts = pd.DataFrame(columns=COLUMNS), pd.DataFrame(columns=["day", "notebook", "status"])
    if told.runs:
        target = {"target": asking.target.name}
        frame, verdicts = told.ask(AGAIN, target), told.ask(VERDICTS, target)
        verdicts["day"] = verdicts["day"].dt.strftime("%Y-%m-%d")
    frame.attrs = {
        "source": SOURCE,
        "verdicts": verdicts.to_dict("records"),
        "left_out": dict(Counter(told.left_out.values())),
        "why": [[run, why] for run, why in told.why.items() if told.left_out[run] == BROKEN][:10],
        "days": float(days),
    }
    return frame


def check(frame: pd.DataFrame, *, least_days: float = 3, percent: float = 50) -> list[Finding]:
    """Judge what was found again and again, and last as well: WARNING where it was bad on ``least_days`` days or more,
    without a good run since, or in ``percent`` % or more of all runs that asked. Somebody looked at it on each of these
    days, and nobody mended it.

    A run that is not what was sealed is CRITICAL, as in a comparison with the last run: evidence was changed. Runs
    without a seal were cut short, or are at work, and are only counted.
    """
    often = (frame["bad_days"] >= least_days) & (frame["bad_runs"] >= percent / 100 * frame["runs"])
    again = frame[frame["bad_now"].astype("boolean").fillna(False) & (often | (frame["days_since_good"] >= least_days))]
    findings = [_again(row) for row in again.to_dict("records")]
    return [*_left_out(frame), *first_of(findings, "findings", 8), _runs(frame)]


def _again(row: dict[Any, Any]) -> Finding:
    first = pd.Timestamp(row["first"])
    message = (
        f"bad in {row['bad_runs']} of {row['runs']} runs, on {row['bad_days']} days since {first:%Y-%m-%d}; "
        f"{row['status_now']} in the last run, and on {row['days_since_good']} days without a good one between"
    )
    days = float(str(row["bad_days"]))
    return Finding(
        object=f"{row['check']}: {row['object']}", status=Status.WARNING, message=message, value=days, unit="days"
    )


def _left_out(frame: pd.DataFrame) -> list[Finding]:
    findings = []
    left_out = frame.attrs["left_out"]
    for run, why in frame.attrs["why"]:
        after = "runbook evidence verify; find out who can write to the archive, and compare with a copy of it"
        message = f"is not what was sealed, and does not count: {why}"
        findings.append(Finding(object=run, status=Status.CRITICAL, message=message, next=after))
    if left_out.get(UNKNOWN_KEY):
        runs = counted(left_out[UNKNOWN_KEY], "run was", "runs were")
        message = f"{runs} sealed with a key that is not trusted here: not counted"
        after = "put the public key of whoever runs them beside your own (runbook evidence verify says where)"
        findings.append(Finding(object="runs of others", status=Status.WARNING, message=message, next=after))
    if left_out.get(NOT_REACHED):
        runs = counted(left_out[NOT_REACHED], "run was", "runs were")
        message = f"{runs} not verified within {SECONDS:g} s: not counted"
        after = "run this again: what was verified is remembered, and the rest comes next"
        findings.append(Finding(object="runs not reached", status=Status.UNKNOWN, message=message, next=after))
    return findings


def _runs(frame: pd.DataFrame) -> Finding:
    verdicts, days = frame.attrs["verdicts"], frame.attrs["days"]
    if not verdicts:
        message = f"no sealed run of this target in {days:g} days; the reports to come have those from now on"
        return Finding(object="archived runs", status=Status.OK, message=message, value=0, unit="runs")
    ends = Counter(str(one["status"]) for one in verdicts)
    told = ", ".join(f"{count} {status}" for status, count in ends.most_common())
    on = len({one["day"] for one in verdicts})
    cut = frame.attrs["left_out"].get(NOT_SEALED, 0)
    message = f"{counted(len(verdicts), 'sealed run')} on {counted(on, 'day')}: {told}"
    message += f"; {counted(cut, 'run')} without a seal not counted" if cut else ""
    return Finding(object="archived runs", status=Status.OK, message=message, value=len(verdicts), unit="runs")


archived = Question(
    name="reports.archived",
    title="What did the archived runs find again and again?",
    probe=probe,
    check=check,
    source=SOURCE,
    deadline=DEADLINE,
    next="give it an owner and a date; or acknowledge it in the profile, with the reason and an end",
)

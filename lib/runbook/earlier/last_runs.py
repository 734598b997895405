"""When did other notebooks run on this target last, and what did they say?"""

from collections.abc import Sequence
from datetime import UTC, datetime

import pandas as pd

from runbook.earlier.since_last import last_run
from runbook.model import Asking, Finding, Question, Status
from runbook.model.text import to_run
from runbook.model.units import length

_COLUMNS = ["notebook", "run_id", "ended", "status", "bad", "refused"]


def probe(asking: Asking, *, notebooks: Sequence[str]) -> pd.DataFrame:
    """Return a row for each notebook: notebook, run_id (of its last headless run on this target whose seal holds; ""
    for none), ended (UTC, NaT), status (its verdict), bad (how many findings were not well), refused (how many newer
    runs cannot be trusted). attrs hold ``now``.
    """
    rows = []
    for name in notebooks:
        told, refused = last_run(name, asking.target.name, datetime.now(UTC))
        record = told.record if told is not None else None
        bad = sum(finding.bad for finding in record.findings) if record is not None else 0
        run_id = told.place.run_id if told is not None else ""
        ended, status = (record.ended, record.status) if record is not None else (None, "")
        rows.append((name, run_id, ended, str(status or ""), bad, len(refused)))
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    frame["ended"] = pd.to_datetime(frame["ended"], utc=True)
    frame.attrs = {"now": datetime.now(UTC).isoformat()}
    return frame


def check(frame: pd.DataFrame, *, days: float = 35) -> list[Finding]:
    """Judge whether each ran within ``days`` (a month and some), and tell what it said: that is not this one's verdict.

    A run that cannot be trusted is told, and the last one whose seal holds counts.
    """
    findings = []
    now = pd.Timestamp(frame.attrs["now"])
    for row in frame.to_dict("records"):
        if not row["run_id"]:
            message = "no run of it on this target is in the archive whose seal holds"
            findings.append(
                Finding(object=row["notebook"], status=Status.WARNING, message=message, next=to_run(row["notebook"]))
            )
            continue
        seconds = (now - row["ended"]).total_seconds()
        message = f"{row['status']} {length(max(0.0, seconds))} ago ({row['run_id']})"
        message += f"; {row['bad']} of its findings were not well" if row["bad"] else ""
        message += f"; {row['refused']} newer runs cannot be trusted: evidence verify" if row["refused"] else ""
        late = seconds > days * 86_400
        status = Status.WARNING if late or row["refused"] else Status.OK
        told = {"value": round(seconds / 86_400, 2), "threshold": days, "unit": "days"}
        then = to_run(row["notebook"]) if late else ""
        findings.append(Finding(object=row["notebook"], status=status, message=message, next=then, **told))
    return findings


last_runs = Question(
    name="earlier.last_runs",
    title="When did the other reports run last, and what did they say?",
    probe=probe,
    check=check,
    source="runbook evidence list --notebook NAME --target TARGET",
    deadline=15.0,
    next="run it, and read its page: the archive's index leads to it",
)

"""Is there a job or a unit that was not there before?"""

from typing import Any

import pandas as pd

from runbook.connections import Machine
from runbook.integrity.differences import about, as_frame, beside, not_told, told
from runbook.integrity.explanations import EXPLAINED_BY
from runbook.integrity.kept import compared, trusted
from runbook.integrity.reading import DEADLINE, Files, units_of
from runbook.model import Asking, Finding, Question, Status
from runbook.model.units import counted


def probe(asking: Asking, *, files: Files | None = None) -> pd.DataFrame:
    """Return a row for each cron job, systemd unit or start script that is not as it was, as `integrity.differences`
    has them. Places that this machine does not have count as empty.
    """
    kept, baseline, before = trusted(asking)
    listing = (files or Files()).listing(asking)
    units = set(units_of(asking.target))
    found = compared(asking, before, baseline, listing, of=units.__contains__)
    return as_frame(found.differences, {
        **about(listing, units.__contains__),
        "absent": [],
        "baseline": f"{kept.run_id}, made {baseline.made[:16].replace('T', ' ')} UTC by {baseline.author}",
        "not_compared": found.not_compared,
        "not_covered": [tree for tree in units if tree not in baseline.trees],
        "there": sum(bool(listing.trees.get(tree)) for tree in units),
    })  # fmt: skip


def check(frame: pd.DataFrame, *, most: float = 10) -> list[Finding]:
    """Judge what differs among jobs and units, as for the trees; the ``most`` worst are told by name.

    Whoever has broken in stays by a job that runs again and again: a new one is CRITICAL.
    """
    attrs: dict[Any, Any] = frame.attrs
    findings = told(frame, "jobs and units", int(most)) + not_told(attrs)
    if not attrs["differences"]:
        message = (
            f"{counted(attrs['files'], 'file')} in {attrs['there']} of {counted(attrs['trees'], 'place')}: nothing "
            f"differs from the baseline {attrs['baseline']}{beside(attrs)}"
        )
        well = Finding(object="jobs and units", status=Status.OK, message=message, value=0, unit="differences")
        findings.append(well)
    return findings


units = Question(
    name="integrity.units",
    title="Is there a job or a unit that was not there before?",
    probe=probe,
    check=check,
    source="ls -laR /etc/cron* /var/spool/cron /etc/systemd/system; systemctl list-timers --all",
    needs=(Machine,),
    deadline=DEADLINE,
    explained_by=EXPLAINED_BY,
    next="read it: what does it start, as whom? If nobody of you put it there: P0, a security breach",
)

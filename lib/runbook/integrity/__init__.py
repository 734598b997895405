"""Questions on files that are to be as they were: deployed trees, jobs and units, containers; and their baseline."""

from runbook.integrity.baseline import baseline
from runbook.integrity.commit import commit
from runbook.integrity.containers import containers
from runbook.integrity.differences import differences
from runbook.integrity.privileged import privileged
from runbook.integrity.reading import Files, files
from runbook.integrity.record_baseline import declare_good
from runbook.integrity.record_baseline import record as record_baseline
from runbook.integrity.units import units

questions = (baseline, differences, privileged, units, commit, containers)
changes = (record_baseline,)

__all__ = [
    "Files",
    "baseline",
    "changes",
    "commit",
    "containers",
    "declare_good",
    "differences",
    "files",
    "privileged",
    "questions",
    "record_baseline",
    "units",
]

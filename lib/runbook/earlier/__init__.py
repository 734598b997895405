"""Questions on the earlier runs of a notebook: what became worse, better, or is new since then."""

from runbook.earlier.last_runs import last_runs
from runbook.earlier.since_last import since_last

questions = (since_last, last_runs)

__all__ = ["last_runs", "questions", "since_last"]

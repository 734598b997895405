"""The notebook's side of a run, in the kernel: open it, ask questions, show answers, sum up."""

from runbook.session.run import Run, open_run

__all__ = ["Run", "open_run"]

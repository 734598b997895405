"""How bad is it, what causes it most likely, and which notebook comes next: judged from what a run has found."""

from runbook.assessment.door import door
from runbook.assessment.severity import severity

questions = (severity, door)

__all__ = ["door", "questions", "severity"]

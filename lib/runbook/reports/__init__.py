"""Questions on whole months: objectives, regressions, growth, and what the archived runs found again and again."""

from runbook.reports.archived import archived
from runbook.reports.course import course
from runbook.reports.growth import growth
from runbook.reports.measured import measured
from runbook.reports.objectives import objectives
from runbook.reports.plots import Growth, Month, Verdicts
from runbook.reports.regressions import moment_of, regressions

questions = (course, objectives, regressions, archived, measured, growth)

__all__ = [
    "Growth",
    "Month",
    "Verdicts",
    "archived",
    "course",
    "growth",
    "measured",
    "moment_of",
    "objectives",
    "questions",
    "regressions",
]

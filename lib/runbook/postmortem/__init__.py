"""What an incident was: one story out of its runs, changes and notes, for the post-mortem."""

from runbook.postmortem.plots import KeyFigures, StatusCourse
from runbook.postmortem.questions import cited, helped, impact, sections, timeline
from runbook.postmortem.story import Story, story

questions = [cited, timeline, impact, helped, sections]

__all__ = [
    "KeyFigures",
    "StatusCourse",
    "Story",
    "cited",
    "helped",
    "impact",
    "questions",
    "sections",
    "story",
    "timeline",
]

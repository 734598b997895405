"""How each thing that was asked went: its status and value from run to run."""

from dataclasses import dataclass, field
from datetime import datetime

from runbook.model import Finding, Status
from runbook.postmortem.events import looked
from runbook.postmortem.story import Cited, Story

# Plans tell of themselves elsewhere.
_NOT_ASKED = "plan."


@dataclass(frozen=True)
class Point:
    """What one run found of a thing."""

    at: datetime
    finding: Finding
    cited: Cited

    @property
    def status(self) -> Status:
        """Return the status that was found."""
        return self.finding.status

    @property
    def value(self) -> float | None:
        """Return the value as a number that can be drawn, None where it is none."""
        value = self.finding.value
        number = isinstance(value, int | float) and not isinstance(value, bool) and self.finding.unit != "HTTP status"
        return float(value) if number and value is not None else None


@dataclass
class Course:
    """One thing (a check's object on a target) in the order of time."""

    target: str
    check: str
    object: str
    points: list[Point] = field(default_factory=list)

    @property
    def worst(self) -> Status:
        """Return the worst that was found while it was an incident."""
        return min((p.status for p in self.points if not p.cited.around), key=lambda s: s.severity, default=Status.OK)

    @property
    def first_bad(self) -> Point | None:
        """Return when it was first found not to be well."""
        return next((p for p in self.points if p.finding.bad and not p.cited.around), None)

    @property
    def well_again(self) -> Point | None:
        """Return when it was first found well after it last was not; None where it never was."""
        bad = [place for place, point in enumerate(self.points) if point.finding.bad]
        return next((p for p in self.points[bad[-1] + 1 :] if p.status is Status.OK), None) if bad else None

    @property
    def is_cause(self) -> bool:
        """Tell whether something of it was not explained by another finding."""
        return any(point.finding.bad and not point.finding.explained_by for point in self.points)


def courses(story: Story) -> list[Course]:
    """Return everything that was found not to be well, the worst and earliest first; only runs whose seal holds count.

    A thing that has no finding in a run that asked the check is left out there, not taken for well.
    """
    found: dict[tuple[str, str, str], Course] = {}
    for cited in story.sound:
        assert cited.record is not None
        at = looked(story, cited)
        for finding in cited.record.findings:
            if not finding.check.startswith(_NOT_ASKED) and finding.status is not Status.SKIPPED:
                key = (cited.record.target, finding.check, finding.object)
                found.setdefault(key, Course(*key)).points.append(Point(at, finding, cited))
    for course in found.values():
        course.points.sort(key=lambda point: point.at)
    bad = [course for course in found.values() if course.first_bad is not None]
    return sorted(bad, key=lambda c: (not c.is_cause, c.worst.severity, c.points[0].at, c.check, c.object))


def figures(story: Story, most: int = 6) -> list[Course]:
    """Return the courses that have numbers to draw: the same unit at least twice, and not well at some time."""
    drawn = []
    for course in courses(story):
        units = [point.finding.unit for point in course.points if point.value is not None]
        if len(units) >= 2 and len(set(units)) == 1:
            drawn.append(course)
    return drawn[:most]

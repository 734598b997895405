"""How each thing that was asked went: its status and value from run to run."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from runbook.model import Finding, Status
from runbook.postmortem.changes import changes
from runbook.postmortem.events import looked
from runbook.postmortem.story import Cited, Story

# Plans and messages tell of themselves elsewhere; what was found about the telling is no course of the trouble.
_NOT_ASKED = ("plan.", "plans.", "communication.", "postmortem.")


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
    def spells(self) -> list[tuple[Point, Point | None]]:
        """Return each time that it was not well: when that was first found, and when it was first found well again."""
        told: list[tuple[Point, Point | None]] = []
        began: Point | None = None
        for point in self.points:
            if point.finding.bad and began is None and not point.cited.around:
                began = point
            elif point.status is Status.OK and began is not None:
                told.append((began, point))
                began = None
        return [*told, (began, None)] if began is not None else told

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
    for target, point in _around_changes(story):
        key = (target, point.finding.check, point.finding.object)
        found.setdefault(key, Course(*key)).points.append(point)
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


def _around_changes(story: Story) -> Iterator[tuple[str, Point]]:
    """Yield what each plan found before it was begun and after it had ended: a run tells only how it was at its end."""
    for made in changes(story):
        done = [entry for entry in made.plan.journal if entry.event == "ended"]
        if made.begun is None or made.cited.standing != "sealed":
            continue
        for finding in made.plan.before:
            yield made.plan.plan.target, Point(made.begun, finding, made.cited)
        for finding in made.plan.after if done else []:
            at = story.time_of(done[-1].at, done[-1].host or made.plan.plan.host)
            yield made.plan.plan.target, Point(at, finding, made.cited)


def figures(story: Story, most: int = 6) -> list[Course]:
    """Return the courses that have numbers to draw: the same unit at least twice, and not well at some time."""
    drawn = []
    for course in courses(story):
        units = [point.finding.unit for point in course.points if point.value is not None]
        if len(units) >= 2 and len(set(units)) == 1:
            drawn.append(course)
    return drawn[:most]

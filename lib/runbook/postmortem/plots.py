"""What was not well, when; the key figures before, during and after; each with the changes marked."""

from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from runbook.model import Status
from runbook.model.units import counted
from runbook.postmortem.course import Course, courses, figures
from runbook.postmortem.events import changes_begun
from runbook.postmortem.impact import errors_by_minute
from runbook.postmortem.story import Story
from runbook.session.plots import COLOURS, Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart without colour too.
_MARKERS = {Status.OK: "o", Status.WARNING: "^", Status.CRITICAL: "X", Status.UNKNOWN: "s", Status.SKIPPED: "|"}
ROWS = 12
_CHANGE = "#3b6ea5"


class _OnTime(Plot):
    """A plot over the time of an incident: it is shaded, its changes are numbered lines."""

    def __init__(self, story: Story | None) -> None:
        self._story = story

    @cached_property
    def span(self) -> tuple[datetime, datetime]:
        """Return the time that is shown: the incident, and some of what came before and after."""
        story = self._story
        assert story is not None
        end = story.ended or max((cited.at for cited in story.cited), default=story.began)
        end = max(end, story.began + timedelta(seconds=30))
        # Enough for what came before to be seen, and no more: a day of quiet would press the incident into a line.
        margin = max((end - story.began) * 0.2, timedelta(seconds=20))
        return story.began - margin, end + margin

    def prepared(self, axes: "Axes") -> None:
        """Draw what all these plots have: the incident as a shade, the changes, the axis of time."""
        from matplotlib.dates import ConciseDateFormatter

        story = self._story
        assert story is not None
        first, last = self.span
        axes.set_xlim(_days(first), _days(last))
        axes.axvspan(_days(story.began), _days(story.ended or last), color="#f3e3e1", zorder=0, linewidth=0)
        changes = changes_begun(story)
        for number, (at, _) in enumerate(changes, start=1):
            axes.axvline(_days(at), color=_CHANGE, linewidth=1.2, linestyle="--", zorder=1)
            axes.annotate(
                str(number), (_days(at), 1), xycoords=("data", "axes fraction"), xytext=(0, 2),
                textcoords="offset points",
                ha="center", fontsize=8, color="white", bbox={"boxstyle": "circle,pad=0.2", "color": _CHANGE},
            )  # fmt: skip
        axes.xaxis_date("UTC")
        dates = ConciseDateFormatter(axes.xaxis.get_major_locator(), tz="UTC", show_offset=False)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_formatter(dates)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)

    def legend(self) -> str:
        """Return what the shade and the numbers mean, in a line; what each change was, is told in words beside it."""
        assert self._story is not None
        named = ["numbered: the changes, as they are named below"] if changes_begun(self._story) else []
        first, last = (f"{at:%Y-%m-%d}" for at in self.span)
        days = first if first == last else f"{first} to {last}"
        return "; ".join([f"time on {days} (UTC)", "shaded: the incident", *named])

    def clamped(self, at: datetime) -> float:
        """Return a time within what is shown, as matplotlib counts: what came earlier or later stands at the edge."""
        first, last = self.span
        return _days(min(max(at, first), last))


class StatusCourse(_OnTime):
    """What was not well, when: a row for each thing, a mark for each time that it was asked."""

    def text(self) -> str:
        """Return what the plot shows."""
        count = len(_causes(self._story))
        more = f", the first {ROWS} of them" if count > ROWS else ""
        return f"plot: what was not well, and when: {counted(count, 'thing')}{more}"

    def figure(self) -> "Figure":
        """Return the drawing; the worst and earliest stands on top."""
        from matplotlib.figure import Figure

        rows = _causes(self._story)[:ROWS][::-1]
        figure = Figure(figsize=(9, 1.5 + 0.34 * max(1, len(rows))), layout="constrained")
        axes = figure.add_subplot()
        if self._story is None or not rows:
            return _nothing(figure, axes, "nothing was found that was not well")
        self.prepared(axes)
        for row, course in enumerate(rows):
            self._row(axes, row, course)
        axes.set_yticks(range(len(rows)), [_short(f"{c.check}: {c.object}", 46) for c in rows], fontsize=8)
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.set_ylabel("check: object", fontsize=8)
        axes.set_xlabel(self.legend(), fontsize=8)
        shown = dict.fromkeys(point.status for course in rows for point in course.points)
        for status in sorted(shown, key=lambda status: status.severity):
            axes.scatter([], [], marker=_MARKERS[status], color=COLOURS[status], s=42, label=str(status))
        figure.legend(loc="outside upper center", ncols=5, fontsize=8, frameon=False)
        return figure

    def _row(self, axes: "Axes", row: int, course: Course) -> None:
        times = [self.clamped(point.at) for point in course.points]
        for status in dict.fromkeys(point.status for point in course.points):
            of_it = [place for place, point in enumerate(course.points) if point.status is status]
            begins, ends = [times[p] for p in of_it], [times[min(p + 1, len(times) - 1)] for p in of_it]
            axes.hlines([row] * len(of_it), begins, ends, color=COLOURS[status], linewidth=2.5, alpha=0.5, zorder=2)
            axes.scatter(begins, [row] * len(of_it), marker=_MARKERS[status], color=COLOURS[status], s=42, zorder=3)


def _causes(story: Story | None) -> list[Course]:
    """Return what was not well of itself: what another finding explains would only repeat that one."""
    return [course for course in courses(story) if course.is_cause] if story is not None else []


class KeyFigures(_OnTime):
    """The figures that crossed a limit, before, during and after, each with its unit and its limit."""

    def text(self) -> str:
        """Return what the plot shows."""
        return f"plot: {len(figures(self._story)) if self._story else 0} figures before, during and after"

    def figure(self) -> "Figure":
        """Return one drawing for each figure, below one another on the same time."""
        from matplotlib.figure import Figure

        drawn = figures(self._story) if self._story else []
        errors = [(t, series) for t, (series, _) in errors_by_minute(self._story).items()] if self._story else []
        errors = [(target, self._shown(series)) for target, series in errors]
        errors = [(target, series) for target, series in errors if series.sum()]
        count = len(drawn) + len(errors)
        figure = Figure(figsize=(9, 0.9 + 1.75 * max(1, count)), layout="constrained")
        if self._story is None or not count:
            return _nothing(figure, figure.add_subplot(), "no figure that crossed a limit was measured twice")
        every = figure.subplots(count, 1, squeeze=False)[:, 0]
        for axes, course in zip(every, drawn, strict=False):
            self.prepared(axes)
            self._one(axes, course)
        for axes, (target, series) in zip(every[len(drawn) :], errors, strict=True):
            self.prepared(axes)
            self._errors(axes, target, series)
        every[-1].set_xlabel(self.legend(), fontsize=8)
        return figure

    def _one(self, axes: "Axes", course: Course) -> None:
        times = [self.clamped(point.at) for point in course.points]
        # Where there was no answer there is no value: the line is broken there, and a mark stands at the bottom.
        values = [float("nan") if point.value is None else point.value for point in course.points]
        axes.plot(times, values, color="#7a7a7a", linewidth=1, zorder=2)
        bottom = axes.get_xaxis_transform()
        for status in dict.fromkeys(point.status for point in course.points):
            told: Any = {"marker": _MARKERS[status], "color": COLOURS[status], "s": 42, "zorder": 3}
            of_it = [(at, p.value) for at, p in zip(times, course.points, strict=True) if p.status is status]
            known = [(at, value) for at, value in of_it if value is not None]
            silent = [at for at, value in of_it if value is None]
            axes.scatter([at for at, _ in known], [value for _, value in known], **told)
            axes.scatter(silent, [0.08] * len(silent), transform=bottom, **told)
            if silent:  # said once: marks that stand close together would be written over
                axes.text(silent[0], 0.14, "no value", transform=bottom, fontsize=7, va="bottom", color="#5e5e5e")
        limits = [p.finding.threshold for p in course.points if isinstance(p.finding.threshold, int | float)]
        if limits:
            axes.axhline(min(limits), color="black", linewidth=0.8, linestyle=":")
            axes.text(
                0.995, min(limits), "limit", transform=axes.get_yaxis_transform(), fontsize=7, ha="right", va="bottom"
            )
        axes.margins(y=0.2)
        axes.set_ylim(bottom=min([0.0, *(point.value for point in course.points if point.value is not None)]))
        axes.set_ylabel(next(p.finding.unit for p in course.points if p.value is not None) or "number", fontsize=8)
        axes.set_title(_short(f"{course.check}: {course.object} ({course.target})", 90), fontsize=9, loc="left", pad=9)

    def _shown(self, series: Any) -> Any:
        first, last = self.span
        return series[(series.index >= first - timedelta(minutes=1)) & (series.index <= last)]

    def _errors(self, axes: "Axes", target: str, series: Any) -> None:
        days = [_days(at.to_pydatetime()) for at in series.index]
        axes.bar(days, series.to_numpy(), width=54 / 86_400, align="edge", color=COLOURS[Status.CRITICAL], zorder=2)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("errors per minute", fontsize=8)
        axes.set_title(_short(f"errors that the service logged ({target})", 90), fontsize=9, loc="left", pad=9)


def _nothing(figure: "Figure", axes: "Axes", told: str) -> "Figure":
    axes.set_axis_off()
    axes.text(0.5, 0.5, told, ha="center", va="center", fontsize=9, color="#5e5e5e")
    return figure


def _days(at: datetime) -> float:
    """Return a time as matplotlib counts it."""
    from matplotlib.dates import date2num

    return float(date2num(at))  # type: ignore[no-untyped-call]


def _short(text: str, most: int) -> str:
    text = "".join(sign if sign.isprintable() else "?" for sign in text)
    return text if len(text) <= most else f"{text[: most - 1]}…"

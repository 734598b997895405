"""The month as plots: figures by the hour, verdicts by the day, growth with its forecast."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from runbook.model import Answer, Status
from runbook.model.text import printable
from runbook.reports.course import TOLD, days_of, hours_of, reason_of
from runbook.reports.growth import limit_of, trends
from runbook.session.plots import COLOURS, Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE, _STEP = "#1f5fa8", "#b3261e"
_MOST, _NAME = 12, 34
_LEAST_DAYS = 6
# A limit so many times above what was measured would leave nothing of it to see: it is told instead of drawn.
_FAR = 2.5


class Month(Plot):
    """The figures of a month: thin by the hour, thick the median of each day; red where one stepped for good."""

    colours = 64

    def __init__(self, course: Answer, steps: Answer | None = None) -> None:
        frame = course.frame
        self._names = [] if frame is None else [name for name in TOLD if not reason_of(frame, name)]
        self._frame = frame
        found = pd.DataFrame() if steps is None or steps.frame is None else steps.frame
        bad = set() if steps is None else {one.object for one in steps.findings if one.status is Status.WARNING}
        self._steps = {} if found.empty else {row["figure"]: row for _, row in found.iterrows() if row["figure"] in bad}

    def text(self) -> str:
        """Return which figures the plot shows."""
        return f"plot: {', '.join(self._names) or 'nothing to draw'}; by the hour and the day"

    def figure(self) -> "Figure":
        """Return the drawing: a panel for each figure."""
        panels, figure = _panels(len(self._names), 1.35)
        for name, axes in zip(self._names, panels, strict=False):
            assert self._frame is not None
            hours, days = hours_of(self._frame, name), days_of(self._frame, name)
            axes.plot(hours.index, hours.to_numpy(), color=_LINE, linewidth=0.5, alpha=0.45, label="by the hour")
            middle = pd.DatetimeIndex(days.index) + pd.Timedelta(hours=12)
            axes.plot(middle, days.to_numpy(), color=_LINE, linewidth=1.8, marker=".", label="by the day")
            top = max(float(days.max()) * 1.6, float(hours.quantile(0.99)) * 1.1, 1e-9)
            axes.set_ylim(0, top)
            told = name
            if float(hours.max()) > top:
                told += f" (peaks up to {float(f'{hours.max():.3g}'):g} are cut)"
            axes.set_title(told, fontsize=8, loc="left", pad=2)
            axes.set_ylabel(TOLD[name], fontsize=8)
            if name in self._steps:
                row = self._steps[name]
                axes.axvspan(row["earliest"], row["latest"], color=_STEP, alpha=0.5)
                axes.annotate(f" {row['latest']:%m-%d %H:%M}", (row["latest"], top), va="top", fontsize=7, color=_STEP)
        if self._names:
            panels[0].legend(fontsize=7, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
        _dated(panels[-1], "day (UTC)")
        return figure


class Verdicts(Plot):
    """How the archived runs ended: a row for each notebook, a square for the worst of each day."""

    colours = 64

    def __init__(self, archived: Answer) -> None:
        told = [] if archived.frame is None else archived.frame.attrs["verdicts"]
        self._rows = pd.DataFrame(told, columns=["day", "notebook", "status"])

    def text(self) -> str:
        """Return of how many runs the plot is."""
        return f"plot: the worst verdict of each day of {self._rows['notebook'].nunique()} notebooks"

    def figure(self) -> "Figure":
        """Return the drawing."""
        from matplotlib.dates import date2num

        names = sorted(self._rows["notebook"].unique())[: 2 * _MOST]
        panels, figure = _panels(min(1, len(names)), 0.5 + 0.22 * len(names), left=0.24)
        axes = panels[0]
        order = [str(one) for one in sorted(Status, key=lambda status: status.severity)]
        for status in reversed(order):
            worst = self._rows.assign(
                rank=self._rows["status"].map(lambda one: order.index(one) if one in order else -1)
            )
            worst = worst.sort_values("rank").groupby(["day", "notebook"]).first().reset_index()
            shown = worst[(worst["status"] == status) & worst["notebook"].isin(names)]
            if len(shown):
                place = [names.index(name) for name in shown["notebook"]]
                days = pd.to_datetime(shown["day"], utc=True)
                axes.scatter(days, place, color=COLOURS[Status(status)], marker="s", s=26, label=status)
        axes.set_yticks(range(len(names)), [_short(name) for name in names], fontsize=8)
        axes.set_ylabel("notebook", fontsize=8)
        if names:
            axes.set_ylim(len(names) - 0.5, -0.5)
            # A single day is shown as one, and not as the whole width.
            drawn: Any = date2num(pd.to_datetime(self._rows["day"], utc=True))  # type: ignore[no-untyped-call]
            axes.set_xlim(min(drawn.min(), drawn.max() - _LEAST_DAYS) - 0.5, drawn.max() + 0.5)
            axes.legend(fontsize=7, loc="lower left", bbox_to_anchor=(0, 1), ncols=5, frameon=False)
        _dated(axes, "day (UTC)")
        return figure


class Growth(Plot):
    """Each resource by the day, the line through it, and where that leads within the interval of nine in ten."""

    colours = 64

    def __init__(self, growth: Answer, least_days: int = 14) -> None:
        frame = growth.frame
        every = [] if frame is None else list(trends(frame, least_days))
        self._shown = [one for one in every if one[2] is not None][:_MOST]
        self._few = sum(found is None for _, _, found in every)

    def text(self) -> str:
        """Return which resources the plot shows."""
        more = f"; {self._few} with too few days" if self._few else ""
        return f"plot: growth of {', '.join(_short(name) for name, _, _ in self._shown) or 'nothing'}{more}"

    def figure(self) -> "Figure":
        """Return the drawing: a panel for each resource, half as long ahead as it looks back."""
        panels, figure = _panels(len(self._shown), 1.45)
        for (name, rows, found), axes in zip(self._shown, panels, strict=False):
            assert found is not None
            days, values = pd.DatetimeIndex(rows["day"]), rows["value"].to_numpy(dtype="float64")
            axes.plot(days, values, ".", color=_LINE, markersize=4, label="each day")
            length = max(2, len(days) // 2)
            ahead = np.arange(0, length + 1, dtype="float64")
            dates = days[-1] + pd.to_timedelta(ahead, unit="D")
            axes.plot(dates, found.level + found.slope * ahead, color=_LINE, linewidth=1.4, label="forecast")
            low, high = found.level + found.low * ahead, found.level + found.high * ahead
            axes.fill_between(dates, low, high, color=_LINE, alpha=0.2, linewidth=0, label="nine of ten")
            limit = limit_of(rows, 5000)
            highest = max(float(values.max()), float(high.max()))
            lowest = min(float(values.min()), float(low.min()))
            told = _short(name)
            if not math.isnan(limit) and limit <= _FAR * highest:
                axes.axhline(limit, color=_STEP, linewidth=1.0, linestyle=(0, (6, 3)))
                axes.annotate(f"limit {limit:.4g}", (1, limit), xycoords=("axes fraction", "data"), fontsize=7,
                              color=_STEP, ha="right", va="bottom")  # fmt: skip
                highest = max(highest, limit)
            elif not math.isnan(limit):
                told += f" (limit {limit:.4g} {rows['unit'].iloc[0]}, far above)"
            room = 0.12 * max(highest - lowest, 0.02 * abs(highest), 1e-9)
            axes.set_ylim(max(0.0, lowest - room) if lowest >= 0 else lowest - room, highest + 1.5 * room)
            axes.set_title(told, fontsize=8, loc="left", pad=2)
            axes.set_ylabel(str(rows["unit"].iloc[0]), fontsize=8)
        if self._shown:
            panels[0].legend(fontsize=7, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)
        _dated(panels[-1], "day (UTC)")
        return figure


def _panels(count: int, height: float, left: float = 0.1) -> "tuple[Sequence[Axes], Figure]":
    from matplotlib.figure import Figure

    shown = max(1, count)
    tall = 0.85 + height * shown
    figure = Figure(figsize=(9, tall))
    every: Any = figure.subplots(shown, 1, sharex=True, squeeze=False)
    figure.subplots_adjust(left=left, right=0.97, top=1 - 0.35 / tall, bottom=0.5 / tall, hspace=0.4)
    panels = list(every[:, 0])
    for axes in panels:
        axes.tick_params(labelsize=8)
        axes.grid(axis="y", linewidth=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    if not count:
        panels[0].text(0.5, 0.5, "nothing to draw", ha="center", va="center", transform=panels[0].transAxes)
    return panels, figure


def _dated(axes: "Axes", label: str) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    axes.set_xlabel(label, fontsize=8)
    if not axes.has_data():
        axes.set_xticks([])
        return
    locator = AutoDateLocator(tz="UTC")  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz="UTC"))  # type: ignore[no-untyped-call]
    axes.xaxis.get_offset_text().set_fontsize(8)


def _short(name: str) -> str:
    told = printable(name)
    return told if len(told) <= _NAME else f"{told[: _NAME - 1]}…"

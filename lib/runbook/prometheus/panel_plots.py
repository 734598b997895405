"""A panel as a plot: what it shows, and beside it what the runbook's own query would have shown."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from runbook.model import Answer
from runbook.model.units import counted
from runbook.prometheus.panels import CORRECTED, WRITTEN, by_name
from runbook.session.plots import Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINES = ("#1f5fa8", "#b26a00", "#2e7d32")
_LIMIT, _WRITTEN = "#b3261e", "#8a8a8a"
_FAR = 3.0


class PanelPlot(Plot):
    """The lines of a panel with its thresholds on the left; what the runbook's own query gives on the right."""

    def __init__(self, answer: Answer) -> None:
        self._panel = by_name(answer.question.name.partition(".")[2])
        self._frame = (
            answer.frame if answer.frame is not None else pd.DataFrame(columns=["query", "series", "time", "value"])
        )

    def text(self) -> str:
        """Return which panel it is."""
        return f"plot: {self._panel.title}, beside what the runbook's own query would have shown"

    def figure(self) -> "Figure":
        """Return the drawing."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 2.5), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[3, 2])
        corrected = self._frame[self._frame["query"] == CORRECTED]
        written = self._frame[self._frame["query"] == WRITTEN]
        for place, line in enumerate(self._panel.lines):
            rows = corrected[corrected["series"] == line.legend]
            left.plot(rows["time"], rows["value"], color=_LINES[place % 3], linewidth=1.2 if place == 0 else 0.7,
                      label=line.legend, zorder=5 - place)  # fmt: skip
        self._limits(left, corrected)
        left.set_ylabel(self._panel.unit, fontsize=8)
        left.set_title(self._panel.title, fontsize=9, loc="left")
        if len(self._panel.lines) > 1:
            left.legend(
                fontsize=7, loc="lower right", bbox_to_anchor=(0.8, 1), ncols=3, frameon=False, borderaxespad=0.2
            )
        for _, rows in written.groupby("series", sort=False):
            right.plot(rows["time"], rows["value"], color=_WRITTEN, linewidth=0.7, marker=".", markersize=1.5)
        lines = counted(int(self._frame.attrs.get("lines", 0)), "line")
        right.set_title(f"as the runbook writes it ({lines})", fontsize=9, loc="left")
        right.set_ylabel(self._panel.written_unit, fontsize=8)
        for axes in (left, right):
            _dress(axes, self._panel.least, self._window())
        return figure

    def _window(self) -> tuple[Any, Any] | None:
        """Return the begin and the end of what was asked for, however much of it there is."""
        attrs = self._frame.attrs
        if "end" not in attrs:
            return None
        end = pd.Timestamp(attrs["end"])
        return end - pd.Timedelta(hours=attrs["hours"]), end

    def _limits(self, axes: "Axes", corrected: pd.DataFrame) -> None:
        values = corrected["value"].replace([float("inf"), -float("inf")], float("nan")).dropna()
        top = float(values.max()) if len(values) else 0.0
        lines = self._panel.lines
        of = f" ({lines[0].legend})" if len(lines) > 1 else ""
        for limit in self._frame.attrs.get("thresholds", []):
            style: Any = {"fontsize": 7, "color": _LIMIT, "annotation_clip": False}
            if limit <= _FAR * top:
                axes.axhline(limit, color=_LIMIT, linewidth=1.0, linestyle=(0, (6, 3)))
                style |= {"xycoords": ("axes fraction", "data"), "ha": "left", "va": "center"}
                axes.annotate(f"limit {limit:g}{of}", (1.01, limit), **style)  # beside the lines, not on them
            else:
                style |= {"xycoords": "axes fraction", "ha": "right", "va": "bottom"}
                axes.annotate(f"limit {limit:g}{of}, far above", (1, 1), **style)


def _dress(axes: Any, least: float | None, window: tuple[Any, Any] | None) -> None:
    from matplotlib.dates import ConciseDateFormatter

    if not axes.lines:
        axes.text(0.5, 0.5, "nothing to draw", ha="center", va="center", transform=axes.transAxes, fontsize=8)
    if window is None:
        axes.set_xticks([])
    else:
        axes.set_xlim(*window)
        dates: Any = ConciseDateFormatter
        axes.xaxis.set_major_formatter(dates(axes.xaxis.get_major_locator(), tz="UTC"))
    axes.margins(y=0.1)
    if least is not None:
        axes.set_ylim(bottom=least)
    axes.tick_params(labelsize=7)
    axes.xaxis.get_offset_text().set_fontsize(7)
    axes.set_xlabel("time (UTC)", fontsize=8)
    axes.grid(axis="y", linewidth=0.3)
    axes.spines[["top", "right"]].set_visible(False)

"""The statements that cost the most, as a plot."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from runbook.model.units import counted
from runbook.session.plots import Plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SHOWN = 10
_WORDS = 60
# What is drawn of a ranking, by its name: the column, its scale, and what stands on the axis.
_MEASURES = {
    "busy": ("busy", 1.0, "time in the interval (% of one session's)"),
    "total": ("total_ms", 1e-3, "time since the counters began (s)"),
    "mean": ("mean_ms", 1.0, "time of one call on average (ms)"),
    "variance": ("stddev_ms", 1.0, "standard deviation of the time of one call (ms)"),
    "io": ("blocks_read", 1.0, "read from outside of the buffers (MiB)"),
    "temp": ("temp_blocks", 1.0, "temporary files, read and written (MiB)"),
}


class Statements(Plot):
    """The ten statements that cost the most, as bars: now, or since the counters began by what they are ranked by."""

    def __init__(self, frame: pd.DataFrame | None) -> None:
        self._frame = frame if frame is not None else pd.DataFrame(columns=["busy", "query", "calls"])
        by = "busy" if "busy" in self._frame else str(self._frame.attrs.get("by", "total"))
        self._column, self._scale, self._label = _MEASURES[by]
        if by in ("io", "temp"):
            self._scale = self._frame.attrs["block_size"] / (1 << 20)

    def text(self) -> str:
        """Return what the plot shows."""
        return f"plot: the statements that cost the most, by {self._label}"

    def figure(self) -> "Figure":
        """Return the drawing: a bar for each, the largest on top, with its first words and its calls."""
        from matplotlib.figure import Figure

        shown = self._frame[self._frame["calls"] > 0]
        shown = shown.sort_values(self._column, ascending=False).head(MOST_SHOWN).iloc[::-1]
        figure = Figure(figsize=(9, 1.0 + 0.36 * max(1, len(shown))), layout="constrained")
        axes = figure.add_subplot()
        values = shown[self._column].astype(float) * self._scale
        axes.barh(range(len(shown)), values, color="#1b4f72", height=0.62)
        for row, (value, calls) in enumerate(zip(values, shown["calls"], strict=True)):
            axes.text(value, row, f" {value:,.3g}  ({counted(int(calls), 'call')})", va="center", fontsize=8)
        axes.set_yticks(range(len(shown)), [_label(query) for query in shown["query"]], fontsize=7, family="monospace")
        axes.set_xlim(0, 1.35 * max(values.max() if len(values) else 0, 1e-9))
        axes.set_xlabel(self._label)
        axes.spines[["top", "right"]].set_visible(False)
        if shown.empty:
            axes.text(0.5, 0.5, "no statement", transform=axes.transAxes, ha="center", fontsize=9)
        return figure


def _label(query: Any) -> str:
    words = " ".join(str(query).split())
    return words if len(words) <= _WORDS else f"{words[: _WORDS - 1]}…"

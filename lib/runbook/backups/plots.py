"""The backups of each set over time, as a plot."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from runbook.model.units import as_bytes
from runbook.session.plots import Plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SHOWN = 6
_COLOURS = ("#0b5fa5", "#b5541c", "#2e7d32", "#7b3fa0", "#a3782a", "#4d4d4d")
_MARKS = ("o", "s", "^", "D", "v", "P")


class BackupSizes(Plot):
    """Each backup by when it was taken and its size, a line for each set; a gap in a line is one in the backups."""

    def __init__(self, frame: pd.DataFrame | None) -> None:
        self._frame = frame if frame is not None else pd.DataFrame(columns=["set", "taken", "bytes"])
        self._sets = list(dict.fromkeys(self._frame["set"]))[:MOST_SHOWN]

    def text(self) -> str:
        """Return what the plot shows."""
        return "plot: size of each backup by when it was taken, a line for each set"

    def figure(self) -> "Figure":
        """Return the drawing, with sizes on a scale of powers: a dump beside its roles."""
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 3.2), layout="constrained")
        axes = figure.add_subplot()
        for name, colour, mark in zip(self._sets, _COLOURS, _MARKS, strict=False):
            own = self._frame[self._frame["set"] == name].sort_values("taken")
            axes.plot(
                own["taken"],
                own["bytes"].clip(lower=1),
                color=colour,
                marker=mark,
                markersize=3,
                linewidth=0.8,
                label=name,
            )
        axes.set_yscale("log", base=2)  # a tick is a round number of KiB then
        axes.yaxis.set_major_formatter(lambda size, _: as_bytes(size))
        axes.yaxis.set_minor_formatter(lambda size, _: "")
        axes.set_ylabel("size (bytes)")
        axes.set_xlabel("taken (UTC)")
        locator: Any = AutoDateLocator()  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        axes.grid(visible=True, axis="y", linewidth=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if self._sets:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
        return figure

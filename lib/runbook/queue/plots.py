"""What came into the queue and what left it, as a plot."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from runbook.model import Answer
from runbook.session.plots import Plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Flow(Plot):
    """What came (upwards) and was finished (downwards) in each twelfth of the time, and the sum of both as a line."""

    colours = 64

    def __init__(self, answer: Answer) -> None:
        self._frame = answer.frame if answer.frame is not None else pd.DataFrame()

    def text(self) -> str:
        """Return what the plot shows."""
        return "plot: items that came and items that were finished" if len(self._frame) else "plot: nothing to draw"

    def figure(self) -> "Figure":
        """Return the drawing."""
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 2.6), layout="constrained")
        axes = figure.add_subplot()
        if not len(self._frame):
            axes.text(0.5, 0.5, "nothing to draw", ha="center", va="center", transform=axes.transAxes)
            return figure
        begins = self._frame["begins"].dt.tz_localize(None).to_numpy()
        width = 0.9 * (begins[1] - begins[0])
        arrived, finished = self._frame["arrived"].to_numpy(), self._frame["finished"].to_numpy()
        axes.bar(begins, arrived, width, align="edge", color="#b26a00", label="came")
        axes.bar(
            begins, -finished, width, align="edge", color="#1f5fa8", hatch="//", edgecolor="white", label="finished"
        )
        # What came and went in a twelfth is all there at its end.
        ends = np.append(begins, begins[-1] + (begins[1] - begins[0]))
        change = np.append(0, (arrived - finished).cumsum())
        axes.plot(ends, change, color="black", linewidth=1.2, label="change in all")
        axes.axhline(0, color="#5e5e5e", linewidth=0.8)
        locator = AutoDateLocator()  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        axes.set_xlabel("time (UTC)", fontsize=8)
        axes.set_ylabel("items")
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        return figure

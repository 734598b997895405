"""The days that are left of each certificate, as a plot."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from runbook.certificates.expiry import expiry
from runbook.model.text import printable
from runbook.session.plots import COLOURS, Plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SHOWN = 20


class DaysLeft(Plot):
    """The certificates with the fewest days left as horizontal bars, with the limits as lines."""

    def __init__(self, frame: pd.DataFrame | None) -> None:
        there = frame[frame["left"].notna()] if frame is not None else pd.DataFrame(columns=["left"])
        shown = there.sort_values("left").head(MOST_SHOWN)
        self._rows: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in shown.to_dict("records")]
        self._statuses = [expiry.check(shown.iloc[[place]])[0].status for place in range(len(shown))]

    def text(self) -> str:
        """Return what the plot shows."""
        return "plot: days left of each certificate, with the limits"

    def figure(self) -> "Figure":
        """Return the drawing: the one that ends first on top, what has expired to the left of zero."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 1.2 + 0.34 * max(1, len(self._rows))), layout="constrained")
        axes = figure.add_subplot()
        for place, (row, status) in enumerate(zip(self._rows, self._statuses, strict=True)):
            axes.barh(-place, row["left"], height=0.62, color=COLOURS[status])
            axes.text(max(row["left"], 0), -place, f" {row['left']:.1f} d, {status}", va="center", fontsize=8)
        for name, days in expiry.thresholds.items():
            axes.axvline(days, color="#5e5e5e", linestyle="--", linewidth=0.9)
            axes.text(days, 0.45, f" {name} below {days:g} d", rotation=20, va="bottom", fontsize=7, color="#5e5e5e")
        axes.axvline(0, color="black", linewidth=0.8)
        names = [f"{str(row['where']).rpartition('/')[2]} ({row['kind']})" for row in self._rows]
        short = [name if len(name) <= 60 else f"{name[:59]}…" for name in map(printable, names)]
        axes.set_yticks(
            [-place for place in range(len(names))], [name.replace("$", r"\$") for name in short], fontsize=8
        )
        axes.set_xlabel("time left (days)")
        most = max((row["left"] for row in self._rows), default=1.0)
        least = min((row["left"] for row in self._rows), default=0.0)
        axes.set_xlim(min(0.0, 1.1 * least), 1.25 * max(most, *expiry.thresholds.values()))
        axes.set_ylim(-max(1, len(self._rows)) + 0.4, 0.95)
        axes.spines[["top", "right"]].set_visible(False)
        return figure

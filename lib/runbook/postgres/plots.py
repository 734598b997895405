"""Connections over time, and who waits for whom, as plots."""

from typing import TYPE_CHECKING

import pandas as pd

from runbook.postgres.blocking import lines
from runbook.session.plots import Plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Told apart by anybody, also in grey: the five with the most connections, and the rest.
_COLOURS = ("#1b4f72", "#b26a00", "#5dade2", "#7d3c98", "#9e9e9e", "#d5d8dc")
MOST_SHOWN = 5
MOST_ROWS = 40


class Connections(Plot):
    """Connections by application over the samples, one above the other, with the usable slots as a line."""

    def __init__(self, frame: pd.DataFrame | None) -> None:
        columns = ["seconds", "application", "connections", "idle", "usable"]
        self._frame = frame if frame is not None else pd.DataFrame(columns=columns)

    def text(self) -> str:
        """Return what the plot shows."""
        return "plot: connections over time, by application"

    def figure(self) -> "Figure":
        """Return the drawing: an area for each of the largest applications, and the limit."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 3), layout="constrained")
        axes = figure.add_subplot()
        counts = self._frame.pivot_table(index="seconds", columns="application", values="connections", fill_value=0)
        largest = counts.iloc[-1].sort_values(ascending=False).index if len(counts) else counts.columns
        shown = counts[largest[:MOST_SHOWN]].copy()
        if len(largest) > MOST_SHOWN:
            shown["all others"] = counts[largest[MOST_SHOWN:]].sum(axis=1)
        if len(shown):
            labels = [str(name)[:40] for name in shown.columns]
            axes.stackplot(shown.index, shown.T.to_numpy(), labels=labels, colors=_COLOURS)
            limit = int(self._frame["usable"].iloc[0])
            axes.axhline(limit, color="black", linewidth=1.2, linestyle="--", label=f"usable slots ({limit})")
            axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        axes.set_xlabel("time since the first sample (s)")
        axes.set_ylabel("connections")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        return figure


class BlockingTree(Plot):
    """Who waits for whom: each session to the right of the one that it waits for, the root on the left."""

    def __init__(self, frame: pd.DataFrame | None) -> None:
        self._lines = list(lines(frame)) if frame is not None and len(frame) else []

    def text(self) -> str:
        """Return the tree, one session in each line."""
        shown = self._lines[:MOST_ROWS]
        more = [f"… and {len(self._lines) - MOST_ROWS} more"] if len(self._lines) > MOST_ROWS else []
        return "\n".join([*shown, *more]) or "plot: no session waits for a lock of another one"

    def figure(self) -> "Figure":
        """Return the drawing: a box for each session, a line to the one it waits for."""
        from matplotlib.figure import Figure

        shown = self._lines[:MOST_ROWS]
        figure = Figure(figsize=(9, 0.8 + 0.34 * max(1, len(shown))), layout="constrained")
        axes = figure.add_subplot()
        parents: dict[int, int] = {}
        for row, line in enumerate(shown):
            depth = (len(line) - len(line.lstrip())) // 2
            parents[depth] = row
            if depth:
                above = parents[depth - 1]
                axes.plot([depth - 0.94, depth - 0.94, depth], [-above - 0.3, -row, -row], color="#5e5e5e", linewidth=1)
            box = {"boxstyle": "round", "facecolor": "#f4c7c3" if depth == 0 else "#fde9c9", "edgecolor": "#5e5e5e"}
            axes.text(depth, -row, line.strip(), va="center", fontsize=8, bbox=box)
        if not shown:
            axes.text(0, 0, "no session waits for a lock of another one", va="center", fontsize=9)
        axes.set_xlim(-0.2, max(parents, default=0) + 3)
        axes.set_ylim(-len(shown) + 0.3, 0.7)
        axes.set_yticks([])
        axes.set_xticks(range(max(parents, default=0) + 1))
        axes.set_xlabel("depth of the queue (0: the root, which waits for nobody)")
        axes.spines[["top", "right", "left"]].set_visible(False)
        return figure

"""The largest tables, and what of them is air, as plots."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from runbook.model.text import printable
from runbook.postgres.records import records
from runbook.session.plots import Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_SHOWN = 12
_MIB = 1 << 20
_PARTS = (("heap_bytes", "rows", "#1b4f72"), ("index_bytes", "indexes", "#5dade2"), ("toast_bytes", "TOAST", "#b26a00"))


class Sizes(Plot):
    """The largest tables as horizontal bars in MiB: rows, indexes and TOAST one after the other."""

    def __init__(self, frame: pd.DataFrame | None) -> None:
        shown = frame[frame["table_name"].notna()].head(MOST_SHOWN) if frame is not None else pd.DataFrame()
        self._rows: list[dict[str, Any]] = records(shown)

    def text(self) -> str:
        """Return what the plot shows."""
        return "plot: the largest tables, with their indexes and TOAST, in MiB"

    def figure(self) -> "Figure":
        """Return the drawing: the largest table on top; one that is locked as an empty bar of its estimated size."""
        figure, axes = _figure(len(self._rows))
        for place, row in enumerate(self._rows):
            total = row["total_bytes"] / _MIB
            if row["locked"]:
                axes.barh(-place, total, height=0.62, fill=False, edgecolor="#5e5e5e", linestyle="--")
            else:
                left = 0.0
                for column, _, colour in _PARTS:
                    axes.barh(-place, row[column] / _MIB, left=left, height=0.62, color=colour)
                    left += row[column] / _MIB
            told = f" {total:,.2f} MiB{' (locked)' if row['locked'] else ''}"
            axes.text(total, -place, told, va="center", fontsize=8)
        _name(axes, [str(row["table_name"]) for row in self._rows], "size (MiB)")
        axes.set_xlim(0, 1.3 * max((row["total_bytes"] / _MIB for row in self._rows), default=1.0) or 1.0)
        if self._rows:
            from matplotlib.patches import Patch

            handles = [Patch(color=colour, label=label) for _, label, colour in _PARTS]
            axes.legend(handles=handles, fontsize=8, loc="lower right", frameon=False)
        return figure


class Bloat(Plot):
    """The largest tables and indexes as horizontal bars in MiB, with what of each is air."""

    def __init__(self, frame: pd.DataFrame | None) -> None:
        shown = frame.nlargest(MOST_SHOWN, "bytes") if frame is not None and len(frame) else pd.DataFrame()
        self._rows: list[dict[str, Any]] = records(shown)

    def text(self) -> str:
        """Return what the plot shows."""
        return "plot: what is in use and what is air in the largest tables and indexes, in MiB"

    def figure(self) -> "Figure":
        """Return the drawing: the largest on top; where nobody knows what is air, the bar is grey."""
        figure, axes = _figure(len(self._rows))
        for place, row in enumerate(self._rows):
            size = row["bytes"] / _MIB
            if row["percent"] is None:
                axes.barh(-place, size, height=0.62, color="#d5d8dc")
                told = "not known"
            else:
                air = row["wasted_bytes"] / _MIB
                axes.barh(-place, size - air, height=0.62, color="#1b4f72")
                axes.barh(-place, air, left=size - air, height=0.62, color="#b26a00", hatch="//", edgecolor="white")
                told = f"{row['percent']:.0f}% air"
            axes.text(size, -place, f" {size:,.2f} MiB, {told}", va="center", fontsize=8)
        names = [f"{row['kind']} {row['relation_name']}" for row in self._rows]
        _name(axes, names, "size (MiB); blue: in use, hatched: air, grey: not known")
        axes.set_xlim(0, 1.45 * max((row["bytes"] / _MIB for row in self._rows), default=1.0) or 1.0)
        return figure


def _figure(rows: int) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.9 + 0.34 * max(1, rows)), layout="constrained")
    return figure, figure.add_subplot()


def _name(axes: "Axes", names: list[str], unit: str) -> None:
    """Write the names beside the bars and the unit below them."""
    short = [name if len(name) <= 44 else f"{name[:43]}…" for name in map(printable, names)]
    if not names:
        axes.text(0, 0, "nothing to show", va="center", fontsize=9)
    axes.set_yticks([-place for place in range(len(names))], short, fontsize=8)
    axes.set_xlabel(unit)
    axes.spines[["top", "right"]].set_visible(False)

"""The log's timeline and its hours as plots."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from runbook.session.plots import Plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The worst is drawn last, on top, in the colours of the verdicts; the legend names each.
LEVELS = {"DEBUG": "#cfcfcf", "INFO": "#9db8d9", "WARNING": "#b26a00", "ERROR": "#b3261e", "CRITICAL": "#5a0d08"}


class Timeline(Plot):
    """Entries of WARNING and worse over time, by level, with all entries as a line on an axis of its own."""

    def __init__(self, frame: pd.DataFrame | None) -> None:
        self._frame = frame if frame is not None else pd.DataFrame(columns=["minute", "level", "count"])

    def text(self) -> str:
        """Return what the plot shows."""
        return "plot: entries of the log over time, by level"

    def figure(self) -> "Figure":
        """Return the drawing: bars as wide as suits the length of time."""
        from matplotlib.dates import ConciseDateFormatter
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 3.2), layout="constrained")
        axes = figure.add_subplot()
        step = self._step()
        counts = self._counted(step)
        bottom = pd.Series(0.0, index=counts.index)
        for level in ("WARNING", "ERROR", "CRITICAL"):
            height = counts[level] if level in counts else 0 * bottom
            if height.sum():
                axes.bar(
                    counts.index,
                    height,
                    bottom=bottom,
                    width=0.95 * step / pd.Timedelta(days=1),  # matplotlib counts in days
                    align="edge",
                    color=LEVELS[level],
                    label=level,
                )
            bottom = bottom + height
        axes.set_ylabel(f"WARNING and worse\n(entries per {_told(step)})")
        axes.set_xlabel("time (UTC)")
        axes.set_ylim(bottom=0)
        every = axes.twinx()
        total = counts.sum(axis=1)
        every.step(counts.index, total, where="post", color="#3b6ea5", linewidth=0.8, label="all entries")
        every.set_ylabel(f"all (entries per {_told(step)})", color="#3b6ea5")
        every.set_ylim(bottom=0)
        dates = ConciseDateFormatter(axes.xaxis.get_major_locator(), tz="UTC")  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_formatter(dates)
        handles = [*axes.get_legend_handles_labels()[0], *every.get_legend_handles_labels()[0]]
        axes.legend(handles=handles, fontsize=8, loc="upper left", ncols=4, frameon=False)
        axes.margins(y=0.25)
        return figure

    def _step(self) -> pd.Timedelta:
        minutes = self._frame["minute"]
        span = (minutes.max() - minutes.min()) if len(minutes) else pd.Timedelta(0)
        steps = [pd.Timedelta(minutes=n) for n in (1, 5, 15, 60, 240)]
        return next((step for step in steps if span / step <= 120), steps[-1])

    def _counted(self, step: pd.Timedelta) -> pd.DataFrame:
        frame = self._frame.assign(minute=pd.to_datetime(self._frame["minute"], utc=True).dt.floor(step))
        table: pd.DataFrame = frame.pivot_table(
            index="minute", columns="level", values="count", aggfunc="sum", fill_value=0
        )
        if table.empty:
            return table
        return table.reindex(pd.date_range(table.index.min(), table.index.max(), freq=step), fill_value=0)


class HourMap(Plot):
    """Errors by day and hour of the day: what comes every night at two stands out."""

    def __init__(self, frame: pd.DataFrame | None) -> None:
        self._frame = frame if frame is not None else pd.DataFrame(columns=["minute", "level", "count"])

    def text(self) -> str:
        """Return what the plot shows."""
        return "plot: errors by day and hour of the day"

    def figure(self) -> "Figure":
        """Return the drawing: a row for each day, a column for each hour, the number of errors in each."""
        from matplotlib.figure import Figure

        times = pd.to_datetime(self._frame["minute"], utc=True)
        failed = self._frame["level"].isin(["ERROR", "CRITICAL"])
        counts = self._frame["count"].where(failed, 0)
        table: Any = counts.groupby([times.dt.strftime("%Y-%m-%d"), times.dt.hour]).sum().unstack()
        table = table.reindex(columns=range(24))
        figure = Figure(figsize=(9, 1.5 + 0.4 * max(1, len(table))), layout="constrained")
        axes = figure.add_subplot()
        if len(table):
            drawn = axes.imshow(table.to_numpy(dtype=float), aspect="auto", cmap="OrRd", vmin=0)
            figure.colorbar(drawn, ax=axes, label="errors per hour")
            for (row, column), value in _values(table):
                ink = "white" if value > 0.6 * (table.max().max() or 1) else "black"
                axes.text(
                    column,
                    row,
                    f"{value:.0f}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color=ink,
                )
        axes.set_yticks(range(len(table)), list(table.index), fontsize=8)
        axes.set_xticks(range(0, 24, 2))
        axes.set_xlabel("hour of the day (UTC); white without a number: not in the window")
        axes.set_ylabel("day")
        return figure


def _values(table: pd.DataFrame) -> list[tuple[tuple[int, int], float]]:
    cells = table.to_numpy(dtype=float)
    return [
        ((row, column), float(cells[row, column]))
        for row in range(cells.shape[0])
        for column in range(cells.shape[1])
        if cells[row, column] == cells[row, column]
    ]


def _told(step: pd.Timedelta) -> str:
    minutes = int(step.total_seconds() // 60)
    return (
        "minute" if minutes == 1 else f"{minutes} minutes" if minutes < 60 else "hour" if minutes == 60 else "4 hours"
    )

"""When alerts would have fired, as a plot."""

from typing import TYPE_CHECKING

import pandas as pd

from runbook.model import Answer
from runbook.prometheus.alert_history import FIRED, MISSING, NEVER, PENDED
from runbook.session.plots import Plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {"critical": "#b3261e", "warning": "#b26a00"}
_GREY = "#9e9e9e"


class AlertTimes(Plot):
    """A row for each alert that was looked at, a bar for each time in which it would have fired."""

    def __init__(self, answer: Answer) -> None:
        frame = answer.frame
        self._frame = (
            frame[frame["state"].isin([FIRED, NEVER, PENDED, MISSING])] if frame is not None else pd.DataFrame()
        )
        self._days = float(frame.attrs.get("days", 7)) if frame is not None else 7.0
        self._end = pd.Timestamp(answer.asked_at)

    def text(self) -> str:
        """Return how many alerts the plot shows."""
        alerts = self._frame["alert"].nunique() if len(self._frame) else 0
        return f"plot: when each of {alerts} alerts would have fired"

    def figure(self) -> "Figure":
        """Return the drawing: critical ones red, others amber; those that cannot be judged are named in grey."""
        from matplotlib.dates import ConciseDateFormatter
        from matplotlib.figure import Figure

        names = list(dict.fromkeys(self._frame["alert"])) if len(self._frame) else []
        figure = Figure(figsize=(9, 1.0 + 0.26 * max(1, len(names))), layout="constrained")
        axes = figure.add_subplot()
        begin = self._end - pd.Timedelta(days=self._days)
        least = pd.Timedelta(days=self._days) / 400  # a bar that is too short to see is drawn as wide as this
        labels = []
        for row, name in enumerate(reversed(names)):
            rows = self._frame[self._frame["alert"] == name]
            state = rows["state"].iloc[0]
            fired = rows[rows["state"] == FIRED]
            colour = _COLOURS.get(str(rows["severity"].iloc[0]), _GREY)
            spans = [
                (began, max(ended - began, least)) for began, ended in fired[["began", "ended"]].to_numpy(dtype=object)
            ]
            if spans:
                axes.broken_barh(spans, (row - 0.35, 0.7), color=colour)
            labels.append(f"{name} ({len(spans)}×)" if spans else name)
            if state == MISSING:
                axes.text(0.01, row, "a metric of it is missing", transform=axes.get_yaxis_transform(), va="center",
                          fontsize=7, color=_GREY, backgroundcolor="white")  # fmt: skip
        axes.set_yticks(range(len(labels)), labels, fontsize=7)
        axes.set_ylim(-0.7, max(len(labels), 1) - 0.3)
        axes.set_xlim(begin, self._end)  # type: ignore[arg-type]
        axes.set_xlabel("time (UTC); red: critical, amber: warning")
        axes.grid(axis="y", linewidth=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        locator = axes.xaxis.get_major_locator()
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz="UTC"))  # type: ignore[no-untyped-call]
        return figure

"""The latency against the rate, as the clients and as the service see it."""

import math
from typing import TYPE_CHECKING

from runbook.model import Answer
from runbook.session.plots import Plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Told apart without colour too: by marks and dashes.
_LINES = (
    ("p99_ms", "p99, clients", "#b3261e", "-", "o"),
    ("p95_ms", "p95, clients", "#b26a00", "-", "s"),
    ("p50_ms", "p50, clients", "#1f5fa8", "-", "^"),
    ("server_p99_ms", "p99, the service's log", "#b3261e", "--", "o"),
    ("server_p50_ms", "p50, the service's log", "#1f5fa8", "--", "^"),
)


class LatencyCurve(Plot):
    """Latency against the rate of requests, both by powers of ten, up to where the load was stopped (a cross)."""

    colours = 64

    def __init__(self, answer: Answer) -> None:
        self._frame = answer.frame

    def text(self) -> str:
        """Return in one line what the plot shows."""
        return "plot: p50, p95 and p99 against the rate of requests, as clients and as the service's log have them"

    def figure(self) -> "Figure":
        """Return the drawing."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4.2), layout="constrained")
        axes = figure.add_subplot()
        frame = self._frame
        if frame is None or frame["p99_ms"].isna().all():
            axes.text(0.5, 0.5, "no load was measured", ha="center", va="center", transform=axes.transAxes)
            axes.set_xticks([])
            axes.set_yticks([])
            return figure
        rates = frame["rate"].to_numpy()
        for column, name, colour, dashes, mark in _LINES:
            values = frame[column].astype(float)
            if values.notna().any():
                axes.plot(
                    rates, values.clip(lower=0.1), dashes, marker=mark, markersize=4, color=colour, label=name,
                    alpha=0.95 if dashes == "-" else 0.6,
                )  # fmt: skip
        stopped = frame[frame["stopped"] != ""]
        if not stopped.empty:
            axes.plot(stopped["rate"], stopped["p99_ms"], "x", color="black", markersize=11, label="stopped here")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        # Whole powers of ten: between two of them there is no number at the axis.
        low, high = axes.get_ylim()
        axes.set_ylim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)))
        slow = frame.attrs.get("slow_ms")
        if isinstance(slow, float | int) and slow <= 20 * frame["longest_ms"].max():
            axes.axhline(slow, color="#b3261e", linewidth=0.8)
            axes.text(rates[0], slow, " the load stops above it", va="bottom", fontsize=8, color="#b3261e")
        axes.set_xlabel("requests/s, sent by a schedule")
        axes.set_ylabel("ms since a request was due")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, frameon=False)
        return figure

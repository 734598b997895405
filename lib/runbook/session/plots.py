"""Plots that show themselves: drawn on a Figure of their own, without pyplot's hidden state."""

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from runbook.model import Finding, Status

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Told apart without colour too: each bar is labelled with its status and value.
COLOURS = {
    Status.OK: "#2e7d32",
    Status.WARNING: "#b26a00",
    Status.CRITICAL: "#b3261e",
    Status.UNKNOWN: "#5e5e5e",
    Status.SKIPPED: "#9e9e9e",
}


class Plot(ABC):
    """A plot that shows itself as a PNG and as one line of text.

    ``colours`` is how many different ones its PNG keeps: one of lines takes a quarter of the room with a few.
    """

    colours: ClassVar[int | None] = None

    @abstractmethod
    def figure(self) -> "Figure":
        """Return the drawing."""

    @abstractmethod
    def text(self) -> str:
        """Return in one line what the plot shows."""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        from matplotlib import rc_context

        buffer = io.BytesIO()
        # No software name or date in the file: the same data gives the same bytes.
        # What is written on it are names and texts of anybody: a dollar in one begins no formula.
        with rc_context({"text.parse_math": False}):
            self.figure().savefig(buffer, format="png", dpi=100, metadata={"Software": None})
        if self.colours is not None:
            buffer = _with_fewer_colours(buffer, self.colours)
        return {"text/plain": self.text(), "image/png": buffer.getvalue()}


def _with_fewer_colours(png: io.BytesIO, colours: int) -> io.BytesIO:
    from PIL import Image

    with Image.open(png) as picture:
        small = io.BytesIO()
        picture.convert("RGB").quantize(colours, method=Image.Quantize.FASTOCTREE).save(small, format="PNG")
    return small


class Headroom(Plot):
    """How much of each limit is used, with the thresholds as ticks on the bars."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self._findings = [finding for finding in findings if isinstance(finding.value, float | int)]

    def text(self) -> str:
        """Return the count of limits shown."""
        return f"plot: share of each of {len(self._findings)} limits in use"

    def figure(self) -> "Figure":
        """Return one horizontal bar for each limit, the fullest on top."""
        from matplotlib.figure import Figure

        shown = sorted(self._findings, key=lambda finding: float(finding.value or 0))
        figure = Figure(figsize=(8, 0.9 + 0.36 * max(1, len(shown))), layout="constrained")
        axes = figure.add_subplot()
        for row, finding in enumerate(shown):
            value = float(finding.value or 0)
            axes.barh(row, min(value, 100), color=COLOURS[finding.status], height=0.62)
            axes.text(min(value, 100) + 1, row, f"{value:.0f}%  {finding.status}", va="center", fontsize=8)
            if isinstance(finding.threshold, float | int):
                axes.plot([finding.threshold] * 2, [row - 0.42, row + 0.42], color="black", linewidth=1.2)
        axes.set_yticks(range(len(shown)), [f"{f.check}: {_short(f.object)}" for f in shown], fontsize=8)
        axes.set_xlim(0, 118)
        axes.set_xticks(range(0, 101, 20))
        axes.set_xlabel("used (% of the limit); black mark: next threshold")
        axes.spines[["top", "right"]].set_visible(False)
        return figure


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"

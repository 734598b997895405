"""The share of failed requests of each path over time, with the moment since which it is higher."""

from datetime import timedelta
from typing import TYPE_CHECKING

import pandas as pd

from runbook.model import Answer
from runbook.model.text import printable
from runbook.session.plots import Plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Told apart without colour, too.
_LINES = ("#1f4e79", "#b26a00", "#2e7d32", "#6a3d9a", "#5e5e5e", "#8c2d04")
_DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
_LIMIT, _MOMENT = "#b3261e", "#111111"
_LIMITS = ((1, "1%: noticed"), (10, "10%: P1"))
_NAME_CHARACTERS = 60
_PIECE = timedelta(minutes=5)


class FailingPaths(Plot):
    """The paths that had failures, the worst first; a vertical line where a path's share stepped up, if it did."""

    def __init__(self, paths: Answer, since: Answer | None = None) -> None:
        self._rows = paths.frame if paths.frame is not None else pd.DataFrame(columns=["path", "time", "share"])
        self._since = since.frame if since is not None else None

    def text(self) -> str:
        """Return what the plot shows."""
        return "plot: share of failed requests over time, by path"

    def figure(self) -> "Figure":
        """Return the drawing."""
        from matplotlib.dates import ConciseDateFormatter
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 3.4), layout="constrained")
        axes = figure.add_subplot()
        paths = list(dict.fromkeys(self._rows["path"]))
        top = 0.0
        for place, path in enumerate(paths[: len(_LINES)]):
            part = self._together(path)
            axes.step(
                part.index, part, where="pre", color=_LINES[place], linestyle=_DASHES[place],
                linewidth=1.6 if place == 0 else 1.0, label=_short(path),
            )  # fmt: skip
            top = max(top, float(part.max(skipna=True)) if part.notna().any() else 0.0)
        axes.set_ylim(0, max(1.1 * top, 12))
        for limit, told in _LIMITS:
            axes.axhline(limit, color=_LIMIT, linewidth=0.9, linestyle=(0, (6, 3)))
            axes.annotate(
                told, (0, limit), xycoords=("axes fraction", "data"), ha="left", va="bottom", fontsize=7, color=_LIMIT
            )
        for row in self._moments():
            line = pd.Series(axes.get_ylim(), index=[row["begins"]] * 2)
            axes.plot(line.index, line, color=_MOMENT, linewidth=1.0)
            axes.annotate(
                f"{row['begins']:%H:%M:%S} ", (row["begins"], 1), xycoords=("data", "axes fraction"), ha="right",
                va="top", fontsize=8, color=_MOMENT,
            )  # fmt: skip
        if paths:
            formatter = ConciseDateFormatter(axes.xaxis.get_major_locator(), tz="UTC")  # type: ignore[no-untyped-call]
            axes.xaxis.set_major_formatter(formatter)
            axes.xaxis.get_offset_text().set_fontsize(8)
            axes.legend(fontsize=7, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
        else:
            axes.text(0.5, 0.5, "no request failed", ha="center", va="center", transform=axes.transAxes)
            axes.set_xticks([])
        axes.set_ylabel("failed (% of the path's requests\nin five minutes)", fontsize=8)
        more = f"; {len(paths) - len(_LINES)} more paths are not drawn" if len(paths) > len(_LINES) else ""
        axes.set_xlabel(f"time (UTC); black: the moment since which more fail{more}", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.margins(x=0.01)
        axes.spines[["top", "right"]].set_visible(False)
        return figure

    def _together(self, path: str) -> pd.Series:
        """Return the share (%) of a path over pieces of five minutes or more: of few requests one is no share."""
        part = self._rows[self._rows["path"] == path].set_index("time")[["failed", "requests"]]
        apart = part.index.to_series().diff().median()  # of one row there is none (NaT)
        pieces = _PIECE if pd.isna(apart) else max(pd.to_timedelta(apart).to_pytimedelta(), _PIECE)
        sums = part.resample(pieces, label="right", closed="right", origin="end").sum()
        return 100 * sums["failed"] / sums["requests"].where(sums["requests"] > 0)

    def _moments(self) -> list[dict[str, pd.Timestamp]]:
        """Return where lines are drawn: one for paths that began to fail at the same time."""
        if self._since is None or "begins" not in self._since:
            return []
        known = self._since[~self._since["from_the_start"].astype(bool)]
        kept: list[dict[str, pd.Timestamp]] = []
        for moment in known["begins"]:
            if all(abs(moment - one["begins"]) > pd.Timedelta(minutes=2) for one in kept):
                kept.append({"begins": moment})
        return kept[:5]


def _short(path: str) -> str:
    told = printable(path)
    return told if len(told) <= _NAME_CHARACTERS else f"{told[: _NAME_CHARACTERS - 1]}…"

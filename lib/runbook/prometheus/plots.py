"""Figures over time as plots: now, a day and a week before, and the limits."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from runbook.model import Answer
from runbook.model.text import printable
from runbook.prometheus.reading import DAY, NOW, WEEK
from runbook.prometheus.seen import number
from runbook.session.plots import Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart without colour too: by dashes.
_LINES = ("#1f5fa8", "#b26a00", "#2e7d32", "#7b3fa0", "#5e5e5e", "#00838f")
_DASHES = ("-", "--", "-.", ":")
_LIMIT = "#b3261e"
_MOST_LINES = 6
# A limit so many times above all that was measured would leave nothing of it to see: it is told instead of drawn.
_FAR = 2.0
# How high a line of text is, of a panel's height.
_LABEL = 0.12
_NOT_DRAWN = {"beyond the last bucket"}
_NAME_CHARACTERS = 28


class Courses(Plot):
    """The course of the figures of some answers: a panel for each unit of each answer, one below the other.

    Thick lines are now, thin grey ones a day (dashed) and a week (dotted) before, at the same time of day; red lines
    are the limits; one that is far above everything is told instead. A gap in a line is a gap in the samples.
    """

    colours = 64

    def __init__(self, *answers: Answer) -> None:
        self._panels = [panel for answer in answers for panel in _panels(answer)]
        told = [
            answer.frame.attrs["window"]
            for answer in answers
            if answer.frame is not None and "window" in answer.frame.attrs
        ]
        self._window = (
            (pd.Timestamp(min(begin for begin, _ in told)), pd.Timestamp(max(end for _, end in told))) if told else ()
        )

    def text(self) -> str:
        """Return which figures the plot shows."""
        shown = [name for panel in self._panels for name in panel["names"]]
        return f"plot: {', '.join(shown) or 'nothing to draw'}; with a day and a week before"

    def figure(self) -> "Figure":
        """Return the drawing."""
        from matplotlib.dates import ConciseDateFormatter
        from matplotlib.figure import Figure

        count = max(1, len(self._panels))
        height = 0.75 + 1.5 * count
        figure = Figure(figsize=(9, height))
        every: Any = figure.subplots(count, 1, sharex=True, squeeze=False)
        # Margins in inches, and no layout engine: that draws everything twice.
        figure.subplots_adjust(left=0.09, right=0.89, top=1 - 0.3 / height, bottom=0.5 / height, hspace=0.38)
        for panel, axes in zip(self._panels, every[:, 0], strict=False):
            _draw(axes, panel)
        last = every[-1, 0]
        if not self._panels:
            last.text(0.5, 0.5, "no figure to draw", ha="center", va="center", transform=last.transAxes)
        last.set_xlabel("time (UTC); thin: a day (dashed) and a week (dotted) before", fontsize=8)
        if self._window:
            last.set_xlim(*self._window)
        else:
            last.set_xticks([])
        if self._window:
            locator = last.xaxis.get_major_locator()
            last.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz="UTC"))  # type: ignore[no-untyped-call]
            last.xaxis.get_offset_text().set_fontsize(8)
        return figure


def _panels(answer: Answer) -> list[dict[str, Any]]:
    if answer.frame is None or "figure" not in answer.frame:
        return []
    rows = answer.frame[~answer.frame["figure"].isin(_NOT_DRAWN) & answer.frame["time"].notna()]
    wanted = _of_the_question(answer, rows)
    panels = []
    for unit, part in rows[rows["figure"].isin(wanted)].groupby("unit", sort=False, observed=True):
        names = list(dict.fromkeys(part["figure"]))
        panels.append({"unit": unit, "rows": part, "limits": _limits(answer, str(unit), names), "names": names})
    return panels


def _limits(answer: Answer, unit: str, names: list[str]) -> dict[float, str]:
    """Return the limits of a panel, each with the figures that it is for; "" where it is for all of them."""
    found: dict[float, list[str]] = {}
    for finding in answer.findings:
        limit = finding.threshold
        if finding.unit == unit and isinstance(limit, float | int) and limit < 1e9:
            mine = [name for name in names if finding.object == name or finding.object.endswith(f" {name}")]
            found.setdefault(float(limit), []).extend(mine)
    return {
        limit: "" if len(names) == 1 else _short(", ".join(dict.fromkeys(mine)))
        for limit, mine in sorted(found.items())
    }


def _of_the_question(answer: Answer, rows: pd.DataFrame) -> set[str]:
    """Return the figures that the answer is about: not those that only guard its judgement."""
    names = set(rows["figure"])
    return names - {"requests", "log-ins"} if len(names) > 1 else names


def _draw(axes: "Axes", panel: dict[str, Any]) -> None:
    rows = panel["rows"]
    lines = list(rows.groupby(["figure", "object"], sort=False, observed=True))
    for place, ((figure, subject), part) in enumerate(lines[:_MOST_LINES]):
        colour = _LINES[place % len(_LINES)]
        now = part[part["when"] == NOW]
        for when, dashes, days in ((DAY, (0, (4, 2)), 1), (WEEK, (0, (1, 2)), 7)):
            before = part[part["when"] == when]
            if len(before):
                shifted = before.assign(time=before["time"] + pd.Timedelta(days=days))
                axes.plot(*_with_gaps(shifted), color=colour, linewidth=0.7, linestyle=dashes, alpha=0.7)
        axes.plot(
            *_with_gaps(now),
            color=colour,
            linewidth=1.5 if place == 0 else 1.0,
            linestyle=_DASHES[place % len(_DASHES)],
            label=_short(f"{subject} {figure}".strip()),
            marker="o" if len(now) == 1 else None,
        )
    limits = {limit: f"limit {limit:g}{f' ({of})' if of else ''}" for limit, of in panel["limits"].items()}
    top, highest = _top(rows, list(limits))
    shown = [limit for limit in limits if limit <= _FAR * top]
    far = [limit for limit in limits if limit > _FAR * top]
    for limit in shown:
        axes.axhline(limit, color=_LIMIT, linewidth=1.0, linestyle=(0, (6, 3)))
    height = 1.15 * max(top, *shown, 1e-3)
    axes.set_ylim(0, height)
    beside = -float("inf")
    for limit in shown:  # beside the plot, one above the other: on the lines they could not be read
        beside = max(limit, beside + _LABEL * height)
        _note(axes, limits[limit], beside)
    beyond = [f"{limits[limit]}, far above" for limit in far]
    beyond += [f"peaks up to {number(highest)} are cut"] if highest > height else []
    if beyond:
        axes.annotate(
            "; ".join(beyond), (1, 1), xycoords="axes fraction", ha="right", va="bottom", fontsize=7, color=_LIMIT
        )
    more = f" (+{len(lines) - _MOST_LINES} more)" if len(lines) > _MOST_LINES else ""
    axes.set_ylabel(f"{panel['unit']}{more}", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", linewidth=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0.1)


def _top(rows: pd.DataFrame, limits: Sequence[float]) -> tuple[float, float]:
    """Return up to where a panel is drawn, and the highest value.

    A few peaks do not flatten all the rest, but those near a limit or above it are what the panel is to show.
    """
    values = rows["value"].replace([float("inf"), -float("inf")], float("nan")).dropna()
    if values.empty:
        return 0.0, 0.0
    highest = float(values.max())
    most = float(values.quantile(0.99))
    if any(limit <= _FAR * highest for limit in limits):
        return highest, highest
    return (highest if highest <= 3 * most else 1.5 * most), highest


def _note(axes: "Axes", text: str, height: float) -> None:
    place = {"xycoords": ("axes fraction", "data"), "ha": "left", "va": "center", "annotation_clip": False}
    axes.annotate(text, (1.005, height), fontsize=7, color=_LIMIT, **place)  # type: ignore[arg-type]


def _with_gaps(rows: pd.DataFrame) -> tuple[Any, Any]:
    """Return times and values of a line that breaks where samples are missing."""
    times, values = rows["time"].reset_index(drop=True), rows["value"].reset_index(drop=True)
    apart = times.diff()
    usual = apart.median()
    if len(times) < 3 or pd.isna(usual):
        return times, values
    breaks = times[apart > 1.5 * usual] - usual / 2
    both = pd.concat([pd.DataFrame({"t": times, "v": values}), pd.DataFrame({"t": breaks, "v": float("nan")})])
    ordered = both.sort_values("t")
    return ordered["t"], ordered["v"]


def _short(name: str) -> str:
    told = printable(name)
    return told if len(told) <= _NAME_CHARACTERS else f"{told[: _NAME_CHARACTERS - 1]}…"

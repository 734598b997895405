"""What a frame of figures says of each: its value now, a day and a week before, its peak, or why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from runbook.model import Finding, Status
from runbook.model.text import printable
from runbook.model.units import counted
from runbook.prometheus.explanations import to_be_told
from runbook.prometheus.reading import DAY, NOW, WEEK

# The same moment of another day is compared by the middle value of the half-hour before it: one peak says nothing.
_COMPARED = timedelta(minutes=30)
_FEWEST_POINTS = 3


@dataclass(frozen=True)
class Seen:
    """One figure of one object; NaN where there is no value. ``state`` and ``reason`` are those of the frame."""

    figure: str
    object: str
    unit: str
    value: float
    state: str
    reason: str
    source: str
    day: float = float("nan")
    week: float = float("nan")
    peak: float = float("nan")
    peak_at: str = ""
    moment: str = "now"

    @property
    def name(self) -> str:
        """Return how a finding names it: its object, and the figure where that says more."""
        return f"{printable(self.object)} {self.figure}".strip()

    @property
    def known(self) -> bool:
        """Tell whether there is a value, be it not a number."""
        return self.state in ("value", "not a number")

    @property
    def there(self) -> bool:
        """Tell whether there is a number."""
        return self.state == "value"


def seen(frame: pd.DataFrame, figure: str) -> list[Seen]:
    """Return what the frame says of a figure: one for each object and source, in their order."""
    codes, names = _coded(frame["figure"])
    if figure not in names:
        return []
    rows = np.flatnonzero(codes == names.index(figure))
    part = {name: _coded(frame[name]) for name in ("object", "source", "when", "state", "unit", "reason")}
    stamps = frame["time"].array.as_unit("ms").asi8[rows]
    values = frame["value"].to_numpy()[rows]
    moment = str(frame.attrs.get("moment", "now"))
    pairs = sorted({(part["object"][0][row], part["source"][0][row]) for row in rows})
    found = []
    for pair in sorted(pairs, key=lambda pair: (part["object"][1][pair[0]], part["source"][1][pair[1]])):
        mine = (part["object"][0][rows] == pair[0]) & (part["source"][0][rows] == pair[1])
        at = {name: mine & (part["when"][0][rows] == code) for code, name in enumerate(part["when"][1])}
        if NOW not in at or not at[NOW].any():
            continue
        last = rows[np.flatnonzero(at[NOW])[-1]]
        state = part["state"][1][part["state"][0][last]]
        there = np.flatnonzero(at[NOW] & ~np.isnan(values))
        top = there[values[there].argmax()] if len(there) > 1 else None
        found.append(
            Seen(
                figure=figure,
                object=part["object"][1][pair[0]],
                unit=part["unit"][1][part["unit"][0][last]],
                value=float(frame["value"].iloc[last]),
                state=state,
                reason=part["reason"][1][part["reason"][0][last]],
                source=part["source"][1][pair[1]],
                day=_before(stamps, values, at.get(DAY)),
                week=_before(stamps, values, at.get(WEEK)),
                peak=float(values[top]) if top is not None else float("nan"),
                peak_at=f"{datetime.fromtimestamp(stamps[top] / 1000, UTC):%Y-%m-%d %H:%M} UTC"
                if top is not None
                else "",
                moment=moment,
            )
        )
    return found


def _coded(column: "pd.Series[Any]") -> tuple[Any, list[str]]:
    """Return the codes of a column of texts, and the text of each code."""
    category = column if isinstance(column.dtype, pd.CategoricalDtype) else column.astype("category")
    return category.cat.codes.to_numpy(), [str(name) for name in category.cat.categories]


def _before(stamps: Any, values: Any, chosen: Any) -> float:
    if chosen is None or not chosen.any():
        return float("nan")
    times, told = stamps[chosen], values[chosen]
    near = told[times > times.max() - _COMPARED.total_seconds() * 1000]
    near = near if len(near) >= _FEWEST_POINTS else told[-_FEWEST_POINTS:]
    near = near[~np.isnan(near)]
    return float(np.median(near)) if len(near) else float("nan")


def told(one: Seen, nothing: str = "no value") -> str:
    """Return a figure in words: now (or at the window's end), a day and a week before, when it was highest.

    ``nothing`` says what not a number means.
    """
    now = f"{one.moment} {_with_unit(one.value, one.unit) if one.there else nothing}"
    if one.source != "prometheus":
        return f"{now} ({one.reason}); no history to compare with"
    parts = [f"{what} {number(value)}" for what, value in ((DAY, one.day), (WEEK, one.week)) if not pd.isna(value)]
    compared = f"; {', '.join(parts)}" if parts else "; nothing to compare with a day or a week before"
    higher = one.peak > max(one.value if one.there else 0.0, 0.0)
    peak = f"; highest {number(one.peak)} at {one.peak_at}" if higher else ""
    return f"{now}{compared}{peak}"


def _with_unit(value: float, unit: str) -> str:
    return f"{number(value)}{unit}" if unit == "%" else f"{number(value)} {unit}"


def number(value: float) -> str:
    """Return a number as people read it: three significant digits, whole ones above a hundred."""
    if pd.isna(value):
        return "no value"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def times_as_much(one: Seen, times: float, least: float) -> str:
    """Return by how much a figure is above a day and a week before, in words; "" where it is not ``times`` as much as
    both, or by less than ``least`` (in its unit).
    """
    compared = [value for value in (one.day, one.week) if not pd.isna(value)]
    if (
        times == float("inf")
        or not compared
        or not one.there
        or one.value <= times * max(compared)
        or one.value - max(compared) < least
    ):
        return ""
    return f"{number(one.value / max(compared))} times as much as before" if max(compared) > 0 else "0 before"


def compared(finding: Finding, one: Seen, times: float, least: float) -> Finding:
    """Return a finding, a WARNING where it is well by its limit but ``times`` what it was a day and a week before."""
    how = times_as_much(one, times, least)
    if not how:
        return finding
    status = Status.WARNING if finding.status is Status.OK else finding.status
    return msgspec.structs.replace(finding, status=status, message=f"{how}: {finding.message}")


def fine(one: Seen, nothing: str = "no value", limit: float | None = None) -> Finding:
    """Return a figure as a finding that is OK: told, and not judged, though there may be a limit to it."""
    return Finding(
        object=one.name,
        status=Status.OK,
        message=told(one, nothing),
        value=one.value if one.there else None,
        threshold=limit,
        unit=one.unit,
    )


def unknown(frame: pd.DataFrame, figures: Sequence[str]) -> list[Finding]:
    """Return an UNKNOWN finding for each reason why one of these figures is not told, naming all that it concerns."""
    reasons: dict[tuple[str, str], list[str]] = {}
    elsewhere = {
        str(row["figure"]): str(row["source"])
        for row in frame[frame["source"] != "prometheus"][["figure", "source"]].to_dict("records")
    }
    for name in figures:
        for one in seen(frame, name):
            if not one.known:
                reasons.setdefault((one.reason, elsewhere.get(name, "")), []).append(one.name)
    findings = []
    for (reason, source), names in reasons.items():
        beside = f"; what the {source} tells stands beside it" if source else ""
        subject = f"{_several(names)} in Prometheus" if source else _several(names)
        findings.append(
            Finding(object=subject, status=Status.UNKNOWN, message=f"{reason}{beside}", next=_after(reason))
        )
    if frame.attrs.get("history") and any(name in elsewhere for name in figures):
        message = f"neither history nor comparison: {frame.attrs['history']}"
        after = to_be_told(str(frame.attrs.get("history_kind", "")), message)
        findings.append(Finding(object="history", status=Status.UNKNOWN, message=message, next=after))
    return findings


def _several(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _after(reason: str) -> str:
    if "does not exist" in reason:
        return "have it exported and scraped, or acknowledge this in the profile: until then no alert on it can fire"
    if "no sample" in reason:
        return "see whether what exports it still runs and is scraped: prometheus.scraping"
    if "scrapes no job" in reason:
        return "add the job to Prometheus' configuration, or name the one that is meant in [prometheus.jobs]"
    return ""


def with_sources(frame: pd.DataFrame, findings: Sequence[Finding]) -> list[Finding]:
    """Return findings with the queries that they rest on, and with Prometheus' own warnings where it gave some."""
    source = frame.attrs.get("source", "")
    found = [msgspec.structs.replace(finding, source=source) for finding in findings]
    for name, count in frame.attrs.get("left_out", {}).items():
        message = f"{counted(count, 'more series is', 'more series are')} neither shown nor judged: there are too many"
        after = "look at them in Prometheus itself, as a sum or as topk(10, …) of the query"
        found.append(Finding(object=f"other {name}", status=Status.UNKNOWN, message=message, source=source, next=after))
    if frame.attrs.get("notes"):
        message = f"Prometheus warns that its answer may be partial: {'; '.join(frame.attrs['notes'])}"
        found.append(Finding(object="warnings of Prometheus", status=Status.WARNING, message=message, source=source))
    return found

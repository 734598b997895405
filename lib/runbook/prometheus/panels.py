"""The runbook's five panels: what each shows, and what its own query would have shown."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from runbook.connections import PrometheusConnection
from runbook.connections.prometheus import Result
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable
from runbook.model.text import printable, to_run
from runbook.model.units import counted
from runbook.prometheus.explanations import EXPLAINED_BY
from runbook.prometheus.frames import name_of, times_of
from runbook.prometheus.queries import Asked, escaped, expression, read_promql, together
from runbook.prometheus.rules.limits import LIMITS
from runbook.prometheus.seen import number
from runbook.prometheus.window import Span, Window
from runbook.target import Target

COLUMNS = ["query", "series", "time", "value", "unit"]
CORRECTED, WRITTEN = "corrected", "as written"
# Of a panel's series, so many are kept: a plot of more shows nothing.
MOST_SERIES = 30
_SECONDS = 20.0
_STEP = 15.0
_MOST_JOBS = 5


@dataclass(frozen=True)
class Line:
    """A line of a panel: its legend, and the file in ``promql/`` with what is to be filled in there."""

    legend: str
    query: str
    given: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """A panel of the dashboard.

    ``written`` is the runbook's own query, in ``written_unit``; ``tells`` says in words what that shows, from its
    result and the right one. ``limits`` are drawn as thresholds, by their names in `LIMITS`; ``grafana_unit`` is what
    Grafana calls the ``unit``. ``metric`` is what has to be there, with the ``label``; ``least`` where the axis begins.
    """

    name: str
    title: str
    lines: tuple[Line, ...]
    unit: str
    grafana_unit: str
    metric: str
    written: str
    written_unit: str
    note: str
    tells: Callable[[list[pd.DataFrame], pd.DataFrame, str], str]
    limits: tuple[str, ...] = ()
    label: str = ""
    least: float | None = 0.0

    def thresholds(self, target: Target | None) -> list[float]:
        """Return the limits that are drawn in, as the profile has them."""
        thresholds = target.thresholds if target is not None else {}
        return [LIMITS[name].of(thresholds) for name in self.limits]


def _rates(written: list[pd.DataFrame], corrected: pd.DataFrame, lines: str) -> str:
    last = _last(corrected) / 60
    top = max((_last(series) for series in written), default=float("nan"))
    kinds = "one for each method, path and status"
    return f"{lines}, {kinds}, the highest at {number(top)}/s; all together are {number(last)}/s"


def _ratios(written: list[pd.DataFrame], corrected: pd.DataFrame, lines: str) -> str:
    values = sorted({number(_last(series)) for series in written if not pd.isna(_last(series))})
    shown = f"each of {lines} at {' or '.join(values[:3])}" if values else "no number: 0 of 0"
    return f"{shown}, since every series of 5xx is divided by itself; really {number(_last(corrected))}% fail"


def _quantiles(written: list[pd.DataFrame], corrected: pd.DataFrame, lines: str) -> str:
    top = 1000 * max((_last(series) for series in written if not pd.isna(_last(series))), default=float("nan"))
    right = number(_last(corrected))
    return f"{lines}, one for each path, the slowest at {number(top)} ms; p95 of the service is {right} ms"


def _counted_series(written: list[pd.DataFrame], corrected: pd.DataFrame, lines: str) -> str:
    shown = _last(written[0]) if written else float("nan")
    return f"{number(shown)}: it counts series (one for each role), for {number(_last(corrected))} log-ins in the hour"


def _gauge_as_counter(written: list[pd.DataFrame], corrected: pd.DataFrame, lines: str) -> str:
    shown = 60 * max((_last(series) for series in written), default=float("nan"))
    return (
        f"{number(shown)} items/min, and never less than 0: it takes a gauge for a counter, and each fall for a "
        f"restart; the slope is {number(_last(corrected))} items/min"
    )


def _last(frame: pd.DataFrame) -> float:
    return float(frame["value"].iloc[-1]) if len(frame) else float("nan")


PANELS = (
    Panel(
        name="panel_request_rate",
        title="Request rate",
        lines=(Line("requests", "request_rate"),),
        unit="requests/min",
        grafana_unit="reqpm",
        metric="http_requests_total",
        written="rate(http_requests_total[5m])",
        written_unit="requests/s",
        note="All requests together. The runbook's own query draws a line for each method, path and status.",
        tells=_rates,
    ),
    Panel(
        name="panel_error_rate",
        title="Error rate",
        lines=(Line("5xx", "share_5xx"), Line("4xx", "share_4xx")),
        unit="%",
        grafana_unit="percent",
        metric="http_requests_total",
        written='rate(http_requests_total{status=~"5.."}[5m]) / rate(http_requests_total[5m])',
        written_unit="5xx by 5xx",
        note="The share of all requests. The runbook's own query divides each series by itself: 1, or nothing.",
        tells=_ratios,
        label="status",
        limits=("error_percent",),
    ),
    Panel(
        name="panel_response_time",
        title="Response time",
        lines=tuple(Line(f"p{share}", "response_time", {"quantile": f"0.{share}"}) for share in (95, 50, 99)),
        unit="ms",
        grafana_unit="ms",
        metric="http_request_duration_seconds_bucket",
        written="histogram_quantile(0.95, rate(http_request_duration_seconds_bucket[5m]))",
        written_unit="s, of each series",
        note="Percentiles of all requests. The runbook's own query draws one for each series.",
        tells=_quantiles,
        limits=("p95_ms",),
    ),
    Panel(
        name="panel_logins",
        title="Log-ins in the last hour",
        lines=(Line("log-ins", "user_logins"),),
        unit="log-ins/h",
        grafana_unit="short",
        metric="user_login_total",
        written="count(increase(user_login_total[1h]))",
        written_unit="series",
        note="Log-ins, not people: how many are active, the database tells. The runbook's own query counts series.",
        tells=_counted_series,
    ),
    Panel(
        name="panel_queue_growth",
        title="Queue growth",
        lines=(Line("growth", "queue_growth"),),
        unit="items/min",
        grafana_unit="suffix: items/min",
        metric="triage_queue_size",
        written="rate(triage_queue_size[5m])",
        written_unit="items/s",
        note="The slope of the queue over 15 minutes, below 0 when it falls. `rate` of a gauge is no such thing.",
        tells=_gauge_as_counter,
        least=None,
    ),
)


def _probe(panel: Panel, asking: Asking, window: Window | None) -> pd.DataFrame:
    connection = asking.connection(PrometheusConnection)
    target: Target = asking.target
    span = Span.of(window or Window(), connection.now(), _STEP)
    queries = {line.legend: expression(line.query, target, span.rate, **line.given) for line in panel.lines}
    queries[""] = panel.written.replace("[5m]", f"[{span.rate}]") if "[5m]" in panel.written else panel.written
    asked = {name: Asked(query, span.end, span.start, span.step) for name, query in queries.items()}
    results = together(connection, asked, _SECONDS)
    failed = [result for result in results.values() if isinstance(result, CouldNotFindOut)]
    if failed:
        unreachable = [error for error in failed if isinstance(error, Unreachable)]
        raise (unreachable or failed)[0]
    frames = []
    for name, result in results.items():
        assert isinstance(result, Result)
        largest = sorted(result.series, key=lambda series: series.values[-1] if series.values else 0.0, reverse=True)
        for series in largest[:MOST_SERIES]:
            shown = name or name_of(series.labels)
            query = CORRECTED if name else WRITTEN
            values = {"query": query, "series": shown, "time": times_of(series), "value": series.values}
            frames.append(pd.DataFrame({**values, "unit": panel.unit if name else ""}))
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)
    frame.attrs = {
        "panel": panel.name,
        "lines": _lines(results[""]),
        "hours": (window or Window()).hours,
        "thresholds": panel.thresholds(target),
        "source": f"{read_promql(panel.lines[0].query).splitlines()[0]}\n{queries[panel.lines[0].legend]}",
        "end": span.end,
        "step": span.step,
        "lacking": "" if _lines(results[panel.lines[0].legend]) else _lacking(panel, connection, target, span.end),
    }
    return frame


def _lacking(panel: Panel, connection: PrometheusConnection, target: Target, end: datetime) -> str:
    """Return what keeps the query from finding a metric that is there: another job, or a label that it lacks."""
    job = target.prometheus.jobs.api if target.prometheus else ""
    own = f'{panel.metric}{{job="{escaped(job)}"}}'
    asked = {"jobs": f"count by (job) ({panel.metric})", "own": f"count({own})"}
    asked |= {"labelled": f'count({own[:-1]},{panel.label}!=""}})'} if panel.label else {}
    told = together(connection, {name: Asked(query, end) for name, query in asked.items()}, _SECONDS)
    found = {name: one.series for name, one in told.items() if isinstance(one, Result)}
    if found.get("own"):
        lacks = panel.label and not found.get("labelled", True)
        return f"no series of {panel.metric} carries the label {panel.label}" if lacks else ""
    jobs = sorted({printable(series.labels.get("job", "")) or "none" for series in found.get("jobs", ())})
    if not jobs:
        return ""
    named = ", ".join(jobs[:_MOST_JOBS])
    return f'{panel.metric} is there, but not with the label job="{printable(job)}" that is asked for (job: {named})'


def _lines(result: Result | CouldNotFindOut) -> int:
    return len(result.series) + result.left_out if isinstance(result, Result) else 0


def _check(panel: Panel, frame: pd.DataFrame) -> list[Finding]:
    hours = f"{frame.attrs['hours']:g} h"
    right = frame[(frame["query"] == CORRECTED) & (frame["series"] == panel.lines[0].legend)]
    source = frame.attrs["source"]
    if right.empty:
        named = f"{panel.metric} with the label {panel.label}" if panel.label else panel.metric
        why = frame.attrs["lacking"] or f"{named} has no sample in the last {hours}"
        message = f"nothing to draw: {why}; an empty panel is not a 0"
        after = f"{to_run('key-metrics')} tells the figure where the log records it; to draw it, expose the metric"
        if frame.attrs["lacking"]:
            after = (
                "name the job in [prometheus.jobs] of the profile, or give the label its name (metric_relabel_configs)"
            )
        return [Finding(object=panel.title, status=Status.UNKNOWN, message=message, source=source, next=after)]
    numbers = right["value"].replace([float("inf"), -float("inf")], float("nan")).dropna()
    if numbers.empty:
        message = f"not a number all of the {hours}: there was no request"
        return [Finding(object=panel.title, status=Status.OK, message=message, source=source)]
    ended = frame.attrs["end"] - right["time"].max() > timedelta(seconds=5 * frame.attrs["step"] + 300)
    if ended:
        message = f"its line ends at {right['time'].max():%Y-%m-%d %H:%M} UTC: since then there is no sample"
        after = f"is the service still scraped? {to_run('key-metrics')}"
        return [Finding(object=panel.title, status=Status.UNKNOWN, message=message, source=source, next=after)]
    low, high, unit = number(numbers.min()), number(numbers.max()), panel.unit
    now = f"{number(_last(right))}{'' if unit == '%' else ' '}{unit}"
    message = f"drawn over {hours}: now {now}, from {low} to {high}"
    written = frame[frame["query"] == WRITTEN]
    series = [part for _, part in written.groupby("series", sort=False)]
    said = panel.tells(series, right, counted(frame.attrs["lines"], "line"))
    return [
        Finding(object=panel.title, status=Status.OK, message=message, value=_last(right), unit=unit, source=source),
        Finding(
            object=f"{panel.title}, as the runbook writes it",
            status=Status.OK,
            message=f"would show {said}",
            source=panel.written,
        ),
    ]


def _question(panel: Panel) -> Question:
    def probe(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
        """Return a row for each point of each line: query (corrected, as written), series, time (UTC), value, unit."""
        return _probe(panel, asking, window)

    def check(frame: pd.DataFrame) -> list[Finding]:
        """Judge whether the panel has something to draw until now: UNKNOWN where it has not. It says what the runbook's
        own query would have shown; the figures themselves are judged in key-metrics.
        """
        return _check(panel, frame)

    return Question(
        name=f"prometheus.{panel.name}",
        title=f"What does the panel “{panel.title}” show?",
        probe=probe,
        check=check,
        source=f"lib/runbook/prometheus/promql/{panel.lines[0].query}.promql",
        needs=(PrometheusConnection,),
        deadline=_SECONDS + 10,
        next="runbook run key-metrics --target {target} judges the figure, beside yesterday and last week",
        explained_by=EXPLAINED_BY,
    )


def by_name(name: str) -> Panel:
    """Return a panel by its name."""
    return next(panel for panel in PANELS if panel.name == name)


_questions: dict[str, Any] = {panel.name: _question(panel) for panel in PANELS}
panel_request_rate = _questions["panel_request_rate"]
panel_error_rate = _questions["panel_error_rate"]
panel_response_time = _questions["panel_response_time"]
panel_logins = _questions["panel_logins"]
panel_queue_growth = _questions["panel_queue_growth"]

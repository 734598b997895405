"""How long do the requests of each path take?"""

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec
import pandas as pd

from runbook.connections import PrometheusConnection
from runbook.connections.prometheus import Result
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, at_most, first_of
from runbook.model.text import printable, to_run
from runbook.prometheus.explanations import CAUSED_BY, EXPLAINED_BY
from runbook.prometheus.queries import Asked, expression, read_promql, together
from runbook.prometheus.seen import number
from runbook.prometheus.steps import as_duration

SHARES = (50, 95, 99)
COLUMNS = ["path", "requests", "p50", "p95", "p99", "day_p95", "day_requests"]
_SECONDS = 10.0
# The paths that ask the language model take longer by nature.
_MODELS = "/candidates"
_METRIC = "http_request_duration_seconds"


def probe(asking: Asking, *, minutes: float = 15.0) -> pd.DataFrame:
    """Return a row for each path that was asked for in the last ``minutes``, the slowest first: path, requests, p50,
    p95, p99 (ms), and day_p95, day_requests of the same time a day before.

    Raises `CouldNotFindOut` where Prometheus has no such histogram, or none with the label path.
    """
    if not 1 <= minutes <= 24 * 60:
        raise CouldNotFindOut(f"it is asked for 1 to 1440 minutes, not {minutes:g}")
    prometheus = asking.connection(PrometheusConnection)
    end, window, target = prometheus.now(), as_duration(60 * minutes), asking.target
    queries = {
        (when, share): Asked(
            expression("endpoint_time", target, window, quantile=f"0.{share}")
            if share
            else expression("endpoint_requests", target, window),
            end - timedelta(days=days),
        )
        for when, days, shares in (("now", 0, (0, *SHARES)), ("day", 1, (0, 95)))
        for share in shares
    }
    found = together(prometheus, queries, _SECONDS)
    values = {
        name: _by_path(result) for name, result in found.items() if name[0] == "now" or isinstance(result, Result)
    }
    if not values["now", 0]:
        raise CouldNotFindOut(
            f"Prometheus has no {_METRIC} of the service with the label path in the last {minutes:g} min: what its log "
            "tells stands below"
        )
    rows = [
        {
            "path": path,
            "requests": count,
            **{f"p{share}": values["now", share].get(path, math.nan) for share in SHARES},
            "day_p95": values.get(("day", 95), {}).get(path, math.nan),
            "day_requests": values.get(("day", 0), {}).get(path, 0.0),
        }
        for path, count in values["now", 0].items()
        if count > 0
    ]
    frame = pd.DataFrame(rows, columns=COLUMNS).sort_values("p95", ascending=False, ignore_index=True)
    told = [read_promql(name).splitlines()[0] for name in ("endpoint_requests", *["endpoint_time"] * len(SHARES))]
    asked = [one.query for (when, _), one in queries.items() if when == "now"]
    frame.attrs = {
        "minutes": minutes,
        "source": "\n".join(f"{question}\n{query}" for question, query in zip(told, asked, strict=True)),
    }
    return frame


def _by_path(result: Result | CouldNotFindOut) -> dict[str, float]:
    if isinstance(result, CouldNotFindOut):
        raise result
    return {one.labels["path"]: one.values[-1] for one in result.series if one.labels.get("path") and one.values}


def check(
    frame: pd.DataFrame,
    *,
    warning_ms: float = 2000,
    critical_ms: float = 5000,
    few: float = 20,
    times: float = 3,
    least_ms: float = 200,
) -> list[Finding]:
    """Judge p95 of each path with ``few`` requests or more: two seconds is the runbook's own limit. Those that ask the
    language model take longer by nature, and are not held to it. A WARNING, too, is any that takes ``times`` as long as
    a day before, and ``least_ms`` more.

    Where all are well, the slowest of them is told, else each that is not.
    """
    minutes = frame.attrs["minutes"]
    judged = [_judged(row, warning_ms, critical_ms, times, least_ms) for row in _many(frame, few)]
    if not judged:
        message = f"no path was asked for {few:g} times in the last {minutes:g} min: too few for a percentile"
        return [Finding(object="paths", status=Status.OK, message=message, source=frame.attrs["source"])]
    bad = [finding for finding in judged if finding.bad]
    told = first_of(sorted(bad, key=lambda one: one.status.severity), "paths")
    if not told:
        message = f"the slowest is {judged[0].object}: {judged[0].message}"
        told = [msgspec.structs.replace(judged[0], object="paths", message=message)]
    return [msgspec.structs.replace(finding, source=frame.attrs["source"]) for finding in told]


def _many(frame: pd.DataFrame, few: float) -> list[dict[Any, Any]]:
    rows: list[dict[Any, Any]] = frame[(frame["requests"] >= few) & frame["p95"].notna()].to_dict("records")
    return rows


def _judged(row: Mapping[Any, Any], warning_ms: float, critical_ms: float, times: float, least_ms: float) -> Finding:
    path, value, before = printable(str(row["path"]))[:120], float(row["p95"]), float(row["day_p95"])
    compared = f"; p95 a day before {number(before)} ms" if not math.isnan(before) else ""
    message = (
        f"p50 {number(row['p50'])} ms, p95 {number(value)} ms, p99 {number(row['p99'])} ms of {row['requests']:,.0f} "
        f"requests{compared}"
    )
    limits = (math.inf, math.inf) if path.startswith(_MODELS) else (warning_ms, critical_ms)
    finding = at_most(path, round(value, 1), *limits, unit="ms", message=message)
    if finding.status is Status.OK and not math.isnan(before) and value > times * before and value - before > least_ms:
        message = f"{value / before:.1f} times as long as a day before: {message}"
        finding = msgspec.structs.replace(finding, status=Status.WARNING, message=message, threshold=times * before)
    return finding if finding.status is Status.OK else msgspec.structs.replace(finding, next=_after(path))


def _after(path: str) -> str:
    if path.startswith(_MODELS):
        return f"see whether the language model is slow: {to_run('high-error-rate')}"
    if "{" in path:
        return f"put it under load, with what there is for the braces: {to_run('api-performance', path=path)}"
    return f"put this path under load and see where its time goes: {to_run('api-performance', path=path)}"


endpoint_times = Question(
    name="prometheus.endpoint_times",
    title="Which paths are slow?",
    probe=probe,
    check=check,
    source=read_promql("endpoint_time"),
    needs=(PrometheusConnection,),
    deadline=_SECONDS + 5,
    next=f"put this path under load and see where its time goes: {to_run('api-performance')}",
    explained_by=EXPLAINED_BY,
    caused_by=CAUSED_BY,
)

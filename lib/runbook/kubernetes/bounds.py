"""What do the bounds of an autoscaler mean for the load that is observed?"""

import math
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from runbook.connections import KubernetesConnection, PrometheusConnection
from runbook.kubernetes.asked import connected
from runbook.kubernetes.explanations import EXPLAINED_BY
from runbook.kubernetes.manifest import CPU, LEAST, MEMORY, MOST
from runbook.kubernetes.top import usage
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status
from runbook.model.units import as_bytes, counted
from runbook.target.profile import Jobs

COLUMNS = ["cluster", "resource", "pods", "used", "request", "share", "least", "most", "peak", "peak_by", "days"]
# cAdvisor's figures of the pods where there are any, else the service's own of its processes.
_QUERIES = {"cpu": ("processors", "processes"), "memory": ("memory", "resident")}
_STEP = 300.0


def probe(
    asking: Asking,
    least: int = LEAST,
    most: int = MOST,
    cpu: int = CPU,
    memory: int = MEMORY,
    *,
    days: float = 7.0,
) -> pd.DataFrame:
    """Return a row for cpu and memory: cluster, resource, pods (that run), used (by all of them together), request (of
    one pod; NaN: none), share (% of it that the autoscaler holds), least, most, peak (the most that all used together
    within the last ``days``; NaN: not told), peak_by (the metric that told it), days.

    Raises `CouldNotFindOut` where nothing tells what the pods use, `DoesNotApply` where the profile names no cluster.
    """
    connection = connected(asking)
    running = [row for row in usage(connection) if row["measured"]]
    if not running:
        raise CouldNotFindOut("no pod runs of which the metrics API has figures")
    rows = []
    for resource, share in (("cpu", cpu), ("memory", memory)):
        peak, by = _peak(asking, resource, days)
        rows.append(
            {
                "cluster": connection.cluster, "resource": resource, "pods": len(running),
                "used": math.fsum(row[resource] for row in running),
                # The pods of a rollout may differ: the smallest request is the one that is used up first.
                "request": min(row[f"{resource}_request"] for row in running),
                "share": share, "least": least, "most": most, "peak": peak, "peak_by": by, "days": days,
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _peak(asking: Asking, resource: str, days: float) -> tuple[float, str]:
    """Return the most that all pods used together, and the query that told it; NaN where nothing tells it."""
    named, cluster = asking.target.prometheus, asking.target.kubernetes
    for query in _QUERIES[resource]:
        with suppress(CouldNotFindOut):  # that there is no Prometheus, or that it does not tell, is said by the NaN
            connection = asking.connection(PrometheusConnection)
            jobs = named.jobs if named is not None else Jobs()
            asked = _read(query, api=jobs.api, namespace=cluster.namespace, pods=f"{cluster.deployment}-.*")
            end = connection.now()
            step = max(_STEP, days * 86400 / 5000)
            found = connection.range(asked, end - timedelta(days=days), end, step).series
            values = [value for one in found for value in one.values if not math.isnan(value)]
            if values:
                return max(values), query
    return math.nan, ""


def _read(name: str, **given: str) -> str:
    lines = (Path(__file__).parent / "promql" / f"{name}.promql").read_text().splitlines()
    return Template(" ".join(line.strip() for line in lines if not line.startswith("#"))).substitute(given)


def check(frame: pd.DataFrame, *, warning: float = 80, critical: float = 100) -> list[Finding]:
    """Judge how many pods the observed load takes, as a share (%) of the most that there may be.

    Without requests an autoscaler computes nothing (CRITICAL). Of memory it is what one pod has by itself that counts:
    it does not become less when there are more of them, so that one above its share lets the autoscaler add pods up to
    the most, without any use.
    """
    return [_judged(row, warning, critical) for row in frame.to_dict("records")]


def _judged(row: dict[Any, Any], warning: float, critical: float) -> Finding:
    name = "processors" if row["resource"] == "cpu" else "memory"
    subject = f"{name} ({row['cluster']})"
    if pd.isna(row["request"]) or row["request"] <= 0:
        told = f"a container requests no {row['resource']}: an autoscaler cannot tell which share of it is used"
        return Finding(object=subject, status=Status.CRITICAL, message=told, next="set requests in the deployment")
    held = row["request"] * row["share"] / 100
    peak = max(row["used"], row["peak"]) if pd.notna(row["peak"]) else row["used"]
    share_now = 100 * row["used"] / row["pods"] / row["request"]
    unit = as_bytes if row["resource"] == "memory" else _processors
    past = f"at most in {row['days']:g} days {unit(peak)}" if pd.notna(row["peak"]) else "its past is not told"
    told = f"{counted(row['pods'], 'pod uses', 'pods use')} {unit(row['used'])} ({share_now:.0f}% of their requests)"
    told += f", {past}"
    if row["resource"] == "memory":
        return _memory(row, subject, told, share_now)
    needed = max(row["least"], math.ceil(peak / held - 1e-9))
    told += (
        f"; {row['least']} pods take up to {unit(row['least'] * held)} before one is added, {row['most']} up to "
        f"{unit(row['most'] * held)}; the load takes {counted(needed, 'pod')}"
    )
    share = 100 * needed / row["most"]
    status = Status.CRITICAL if share > critical else Status.WARNING if share > warning else Status.OK
    more = "" if status is Status.OK else "raise the upper bound where the database bears it, or the requests"
    return Finding(
        object=subject, status=status, message=told, value=share, threshold=critical if share > critical else warning,
        unit="%", next=more,
    )  # fmt: skip


def _memory(row: dict[Any, Any], subject: str, told: str, share_now: float) -> Finding:
    """Judge memory, of which each pod has its own: more pods do not make it less."""
    if share_now > row["share"]:
        told += f"; that is more than {row['share']}%, so pods are added up to {row['most']}, and it becomes no less"
        after = "request as much memory as a pod needs by itself, or go by the processors alone"
        return Finding(
            object=subject, status=Status.WARNING, message=told, value=share_now, threshold=float(row["share"]),
            unit="%", next=after,
        )  # fmt: skip
    told += f"; one is added above {row['share']}%"
    return Finding(
        object=subject, status=Status.OK, message=told, value=share_now, threshold=float(row["share"]), unit="%"
    )


def _processors(count: float) -> str:
    return f"{count:.2f} processors"


bounds = Question(
    name="kubernetes.bounds",
    title="What do the bounds mean for the load that is observed?",
    probe=probe,
    check=check,
    source="kubectl top pods; the queries of promql/ in Prometheus",
    needs=(KubernetesConnection, PrometheusConnection),
    explained_by=EXPLAINED_BY,
    deadline=12,
    next="raise the upper bound where the database bears it",
)

"""What did the cluster warn of, about the deployment, its pods and its autoscaler?"""

from datetime import UTC, datetime
from typing import Any

import pandas as pd

from runbook.connections import KubernetesConnection
from runbook.kubernetes.asked import connected, moment, words
from runbook.kubernetes.explanations import EXPLAINED_BY
from runbook.model import Asking, Finding, Question, Status, first_of
from runbook.model.units import counted

COLUMNS = ["cluster", "reason", "kind", "objects", "count", "last", "said", "read"]


def probe(asking: Asking, hours: float = 1.0) -> pd.DataFrame:
    """Return a row for each reason that the cluster warned of within ``hours``, the latest first: cluster, reason, kind
    (of the objects), objects (how many), count (how often), last (UTC), said (the last words); read (how many
    warnings of the namespace were looked through). One row without a reason where there is none.

    Raises `DoesNotApply` where the profile names no cluster.
    """
    connection = connected(asking)
    told = connection.items("events", fieldSelector="type=Warning") or []
    now = datetime.now(UTC)
    about = (connection.named.deployment, connection.named.autoscaler)
    by_reason: dict[tuple[str, str], list[tuple[datetime, str, int, str]]] = {}
    for event in told:
        of, at = event.get("involvedObject") or {}, _last(event)
        name = str(of.get("name", ""))
        if at is None or (now - at).total_seconds() > 3600 * hours or not _is_ours(name, about):
            continue
        count = int((event.get("series") or {}).get("count") or event.get("count") or 1)
        key = (words(event.get("reason")), words(of.get("kind")))
        by_reason.setdefault(key, []).append((at, name, count, words(event.get("message"))))
    rows: list[dict[str, Any]] = [
        {
            "reason": reason, "kind": kind, "objects": len({name for _, name, _, _ in found}),
            "count": sum(count for _, _, count, _ in found), "last": max(found)[0], "said": max(found)[3],
        }
        for (reason, kind), found in by_reason.items()
    ]  # fmt: skip
    rows.sort(key=lambda row: row["last"], reverse=True)
    more = {"cluster": connection.cluster, "read": len(told)}
    return pd.DataFrame([{**more, **row} for row in rows] or [{**more, "reason": ""}], columns=COLUMNS)


def _last(event: dict[str, Any]) -> datetime | None:
    series = event.get("series") or {}
    return moment(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime"))


def _is_ours(name: str, about: tuple[str, str]) -> bool:
    deployment, _ = about
    return name in about or name.startswith(f"{deployment}-")


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge what the cluster warned of: each reason is a WARNING. The cluster keeps events for an hour, by default."""
    rows = [row for row in frame.to_dict("records") if row["reason"]]
    cluster = frame["cluster"].iloc[0]
    if not rows:
        told = "no warning about the deployment, its pods or its autoscaler"
        return [Finding(object=f"events ({cluster})", status=Status.OK, message=told, value=0)]
    found = [
        Finding(
            object=f"{row['reason']} ({row['kind']}, {cluster})",
            status=Status.WARNING,
            message=f"{counted(int(row['count']), 'time')}, the last at {row['last']:%H:%M:%S} UTC, about "
            f"{counted(int(row['objects']), 'object')}: {row['said']}",
            value=float(row["count"]),
            unit="times",
        )
        for row in rows
    ]
    return first_of(found, "reasons")


events = Question(
    name="kubernetes.events",
    title="What did the cluster warn of?",
    probe=probe,
    check=check,
    source="kubectl get events --field-selector type=Warning --sort-by .lastTimestamp",
    needs=(KubernetesConnection,),
    explained_by=EXPLAINED_BY,
    deadline=10,
    next="kubectl describe what it is about",
)

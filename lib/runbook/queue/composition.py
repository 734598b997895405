"""What is the queue made of: by status, by priority, by type?"""

from collections.abc import Hashable
from typing import Any

import pandas as pd

from runbook.connections import ApiConnection, PostgresConnection
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, at_most
from runbook.model.units import counted
from runbook.queue.counts import SQL, count
from runbook.queue.pages import COMPOSITION, part_of
from runbook.queue.told import WAITING, is_count, statistics, waiting_elsewhere

STATUSES = (*WAITING, "completed", "skipped")
PRIORITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "MINIMAL")
COLUMNS = ["by", "name", "items", "within", "source"]


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each status, each priority of what waits, and each type: by, name, items, within (an estimate of
    a large table is so far from the truth at most, 19 times of 20; 0: counted), source (table, service).

    The table records no type; what the service tells is taken, all statuses together. Where it tells none there is no
    such row, and ``attrs["no_type"]`` says why; ``attrs["unseen"]``, why nothing is known of what waits. Where no item
    waits in the table and some do in the service, which as built has its queue in memory, all is as the service tells
    it.
    """
    connection = asking.connection(PostgresConnection)
    counts = count(connection, part_of(connection), COMPOSITION)
    if counts.waiting.empty and not counts.unseen and waiting_elsewhere(asking) > 0:
        told = statistics(asking.connection(ApiConnection))
        rows = [row for by in ("status", "priority", "type") for row in _as_told(by, told.get(f"by_{by}"))]
        return pd.DataFrame(rows, columns=COLUMNS)
    rows = _rows("status", counts.cells) + _rows("priority", counts.waiting)
    types, why = _types(asking)
    rows += types
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame.attrs = {"no_type": why, "unseen": counts.unseen}
    return frame


def _rows(by: str, cells: pd.DataFrame) -> list[dict[str, Any]]:
    # What lies on one page is of several kinds: how far each of them is off adds up.
    summed = cells.groupby(by, sort=True)[["items", "within"]].sum()
    same = {"by": by, "source": "table"}
    return [{**same, "name": name, "items": row["items"], "within": row["within"]} for name, row in summed.iterrows()]


def _as_told(by: str, told: object) -> list[dict[str, Any]]:
    counts = told.items() if isinstance(told, dict) else ()
    same = {"by": by, "within": 0.0, "source": "service"}
    return [{**same, "name": str(name), "items": float(count)} for name, count in counts if is_count(count)]


def _types(asking: Asking) -> tuple[list[dict[str, Any]], str]:
    """Return how many items are of each type as the service tells it, or why that is not known."""
    try:
        told = statistics(asking.connection(ApiConnection)).get("by_type")
    except CouldNotFindOut as reason:
        return [], str(reason)
    if not isinstance(told, dict):
        return [], "neither the table nor the service tells of types"
    return _as_told("type", told), ""


def check(frame: pd.DataFrame, *, warning: float = 100, critical: float = 500) -> list[Finding]:
    """Judge how many items of priority CRITICAL wait; all else is told.

    The runbook gives no figure: these are a tenth of those for the whole queue. A status that the service's documents
    do not know is UNKNOWN: whether such an item waits is not known.
    """
    rows = frame.to_dict("records")
    in_memory = len(frame) > 0 and (frame["source"] == "service").all()
    as_told = " (as the service tells: the table holds none of it)" if in_memory else ""
    by_status = _in_words(rows, "status", STATUSES)
    findings = [Finding(object="by status", status=Status.OK, message=f"{by_status or 'there is no item'}{as_told}")]
    strange = [str(row["name"]) for row in rows if row["by"] == "status" and row["name"] not in STATUSES]
    if strange:
        message = f"what no document names: {', '.join(strange[:5])}; whether such items wait is not known"
        after = "ask who develops the service what they mean; here they count as items that do not wait"
        findings.append(Finding(object="unknown status", status=Status.UNKNOWN, message=message, next=after))
    urgent = sum(row["items"] for row in rows if row["by"] == "priority" and row["name"] == PRIORITIES[0])
    waiting = _in_words(rows, "priority", PRIORITIES)
    message = f"waiting: {waiting}" if waiting else "no item waits"
    if in_memory:
        message = f"{waiting or 'not told'} (as the service tells, all statuses together)"
    after = "have those of priority CRITICAL annotated first: the service offers them by their score"
    judged = at_most("by priority", round(urgent), warning, critical, unit="CRITICAL items", message=message)
    if frame.attrs.get("unseen"):
        unseen = str(frame.attrs["unseen"])
        judged = Finding(object="by priority", status=Status.UNKNOWN, message=unseen, next="have that index made")
    findings.append(judged if judged.status in (Status.OK, Status.UNKNOWN) else _with(judged, after))
    if frame.attrs.get("no_type"):
        message = f"not known: {frame.attrs['no_type']}"
        after = "the table records no type: let the service tell it, or do without"
        return [*findings, Finding(object="by type", status=Status.UNKNOWN, message=message, next=after)]
    by_type = _in_words(rows, "type", ())
    told = f"{by_type} (as the service tells, all statuses together)" if by_type else "no item of any type"
    return [*findings, Finding(object="by type", status=Status.OK, message=told)]


def _with(finding: Finding, after: str) -> Finding:
    return Finding(
        object=finding.object, status=finding.status, message=finding.message, value=finding.value,
        threshold=finding.threshold, unit=finding.unit, next=after,
    )  # fmt: skip


def _in_words(rows: list[dict[Hashable, Any]], by: str, order: tuple[str, ...]) -> str:
    mine = [row for row in rows if row["by"] == by and row["items"] > 0]
    mine.sort(key=lambda row: (order.index(row["name"]) if row["name"] in order else len(order), row["name"]))
    told = [f"{amount(row['items'], row['within'])} {row['name']}" for row in mine[:10]]
    more = f" and {counted(len(mine) - 10, 'more kind')}" if len(mine) > 10 else ""
    return ", ".join(told) + more


def amount(items: float, within: float) -> str:
    """Return a number of items in words: 42, or about 999,000 (±9%) where it was estimated."""
    if not within:
        return f"{items:,.0f}"
    digits = max(0, len(f"{items:.0f}") - 3)
    return f"about {round(items, -digits):,.0f} (±{min(100 * within / items, 100):.0f}%)"


composition = Question(
    name="queue.composition",
    title="What is the queue made of?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection, ApiConnection),
    deadline=10.0,
    next="see whether it moves, and who annotates: queue.flow, queue.annotators",
    explained_by={
        "postgres.reachable": "the application's database cannot be used: see postgres.reachable",
        "api.liveness": "the table is empty and the service, which may hold items too, does not answer",
    },
)

"""How many items wait for an annotator?"""

from typing import Any

import pandas as pd

from runbook.connections import ApiConnection
from runbook.model import Asking, Finding, Question, at_most
from runbook.model.text import to_run
from runbook.queue.told import DONE, PATH, is_count, statistics, told_as, waiting


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: items (that wait), told_as (the key it stood under), pending_critical, pending_high (NaN where
    not told).

    Raises `CouldNotFindOut` with the keys that came where neither name of the size is among them: never 0.
    """
    told = statistics(asking.connection(ApiConnection))
    row: dict[str, Any] = {"items": waiting(told), "told_as": told_as(told)}
    if row["items"] != told[row["told_as"]]:
        row["told_as"] += f" less {DONE}"
    # An empty queue tells fewer keys.
    for name in ("pending_critical", "pending_high"):
        row[name] = told[name] if is_count(told.get(name)) else float("nan")
    return pd.DataFrame([row])


def check(frame: pd.DataFrame, *, warning: float = 1000, critical: float = 5000) -> list[Finding]:
    """Judge the number of items.

    The runbook gives no figure; a size says little by itself, so the defaults are wide and each target sets its own.
    """
    row = frame.iloc[0]
    urgent = [
        f"{row[name]:.0f} {name.removeprefix('pending_')}"
        for name in ("pending_critical", "pending_high")
        if not pd.isna(row[name])
    ]
    pending = f"; pending ones of high priority: {', '.join(urgent)}" if urgent else ""
    message = f"{row['items']} items (told as {row['told_as']}){pending}"
    return [at_most("triage queue", float(row["items"]), warning, critical, unit="items", message=message)]


size = Question(
    name="queue.size",
    title="How many items wait in the triage queue?",
    probe=probe,
    check=check,
    source=f"curl -sS {{api}}{PATH}",
    needs=(ApiConnection,),
    next=f"see whether items still come out, who annotates, what is stuck: {to_run('queue-backup')}",
    explained_by={
        "api.liveness": "the service does not answer as it should",
        "redis.reachable": "the service answers 500 to everything after it lost Redis",
        "redis.memory": "a full Redis refuses every write, and with it the service every request",
        "postgres.reachable": "the service cannot count its queue without PostgreSQL",
    },
)

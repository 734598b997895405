"""Do the database and the service tell the same of the queue?"""

import pandas as pd

from runbook.connections import ApiConnection, PostgresConnection
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status
from runbook.queue.composition import amount
from runbook.queue.counts import SQL, count
from runbook.queue.pages import COMPARED, part_of
from runbook.queue.told import IN_MEMORY, PATH, statistics, told_as, waiting


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: before and after (items that wait as the service tells, asked around the table), told_as (its
    name for the size), table (items that wait in it), within (an estimate of a large table is so far off at most; 0:
    counted).
    """
    api, connection = asking.connection(ApiConnection), asking.connection(PostgresConnection)
    first = statistics(api)
    counts = count(connection, part_of(connection), COMPARED)
    if counts.unseen:
        raise CouldNotFindOut(counts.unseen)
    last = statistics(api)
    row = {
        "before": waiting(first),
        "after": waiting(last),
        "told_as": told_as(last),
        "table": float(counts.waiting["items"].sum()),
        "within": float(counts.waiting["within"].sum()),
    }
    return pd.DataFrame([row])


def check(frame: pd.DataFrame, *, apart: float = 5, percent: float = 2) -> list[Finding]:
    """Judge whether both tell the same: WARNING where they are more than ``apart`` items and ``percent`` percent apart.

    Items come and go between two looks, which is why the service is asked twice. A service that answers differently
    within a second answers from several processes, each with a queue of its own.
    """
    row = frame.iloc[0]
    low, high = sorted((int(row["before"]), int(row["after"])))
    table, within = float(row["table"]), float(row["within"])
    room = max(apart, percent / 100 * max(high, table))
    told = f"{low:,}" if low == high else f"{low:,} and then {high:,}"
    both = f"the service says {told} (as {row['told_as']}), the table {amount(table, within)}"
    if table == 0 and low > room:
        message = f"{IN_MEMORY.format(high)}, and gone when it is restarted"
        after = "do not restart the service; what is asked of the table below says nothing about these items"
    elif high - low > room:
        message = f"{both}: the service answers from several queues, as containers or workers with one each do"
        after = "as built the queue is in the memory of each: have one worker, or the queue in the database"
    elif low - within - room > table or high + within + room < table:
        message = f"{both}: they do not count the same items"
        after = "believe the table for what is stored, the service for what annotators are offered; see its log for why"
    else:
        message = f"{both} that wait: the same, within what comes and goes"
        return [Finding(object="database and service", status=Status.OK, message=message, value=table, unit="items")]
    return [
        Finding(
            object="database and service", status=Status.WARNING, message=message, value=high, threshold=table,
            unit="items", next=after,
        )
    ]  # fmt: skip


compared = Question(
    name="queue.compared",
    title="Do the database and the service tell the same?",
    probe=probe,
    check=check,
    source=f"curl -sS {{api}}{PATH}\n{SQL}",
    needs=(ApiConnection, PostgresConnection),
    deadline=12.0,
    next="see which of them annotators are given items from",
    explained_by={
        "api.liveness": "the service does not answer as it should",
        "redis.reachable": "the service answers 500 to everything after it lost Redis",
        "postgres.reachable": "the application's database cannot be used: see postgres.reachable",
    },
)

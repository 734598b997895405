"""How many items there are of each status and priority: counted, or estimated where they are too many for that."""

from dataclasses import dataclass

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import CouldNotFindOut, Unreachable
from runbook.queue.pages import WAITING_BY_INDEX, Part
from runbook.queue.told import WAITING

SQL, BY_INDEX = read_sql(__package__, "composition"), read_sql(__package__, "waiting")
# Of an estimate, two standard deviations to both sides hold the truth in 95 of 100 cases.
DEVIATIONS = 2
NONE_SEEN = (
    "no item that waits lies on the {:.2g}% of the pages that were read, and how many there are was not counted in its "
    "time; with an index on triage_items (status) it would be"
)


@dataclass(frozen=True)
class Counts:
    """A row for each status and priority: status, priority, items, within (an estimate is so far off at most, 19 times
    of 20; 0: counted). ``unseen`` says why nothing is known of what waits, "" where something is.
    """

    cells: pd.DataFrame
    unseen: str = ""

    @property
    def waiting(self) -> pd.DataFrame:
        """Return the rows of what waits."""
        return self.cells[self.cells["status"].isin(WAITING)]


def count(connection: PostgresConnection, part: Part, limit: float) -> Counts:
    """Return how many items there are of each status and priority.

    Of a large table the pages of a part tell it; but what waits, which is little where a table is large because of all
    that was ever finished, is counted as long as an index does that within its time.
    """
    cells = part.read(connection, SQL, {"percent": part.percent}, limit=limit)
    within = [DEVIATIONS * part.deviation(squares) for squares in cells["squares"]]
    cells = cells.assign(items=cells["seen"] / part.share, within=within)[["status", "priority", "items", "within"]]
    if part.whole:
        return Counts(cells)
    exact = waiting_by_index(connection, part)
    if exact is not None:
        return Counts(pd.concat([cells[~cells["status"].isin(WAITING)], exact], ignore_index=True))
    seen = cells["status"].isin(WAITING).any()
    return Counts(cells, "" if seen else NONE_SEEN.format(part.percent))


def waiting_by_index(connection: PostgresConnection, part: Part) -> pd.DataFrame | None:
    """Return how many items wait, by status and priority, counted; None where that takes longer than it may."""
    try:
        return part.read(connection, BY_INDEX, limit=WAITING_BY_INDEX)
    except Unreachable:
        raise
    except CouldNotFindOut:
        return None

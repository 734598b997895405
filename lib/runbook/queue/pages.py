"""How much of a table is read: all of a small one, some of its pages of a large one.

A queue of five million items is to be looked at within a second of the database's time, all questions together.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook.connections import PostgresConnection, read_sql
from runbook.connections.postgres import TOO_LONG
from runbook.model import CouldNotFindOut

if TYPE_CHECKING:
    import pandas as pd

# Up to here (8 MiB, some 70,000 items) a table is read whole; of a larger one so many pages are read, by chance.
WHOLE, SOME = 1000, 500
# What each statement may take on a large table, in seconds; a small one takes nothing worth to be bounded.
OLDEST, COMPOSITION, COMPARED, FLOW, FLOW_BY_INDEX = 0.08, 0.08, 0.08, 0.12, 0.1
ANNOTATORS, NEWEST, STUCK, ORPHANS = 0.06, 0.06, 0.08, 0.1
WAITING_BY_INDEX = 0.08
# All that a notebook asks; what waits is counted for three questions.
ALL = (
    OLDEST, COMPOSITION, COMPARED, FLOW, FLOW_BY_INDEX, ANNOTATORS, NEWEST, STUCK, ORPHANS, *[WAITING_BY_INDEX] * 3,
)  # fmt: skip

_PAGES = read_sql(__package__, "pages")


@dataclass(frozen=True)
class Part:
    """The share of a table's pages that is read, 1 for all of them."""

    share: float

    @property
    def whole(self) -> bool:
        """Tell whether all of the table is read."""
        return self.share >= 1

    @property
    def percent(self) -> float:
        """Return the share as TABLESAMPLE takes it."""
        return 100 * self.share

    def read(
        self,
        connection: PostgresConnection,
        statement: str,
        values: Mapping[str, Any] | None = None,
        *,
        limit: float,
        index: str = "",
        grant: str = "",
    ) -> "pd.DataFrame":
        """Return a statement's rows as `PostgresConnection.rows` does; of a large table within so many seconds.

        Where that was not enough it is told which ``index`` would make it so.
        """
        try:
            return connection.rows(statement, values, seconds=None if self.whole else limit, grant=grant)
        except CouldNotFindOut as reason:
            if self.whole or not index or TOO_LONG not in str(reason):
                raise
            raise CouldNotFindOut(f"{reason}; with an index on {index} it would not") from reason

    def deviation(self, squares: float) -> float:
        """Return the standard deviation of an estimate, from the sum of the squares of what the pages held.

        Each page is taken or not by chance, as by the throw of a coin; what lies on one page is alike.
        """
        return 0.0 if self.whole else math.sqrt(squares * (1 - self.share)) / self.share


def part_of(connection: PostgresConnection, table: str = "triage_items") -> Part:
    """Return how much of a table is to be read; raises `CouldNotFindOut` where there is none of that name."""
    frame = connection.rows(_PAGES, {"table": table})
    if frame.empty:
        raise CouldNotFindOut(f"the database has no table {table}")
    pages = int(frame.iloc[0]["pages"])
    return Part(1.0 if pages <= WHOLE else SOME / pages)

"""How much of its time a question that asks many statements has left, and what one of them costs: its own row."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from psycopg import sql

from runbook.connections import PostgresConnection
from runbook.connections.postgres import LOCKED
from runbook.model import Asking, CouldNotFindOut, Unreachable

if TYPE_CHECKING:
    import pandas as pd

# Of a question's deadline; beyond it the whole connection would be given up, and every answer with it.
_SHARE = 0.8
# What is asked with less time than this does not end in it.
LEAST_SECONDS = 0.1
NO_TIME = "there was no time left for it"


class TimeLeft:
    """The time of one question, from now on: most of its deadline, or of the one that the profile sets for all."""

    def __init__(self, asking: Asking, deadline: float) -> None:
        self._end = time.monotonic() + _SHARE * (asking.target.deadlines.question or deadline)

    @property
    def seconds(self) -> float:
        """Return how many seconds are left; 0 where none are."""
        return max(0.0, self._end - time.monotonic())

    def look(
        self,
        connection: PostgresConnection,
        statement: sql.Composed,
        values: Mapping[str, Any] | None = None,
        *,
        locked: bool = False,
    ) -> "pd.DataFrame | CouldNotFindOut":
        """Return the rows of one of many statements, within what is left, or why there are none: what it asks for is
        ``locked``, there is no time, or PostgreSQL's own reason.

        Raises `Unreachable` where the server has gone, and with it all the others.
        """
        if locked:
            return CouldNotFindOut(LOCKED)
        if self.seconds < LEAST_SECONDS:
            return CouldNotFindOut(NO_TIME)
        try:
            return connection.rows(statement, values, self.seconds)
        except Unreachable:
            raise
        except CouldNotFindOut as reason:
            return reason

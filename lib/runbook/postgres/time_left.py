"""How much of its time a question that asks many statements has left."""

import time

from runbook.model import Asking

# Of a question's deadline; beyond it the whole connection would be given up, and every answer with it.
_SHARE = 0.8


class TimeLeft:
    """The time of one question, from now on: most of its deadline, or of the one that the profile sets for all."""

    def __init__(self, asking: Asking, deadline: float) -> None:
        self._end = time.monotonic() + _SHARE * (asking.target.deadlines.question or deadline)

    @property
    def seconds(self) -> float:
        """Return how many seconds are left; 0 where none are."""
        return max(0.0, self._end - time.monotonic())

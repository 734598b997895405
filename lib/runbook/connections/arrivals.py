"""What a load generator recorded of requests that were sent by a schedule: how long each took since it was due."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sent:
    """One answered request as the generator records it: begun and took in seconds, its HTTP status (-1: none)."""

    begun: float
    status: int
    took: float


@dataclass(frozen=True)
class Arrival:
    """One request of the schedule: when it was due, its status (0: not answered), how long it took since it was due.

    One that was not answered has taken so long at least. ``late`` is by how much the generator itself was late.
    """

    due: float
    status: int
    took: float
    late: float = 0.0

    @property
    def answered(self) -> bool:
        """Tell whether an HTTP answer came."""
        return self.status > 0


def parse(lines: Sequence[str]) -> list[Sent]:
    """Return what whole lines of h2load's log say: begin in microseconds since 1970, status, microseconds it took."""
    found = []
    for line in lines:
        parts = line.split("\t")
        if len(parts) >= 3:
            found.append(Sent(int(parts[0]) / 1e6, int(parts[1]), int(parts[2]) / 1e6))
    return sorted(found, key=lambda one: one.begun)


def on_schedule(
    sent: Sequence[Sent], count: int, period: float, *, began: float, until: float, patience: float,
    connecting: float = 0.0, refused: int = 0,
) -> list[Arrival]:  # fmt: skip
    """Return the first ``count`` requests of a schedule with one in each ``period`` (s); ``sent`` were answered.

    Each is measured from when it was due, not from when it was sent: who waits is also who could not be sent yet. The
    schedule is the generator's own, which does not wait for answers: the next request is due a period after this one,
    or, where the generator slept longer than that, when it woke. It begins with the first that was answered, less the
    ``connecting`` that came before it was sent; else when the load ``began``. Who was not answered has waited
    until ``until``, but not longer than ``patience``; of these, ``refused`` had no connection, and are left out.
    """
    found = []
    due = sent[0].begun - connecting if sent else began
    if sent and len(sent) < count:
        due -= period * max(0, min(count - len(sent), int((due - began) / period)))  # those before it were not answered
    whole = len(sent) >= count
    place = 0
    for _ in range(count):
        one = sent[place] if place < len(sent) else None
        if one is not None and (whole or one.begun - connecting < due + period):
            late = max(one.begun - connecting - due, 0.0)
            found.append(Arrival(due, max(one.status, 0), max(one.begun + one.took - due, one.took), late))
            place += 1
            due = max(due + period, one.begun - connecting)
        elif refused:
            refused -= 1
            due += period
        else:
            found.append(Arrival(due, 0, min(max(until - due, 0.0), patience)))
            due += period
    return found


def percentile(arrivals: Sequence[Arrival], share: float) -> tuple[float, bool]:
    """Return what ``share`` (0 to 1) of the requests do not exceed, in seconds, by nearest rank, and whether that is
    known: where that request was not answered, it takes so long at least. NaN where there is none.
    """
    if not arrivals:
        return math.nan, False
    ordered = sorted(arrivals, key=lambda one: (not one.answered, one.took))
    one = ordered[max(0, math.ceil(share * len(ordered)) - 1)]
    if one.answered:
        return one.took, True
    longest = max((other.took for other in arrivals if other.answered), default=0.0)
    return max(one.took, longest), False

"""What the service itself tells of its queue, which may not be the one in the table: as built it is in its memory."""

from typing import Any

from runbook.connections import ApiConnection
from runbook.model import Asking, CouldNotFindOut, Unreachable

PATH = "/triage/statistics"
# The runbook's name for the size, then the one that the service as built uses: all that it ever held.
KEYS = ("queue_size", "total_items")
DONE = "completed_items"
WAITING = ("pending", "in_review")
UNSURE = "the table holds no waiting item, and whether the service knows of any is not told: {}"
IN_MEMORY = "the service says {} items, the table none: its queue is in its memory"
SECONDS = 4.0


def is_count(value: object) -> bool:
    """Tell whether a value can be a number of items: a whole number, not negative, of a size that fits."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53


def statistics(api: ApiConnection) -> dict[str, Any]:
    """Return what the service tells of its queue.

    Raises `CouldNotFindOut`, with the keys that came, where neither name of its size is among them: never 0.
    """
    response = api.get(PATH, seconds=SECONDS)
    if response.status != 200:
        raise CouldNotFindOut(f"{PATH} answered {response.status}")
    told = response.mapping()
    if not any(is_count(told.get(key)) for key in KEYS):
        came = ", ".join(sorted(map(str, told))[:12]) or "none"
        raise CouldNotFindOut(f"{PATH} tells neither {' nor '.join(KEYS)}; the keys that came: {came}")
    return told


def told_as(told: dict[str, Any]) -> str:
    """Return the name under which the service tells the size of its queue."""
    return next(key for key in KEYS if is_count(told.get(key)))


def waiting(told: dict[str, Any]) -> int:
    """Return how many items wait, as the service tells: as built only a total is told, and how many are done.

    Raises `CouldNotFindOut` where more are done than there are.
    """
    items, done = int(told[told_as(told)]), 0
    if told_as(told) == KEYS[1] and is_count(told.get(DONE)):
        done = int(told[DONE])
    if done > items:
        raise CouldNotFindOut(f"{PATH} tells {items:,} items ({KEYS[1]}), of which {done:,} are done ({DONE})")
    return items - done


def waiting_elsewhere(asking: Asking) -> int:
    """Return how many items wait that the table, which holds none, does not know of.

    A table without a waiting item proves nothing where the service keeps its queue elsewhere, so it is asked as well. A
    target without [api] has the table only. Raises `CouldNotFindOut` where the service does not tell.
    """
    try:
        return waiting(statistics(asking.connection(ApiConnection)))
    except Unreachable as error:
        if error.kind == "not-configured":
            return 0
        raise CouldNotFindOut(UNSURE.format(error)) from error
    except CouldNotFindOut as error:
        raise CouldNotFindOut(UNSURE.format(error)) from error


def nothing_in_the_table(asking: Asking) -> None:
    """Raise `CouldNotFindOut` where items wait that the table, which holds none, says nothing of."""
    items = waiting_elsewhere(asking)
    if items > 0:
        raise CouldNotFindOut(f"{IN_MEMORY.format(items)}, and what the table says is not about it")

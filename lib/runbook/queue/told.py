"""What the service itself tells of its queue, which may not be the one in the table: as built it is in its memory."""

from typing import Any

from runbook.connections import ApiConnection
from runbook.model import Asking, CouldNotFindOut, Unreachable

PATH = "/triage/statistics"
# The runbook's name for the size, then the one that the service as built uses: all that it ever held.
KEYS = ("queue_size", "total_items")
WAITING = ("pending", "in_review")
UNSURE = "the table holds no waiting item, and whether the service knows of any is not told: {}"
IN_MEMORY = "the service says {} items, the table none: its queue is in its memory"
SECONDS = 4.0


def is_count(value: object) -> bool:
    """Tell whether a value can be a number of items: a whole number, not negative, of a size that fits."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53


def statistics(api: ApiConnection) -> dict[str, Any]:
    """Return what the service tells of its queue; raises `CouldNotFindOut` where it does not."""
    response = api.get(PATH, seconds=SECONDS)
    told = response.mapping() if response.status == 200 else {}
    if not any(is_count(told.get(key)) for key in KEYS):
        raise CouldNotFindOut(f"{PATH} answered {response.status} without a number of items")
    return told


def waiting(told: dict[str, Any]) -> int:
    """Return how many items wait, as the service tells: as built only a total is told, and how many are done."""
    if is_count(told.get(KEYS[0])):
        return int(told[KEYS[0]])
    done = told.get("completed_items", 0)
    return int(told[KEYS[1]]) - (done if is_count(done) else 0)


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

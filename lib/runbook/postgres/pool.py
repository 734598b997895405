"""Could the service's own pools ask for more connections than there are?"""

import pandas as pd

from runbook.connections import PostgresConnection
from runbook.model import Asking, CouldNotFindOut, Finding, Question, at_most
from runbook.postgres.checkout import settings
from runbook.postgres.connection_slots import SQL as SLOTS
from runbook.postgres.explanations import EXPLAINED_BY

# What holds where nothing is said: SQLAlchemy's pool, and one process of uvicorn in one container.
_DEFAULTS = {"workers": 1, "pool_size": 5, "max_overflow": 10, "replicas": 1}
_WHOSE = {"workers": "uvicorn's default", "pool_size": "SQLAlchemy's default", "max_overflow": "SQLAlchemy's default"}
_HOW = (
    "the profile has no [service] with workers, pool_size, max_overflow and replicas, nor a checkout of the service "
    "where they could be read"
)


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each of workers, pool_size, max_overflow, replicas: setting, value, where (it was found), others
    (what other places say). The frame's attrs hold ``usable`` and ``max_connections``, in connections.
    """
    service = asking.target.service
    if service is None:
        raise CouldNotFindOut(_HOW)
    found = {}
    if service.checkout is not None:
        try:
            found = settings(service.checkout)
        except OSError as error:
            raise CouldNotFindOut(f"the checkout {service.checkout} cannot be read: {error.strerror}") from error
    rows = []
    for name, default in _DEFAULTS.items():
        told, places = getattr(service, name), found.get(name, [])
        if told is not None:
            row = (name, told, "the profile", "")
        elif places:
            others = ", ".join(
                f"{place.value} in {place.where}" for place in places[1:] if place.value != places[0].value
            )
            row = (name, places[0].value, places[0].where, others)
        else:
            row = (name, default, _WHOSE.get(name, "the default"), "")
        rows.append(row)
    frame = pd.DataFrame(rows, columns=["setting", "value", "where", "others"])
    slots = asking.connection(PostgresConnection).rows(SLOTS).iloc[0]
    frame.attrs = {"usable": int(slots["usable"]), "max_connections": int(slots["max_connections"])}
    return frame


def check(frame: pd.DataFrame, *, warning: float = 80, critical: float = 100) -> list[Finding]:
    """Judge how many of the usable slots the service could take at most: replicas × workers × (pool_size +
    max_overflow), in % of them.

    Beyond 100% the slots run out under load, whatever else uses them; the lower limit is that of the slots taken.
    """
    of = frame.set_index("setting")["value"].astype(int)
    most = int(of["replicas"] * of["workers"] * (of["pool_size"] + of["max_overflow"]))
    usable = frame.attrs["usable"]
    sum_ = f"{of['replicas']} × {of['workers']} × ({of['pool_size']} + {of['max_overflow']}) = {most}"
    message = (
        f"the pools may open replicas × workers × (pool_size + max_overflow) = {sum_} connections, {usable} are usable"
    )
    message += f" (max_connections {frame.attrs['max_connections']}); " + ", ".join(
        f"{row['setting']} from {row['where']}" + (f" (but {row['others']})" if row["others"] else "")
        for row in frame.to_dict("records")
    )
    share = 100 * most / usable if usable else float("inf")
    return [at_most("pools", share, warning, critical, unit="%", message=message)]


pool = Question(
    name="postgres.pool",
    title="Could the service's own pools ask for more connections than there are?",
    probe=probe,
    check=check,
    source='grep -rnE "pool_size|max_overflow|workers|replicas" CHECKOUT; SHOW max_connections',
    needs=(PostgresConnection,),
    next="make the pools smaller, or put pgbouncer before PostgreSQL; max_connections takes memory and a restart",
    explained_by=EXPLAINED_BY,
)

"""Does Redis answer?"""

import time

import pandas as pd

from runbook.connections import RedisConnection
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable, at_most

_NOT_KNOWN = ("password", "not-configured")


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: place, answered (bool), kind and reason (why not), ms for a PING."""
    try:
        connection = asking.connection(RedisConnection)
        began = time.monotonic()
        answered = connection.ask("PING") is True
    except Unreachable as error:
        row = {"place": "", "answered": False, "kind": error.kind, "reason": error.reason, "ms": float("nan")}
        return pd.DataFrame([row])
    ms = (time.monotonic() - began) * 1000
    if not answered:
        raise CouldNotFindOut(f"Redis at {connection.place} answered PING with something else than PONG")
    return pd.DataFrame([{"place": connection.place, "answered": True, "kind": "", "reason": "", "ms": ms}])


def check(frame: pd.DataFrame, *, warning_ms: float = 100, critical_ms: float = 1000) -> list[Finding]:
    """Judge whether PING was answered, and how fast: Redis serves one command at a time, so a slow PING is a stall."""
    row = frame.iloc[0]
    if not row["answered"]:
        status = Status.UNKNOWN if row["kind"] in _NOT_KNOWN else Status.CRITICAL
        return [Finding(object="Redis", status=status, message=row["reason"], value=row["kind"])]
    message = f"PING at {row['place']} took {row['ms']:.0f} ms"
    return [at_most("Redis", round(row["ms"], 1), warning_ms, critical_ms, unit="ms", message=message)]


reachable = Question(
    name="redis.reachable",
    title="Does Redis answer?",
    probe=probe,
    check=check,
    source="redis-cli -u {redis} PING",
    needs=(RedisConnection,),
    next="see whether the server runs and what its log says last; the service works again when Redis is back",
)

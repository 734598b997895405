"""Would Redis keep its data over a restart?"""

import pandas as pd

from runbook.connections import RedisConnection
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable
from runbook.redis.explanations import EXPLAINED_BY


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for RDB and one for AOF: kind, enabled (None: not to be found out), last_write, changes, saved_at.

    ``last_write`` is "ok" or "err" as Redis tells it; ``changes`` counts those since the last snapshot.
    """
    connection = asking.connection(RedisConnection)
    told = connection.info("persistence")
    saved_at = pd.to_datetime(int(told.get("rdb_last_save_time", 0)), unit="s", utc=True)
    rows = [
        (
            "RDB",
            _saves(connection),
            told.get("rdb_last_bgsave_status"),
            told.get("rdb_changes_since_last_save"),
            saved_at,
        ),
        ("AOF", int(told.get("aof_enabled", 0)) == 1, told.get("aof_last_write_status"), None, pd.NaT),
    ]
    return pd.DataFrame(rows, columns=["kind", "enabled", "last_write", "changes", "saved_at"])


def _saves(connection: RedisConnection) -> bool | None:
    """Tell whether snapshots are scheduled; None where CONFIG is not allowed, as on managed servers."""
    try:
        reply = connection.ask("CONFIG", "GET", "save")
    except Unreachable:
        raise
    except CouldNotFindOut:
        return None
    return bool(reply.get("save")) if isinstance(reply, dict) else None


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge each kind that is on by its last write; with none on, a restart loses everything: WARNING."""
    findings = []
    for row in frame.to_dict("records"):
        # pandas makes NaN of what Redis did not tell.
        told = row["last_write"] if isinstance(row["last_write"], str) else None
        if told not in ("ok", None) and row["enabled"] is not False:
            message = f"the last write failed ({row['last_write']}): what changed since then is lost at a restart"
            findings.append(
                Finding(object=row["kind"], status=Status.CRITICAL, message=message, value=row["last_write"])
            )
        elif row["enabled"] is True:
            last = "the last write succeeded" if told else "its last write is not told"
            status = Status.OK if told else Status.UNKNOWN
            findings.append(Finding(object=row["kind"], status=status, message=f"on, {last}"))
    if findings:
        return findings
    if None in set(frame["enabled"]):
        message = "whether snapshots are scheduled is not told: CONFIG GET is refused, and AOF is off"
        return [Finding(object="persistence", status=Status.UNKNOWN, message=message)]
    message = "neither snapshots nor an append-only file are on: a restart loses everything in Redis"
    return [Finding(object="persistence", status=Status.WARNING, message=message)]


persistence = Question(
    name="redis.persistence",
    title="Would Redis keep its data over a restart?",
    probe=probe,
    check=check,
    source="redis-cli -u {redis} INFO persistence; redis-cli -u {redis} CONFIG GET save",
    needs=(RedisConnection,),
    next="look at Redis' log and at the room on its disk; do not restart Redis before the last write succeeds",
    explained_by=EXPLAINED_BY,
)

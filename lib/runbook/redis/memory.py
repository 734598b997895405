"""How close is Redis to its memory limit?"""

import pandas as pd

from runbook.connections import RedisConnection
from runbook.model import Asking, Finding, Question, at_most
from runbook.model.units import as_bytes
from runbook.redis.explanations import EXPLAINED_BY


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: used, limit (bytes), limit_is (what the limit is), policy, evicted (keys)."""
    connection = asking.connection(RedisConnection)
    told = connection.info("memory")
    maxmemory = int(told.get("maxmemory", 0))
    limit = maxmemory or int(told.get("total_system_memory", 0))
    return pd.DataFrame(
        [
            {
                "used": int(told["used_memory"]),
                "limit": limit,
                "limit_is": "maxmemory" if maxmemory else "the machine's memory (no maxmemory is set)",
                "policy": str(told.get("maxmemory_policy", "not told")),
                "evicted": int(connection.info("stats").get("evicted_keys", 0)),
            }
        ]
    )


def check(frame: pd.DataFrame, *, warning: float = 80, critical: float = 90) -> list[Finding]:
    """Judge used memory as a share of the limit (%): with policy noeviction a full Redis refuses every write."""
    row = frame.iloc[0]
    share = 100 * row["used"] / row["limit"] if row["limit"] else None
    message = (
        f"{as_bytes(row['used'])} of {as_bytes(row['limit'])}, {row['limit_is']}; "
        f"policy {row['policy']}, {row['evicted']} keys evicted"
    )
    return [at_most("memory", share, warning, critical, unit="%", message=message)]


memory = Question(
    name="redis.memory",
    title="How close is Redis to its memory limit?",
    probe=probe,
    check=check,
    source="redis-cli -u {redis} INFO memory",
    needs=(RedisConnection,),
    next="find the large keys (redis-cli --bigkeys) before raising maxmemory",
    explained_by=EXPLAINED_BY,
)

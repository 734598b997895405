"""Since when the statistics of tables and indexes count."""

from typing import Any

import pandas as pd

from runbook.connections import PostgresConnection, read_sql

SQL = read_sql(__package__, "statistics_since")


def counted_since(connection: PostgresConnection) -> dict[str, Any]:
    """Return for how many days the statistics count (None: not known), since when in words, how many replicas are
    connected, which count for themselves, and whether this is one: days, since, replicas, is_replica.
    """
    row = connection.rows(SQL).iloc[0]
    days = None if pd.isna(row["since"]) else float((row["now"] - row["since"]).total_seconds()) / 86400
    return {"days": days, "since": _ago(days), "replicas": int(row["replicas"]), "is_replica": bool(row["is_replica"])}


def _ago(days: float | None) -> str:
    if days is None:
        return "nobody knows when"
    hours = 24 * days
    return f"{days:.0f} days ago" if days >= 2 else f"{hours:.0f} h ago" if hours >= 2 else f"{60 * hours:.0f} min ago"

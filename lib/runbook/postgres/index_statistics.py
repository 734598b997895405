"""Since when the statistics of tables and indexes count."""

from dataclasses import dataclass

import pandas as pd

from runbook.connections import PostgresConnection, read_sql

SQL = read_sql(__package__, "statistics_since")


@dataclass(frozen=True)
class Counted:
    """For how many days the statistics count (None: not known), and how many replicas count for themselves."""

    days: float | None
    replicas: int
    is_replica: bool

    @property
    def age(self) -> str:
        """Return since when, in words."""
        if self.days is None:
            return "nobody knows when"
        return f"{self.days:.0f} days ago" if self.days >= 2 else f"{self.days * 24:.0f} h ago"


def counted_since(connection: PostgresConnection) -> Counted:
    """Ask since when the statistics count."""
    row = connection.rows(SQL).iloc[0]
    days = None if pd.isna(row["since"]) else float((row["now"] - row["since"]).total_seconds()) / 86400
    return Counted(days, int(row["replicas"]), bool(row["is_replica"]))

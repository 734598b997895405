"""Does autovacuum keep up, and what holds it back where it does not?"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status
from runbook.model.text import to_run
from runbook.model.units import counted, length
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.privileges import seeing_all
from runbook.postgres.records import records
from runbook.postgres.xmin_horizon import SQL as HORIZON
from runbook.postgres.xmin_horizon import holds_tables, release, told

SQL = read_sql(__package__, "autovacuum")
MOST_TOLD = 10
_PLAN = "{} (the {})"


def probe(asking: Asking) -> pd.DataFrame:
    """Return the 50 tables with the most dead or changed rows: table_name, dead, live, changed (rows since the last
    analyze), off_here, last_vacuum, last_analyze (by hand or by autovacuum), progress (of a vacuum at work).

    Each row has as well: told_at, autovacuum (on for the server), workers, max_workers, switched_off (how many tables
    it is off for), holder, holder_since, holder_transactions (what holds vacuum back in this database; None:
    nothing), release (what makes it let go). Where no table has any, one row has no table. Raises `CouldNotFindOut` for
    a role without pg_monitor.
    """
    connection = seeing_all(asking)
    frame = connection.rows(SQL)
    holders = connection.rows(HORIZON)
    holders = holders[holds_tables(holders)]
    worst = records(holders.head(1))[0] if len(holders) else None
    return frame.assign(
        holder=told(worst) if worst else None,
        holder_since=worst["since"] if worst else None,
        release=release(worst) if worst else None,
        holder_transactions=int(worst["transactions"]) if worst else 0,
    )


def check(
    frame: pd.DataFrame, *, rows: float = 10_000, percent: float = 10, days: float = 10, transactions: float = 10_000
) -> list[Finding]:
    """Judge each table: more than ``rows`` dead rows that are more than ``percent`` of all is a WARNING, and so are as
    many changed rows without an analyze for ``days``, and autovacuum that is off.

    These are the limits of awesome-prometheus-alerts (too many dead tuples; table not vacuumed, not analyzed).
    Autovacuum itself comes at 20% (``autovacuum_vacuum_scale_factor``). A holder is named where vacuum came and went
    since it began, or it is older than ``transactions``.
    """
    server = records(frame.head(1))[0]
    told_tables = []
    waiting = 0
    for row in records(frame[frame["table_name"].notna()]):
        starved, message, value, after = _starved(row, rows, percent, days, transactions)
        waiting += starved
        if message:
            told_tables.append(
                Finding(
                    object=f"table {row['table_name']}",
                    status=Status.WARNING,
                    message=message,
                    value=round(value, 1),
                    threshold=percent,
                    unit="% of the rows",
                    next=f"ALTER TABLE {row['table_name']} RESET (autovacuum_enabled)" if row["off_here"] else after,
                )
            )
    findings = [*_server(server, waiting), *told_tables]
    if findings:
        left = len(findings) - MOST_TOLD
        message = f"{counted(left, 'more is', 'more are')} in need of it"
        more = Finding(object="further tables", status=Status.WARNING, message=message)
        return findings[:MOST_TOLD] + ([more] if left > 0 else [])
    message = f"no table has more than {rows:,.0f} dead rows that are more than {percent:g}% of it; autovacuum is on"
    message += f", but for {counted(server['switched_off'], 'table')}" if server["switched_off"] else ""
    return [Finding(object="autovacuum", status=Status.OK, message=message)]


def _server(server: Mapping[str, Any], waiting: int) -> list[Finding]:
    """Judge what concerns all tables: whether autovacuum is on, and whether it is free to come."""
    findings = []
    if not server["autovacuum"]:
        message = "autovacuum or track_counts is off: nothing removes dead rows, and no statistics are kept up to date"
        findings.append(
            Finding(
                object="setting autovacuum",
                status=Status.CRITICAL,
                message=message,
                next="ALTER SYSTEM RESET autovacuum; ALTER SYSTEM RESET track_counts; SELECT pg_reload_conf()",
            )
        )
    if waiting and server["workers"] >= server["max_workers"]:
        message = (
            f"all {server['max_workers']} workers are at work, and {counted(waiting, 'table waits', 'tables wait')}"
        )
        after = "see what they work on (postgres.maintenance_at_work); raise autovacuum_vacuum_cost_limit first"
        findings.append(
            Finding(object="autovacuum workers", status=Status.WARNING, message=message, next=after)
        )  # fmt: skip
    return findings


def _starved(
    row: Mapping[str, Any], rows: float, percent: float, days: float, transactions: float
) -> tuple[bool, str, float, str]:
    """Return whether a table waits for vacuum, what is wrong with it in words, how many percent that concerns, and what
    to do about it.
    """
    all_rows = max(1, row["dead"] + row["live"])
    dead = 100 * row["dead"] / all_rows
    changed = 100 * row["changed"] / max(1, row["live"])
    starved = bool(row["dead"] > rows and dead > percent)
    off = "; autovacuum is off for this table" if row["off_here"] else ""
    if starved:
        message = f"{dead:.0f}% dead rows ({row['dead']:,} of {all_rows:,})"
        held = _held_back(row, transactions)
        message += f" and autovacuum held back by {row['holder']}" if held else ""
        message += f"; vacuum at work: {row['progress']}" if row["progress"] else ""
        after = (
            f"end the holder first: {row.get('release') or 'see postgres.xmin_horizon'}"
            if held
            else _PLAN.format(_again(row), "first plan, VACUUM")
        )
        after = "a vacuum is at work: ask again when it is through" if row["progress"] and not held else after
        return True, f"{message}{off}; last vacuum {_ago(row, 'last_vacuum')}", dead, after
    stale = row["last_analyze"] is None or _days(row, "last_analyze") > days
    if stale and row["changed"] > rows and changed > percent:
        message = f"{row['changed']:,} rows changed since the last analyze ({_ago(row, 'last_analyze')}){off}"
        after = _PLAN.format(_again(row), "second plan, ANALYZE")
        return False, f"{message}: the planner works with old figures", changed, after
    if off and row["changed"] > rows:
        message = f"{off[2:]}, and {row['changed']:,} rows changed; last vacuum {_ago(row, 'last_vacuum')}"
        return False, message, changed, ""
    return False, "", 0.0, ""


def _again(row: Mapping[str, Any]) -> str:
    return to_run("database-maintenance", table=row["table_name"])


def _held_back(row: Mapping[str, Any], transactions: float) -> bool:
    if not row["holder"]:
        return False
    came = row["holder_since"] and row["last_vacuum"] and row["last_vacuum"] > row["holder_since"]
    return bool(came or row["holder_transactions"] > transactions)


def _days(row: Mapping[str, Any], column: str) -> float:
    return float((row["told_at"] - row[column]).total_seconds()) / 86400


def _ago(row: Mapping[str, Any], column: str) -> str:
    if row[column] is None:
        return "never, as far as the statistics go back"
    return f"{length(86400 * _days(row, column))} ago"


autovacuum = Question(
    name="postgres.autovacuum",
    title="Does autovacuum keep up?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="end what holds it back, then plan its VACUUM; where it comes back, lower its autovacuum_vacuum_scale_factor",
    explained_by=EXPLAINED_BY,
)

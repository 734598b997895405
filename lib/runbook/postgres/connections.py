"""Who holds the connections, and do they use them?"""

import time
from typing import Any

import msgspec
import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status, UsageError, at_most
from runbook.model.text import to_run
from runbook.model.units import counted, length
from runbook.postgres.connection_slots import SQL as SLOTS
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.privileges import seeing_all

SQL = read_sql(__package__, "connections")
COLUMNS = ["database", "role", "application", "client", "state", "connections", "longest", "median", "oldest"]
MOST_SAMPLES = 60


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each database, role, application, client (address) and state: connections, longest and median
    (s since the state last changed), oldest (UTC, when the oldest of them began). The most connections come first.

    The frame's attrs hold ``usable``: how many connections ordinary roles may have.
    """
    connection = seeing_all(asking)
    frame = _taken(connection)
    frame.attrs = {"usable": _usable(connection)}
    return frame


def _taken(connection: PostgresConnection) -> pd.DataFrame:
    return connection.rows(SQL).rename(columns={"session_role": "role"})[COLUMNS]


def _usable(connection: PostgresConnection) -> int:
    return int(connection.rows(SLOTS).iloc[0]["usable"])


def check(
    frame: pd.DataFrame, *, share_warning: float = 50, share_critical: float = 80, idle_seconds: float = 300
) -> list[Finding]:
    """Judge how much of the usable slots one application holds (%): half of them is a WARNING, 80% CRITICAL.

    The upper limit is the one at which managed services alert for all together; one application alone should not come
    there. Connections that stay idle for ``idle_seconds`` (5 min, as for transactions) and longer are a leak, or a pool
    that is too large; those that work are load; those that are idle in a transaction are neither: they hold locks, and
    hold vacuum back.
    """
    usable = frame.attrs["usable"]
    held = [_of(name, rows, usable, idle_seconds) for name, rows in frame.groupby(_holders(frame), sort=False)]
    judged = [
        msgspec.structs.replace(at_most(name, share, share_warning, share_critical, unit="%", message=told), next=after)
        for name, share, told, after in sorted(held, key=lambda one: -one[1])
    ]
    bad = [finding for finding in judged if finding.status is not Status.OK]
    total = int(frame["connections"].sum())
    message = f"{counted(total, 'connection')} of {counted(len(held), 'application')}; the most: {_most(judged)}"
    share = 100 * total / usable if usable else 100.0
    return bad or [Finding(object="connections", status=Status.OK, message=message, value=share, unit="%")]


def _holders(frame: pd.DataFrame) -> "pd.Series[str]":
    """Return for each row who holds it: the application by its name, by its role where it gives none."""
    named = frame["application"].where(
        frame["application"].fillna("") != "", "(role " + frame["role"].astype(str) + ")"
    )
    return named.astype(str)


def _of(name: Any, rows: pd.DataFrame, usable: int, idle_seconds: float) -> tuple[str, float, str, str]:
    """Return an application's name, its share of the slots (%), what it does with them in words, and what to do."""
    count = int(rows["connections"].sum())
    share = 100 * count / usable if usable else 100.0
    states = rows.groupby("state")["connections"].sum().sort_values(ascending=False)
    told = ", ".join(f"{number} {state}" for state, number in states.items())
    clients = rows.groupby("client")["connections"].sum().sort_values(ascending=False)
    where = ", ".join(f"{client} ({number})" for client, number in clients.head(3).items())
    verdict, after = _leak_or_load(str(name), rows, count, idle_seconds)
    return str(name), share, f"holds {count} of {usable} usable slots: {told}; from {where}; {verdict}", after


def _leak_or_load(name: str, rows: pd.DataFrame, count: int, idle_seconds: float) -> tuple[str, str]:
    """Return in words what an application does with most of its connections, and what to do about it."""
    opened = rows[rows["state"].str.startswith("idle in transaction")]
    if 2 * int(opened["connections"].sum()) > count:
        words = (
            f"most are idle in transaction, for up to {opened['longest'].max():.0f} s: their locks stay, and dead rows"
        )
        return words, f"see which, and ask their owner: {to_run('database-issues')}"
    idle = rows[rows["state"] == "idle"]
    waiting = int(idle["connections"].sum() + opened["connections"].sum())
    longest = float(idle["longest"].max()) if len(idle) else 0.0
    stale = int(idle.loc[idle["median"] > idle_seconds, "connections"].sum())
    if 2 * stale > count:
        words = f"a leak, or a pool too large: most have been idle for over {idle_seconds:g} s, up to {longest:.0f} s"
        ended = to_run("connection-exhaustion", application=name)
        return (
            words,
            f"ask its owner for a smaller pool, or one that closes what is idle; to end those idle long: {ended}",
        )
    if 2 * waiting > count:
        words = f"most are idle, for up to {longest:.0f} s: not yet long enough to tell a leak from a pause"
        return words, "ask its owner whether its pool is to be so large, and look again in some minutes"
    return "load: most are at work", f"see what they work on: {to_run('query-performance')}"


def _most(judged: list[Finding]) -> str:
    return f"{judged[0].object} {judged[0].message.partition(': ')[0]}" if judged else "none"


def probe_growth(asking: Asking, *, samples: int = 4, every: float = 1.0) -> pd.DataFrame:
    """Return a row for each sample and application: seconds (since the first sample), application, connections, idle,
    usable (slots). ``every`` is the time between two samples (s).
    """
    if not 2 <= samples <= MOST_SAMPLES or not 0 < every <= 10:
        raise UsageError(f"growth takes 2 to {MOST_SAMPLES} samples, 0 to 10 s apart, not {samples} every {every:g} s")
    connection = seeing_all(asking)
    usable, began, rows = _usable(connection), time.monotonic(), []
    for number in range(samples):
        time.sleep(max(0.0, began + number * every - time.monotonic()))
        frame, moment = _taken(connection), time.monotonic() - began
        for name, held in frame.groupby(_holders(frame), sort=False):
            idle = held[held["state"].str.startswith("idle")]["connections"].sum()
            rows.append((moment, str(name), int(held["connections"].sum()), int(idle), usable))
    return pd.DataFrame(rows, columns=["seconds", "application", "connections", "idle", "usable"])


def check_growth(frame: pd.DataFrame, *, minutes: float = 15) -> list[Finding]:
    """Judge each application whose connections grow: WARNING where, going on so, all slots were taken within
    ``minutes``, which is about as long as it takes to find who it is.
    """
    taken = frame.groupby("seconds")["connections"].sum()
    usable = int(frame["usable"].iloc[0])
    span = float(taken.index[-1] - taken.index[0])
    left = usable - int(taken.iloc[-1])
    findings = []
    for name, rows in frame.groupby("application", sort=False):
        counts = rows.set_index("seconds")[["connections", "idle"]].reindex(taken.index, fill_value=0)
        grown, idle = (int(counts[column].iloc[-1] - counts[column].iloc[0]) for column in ("connections", "idle"))
        if grown < 2:
            continue  # one more is a new request, or the runbook itself
        rate = 60 * grown / span
        full = max(0.0, left / rate)
        kind = "they stay idle, a leak" if 2 * idle > grown else "they are at work, load"
        message = f"{grown} more connections in {span:.0f} s: all slots are taken in {length(60 * full)}; {kind}"
        status = Status.WARNING if full <= minutes else Status.OK
        findings.append(Finding(object=str(name), status=status, message=message, value=rate, unit="connections/min"))
    bad = [finding for finding in findings if finding.status is not Status.OK]
    message = f"no application takes so many more that the slots run out within {minutes:g} min"
    return bad or [Finding(object="connections", status=Status.OK, message=message)]


connections = Question(
    name="postgres.connections",
    title="Who holds the connections, and do they use them?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="ask its owner for a smaller pool, or one that closes what is idle; a plan ends those that were idle long",
    explained_by=EXPLAINED_BY,
)

connection_growth = Question(
    name="postgres.connection_growth",
    title="Do the connections grow while one looks?",
    probe=probe_growth,
    check=check_growth,
    source=SQL,
    needs=(PostgresConnection,),
    deadline=30,
    next="find what opens them and does not close them before the slots are taken",
    explained_by=EXPLAINED_BY,
)

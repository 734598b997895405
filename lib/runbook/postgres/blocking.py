"""Which session keeps others waiting, and is itself not kept waiting?"""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status, at_most
from runbook.model.text import to_run
from runbook.model.units import counted
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.privileges import seeing_all
from runbook.postgres.query_text import masked

SQL = read_sql(__package__, "blocking")
PREPARED = 0  # the pid that PostgreSQL tells for a prepared transaction, which no session holds


@dataclass
class Tree:
    """A session that is kept waiting by nobody, and those that wait for it, directly or behind one another."""

    pid: int
    facts: dict[str, Any]
    depth: int = 0
    victims: list[int] = field(default_factory=list)
    longest: float = 0.0


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each session that waits for a lock, and for each that keeps one waiting: pid (0: a prepared
    transaction), blocked_by (pids; none: a root), role, application, database, state, backend_type, backend_start,
    transaction_seconds, state_seconds, waits (s), mode and lock (what it waits for), query (shortened, no literals).
    """
    return masked(seeing_all(asking).rows(SQL)).rename(columns={"session_role": "role"}).astype({"pid": "int64"})


def trees(frame: pd.DataFrame) -> list[Tree]:
    """Return a tree for each root, the one with the most sessions behind it first.

    In a deadlock, which the server breaks up after a second, each waits for another: its first session stands for it.
    """
    facts = {int(row["pid"]): row for row in frame.to_dict("records")}
    behind, seen, found = _behind(facts), set[int](), []
    for pid in sorted(facts, key=lambda one: (len(facts[one]["blocked_by"]), one)):
        if len(facts[pid]["blocked_by"]) == 0 or pid not in seen:
            tree = Tree(pid, {str(key): value for key, value in facts[pid].items()})
            _walk(tree, behind, facts)
            seen |= {pid, *tree.victims}
            found.append(tree)
    return sorted(found, key=lambda tree: (-len(tree.victims), -tree.longest))


def _walk(tree: Tree, behind: dict[int, list[int]], facts: dict[int, Any]) -> None:
    """Collect everybody behind a root, each once, level by level."""
    level, reached = [tree.pid], {tree.pid}
    while level:
        level = sorted({victim for pid in level for victim in behind.get(pid, ())} - reached)
        reached |= set(level)
        tree.victims += level
        tree.depth += bool(level)
    waits = [facts[pid]["waits"] for pid in tree.victims if pd.notna(facts[pid]["waits"])]
    tree.longest = max(waits, default=0.0)


def check(
    frame: pd.DataFrame,
    *,
    warning: float = 60,
    critical: float = 120,
    warning_behind: float = 4,
    critical_behind: float = 7,
) -> list[Finding]:
    """Judge how long (s) the longest wait behind each root is, 1 and 2 minutes, and how many sessions stand behind it:
    more than ``warning_behind`` or ``critical_behind`` are a convoy, in which whoever comes next stands as well.

    The root is named, not its victims: ending one of them helps nobody. The limits are those of managed services'
    runbooks; shorter waits are what locks are for.
    """
    found = trees(frame)
    if not found:
        message = "no session waits for a lock of another one"
        return [Finding(object="locks", status=Status.OK, message=message, value=0, unit="s")]
    convoy = (warning_behind, critical_behind)
    judged = [_judged(tree, frame, warning, critical, convoy) for tree in found]
    bad = [finding for finding in judged if finding.status is not Status.OK]
    message = f"{counted(len(found), 'session keeps', 'sessions keep')} others waiting, for "
    message += f"{max(tree.longest for tree in found):.0f} s at most"
    return bad or [Finding(object="locks", status=Status.OK, message=message, value=found[0].longest, unit="s")]


def _judged(tree: Tree, frame: pd.DataFrame, warning: float, critical: float, convoy: tuple[float, float]) -> Finding:
    waits = frame[frame["pid"].isin(tree.victims)]
    worst = waits.sort_values("waits", ascending=False, na_position="last").iloc[0] if len(waits) else None
    message = f"keeps {counted(len(tree.victims), 'session')} waiting, {tree.depth} deep, {_for_up_to(tree, waits)}"
    message += f"; it {does(tree.facts)}"
    if worst is not None:
        message += f"; the longest wait is for {_wanted(worst.to_dict())}: {worst['query']}"
    finding = at_most(subject(tree), tree.longest, warning, critical, unit="s", message=message)
    by_many = at_most(subject(tree), len(tree.victims), *convoy, unit="sessions", message=message)
    finding = min((finding, by_many), key=lambda one: one.status.severity)
    if tree.pid != PREPARED:
        return msgspec.structs.replace(finding, next=_next(tree))
    after = "SELECT * FROM pg_prepared_xacts; then COMMIT PREPARED or ROLLBACK PREPARED, as its owner says"
    return msgspec.structs.replace(finding, next=after)


def _for_up_to(tree: Tree, waits: pd.DataFrame) -> str:
    # The server may not have noted yet since when a session waits.
    known = waits["waits"].notna().any()
    return f"for up to {tree.longest:.0f} s" if known else "since when is not known yet"


def _wanted(row: dict[Any, Any]) -> str:
    return "a lock" if pd.isna(row["mode"]) else f"{row['mode']} on {row['lock']}"


def _next(tree: Tree) -> str:
    if tree.facts["backend_type"] not in ("client backend", None) and pd.notna(tree.facts["backend_type"]):
        return f"it is the server's own: see how far it is ({to_run('database-maintenance')})"
    return f"ask its owner; then: {to_run('database-issues', pid=tree.pid)}, which lets all behind it go on"


def subject(tree: Tree) -> str:
    """Return how a root is named."""
    if tree.pid == PREPARED:
        return "a prepared transaction"
    return f"pid {tree.pid} ({tree.facts['application'] or tree.facts['role'] or tree.facts['backend_type']})"


def does(facts: dict[str, Any]) -> str:
    """Return what a session does, as a predicate: its state, for how long, and its statement."""
    if facts["state"] is None or pd.isna(facts["state"]):
        return (
            "has no session any more" if pd.isna(facts["backend_start"]) else f"is the server's {facts['backend_type']}"
        )
    last = "its statement" if facts["state"] == "active" else "its last statement"
    open_for = facts["transaction_seconds"]
    opened = f", its transaction open for {open_for:.0f} s" if pd.notna(open_for) else ""
    return f"has been {facts['state']} for {facts['state_seconds']:.0f} s{opened}; {last}: {facts['query']}"


def lines(frame: pd.DataFrame) -> list[str]:
    """Return the trees as text, one session in each line, each below the one that it waits for."""
    facts = {int(row["pid"]): row for row in frame.to_dict("records")}
    behind = _behind(facts)
    told: list[str] = []
    for tree in trees(frame):
        seen, left = set(), [(tree.pid, 0)]
        while left:
            pid, depth = left.pop()
            if pid not in seen:
                seen.add(pid)
                told.append("  " * depth + _line(facts[pid], waits=depth > 0))
                left += [(victim, depth + 1) for victim in sorted(behind[pid], reverse=True)]
    return told


def _line(row: dict[Any, Any], *, waits: bool) -> str:
    if row["pid"] == PREPARED:
        return "a prepared transaction, which no session holds"
    since = f"{row['waits']:.0f} s" if pd.notna(row["waits"]) else "(since when is not known yet)"
    state = row["backend_type"] if row["state"] is None or pd.isna(row["state"]) else row["state"]
    what = f"waits {since} for {_wanted(row)}" if waits else str(state)
    who = next((row[name] for name in ("application", "role") if pd.notna(row[name]) and row[name]), "")
    return f"{row['pid']} {who}: {what}"


def _behind(facts: dict[int, Any]) -> dict[int, list[int]]:
    """Return for each session those that it keeps waiting itself."""
    behind: dict[int, list[int]] = {pid: [] for pid in facts}
    for pid, row in facts.items():
        for blocker in row["blocked_by"]:
            behind.setdefault(blocker, []).append(pid)
    return behind


blocking = Question(
    name="postgres.blocking",
    title="Which session keeps others waiting?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="ask its owner; the plan to end it (by pid and backend_start) lets all behind it go on",
    explained_by=EXPLAINED_BY,
)

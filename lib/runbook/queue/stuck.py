"""Which items are stuck: in review for too long, with somebody who will not finish them, or about what is gone?"""

from typing import Any

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.connections.damage import tells_of_damage
from runbook.connections.postgres import TOO_LONG
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable, UsageError, at_most
from runbook.model.text import printable, shortened, to_run
from runbook.model.units import counted
from runbook.queue.pages import ORPHANS, STUCK, Part, part_of
from runbook.queue.told import nothing_in_the_table

SQL, BY_TIME = read_sql(__package__, "stuck"), read_sql(__package__, "stuck_by_time")
ORPHANS_SQL = read_sql(__package__, "orphans")
USERS_GRANT = "it takes GRANT SELECT (id, username, email, is_active) ON users TO the runbook's role"
ORPHANS_GRANT = "it takes GRANT SELECT (id) ON candidates, and ON sentences, TO the runbook's role"
COLUMNS = ["item_id", "assigned_to", "assigned_at", "hours", "kind"]
# So many are looked at; there may be more.
MOST = 1000
LONG, INACTIVE, UNKNOWN_USER, NOBODY = (
    "items in review for long", "items with deactivated users", "items with unknown users", "items with nobody",
)  # fmt: skip
UNTOLD, ORPHANED = "items of impossible times", "orphaned items"
# What a plan may release: whoever had these will not finish them.
RELEASED = (LONG, INACTIVE, UNKNOWN_USER, NOBODY)
_AHEAD_HOURS = -1 / 60


def probe(asking: Asking, *, older: float = 8.0) -> pd.DataFrame:
    """Return a row for each item that is stuck, those that are so for longest first: item_id, assigned_to, assigned_at
    (as text, with all its digits), hours (in review; NaN: not told), kind.

    ``kind`` is the first that holds of: items with nobody, with unknown users, with deactivated users; of impossible
    times (none, or one to come); in review for long (``older`` hours); or orphaned: their candidate or sentence is gone
    (then in any status that waits; its other columns are empty). Attrs: ``older``; ``who`` and ``orphans`` say why it
    is not known who users are and what is gone ("": it is), ``share`` of the table that was looked through for orphans.
    """
    connection = asking.connection(PostgresConnection)
    part = part_of(connection)
    rows, who = _held(connection, part, older)
    orphans, untold = _orphans(connection, part)
    if not rows and not orphans and not _any_waits(connection, part):
        nothing_in_the_table(asking)
    frame = pd.DataFrame([*rows, *orphans], columns=COLUMNS)
    frame["hours"] = frame["hours"].astype(float)
    frame.attrs = {"older": older, "who": who, "orphans": untold, "share": part.share}
    return frame


def held_items(connection: PostgresConnection, older: float) -> list[dict[str, Any]]:
    """Return the items in review that a plan may release, as `probe` does."""
    rows, _ = _held(connection, part_of(connection), older)
    return [row for row in rows if row["kind"] in RELEASED]


def _held(connection: PostgresConnection, part: Part, older: float) -> tuple[list[dict[str, Any]], str]:
    """Return the items that are stuck in review, and why nobody knows who has them ("": that is known)."""
    if not 0 < older < 1e6:
        raise UsageError(f"older is a number of hours above 0, not {older:g}")
    values, who = {"hours": older, "most": MOST + 1}, ""
    more: Any = {"limit": STUCK, "index": "triage_items (status)"}
    try:
        frame = part.read(connection, SQL, values, grant=USERS_GRANT, **more)
    except Unreachable:
        raise
    except CouldNotFindOut as reason:
        if TOO_LONG in str(reason):
            raise
        # The users are what is missing, or the items: without the former it is asked once more.
        frame, who = part.read(connection, BY_TIME, values, **more), str(reason)
    if len(frame) and not frame["people_known"].all() and not who:
        who = "the table users is empty"
    frame = frame.astype(object).where(frame.notna(), None)
    rows = [{name: row[name] for name in COLUMNS[:4]} | {"kind": _kind(row, older)} for row in frame.to_dict("records")]
    stuck = [row for row in rows if row["kind"]]
    return sorted(stuck, key=lambda row: -(row["hours"] if row["hours"] is not None else 0)), who


def _kind(row: dict[Any, Any], older: float) -> str:
    if row["assigned_to"] is None:
        return NOBODY
    if row["people_known"] and row["active"] is None:
        return UNKNOWN_USER
    if row["people_known"] and not row["active"]:
        return INACTIVE
    if row["hours"] is None or row["hours"] < _AHEAD_HOURS:
        return UNTOLD
    return LONG if row["hours"] > older else ""


def _orphans(connection: PostgresConnection, part: Part) -> tuple[list[dict[str, Any]], str]:
    values, nothing = {"percent": part.percent, "most": MOST + 1}, dict.fromkeys(COLUMNS)
    try:
        frame = part.read(connection, ORPHANS_SQL, values, limit=ORPHANS, grant=ORPHANS_GRANT)
    except Unreachable:
        raise
    except CouldNotFindOut as reason:
        return [], str(reason)
    return [{**nothing, "item_id": one, "kind": ORPHANED} for one in frame["item_id"]], ""


def _any_waits(connection: PostgresConnection, part: Part) -> bool:
    """Tell whether the table holds any item that waits; a large one is not empty, whatever its items do."""
    return not part.whole or bool(connection.rows(read_sql(__package__, "any_waits")).iloc[0, 0])


def check(frame: pd.DataFrame, *, warning: float = 0, critical: float = 10) -> list[Finding]:
    """Judge how many items are stuck, of each kind: any is a WARNING, more than ``critical`` are CRITICAL.

    Items of impossible times are UNKNOWN: for how long they have been in review nobody can say.
    """
    older = float(frame.attrs.get("older", 8.0))
    findings = [
        _of_a_kind(str(kind), mine, older, warning, critical) for kind, mine in frame.groupby("kind", sort=False)
    ]
    share = float(frame.attrs.get("share", 1.0))
    if not [finding for finding in findings if finding.object != ORPHANED]:
        who = "" if frame.attrs.get("who") else ", each with an active user"
        message = f"none is stuck: in review for no more than {older:g} h{who}"
        findings.append(Finding(object="items in review", status=Status.OK, message=message, value=0, unit="items"))
    if frame.attrs.get("who"):
        message = f"who has them is not known: {frame.attrs['who']}"
        after = "let the runbook read users, or look by hand whether they are still with the service"
        findings.append(Finding(object="who has them", status=Status.UNKNOWN, message=message, next=after))
    if frame.attrs.get("orphans"):
        message = f"whether what they are about is there is not known: {frame.attrs['orphans']}"
        after = f"the README says which rights that takes; {to_run('database-maintenance')} looks at every key"
        if tells_of_damage(str(frame.attrs["orphans"])):
            after = f"a page of the database is damaged, change nothing before: {to_run('data-corruption-recovery')}"
        findings.append(Finding(object=ORPHANED, status=Status.UNKNOWN, message=message, next=after))
    elif not (frame["kind"] == ORPHANED).any():
        looked = "" if share >= 1 else f" on the {100 * share:.2g}% of the pages that were read"
        message = f"none{looked}: the candidate and the sentence of each item that waits are there"
        findings.append(Finding(object=ORPHANED, status=Status.OK, message=message, value=0, unit="items"))
    return findings


def _of_a_kind(kind: str, mine: pd.DataFrame, older: float, warning: float, critical: float) -> Finding:
    count = len(mine)
    names = ", ".join(shortened(printable(str(item)), 40) for item in mine["item_id"].head(3))
    number = counted(count, "item") if count <= MOST else f"more than {MOST:,} items"
    longest = mine["hours"].max()
    since = "" if pd.isna(longest) or longest < older else f", the longest for {longest:,.3g} h"
    whom = sorted({shortened(printable(str(name)), 40) for name in mine["assigned_to"].dropna()})
    of_whom = f" of {', '.join(whom[:3])}{' and others' if len(whom) > 3 else ''}" if whom else ""
    what = {
        LONG: f"in review{of_whom} for more than {older:g} h{since}",
        INACTIVE: f"in review{of_whom}, whose access was revoked{since}",
        UNKNOWN_USER: f"in review{of_whom}, whom the table users does not know{since}",
        NOBODY: f"in review, and assigned to nobody{since}",
        UNTOLD: f"in review{of_whom} since a time that is to come, or since none",
        ORPHANED: "waiting, and their candidate or sentence is gone: nobody can annotate them",
    }[kind]
    message = f"{number} {what} ({names}{', …' if count > 3 else ''})"
    if kind == UNTOLD:
        after = "compare the clocks (morning-health-check); whether they are stuck, who has them can say"
        return Finding(object=kind, status=Status.UNKNOWN, message=message, value=count, unit="items", next=after)
    if kind == ORPHANED:
        after = "not to be released: find out what deleted it, and have the service skip them; see database-maintenance"
    else:
        after = f"the plan queue.release has them wait again, for whoever comes: {to_run('queue-backup', older=older)}"
    judged = at_most(kind, count, warning, critical, unit="items", message=message)
    return Finding(
        object=kind, status=judged.status, message=message, value=count, threshold=judged.threshold, unit="items",
        next=after,
    )  # fmt: skip


stuck = Question(
    name="queue.stuck",
    title="Which items are stuck?",
    probe=probe,
    check=check,
    source=f"{SQL};\n{ORPHANS_SQL}",
    needs=(PostgresConnection,),
    deadline=10.0,
    next=f"have them released by the plan queue.release: {to_run('queue-backup')}",
    explained_by={
        "postgres.reachable": "the application's database cannot be used: see postgres.reachable",
        "api.liveness": "the table is empty and the service, which may hold items too, does not answer",
    },
    # With nobody at work, what was begun is left as well.
    caused_by={"queue.annotators": (LONG,)},
)

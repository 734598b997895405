"""Have items wait again that are stuck in review."""

import json
from collections.abc import Mapping
from typing import Any

from psycopg import conninfo

from runbook.connections import OperatorDatabase, PostgresConnection, read_sql
from runbook.connections.statements import packaged, plain, written
from runbook.model import Asking, Change, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.units import counted
from runbook.queue.stuck import LONG, MOST, RELEASED, held_items

# More in one plan nobody reads; the rest is for the next one.
AT_ONCE = 100
# In less, somebody may just be at lunch with an item open.
SHORTEST_HOURS = 1.0


def observe(asking: Asking, older: float) -> dict[str, Any]:
    """Return older; items: of each that is stuck in review and may be released, those for longest first, item_id,
    assigned_to, assigned_at, hours, kind; held: the same in words, as the inverse brings them back; operator (the role
    that carries plans out) and operator_may (change them; None: not known).
    """
    connection = asking.connection(PostgresConnection)
    items = held_items(connection, max(older, SHORTEST_HOURS))
    named = asking.target.postgres.operator_dsn
    operator = conninfo.conninfo_to_dict(named).get("user") if named else None
    told = plain(connection.rows(read_sql(__package__, "may_release"), {"operator": operator}))
    held = [f"{item['item_id']} with {item['assigned_to'] or 'nobody'}" for item in items[:AT_ONCE]]
    return {
        "older": older,
        "items": items,
        "held": ", ".join(sorted(held)),
        "operator": operator,
        "operator_may": told["operator_may"],
    }


def draft(facts: Mapping[str, Any], older: float) -> Draft:
    """Write out that every item that was in review for ``older`` hours, or with nobody who works here, waits again."""
    if older < SHORTEST_HOURS:
        raise NotPlanned(f"in review for {older:g} h is work: {SHORTEST_HOURS:g} h at least")
    items, every = facts["items"][:AT_ONCE], len(facts["items"])
    if not items:
        raise DoesNotApply(f"no item is stuck in review: none for {older:g} h, none with somebody who is gone")
    if facts.get("operator_may") is False:
        grant = f"GRANT SELECT, UPDATE (status, assigned_to, assigned_at) ON triage_items TO {facts['operator']}"
        raise NotPlanned(f"the role {facts['operator']}, which carries plans out, may not change items: {grant}")
    rows = [{name: item[name] for name in ("item_id", "assigned_to", "assigned_at")} for item in items]
    arguments = {"items": json.dumps(rows, ensure_ascii=False)}
    kinds = ", ".join(
        f"{sum(item['kind'] == kind for item in items)} {kind.removeprefix('items ')}"
        for kind in RELEASED
        if any(item["kind"] == kind for item in items)
    )
    more = "more than " if every > MOST else ""
    left = (
        (f"{more}{counted(every - len(items), 'other')} stuck as well: plan again for the next",)
        if every > len(items)
        else ()
    )
    working = (
        ("who has one of those open and finishes it after all may be refused, or do what another one does too",)
        if any(item["kind"] == LONG for item in items)
        else ()
    )
    return Draft(
        summary=f"have {counted(len(items), 'stuck item')} wait again",
        steps=(_step("release", arguments),),
        blast_radius=(
            f"{counted(len(items), 'item')}: {kinds}; their status, assigned_to and assigned_at, nothing else; none is "
            "deleted, and none is completed",
            "if one of them was finished, taken or moved by then, nothing at all is changed: plan anew",
            "a service that has its queue in memory, as built, does not see it before it reads the table again",
            *working,
            *left,
        ),
        inverse=(_step("hold_again", arguments),),
    )


def _step(name: str, arguments: dict[str, Any]) -> Step:
    return Step(act=name, shown=written(__package__, name, arguments), arguments=arguments)


release = Change(
    name="queue.release",
    title="Have stuck items wait again",
    observe=observe,
    draft=draft,
    acts={
        "release": packaged(
            __package__,
            "release",
            none="nothing was changed: one of the items was finished, taken or released meanwhile",
            happened="released",
        ),
        "hold_again": packaged(
            __package__,
            "hold_again",
            none="nothing was changed: one of the items was taken or finished meanwhile, or is gone",
            happened="held_again",
        ),
    },
    needs=(PostgresConnection,),
    acts_on=(OperatorDatabase,),
    # Not the items: others become stuck meanwhile, and the statement changes those that were looked at, all or none.
    watched=("older",),
    restored=("held",),
    repairs=True,
    partial=True,
    patience=5.0,
)

"""The triage queue of a practice stack: stuck, left alone by everybody, and put back as it was."""

from collections.abc import Callable
from typing import Any, LiteralString

import psycopg

from runbook_sandbox import postgres_server
from runbook_sandbox.place import Place, SandboxError

LEFT = "left@example.com"  # whose access was revoked with items in hand
HOURS_STUCK, HOURS_AWAY = 120, 30
_KEPT = "queue-{}.json"
_STUCK: tuple[LiteralString, ...] = (
    "INSERT INTO users (id, username, email, hashed_password, role, is_active, created_at) VALUES (gen_random_uuid(), "
    "'left', 'left@example.com', '!', 'annotator', false, now() - interval '300 days')",
    "UPDATE triage_items SET created_at = created_at - make_interval(hours => %(hours)s) WHERE status = 'pending'",
    "UPDATE triage_items SET status = 'in_review', assigned_to = 'left@example.com' WHERE item_id IN "
    "(SELECT item_id FROM triage_items WHERE status = 'pending' ORDER BY item_id LIMIT 12)",
    "UPDATE triage_items SET assigned_at = now() - make_interval(hours => %(hours)s - 2) WHERE status = 'in_review'",
    # One with nobody, one with somebody who was never a user; the other two with one who still works here.
    "UPDATE triage_items SET assigned_to = NULL WHERE item_id = 'item041'",
    "UPDATE triage_items SET assigned_to = 'gone@example.com' WHERE item_id = 'item042'",
)
_AWAY: tuple[LiteralString, ...] = (
    "UPDATE annotation_events SET timestamp = timestamp - make_interval(hours => %(hours)s)",
    "UPDATE triage_items SET created_at = created_at - make_interval(hours => %(hours)s), "
    "completed_at = completed_at - make_interval(hours => %(hours)s) WHERE status = 'completed'",
    "UPDATE triage_items SET created_at = created_at - make_interval(hours => %(hours)s), "
    "assigned_at = assigned_at - make_interval(hours => %(hours)s) WHERE status = 'in_review'",
)


def stick(place: Place) -> None:
    """Have items be in review with people who will not finish them, and the others wait for days."""
    _change(place, "queue-stuck", _STUCK, HOURS_STUCK)


def send_home(place: Place) -> None:
    """Have the last annotation, and all that annotators did, be of yesterday, while items came since."""
    _change(place, "nobody-annotating", _AWAY, HOURS_AWAY)


def _change(place: Place, fault: str, statements: tuple[LiteralString, ...], hours: int) -> None:
    with postgres_server.superuser(place) as connection, connection.transaction():
        items = connection.execute(
            "SELECT item_id, status, assigned_to, assigned_at::text, completed_at::text, created_at::text "
            "FROM triage_items"
        ).fetchall()
        if not [item for item in items if item[1] == "pending"]:
            raise SandboxError("no item waits in the table: this service keeps its queue in its memory")
        events = connection.execute("SELECT id, timestamp::text FROM annotation_events").fetchall()
        place.write(_KEPT.format(fault), {"items": items, "events": events})
        for statement in statements:
            connection.execute(statement, {"hours": hours})


def put_back(fault: str) -> Callable[[Place], None]:
    """Return what has each item and each annotation be as before a fault, whatever a plan did meanwhile."""

    def put(place: Place) -> None:
        kept = place.read(_KEPT.format(fault))
        with postgres_server.superuser(place) as connection, connection.transaction():
            _put(connection, kept)

    return put


def _put(connection: "psycopg.Connection[tuple[Any, ...]]", kept: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE triage_items SET status = %s, assigned_to = %s, assigned_at = %s, completed_at = %s, "
            "created_at = %s WHERE item_id = %s",
            [(*rest, item_id) for item_id, *rest in kept["items"]],
        )
        cursor.executemany(
            "UPDATE annotation_events SET timestamp = %s WHERE id = %s", [(at, id_) for id_, at in kept["events"]]
        )
        cursor.execute("DELETE FROM users WHERE email = %s", (LEFT,))

"""The triage queue backs up: each fault and its cause, stuck items released and brought back, tables of every kind."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cluster import CONTRIB, Cluster, cluster
from running import by_check, only

from runbook import queue
from runbook.model import Finding, NotPlanned, Status, UsageError
from runbook.model.plan import PlanState
from runbook.plans.freezing import freeze_inverse
from runbook.plans.place import journal
from runbook.plans.token import token_of
from runbook.queue import pages
from runbook.queue.flow import pace
from runbook_sandbox import faults, postgres_server
from runbook_sandbox.place import Place

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
NOTEBOOK = "queue-backup"
ITEMS = "SELECT item_id, status, assigned_to, assigned_at, completed_at, created_at FROM triage_items ORDER BY item_id"
EVENTS = "SELECT id, annotator_email, timestamp FROM annotation_events ORDER BY id"


def rows(place: Place, statement: Any = ITEMS) -> list[Any]:
    with postgres_server.superuser(place) as connection:
        return connection.execute(statement).fetchall()


def change(place: Place, statement: Any) -> None:
    with postgres_server.superuser(place) as connection:
        connection.execute(statement)


def by_object(findings: Any) -> dict[str, Finding]:
    return {finding.object: finding for finding in findings}


@pytest.fixture
def opened(opened: Callable[..., Any]) -> Callable[..., Any]:
    """Open a run of the notebook."""
    return lambda target="breakable", *needs: opened(*(needs or ("api", "postgres")), target=target, notebook=NOTEBOOK)


@pytest.fixture
def broken(breakable: Place) -> Iterator[Callable[[str], Place]]:
    """Break the sandbox of this module; it is healed after the test."""

    def break_(fault: str) -> Place:
        faults.break_sandbox(breakable, fault)
        return breakable

    yield break_
    faults.heal(breakable)


def released(run: Any, older: float = 8.0, confirm: str = "") -> Any:
    first = [queue.annotators]
    return run.propose(
        queue.release, older=older, verify=[queue.stuck.given(older=older)], first=first, confirm=confirm
    )


def text(shown: Any) -> str:
    return str(shown._repr_mimebundle_()["text/plain"])


# --- each fault, and its cause


def test_stuck_items_are_named_with_who_has_them_and_released_by_the_plan(
    broken: Callable[[str], Place], run_json: Callable[..., Any], runbook: Callable[..., Any]
) -> None:
    place = broken("queue-stuck")
    asked = (NOTEBOOK, "--target", "breakable")
    status, document = run_json(*asked)
    record = only(document)
    assert (status, record.status) == (2, "CRITICAL")
    stuck = {finding.object: finding for finding in record.findings if finding.check == "queue.stuck"}
    assert {obj: str(finding.status) for obj, finding in stuck.items()} == {
        "items in review for long": "WARNING", "items with deactivated users": "CRITICAL", "orphaned items": "OK",
        "items with nobody": "WARNING", "items with unknown users": "WARNING",
    }  # fmt: skip
    left = stuck["items with deactivated users"]
    assert "12 items in review of left@example.com, whose access was revoked, the longest for 118 h" in left.message
    assert "the plan queue.release has them wait again" in left.next and not left.explained_by
    held = [f for f in record.findings if f.check == "queue.oldest_item" and f.object == "in_review items"]
    assert held[0].explained_by == "queue.stuck", "that they are old is because they are stuck"
    (plan,) = [plan for plan in record.plans if plan.token]
    shown = runbook("run", *asked).stdout
    (step,) = [line for line in shown.splitlines() if line.startswith("    1. WITH seen")]
    assert len(step) < 700 and "(whole: runbook plans show pln_" in step, "a statement does not fill the screen"
    assert plan.summary == "have 16 stuck items wait again" and len(plan.steps) == 1
    before = rows(place)
    assert sum(row[1] == "in_review" for row in before) == 16, "a plan changes nothing"
    _, document = run_json(*asked, "--confirm", plan.token)
    oldest = {f.object: f for f in only(document).findings if f.check == "queue.oldest_item"}
    assert set(oldest) == {"pending items"}, "what the stuck items explained was looked at anew"
    assert "42 items" in oldest["pending items"].message and oldest["pending items"].next.endswith("in this notebook")
    done = [finding for finding in only(document).findings if finding.check == "plan.queue.release"]
    assert done[0].status == "OK" and done[0].message.endswith("verified; it helped")
    now = rows(place)
    assert [row[0] for row in now] == [row[0] for row in before], "no item is deleted"
    assert {row[1:4] for row in now if row[1] != "completed"} == {("pending", None, None)}
    assert [row[4:] for row in now] == [row[4:] for row in before]


def test_nobody_at_work_is_the_cause_and_no_plan_would_help(
    broken: Callable[[str], Place], run_json: Callable[..., Any]
) -> None:
    broken("nobody-annotating")
    status, document = run_json(NOTEBOOK, "--target", "breakable")
    record = only(document)
    assert (status, record.status) == (2, "CRITICAL")
    named = by_check(record)["queue.annotators"]
    assert named.status == "CRITICAL" and not named.explained_by
    assert "nobody has annotated for 30 h, since " in named.message and "while items wait" in named.message
    bad = [finding for finding in record.findings if finding.status in ("WARNING", "CRITICAL")]
    assert {f.explained_by for f in bad if f is not named} == {"queue.annotators"}
    assert {f.check for f in bad} == {"queue.annotators", "queue.flow", "queue.oldest_item", "queue.stuck"}
    assert not record.plans, "to release what is in review, or more containers, would not help"


def test_a_fault_of_the_queue_is_healed_to_the_last_digit_whatever_a_plan_did(
    breakable: Place, opened: Callable[..., Any]
) -> None:
    items, events, users = rows(breakable), rows(breakable, EVENTS), rows(breakable, "SELECT * FROM users ORDER BY id")
    faults.break_sandbox(breakable, "nobody-annotating")
    faults.break_sandbox(breakable, "queue-stuck")
    assert not {row[0:6] for row in rows(breakable)} & {row[0:6] for row in items}
    change(breakable, "UPDATE triage_items SET status = 'skipped', assigned_to = NULL WHERE item_id = 'item040'")
    assert faults.heal(breakable) == ["queue-stuck", "nobody-annotating"]
    assert (rows(breakable), rows(breakable, EVENTS)) == (items, events)
    assert rows(breakable, "SELECT * FROM users ORDER BY id") == users
    run = opened()
    for question in queue.questions:
        assert {finding.status for finding in run.ask(question).findings} == {OK}, question.name


# --- the plan, and its inverse


def test_the_inverse_brings_back_exactly_what_was_there(
    broken: Callable[[str], Place], opened: Callable[..., Any]
) -> None:
    place, run = broken("queue-stuck"), opened()
    before = rows(place)
    shown = released(run)
    plan = shown.plans[0].plan
    done = run.apply(shown, token_of(plan)).plans[0]
    assert done.state is PlanState.VERIFIED and rows(place) != before
    inverse = freeze_inverse(plan, queue.release, queue.release.observe(run._dependencies, 8.0))
    (told,) = inverse.blast_radius
    assert "item041 with nobody" in told and "item001 with left@example.com" in told
    undone = run.apply(released(run, confirm=token_of(inverse)), token_of(inverse)).plans[0]
    assert undone.state is PlanState.VERIFIED, undone
    assert rows(place) == before and journal(plan)[-1].event == "rolled-back"


def test_what_the_plan_shows_is_a_statement_that_can_be_typed(
    broken: Callable[[str], Place], opened: Callable[..., Any]
) -> None:
    place, plan = broken("queue-stuck"), released(opened()).plans[0].plan
    before = rows(place)
    (step,), (back,) = plan.steps, plan.inverse
    assert "--" not in step.shown and "DELETE" not in step.shown.upper()
    assert rows(place, step.shown) == [(16,)] and rows(place) != before
    assert rows(place, back.shown) == [(16,)] and rows(place) == before
    assert rows(place, back.shown) == [], "what is in review already stays as it is"


@pytest.mark.parametrize(
    "meanwhile",
    [
        "UPDATE triage_items SET status = 'completed', completed_at = now() WHERE item_id = 'item039'",
        "UPDATE triage_items SET assigned_to = 'admin@example.com' WHERE item_id = 'item001'",
        "UPDATE triage_items SET assigned_at = now() WHERE item_id = 'item041'",
        "DELETE FROM triage_items WHERE item_id = 'item042'",
    ],
    ids=["finished", "taken by another one", "taken again", "gone"],
)
def test_where_one_item_moved_meanwhile_nothing_at_all_is_changed(
    meanwhile: str, broken: Callable[[str], Place], opened: Callable[..., Any]
) -> None:
    place, run = broken("queue-stuck"), opened()
    whole = rows(place, "SELECT * FROM triage_items WHERE item_id = 'item042'")
    shown = released(run)
    change(place, meanwhile)
    before = rows(place)
    done = run.apply(shown, token_of(shown.plans[0].plan))
    assert done.plans[0].state is PlanState.FAILED and "nothing was changed: one of the items" in text(done)
    assert rows(place) == before
    with postgres_server.superuser(place) as connection:
        connection.execute(
            "INSERT INTO triage_items VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING", whole[0]
        )


def test_an_item_that_somebody_has_a_lock_on_is_not_waited_for(
    broken: Callable[[str], Place], opened: Callable[..., Any]
) -> None:
    place, run = broken("queue-stuck"), opened()
    shown, before = released(run), rows(place)
    with postgres_server.superuser(place) as connection, connection.transaction():
        connection.execute("SELECT FROM triage_items WHERE item_id = 'item039' FOR UPDATE")
        done = run.apply(shown, token_of(shown.plans[0].plan))
    assert done.plans[0].state is PlanState.FAILED and "lock timeout" in text(done) and rows(place) == before


def test_the_inverse_takes_no_item_away_from_who_works_on_it_by_now(
    broken: Callable[[str], Place], opened: Callable[..., Any]
) -> None:
    place, run = broken("queue-stuck"), opened()
    shown = released(run)
    plan = shown.plans[0].plan
    run.apply(shown, token_of(plan))
    taken = "SET status = 'in_review', assigned_to = 'annotator1@example.com', assigned_at = now()"
    change(place, f"UPDATE triage_items {taken} WHERE item_id = 'item005'")
    before = rows(place)
    inverse = freeze_inverse(plan, queue.release, queue.release.observe(run._dependencies, 8.0))
    undone = run.apply(released(run, confirm=token_of(inverse)), token_of(inverse))
    assert undone.plans[0].state is PlanState.FAILED and rows(place) == before


def test_a_release_that_was_cut_short_can_be_told_later(
    broken: Callable[[str], Place], opened: Callable[..., Any]
) -> None:
    place, run = broken("queue-stuck"), opened()
    plan, asking, now = released(run).plans[0].plan, run._dependencies, datetime.now(UTC)
    (step,) = plan.steps

    def happened(act: str) -> bool | None:
        return queue.release.acts[act].happened(asking, step.arguments, now)

    assert (happened("release"), happened("hold_again")) == (False, True)
    rows(place, step.shown)
    assert (happened("release"), happened("hold_again")) == (True, False)
    change(place, "UPDATE triage_items SET status = 'skipped' WHERE item_id = 'item001'")
    assert (happened("release"), happened("hold_again")) == (None, None)


def test_on_a_healthy_queue_and_for_a_pause_nothing_is_released(
    broken: Callable[[str], Place], opened: Callable[..., Any]
) -> None:
    run = opened()
    assert not released(run).plans and run.ask(queue.stuck).verdict is OK
    assert "nothing that it would mend is wrong" in text(released(run))
    broken("queue-stuck")
    assert opened().ask(queue.stuck, older=200).verdict is CRITICAL, "who is gone is gone, however short ago"
    with pytest.raises(NotPlanned, match=r"in review for 0\.5 h is work: 1 h at least"):
        queue.release.draft({"items": [{}]}, 0.5)


def test_of_very_many_stuck_items_the_first_are_released_and_the_others_told() -> None:
    item = {"assigned_to": "a", "assigned_at": None, "hours": 9.0, "kind": "items in review for long"}
    items = [{**item, "item_id": f"item{n}"} for n in range(250)]
    made = queue.release.draft({"older": 8.0, "items": items}, 8.0)
    assert made.summary == "have 100 stuck items wait again"
    assert made.blast_radius[-1] == "150 others stuck as well: plan again for the next"
    assert len(json.loads(made.steps[0].arguments["items"])) == 100


def test_a_role_that_may_not_change_items_is_told_its_grant_before_anything_is_planned(
    postgres_of_all: Cluster, profile: Callable[..., str], opened: Callable[..., Any]
) -> None:
    late = "UPDATE triage_items SET status = 'in_review' WHERE item_id = 'i1'"
    tables(postgres_of_all, "queue_rights", *FILLED, late)
    try:
        postgres_of_all.execute("DROP ROLE IF EXISTS porter", "CREATE ROLE porter LOGIN")
        text_ = postgres_of_all.profile(database="queue_rights")
        mine = f'operator_dsn = "{postgres_of_all.dsn("porter", "queue_rights")}"'
        lines = [mine if line.startswith("operator_dsn") else line for line in text_.splitlines()]
        run = opened(profile("\n".join(lines)), "postgres")
        shown = released(run)
        assert not shown.plans and shown.findings[0].status is WARNING
        grant = "GRANT SELECT, UPDATE (status, assigned_to, assigned_at) ON triage_items TO porter"
        assert shown.findings[0].message.endswith(grant)
        postgres_of_all.execute(grant, database="queue_rights")
        plan = released(run).plans[0].plan
        assert run.apply(released(run, confirm=token_of(plan)), token_of(plan)).plans[0].state is PlanState.VERIFIED
    finally:
        postgres_of_all.execute("DROP DATABASE queue_rights WITH (FORCE)", "DROP ROLE porter")


# --- tables of every kind


def tables(made: Cluster, database: str, *more: str, drop: tuple[str, ...] = ()) -> None:
    """Make a database with the service's tables, no rows in them, and these statements."""
    made.execute(f"CREATE DATABASE {database}")
    every = {
        "users": "id uuid DEFAULT gen_random_uuid(), username text, email text, is_active boolean",
        "sentences": "id bigint PRIMARY KEY",
        "candidates": "id bigint PRIMARY KEY",
        "triage_items": "item_id text PRIMARY KEY, sentence_id bigint, candidate_id bigint, priority_score real, "
        "priority_level text, status text, assigned_to text, assigned_at timestamptz, completed_at timestamptz, "
        "created_at timestamptz",
        "annotation_events": "id bigint, annotator_email text, processing_time real, timestamp timestamptz",
    }
    made.execute(*(f"CREATE TABLE {n} ({c})" for n, c in every.items() if n not in drop), *more, database=database)


@pytest.fixture
def with_tables(
    postgres_of_all: Cluster, profile: Callable[..., str], opened: Callable[..., Any]
) -> Iterator[Callable[..., Any]]:
    """Open a run on a database of these tables, by its superuser and without a service; it is dropped afterwards."""
    made = []

    def open_(*statements: str, drop: tuple[str, ...] = ()) -> Any:
        made.append(f"queue_{len(made)}")
        tables(postgres_of_all, made[-1], *statements, drop=drop)
        return opened(profile(postgres_of_all.profile(database=made[-1])), "postgres")

    yield open_
    for database in made:
        postgres_of_all.execute(f"DROP DATABASE {database} WITH (FORCE)")


FILLED = (
    "INSERT INTO sentences SELECT generate_series(1, 9)",
    "INSERT INTO candidates SELECT generate_series(1, 9)",
    "INSERT INTO users (username, email, is_active) VALUES ('ann', 'Ann@x.org', true), ('left', 'left@x.org', false)",
    "INSERT INTO triage_items SELECT 'i' || n, n, n, 0.5, 'HIGH', 'pending', NULL, NULL, NULL, now() - interval '1 h' "
    "FROM generate_series(1, 9) AS n",
)


def test_tables_that_are_not_there_are_named_and_nothing_is_0(with_tables: Callable[..., Any]) -> None:
    run = with_tables(drop=("triage_items", "annotation_events"))
    for question in (queue.oldest_item, queue.composition, queue.flow, queue.stuck, queue.annotators):
        (found,) = run.ask(question).findings
        assert found.status is UNKNOWN and "has no table" in found.message, question.name
    shown = released(run)
    assert not shown.plans and "the database has no table triage_items" in text(shown)


def test_without_the_users_or_the_right_to_see_them_what_is_late_is_still_told(
    with_tables: Callable[..., Any],
) -> None:
    late = "UPDATE triage_items SET status = 'in_review', assigned_to = 'x', assigned_at = now() - interval '9 h' "
    for without in ({"drop": ("users",)}, {"drop": ("users", "candidates")}):
        statements = [line for line in FILLED if not any(name in line.split(" SELECT")[0] for name in without["drop"])]
        run = with_tables(*statements, f"{late} WHERE item_id = 'i1'", **without)
        found = by_object(run.ask(queue.stuck).findings)
        assert found["items in review for long"].status is WARNING
        assert found["who has them"].status is UNKNOWN and '"users" does not exist' in found["who has them"].message
        gone = "candidates" in without["drop"]
        assert found["orphaned items"].status is (UNKNOWN if gone else OK)


def test_an_empty_table_of_users_accuses_nobody(with_tables: Callable[..., Any]) -> None:
    taken = "UPDATE triage_items SET status = 'in_review', assigned_to = 'ann@x.org', assigned_at = now()"
    run = with_tables(*FILLED, taken, "TRUNCATE users")
    found = by_object(run.ask(queue.stuck).findings)
    assert found["items in review"].status is OK
    assert found["who has them"].message == "who has them is not known: the table users is empty"


def test_who_has_an_item_may_be_named_by_mail_by_name_or_by_id(with_tables: Callable[..., Any]) -> None:
    taken = (
        "UPDATE triage_items SET status = 'in_review', assigned_at = now(), assigned_to = CASE item_id WHEN 'i1' THEN "
        "'ann@X.org' WHEN 'i2' THEN 'ann' WHEN 'i3' THEN (SELECT id::text FROM users WHERE username = 'ann') WHEN 'i4' "
        "THEN 'LEFT' WHEN 'i5' THEN 'nobody''s' END WHERE item_id < 'i7'"
    )
    frame = with_tables(*FILLED, taken).ask(queue.stuck).frame
    assert dict(zip(frame["item_id"], frame["kind"], strict=True)) == {
        "i4": "items with deactivated users", "i5": "items with unknown users", "i6": "items with nobody",
    }  # fmt: skip


def test_orphaned_items_are_told_and_never_released(with_tables: Callable[..., Any]) -> None:
    run = with_tables(*FILLED, "DELETE FROM candidates WHERE id = 3", "DELETE FROM sentences WHERE id IN (3, 4)")
    found = by_object(run.ask(queue.stuck).findings)
    assert found["orphaned items"].status is WARNING and "2 items waiting" in found["orphaned items"].message
    assert "not to be released" in found["orphaned items"].next and found["items in review"].status is OK
    assert "no item is stuck in review" in text(released(run))


def test_times_that_cannot_be_true_are_told_and_count_for_nothing(with_tables: Callable[..., Any]) -> None:
    odd = (
        "UPDATE triage_items SET created_at = now() + interval '2 h' WHERE item_id = 'i1'",
        "UPDATE triage_items SET created_at = '-infinity' WHERE item_id = 'i2'",
        "UPDATE triage_items SET status = 'completed', completed_at = created_at - interval '1 h' WHERE item_id = 'i3'",
        "UPDATE triage_items SET status = 'skipped' WHERE item_id = 'i4'",
        "UPDATE triage_items SET status = 'in_review', assigned_to = 'ann', assigned_at = v.at FROM (VALUES ('i5', "
        "now() + interval '1 d'), ('i6', 'infinity'), ('i7', NULL)) AS v (id, at) WHERE item_id = v.id",
        "INSERT INTO annotation_events VALUES (1, 'ann', -5, now()), (2, 'ann', 'NaN', now()), (3, 'ann', 9, "
        "now() + interval '1 d'), (4, 'ann', 9, 'infinity')",
    )
    run = with_tables(*FILLED, *odd)
    flow = run.ask(queue.flow, hours=3)
    assert flow.frame["arrived"].sum() == 7 and flow.frame["finished"].sum() == 1
    told = by_object(flow.findings)["times"]
    assert told.status is UNKNOWN and told.message.startswith(
        "1 item has a time to come; 1 item was finished before it came; 1 item is done and nobody says since when"
    )
    stuck = by_object(run.ask(queue.stuck).findings)
    impossible = stuck["items of impossible times"]
    assert impossible.status is UNKNOWN
    assert impossible.message.startswith("3 items in review of ann since a time that is to come")
    assert not released(run).plans, "for how long these are in review nobody knows"
    who = by_object(run.ask(queue.annotators).findings)
    assert who["annotators"].status is OK and "1 annotator with 2 annotations in 1 h" in who["annotators"].message
    assert who["times"].message.startswith("2 annotations have a time to come; 1 annotation took less than no time")


def test_the_columns_may_have_types_of_their_own_and_come_back_with_every_digit(
    with_tables: Callable[..., Any], postgres_of_all: Cluster
) -> None:
    kinds = ("CREATE TYPE state AS ENUM ('pending', 'in_review', 'completed', 'skipped')",)
    retyped = (
        "ALTER TABLE triage_items ALTER status TYPE state USING status::state, ALTER assigned_to TYPE varchar(80), "
        "ALTER assigned_at TYPE timestamp, ALTER created_at TYPE timestamp, ALTER completed_at TYPE timestamp, "
        "ALTER item_id TYPE int USING substr(item_id, 2)::int",
        "UPDATE triage_items SET status = 'in_review', assigned_to = 'left', "
        "assigned_at = timestamp '2026-01-02 03:04:05.678901' + item_id * interval '1 us' WHERE item_id < 5",
        "ALTER DATABASE queue_0 SET timezone = 'Asia/Tokyo'",
        "ALTER DATABASE queue_0 SET datestyle = 'German'",
    )
    run = with_tables(*FILLED, *kinds, *retyped)
    look = "SELECT item_id, status::text, assigned_to, assigned_at FROM triage_items ORDER BY item_id"
    before = postgres_of_all.execute(look, database="queue_0")
    shown = released(run)
    plan = shown.plans[0].plan
    assert run.apply(shown, token_of(plan)).plans[0].state is PlanState.VERIFIED
    now = postgres_of_all.execute(look, database="queue_0")
    assert [row[1:] for row in now] == [("pending", None, None)] * 9
    inverse = freeze_inverse(plan, queue.release, queue.release.observe(run._dependencies, 8.0))
    assert run.apply(released(run, confirm=token_of(inverse)), token_of(inverse)).plans[0].state is PlanState.VERIFIED
    assert postgres_of_all.execute(look, database="queue_0") == before


def test_a_status_that_no_document_names_is_unknown(with_tables: Callable[..., Any]) -> None:
    run = with_tables(*FILLED, "UPDATE triage_items SET status = 'parked' WHERE item_id < 'i3'")
    found = by_object(run.ask(queue.composition).findings)
    assert found["unknown status"].status is UNKNOWN and "parked" in found["unknown status"].message
    assert found["by status"].message == "7 pending, 2 parked" and found["by priority"].message == "waiting: 7 HIGH"
    assert found["by type"].message.startswith("not known: ") and "has no [api]" in found["by type"].message


# --- very many items

MANY = (
    "INSERT INTO triage_items SELECT 'i' || n, n % 9 + 1, n % 9 + 1, 0.5, (ARRAY['CRITICAL', 'HIGH'])[1 + n % 2], "
    "CASE WHEN n % 10 < 8 THEN 'completed' ELSE 'pending' END, NULL, NULL, "
    "CASE WHEN n % 10 < 8 THEN now() - n * {apart} END, now() - interval '1 h' - n * {apart} "
    "FROM generate_series(10, {count}) AS n",
    "UPDATE triage_items SET status = 'in_review', assigned_to = 'left', assigned_at = now() WHERE item_id = 'i19'",
    "CREATE INDEX ON triage_items (status, created_at)",
)


def many(count: int, apart: str) -> list[str]:
    """Return the statements that make so many items, eight of ten finished, one after the other."""
    return [line.format(count=count, apart=f"interval '{apart}'") for line in MANY]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have a table of some 500 pages count as a large one; what waits is counted by the index, unless that is slow."""

    def patch(*, slow: bool) -> None:
        # What it finds is looked at here, not in which time.
        unbounded = lambda self, connection, statement, values=None, **_: connection.rows(statement, values)  # noqa: E731
        monkeypatch.setattr(pages.Part, "read", unbounded)
        monkeypatch.setattr(pages, "WHOLE", 20)
        monkeypatch.setattr(pages, "SOME", 100)
        for module in ("counts", "flow") if slow else ():
            monkeypatch.setattr(sys.modules[f"runbook.queue.{module}"], "waiting_by_index", lambda *_: None)

    return patch


@pytest.mark.parametrize("slow", [False, True], ids=["what waits is counted", "it is too much to count"])
def test_of_a_large_table_a_part_is_read_and_how_far_off_that_may_be_is_true(
    slow: bool, with_tables: Callable[..., Any], large: Callable[..., None]
) -> None:
    large(slow=slow)
    run = with_tables(*FILLED[:3], *many(40_000, "0.02 s"), "ANALYZE")
    found = {row["name"]: row for row in run.ask(queue.composition).frame.to_dict("records")}
    for name, true, counted in (("completed", 31_992, False), ("pending", 7_998, not slow), ("HIGH", 3_999, not slow)):
        within = found[name]["within"]
        assert (within == 0) is counted and within < true
        assert abs(found[name]["items"] - true) <= max(3 * within, 1), name
    told = by_object(run.ask(queue.composition).findings)["by status"].message
    assert "about " in told and "%) completed" in told and ("%) pending" in told) is slow
    flow = run.ask(queue.flow, hours=1)
    assert flow.findings[0].status in (OK, WARNING) and flow.frame["finished"].sum() == pytest.approx(31_992, abs=60)
    assert flow.frame["counted"].all(), "an index is not needed for so few"
    assert "too many items to count, the oldest waits for" in run.ask(queue.oldest_item).findings[0].message
    stuck = by_object(run.ask(queue.stuck).findings)
    assert stuck["items with deactivated users"].status is WARNING
    assert "of the pages that were read" in stuck["orphaned items"].message


def test_of_a_large_table_the_few_that_wait_may_not_be_seen_and_are_not_told_as_none(
    with_tables: Callable[..., Any], large: Callable[..., None]
) -> None:
    large(slow=True)
    run = with_tables(*FILLED[:3], *many(40_000, "0.02 s"), "DELETE FROM triage_items WHERE status <> 'completed'")
    assert by_object(run.ask(queue.composition).findings)["by priority"].status is UNKNOWN
    (found,) = run.ask(queue.flow).findings
    assert found.status is UNKNOWN and "with an index on triage_items (status) it would be" in found.message


def test_without_an_index_a_large_table_costs_its_share_of_time_and_the_index_is_named(
    with_tables: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "WHOLE", 20)
    monkeypatch.setattr(sys.modules["runbook.queue.oldest_item"], "OLDEST", 0.001)
    run = with_tables(*FILLED[:3], *many(200_000, "0.02 s")[:-1])
    (found,) = run.ask(queue.oldest_item).findings
    assert found.status is UNKNOWN and "took longer than 0.001 s and was ended" in found.message
    assert found.message.endswith("with an index on triage_items (status, created_at) it would not")


def test_all_that_is_asked_of_a_large_table_is_bounded_to_a_second() -> None:
    assert sum(pages.ALL) <= 1.0


@pytest.mark.slow
@pytest.mark.skipif(not CONTRIB, reason="this PostgreSQL comes without contrib")
def test_five_million_items_take_less_than_a_second_of_the_databases_time(
    profile: Callable[..., str], opened: Callable[..., Any]
) -> None:
    with cluster(shared_preload_libraries="pg_stat_statements") as made:
        tables(made, "large", "CREATE EXTENSION pg_stat_statements", *FILLED[:3])
        made.execute(*many(5_000_000, "0.5 s"), "VACUUM ANALYZE", database="large")
        events = "SELECT n, 'ann', 5, now() - n * interval '9 s' FROM generate_series(1, 9000) AS n"
        made.execute(f"INSERT INTO annotation_events {events}", database="large")
        run = opened(profile(made.profile(database="large")), "postgres")
        made.execute("SELECT pg_stat_statements_reset()", database="large")
        asked = (queue.oldest_item, queue.composition, queue.flow, queue.annotators, queue.stuck)
        found = [finding for question in asked for finding in run.ask(question).findings]
        plan = queue.release.observe(run._dependencies, 8.0)
        (row,) = made.execute("SELECT sum(total_exec_time + total_plan_time) FROM pg_stat_statements", database="large")
        assert row[0] < 1000
        assert [item["item_id"] for item in plan["items"]] == ["i19"]
        told = by_object(found)
        assert "about " in told["by status"].message or "took longer than 0.08 s" in str(found)
        assert told["items with deactivated users"].status is WARNING


# --- judged


def flowed(arrived: list[float], finished: list[float], waiting: float = 100, **more: Any) -> pd.DataFrame:
    frame = pd.DataFrame({"arrived": arrived, "finished": finished})
    same = {"items": 500.0, "waiting": waiting, "left_untold": 0.0, "ahead": 0.0, "backwards": 0.0, "share": 1.0}
    frame = frame.assign(begins=pd.Timestamp(0, tz="UTC"), **{**same, "counted": True, **more})
    frame.attrs = {"hours": 1.0}
    return frame


@pytest.mark.parametrize(
    ("arrived", "finished", "status", "says"),
    [
        ([5.0] * 12, [9.0, 10, 11] * 4, OK, "it falls by 60 an hour (95%: 53.5 to 66.5)"),
        ([9.0, 10, 11] * 4, [5.0] * 12, WARNING, "it grows by 60 an hour (95%: 53.5 to 66.5)"),
        ([0.0, 12] * 6, [5.0] * 12, OK, "or stands"),
        ([1.0] + [0.0] * 11, [1.0] + [0.0] * 11, OK, "too few to tell a trend"),
        ([5.0] * 12, [0.0] * 12, WARNING, "nothing was finished while items wait"),
    ],
    ids=["falls", "grows", "may stand", "few", "stands"],
)
def test_the_queue_grows_only_where_that_is_sure(
    arrived: list[float], finished: list[float], status: Status, says: str
) -> None:
    found = queue.flow.check(flowed(arrived, finished))[0]
    assert (found.object, found.status) == ("flow", status) and says in found.message


def test_the_time_to_drain_has_an_interval_and_may_be_never() -> None:
    def drained(arrived: list[float], finished: list[float], waiting: float) -> Finding:
        return by_object(queue.flow.check(flowed(arrived, finished, waiting)))["time to drain"]

    steady = drained([5.0] * 12, [9.0, 10, 11] * 4, 1000)
    assert (steady.status, steady.value) == (OK, 16.67)
    assert steady.message == "1,000 wait: drained in 17 h at this pace (95%: 15 h to 19 h)"
    assert drained([5.0] * 12, [9.0, 10, 11] * 4, 3000).status is WARNING
    assert drained([5.0] * 12, [9.0, 10, 11] * 4, 9000).status is CRITICAL
    assert "to never)" in drained([0.0, 11] * 6, [6.0] * 12, 10).message
    burst = drained([0.0] * 11 + [100.0], [0.0] * 12, 100)
    assert burst.message == "100 wait, and at this pace it is never drained", "nothing was finished at all"
    never = drained([6.0] * 12, [5.0] * 12, 10)
    assert never.status is WARNING and "never drained" in never.message and never.value is None
    assert drained([0.0] * 12, [0.0] * 12, 0).message == "no item waits"


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    held = 0
    for _ in range(400):
        frame = flowed(list(random.poisson(4, 12).astype(float)), list(random.poisson(9, 12).astype(float)))
        now = pace(frame, 1.0)
        held += now.low <= 60 <= now.high
    assert 370 <= held <= 392


def test_of_a_part_of_the_table_too_little_may_be_seen_to_tell_a_pace() -> None:
    frame = flowed([0.0] * 12, [50.0] + [0.0] * 11, 1e6, share=0.01, counted=False)
    (found,) = queue.flow.check(frame)
    assert found.status is UNKNOWN and "have indexes on completed_at and on created_at" in found.next


def worked(*people: tuple[str, str, int], **attrs: Any) -> pd.DataFrame:
    columns = ["period", "annotator", "annotations", "per_hour", "median_seconds", "backwards", "newest"]
    made = [(when, who, n, float(n), 12.0, 0, pd.Timestamp(0, tz="UTC")) for when, who, n in people]
    frame = pd.DataFrame(made, columns=columns)
    told = {"newest": "2026-01-01 10:00 UTC", "idle_seconds": 0.0, "week_known": True, "ahead": 0, "waiting": True}
    frame.attrs = {**told, "hours": 1.0, **attrs}
    return frame


@pytest.mark.parametrize(
    ("frame", "status", "says"),
    [
        (worked(("now", "a", 9)), OK, "1 annotator with 9 annotations in 1 h (a 9/h), 12 s each (median)"),
        (worked(("now", "a", 9), ("a day before", "a", 90)), WARNING, "a day before 90 annotations of 1 annotator"),
        (worked(("now", "a", 9), ("a day before", "a", 90), ("a week before", "b", 20)), OK, "a week before 20"),
        (worked(idle_seconds=3 * 3600.0), OK, "nobody has annotated for 3 h"),
        (worked(idle_seconds=5 * 3600.0), OK, "at this time nobody did a day before, nobody a week before"),
        (worked(("a week before", "a", 5), idle_seconds=5 * 3600.0), WARNING, "1 annotator a week before"),
        (worked(idle_seconds=5 * 3600.0, week_known=False), WARNING, "while items wait"),
        (worked(idle_seconds=25 * 3600.0), CRITICAL, "nobody has annotated for 25 h"),
        (worked(idle_seconds=25 * 3600.0, waiting=False), OK, "no item waits for anybody"),
        (worked(newest=""), UNKNOWN, "or the service does not write annotation_events"),
        (worked(newest="", waiting=False), OK, "no annotation was ever recorded"),
    ],
)
def test_nobody_at_work_is_judged_by_what_is_usual_then(frame: pd.DataFrame, status: Status, says: str) -> None:
    (found,) = queue.annotators.check(frame)
    assert (found.object, found.status) == ("annotators", status) and says in found.message


@pytest.mark.parametrize(
    ("before", "after", "table", "status", "says"),
    [
        (42, 42, 42, OK, "the service says 42 (as queue_size), the table 42 that wait"),
        (40, 44, 42, OK, "40 and then 44"),
        (42, 42, 48, WARNING, "they do not count the same items"),
        (1000, 1000, 1019, OK, "the same, within what comes and goes"),
        (8, 8, 0, WARNING, "the service says 8 items, the table none: its queue is in its memory, and gone when it"),
        (3, 3, 0, OK, "the same"),
        (8, 80, 8, WARNING, "the service answers from several queues"),
    ],
)
def test_the_database_and_the_service_are_compared(
    before: int, after: int, table: float, status: Status, says: str
) -> None:
    row = {"before": before, "after": after, "told_as": "queue_size", "table": table, "within": 0.0}
    (found,) = queue.compared.check(pd.DataFrame([row]))
    assert found.status is status and says in found.message


@pytest.mark.parametrize("hours", [0, -1, math.inf, math.nan, 1e9])
def test_hours_that_cannot_be_are_refused(hours: float, opened: Callable[..., Any], breakable: Place) -> None:
    run = opened()
    for question, given in ((queue.flow, "hours"), (queue.annotators, "hours"), (queue.stuck, "older")):
        with pytest.raises(UsageError):
            run.ask(question, **{given: hours})

"""Damaged data on a real cluster with checksums: how far it reaches, what comes back, what stands against it."""

import os
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from carrying import carried_out, opening
from cluster import Cluster, cluster, needs_contrib
from psycopg import sql

from runbook import annotations, api, backups, postgres, recovery
from runbook.connections import RestoringDatabase
from runbook.model import ChangeFailed, CouldNotFindOut, Status
from runbook.model.plan import PlanState
from runbook.plans.place import journal
from runbook.plans.token import token_of
from runbook.recovery.pages import Damage
from runbook.recovery.readable import tables_of
from runbook.recovery.salvage import _unpack
from runbook.target import load_target
from runbook_sandbox import backups as made_backups
from runbook_sandbox import damage, faults, postgres_server, stack
from runbook_sandbox.place import Place

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
NEEDS = ["api", "postgres", "restoring database"]
GOLD = "SELECT id, label FROM gold_annotations ORDER BY id"
PAGE = 7


@pytest.fixture(scope="module")
def damaged() -> Iterator[Place]:
    """A practice stack whose newest backup has 4,000 annotations, and whose database has gone on since."""
    place = stack.up("damaged", watched=False, recorded=True)
    with postgres_server.superuser(place) as connection:
        connection.execute(
            "INSERT INTO gold_annotations SELECT n, 1 + n % 60, 'PATHOGEN', 'annotator1@example.com', now() "
            "FROM generate_series(1, 4000) AS n"
        )
    made_backups.make_anew(place, "shrimp_annotation")
    with postgres_server.superuser(place) as connection:
        connection.execute("UPDATE gold_annotations SET label = 'DISEASE' WHERE id % 100 = 1")
        connection.execute("DELETE FROM gold_annotations WHERE id % 400 = 3")
        connection.execute("VACUUM gold_annotations")
        connection.execute(
            "INSERT INTO gold_annotations SELECT n, 1 + n % 60, 'TREATMENT', 'annotator2@example.com', now() "
            "FROM generate_series(4001, 4300) AS n"
        )
    yield place
    stack.down(place)


@pytest.fixture
def opened() -> Iterator[Callable[..., Any]]:
    with opening("data-corruption-recovery", "damaged", NEEDS) as open_:
        yield open_


def told(run: Any, question: Any) -> dict[str, Any]:
    return {finding.object: finding for finding in run.ask(question).findings}


def rows(place: Place, statement: str = GOLD) -> Any:
    with postgres_server.superuser(place) as connection:
        return connection.execute(statement.encode()).fetchall()


def dumped_as(place: Place, role: str) -> bytes:
    state = place.read("state.json")
    argv = [f"{state['postgres_bin']}/pg_dump", "-h", place.folder / "postgres", "-p", str(state["ports"]["postgres"]),
            "-U", role, "-d", "shrimp_annotation"]  # fmt: skip
    return subprocess.run(argv, capture_output=True, check=True).stdout


@pytest.mark.slow
@needs_contrib
def test_each_damage_is_named_and_every_row_comes_back_that_a_backup_has_or_that_can_be_read(
    damaged: Place, opened: Callable[..., Any]
) -> None:
    before = dict(rows(damaged))
    on_page = {number for (number,) in rows(
        damaged, f"SELECT id FROM gold_annotations WHERE ctid >= '({PAGE},0)' AND ctid < '({PAGE + 1},0)'"
    )}  # fmt: skip
    new = {number for number in on_page if number > 4000}
    deleted = set(range(3, 4001, 400))
    assert len(on_page) > 50 and new
    damage.put_aside(damaged, copied=True)
    try:
        with postgres_server.superuser(damaged) as connection:
            damage.hide(connection, "documents_pkey", damage.HIDDEN)
        damage.flip(damaged, "gold_annotations", PAGE)
        run = opened()
        heap = told(run, postgres.heap_integrity)["table public.gold_annotations"]
        assert (
            heap.status is CRITICAL and heap.value == 1 and f"the first at block {PAGE}: invalid page" in heap.message
        )
        read = told(run, recovery.readable)["table public.gold_annotations"]
        assert read.status is CRITICAL and "1 page cannot be read" in read.message
        assert f"{len(before) - len(on_page):,} rows of its" in read.message
        index = told(run, postgres.index_integrity)
        assert index["index public.documents_pkey"].status is CRITICAL
        assert "its table public.gold_annotations is damaged" in index["further indexes"].message

        for change, verify in (
            (recovery.stop_service, []), (recovery.copy_cluster, []), (backups.restore, [backups.restored]),
            (recovery.salvage, []), (recovery.swap, [postgres.reachable]),
            (recovery.start_service, [api.readiness, api.user_request]),
        ):  # fmt: skip
            done = carried_out(opened(), change, verify, wanted=True)
            assert done.state is PlanState.VERIFIED, (change.name, done.told)
        former = next(name for name in told(opened(), recovery.position) if name.startswith("kept ")).removeprefix(
            "kept "
        )
        with postgres_server.superuser(damaged, former) as connection, pytest.raises(psycopg.errors.DataCorrupted):
            connection.execute("SELECT count(*) FROM gold_annotations")  # nothing has made it look well
        copies = list((damaged.folder / "preserved").glob("*/cluster/copy/base.tar"))
        assert len(copies) == 1 and copies[0].stat().st_size > 1 << 20

        after = dict(rows(damaged))
        assert {number: after[number] for number in before if number not in on_page} == {
            number: label for number, label in before.items() if number not in on_page
        }
        # Of the damaged page all is as the backup has it, and what no backup has is taken as it can be read.
        assert on_page <= after.keys() and {after[number] for number in on_page - new} == {"PATHOGEN"}
        assert {after[number] for number in new} == {"TREATMENT"}
        assert after.keys() - before.keys() == deleted  # nobody can tell what was deleted from what was lost
        run = opened()
        difference = told(run, recovery.salvaged)["table public.gold_annotations"]
        assert difference.status is WARNING and f"{len(on_page - new | deleted):,} more came from" in difference.message
        assert f"{300 - len(new)} added since" in difference.message
        assert f"{len(new)} of damaged pages are in no backup and doubtful" in difference.message
        listed = rows(damaged, "SELECT what, count(*) FROM runbook_salvage.rows GROUP BY what")
        assert dict(listed) == {"from backup": len(on_page - new | deleted), "doubtful": len(new)}
        # What an index hid is found by it again, and nothing else is wrong.
        assert rows(damaged, "SELECT doc_id FROM documents WHERE doc_id = 'doc013'") == [("doc013",)]
        for question in (postgres.heap_integrity, postgres.index_integrity, postgres.foreign_keys, annotations.rules):
            assert [finding.status for finding in run.ask(question).findings] == [OK], question.name
        # The application goes on to dump it with its own role.
        assert b"runbook_salvage" in dumped_as(damaged, "shrimp_user")
    finally:
        damage.bring_back(damaged)


DIES = """
import os, sys
from runbook import backups, recovery
from runbook.model.change import Act
from runbook.session import open_run
name, token, number = sys.argv[1:4]
change = {one.name: one for one in (*recovery.changes, *backups.changes)}[name]
done = {"acts": 0}
def dying(act):
    def do(asking, arguments):
        done["acts"] += 1
        told = act.do(asking, arguments)
        if done["acts"] == int(number):
            os.kill(os.getpid(), 9)
        return told
    return Act(do, act.happened)
change.acts.update({key: dying(act) for key, act in list(change.acts.items())})
run = open_run("data-corruption-recovery", target="damaged", needs=["api", "postgres", "restoring database"])
run.apply(run.propose(change, wanted=True, verify=[], confirm=token), token)
"""


@pytest.mark.slow
def test_killed_in_the_copy_in_the_middle_of_saving_or_in_the_swap_it_is_gone_on_with_by_the_same_token(
    damaged: Place, opened: Callable[..., Any]
) -> None:
    shutil.rmtree(damaged.folder / "preserved", ignore_errors=True)
    faults.break_sandbox(damaged, "page-damaged")
    try:
        carried_out(opened(), recovery.stop_service, [], wanted=True)
        for change, number in (
            (recovery.copy_cluster, 1), (backups.restore, 0), (recovery.salvage, 4), (recovery.swap, 1),
        ):  # fmt: skip
            run = opened()
            plan = run.propose(change, wanted=True, verify=[]).plans[0].plan
            token = token_of(plan)
            if number:
                argv = [sys.executable, "-c", DIES, change.name, token, str(number)]
                died = subprocess.run(argv, capture_output=True, text=True)
                assert died.returncode == -9 and journal(plan)[-1].event == "intent", died.stderr
            done = run.apply(run.propose(change, wanted=True, verify=[], confirm=token), token).plans[0]
            assert done.state is PlanState.VERIFIED, (change.name, done.told)
        assert rows(damaged, "SELECT count(*) FROM candidates") == [(60,)]
        assert len(rows(damaged, "SELECT * FROM runbook_salvage.tables")) == 11
        assert carried_out(opened(), recovery.start_service, [api.readiness], wanted=True).state is PlanState.VERIFIED
    finally:
        faults.heal(damaged)


@pytest.mark.slow
@needs_contrib
def test_where_only_an_index_is_damaged_its_rebuild_is_planned_and_everybody_works_on(
    damaged: Place, opened: Callable[..., Any], run_json: Any, archive: Path
) -> None:
    faults.break_sandbox(damaged, "index-damaged")
    try:
        run = opened("damaged", [*NEEDS, "operator database"])
        named = told(run, postgres.index_integrity)["index public.documents_pkey"]
        assert named.status is CRITICAL and told(run, postgres.heap_integrity)["tables"].status is OK
        with postgres_server.superuser(damaged) as connection:
            connection.execute("SET enable_seqscan = off")
            asking = "SELECT count(*) FROM documents WHERE doc_id = 'doc013'"
            assert connection.execute(asking).fetchone() == (0,)
            given = {"index": "public.documents_pkey", "minutes": 1.0, "free_mib": 0.0}
            done = carried_out(run, postgres.reindex, [postgres.index_integrity], **given)
            assert done.state is PlanState.VERIFIED and connection.execute(asking).fetchone() == (1,)
        status, document = run_json("data-corruption-recovery", "--target", "damaged", "-p", "recover=true")
        planned = {plan.plan.change for plan in document.runs[0].plans}
        assert status == 0 and "recovery.stop_service" in planned
    finally:
        faults.heal(damaged)


def test_headless_the_notebook_names_the_damaged_page_and_plans_what_is_next(
    damaged: Place, run_json: Any, archive: Path
) -> None:
    shutil.rmtree(damaged.folder / "preserved", ignore_errors=True)
    faults.break_sandbox(damaged, "page-damaged")
    try:
        status, document = run_json("data-corruption-recovery", "--target", "damaged", "-p", "recover=true")
        found = {finding.check: finding for finding in document.runs[0].findings if finding.status is CRITICAL}
        assert status == 2 and "block 0" in found["recovery.readable"].message
        planned = {plan.plan.change for plan in document.runs[0].plans}
        assert {"recovery.stop_service", "recovery.copy_cluster", "backups.restore"} <= planned
    finally:
        faults.heal(damaged)


# --- on a cluster of its own, table by table


@pytest.fixture(scope="module")
def own() -> Iterator[Cluster]:
    with cluster() as running:
        yield running


@pytest.fixture
def service(own: Cluster, tmp_path: Path, profile: Callable[..., str]) -> Iterator[Callable[..., str]]:
    """Make a service's database of statements, and a backup of it; returns the name of a target with both."""
    own.execute("DROP DATABASE IF EXISTS service", "CREATE DATABASE service")
    kept = tmp_path / "preserved"
    kept.mkdir()

    def make(*statements: str, more: str = "") -> str:
        own.execute(*statements, database="service")
        dump = tmp_path / "database-2026-11-28T0300.dump"
        argv = [own.binaries / "pg_dump", "-Fc", "-h", own.folder, "-p", str(own.port), "-U", "postgres", "service"]
        dump.write_bytes(subprocess.run(argv, capture_output=True, check=True).stdout)
        text = own.profile(database="service")
        text += f'[backups]\nbinaries = "{own.binaries}"\nrestore_dsn = "{own.dsn()}"\n'
        text += f'[[backups.sets]]\nname = "database"\nkind = "database"\nfiles = "{tmp_path}/database-*.dump"\n'
        return profile(text + more + f'\n[recovery]\npreserve = "{kept}"\n', "own")

    yield make
    if not (own.data / "postmaster.pid").exists():
        own.start()
    names = own.execute("SELECT datname FROM pg_database WHERE datname LIKE 'service%'")
    own.execute(*(f'DROP DATABASE "{name}" WITH (FORCE)' for (name,) in names))


def restored_beside_a_copy(run: Any) -> Any:
    assert carried_out(run, recovery.copy_cluster, [], wanted=True).state is PlanState.VERIFIED
    done = carried_out(run, backups.restore, [backups.restored], wanted=True)
    assert done.state is PlanState.VERIFIED, done.told
    return done.plan


def spoil(own: Cluster, relation: str, block: int, at: int) -> None:
    """Change bytes of a relation's page on the disk."""
    own.execute("CHECKPOINT")
    ((path,),) = own.execute(f"SELECT pg_relation_filepath({relation})", database="service")
    own.stop()
    damage.flip_bytes(own.data / path, block, at)
    own.start()


MANY = "INSERT INTO t SELECT n, repeat(md5(n::text), 3) FROM generate_series(1, 1000) AS n"


def test_a_row_whose_further_pieces_are_damaged_is_lost_alone(
    own: Cluster, service: Callable[..., str], opened: Callable[..., Any]
) -> None:
    long = "SELECT string_agg(md5((n * 7919 + m)::text), '') FROM generate_series(1, 200) AS m"
    name = service(
        "CREATE TABLE t (id int PRIMARY KEY, body text)",
        f"INSERT INTO t SELECT n, ({long}) FROM generate_series(1, 50) AS n",
    )
    toast = "(SELECT reltoastrelid FROM pg_class WHERE relname = 't')"
    spoil(own, toast, 3, 4000)
    run = opened(name, ["postgres", "restoring database"])
    read = told(run, recovery.readable)["table public.t"]
    assert read.status is CRITICAL and "1 row cannot be read, the first at ctid (0," in read.message, read.message
    assert "49 rows of its 1 page can" in read.message
    restored_beside_a_copy(run)
    carried_out(run, recovery.salvage, [], wanted=True)
    saved = told(run, recovery.salvaged)["table public.t"]
    assert "1 more came from the backup" in saved.message and saved.status is WARNING


def test_without_a_primary_key_rows_are_compared_whole(
    own: Cluster, service: Callable[..., str], opened: Callable[..., Any]
) -> None:
    name = service("CREATE TABLE t (id int, body text)", MANY, "INSERT INTO t VALUES (5000, 'twice'), (5000, 'twice')")
    own.execute("INSERT INTO t VALUES (5001, 'since')", database="service")
    spoil(own, "'t'", 4, 100)
    run = opened(name, ["postgres", "restoring database"])
    restored = restored_beside_a_copy(run)
    done = carried_out(run, recovery.salvage, [], wanted=True)
    assert any("without a primary key" in reach for reach in done.plan.blast_radius)
    database = restored.steps[0].arguments["database"]
    counts = own.execute("SELECT count(*), count(DISTINCT id), max(id) FROM t", database=database)
    assert counts == [(1003, 1002, 5001)]


@pytest.mark.parametrize(
    ("name", "kind"), [("../out", tarfile.REGTYPE), ("/tmp/out", tarfile.REGTYPE), ("base/link", tarfile.SYMTYPE)]
)
def test_a_copy_that_holds_what_no_base_backup_has_is_not_unpacked(tmp_path: Path, name: str, kind: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd" if kind == tarfile.SYMTYPE else ""
    with tarfile.open(tmp_path / "base.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("PG_VERSION"))
        archive.addfile(member)
    (tmp_path / "into").mkdir()
    with pytest.raises(ChangeFailed, match="which no base backup has"):
        _unpack(tmp_path / "base.tar", tmp_path / "into")
    assert not list((tmp_path / "into").iterdir())


def test_sequences_stand_where_they_stood_and_generated_columns_are_made_again(
    own: Cluster, service: Callable[..., str], opened: Callable[..., Any]
) -> None:
    name = service(
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, "
        "b int GENERATED ALWAYS AS (a * 2) STORED)",
        "INSERT INTO t (a) SELECT n FROM generate_series(1, 5) AS n",
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent)",
    )
    own.execute(
        "INSERT INTO t (a) VALUES (7)", "INSERT INTO parent VALUES (1)", "INSERT INTO child VALUES (1, 1)",
        database="service",
    )  # fmt: skip
    run = opened(name, ["postgres", "restoring database"])
    restored = restored_beside_a_copy(run)
    assert carried_out(run, recovery.salvage, [], wanted=True).state is PlanState.VERIFIED
    database = restored.steps[0].arguments["database"]
    assert own.execute("INSERT INTO t (a) VALUES (8) RETURNING id, b", database=database) == [(7, 16)]
    assert own.execute("SELECT count(*) FROM child", database=database) == [(1,)]
    whole = told(run, recovery.salvaged)["whole tables"]
    assert whole.status is OK and "3 tables of 3" in whole.message


def test_rows_that_break_a_rule_that_nobody_proved_are_saved_and_the_rule_stays(
    own: Cluster, service: Callable[..., str], opened: Callable[..., Any]
) -> None:
    name = service(
        "CREATE TABLE t (id int PRIMARY KEY, n int)", "INSERT INTO t VALUES (1, -1)",
        'ALTER TABLE t ADD CONSTRAINT "above 0" CHECK (n > 0) NOT VALID',
    )  # fmt: skip
    own.execute("INSERT INTO t VALUES (2, 2)", database="service")
    run = opened(name, ["postgres", "restoring database"])
    restored = restored_beside_a_copy(run)
    done = carried_out(run, recovery.salvage, [], wanted=True)
    assert done.state is PlanState.VERIFIED, done.told
    database = restored.steps[0].arguments["database"]
    assert own.execute("SELECT * FROM t ORDER BY id", database=database) == [(1, -1), (2, 2)]
    with pytest.raises(psycopg.errors.CheckViolation):
        own.execute("INSERT INTO t VALUES (3, 0)", database=database)


def test_a_sequence_that_cannot_be_read_goes_on_behind_the_highest_value_in_its_column(
    own: Cluster, service: Callable[..., str], opened: Callable[..., Any]
) -> None:
    name = service(
        "CREATE TABLE t (id serial PRIMARY KEY, n int)", "INSERT INTO t (n) SELECT generate_series(1, 5)",
        "CREATE SEQUENCE alone", "SELECT nextval('alone')",
    )  # fmt: skip
    own.execute("INSERT INTO t (n) SELECT generate_series(6, 9)", "SELECT setval('alone', 70)", database="service")
    spoil(own, "'t_id_seq'", 0, 8150)
    run = opened(name, ["postgres", "restoring database"])
    restored = restored_beside_a_copy(run)
    done = carried_out(run, recovery.salvage, [], wanted=True)
    assert done.state is PlanState.VERIFIED and "public.t_id_seq" in str(done.told), done.told
    database = restored.steps[0].arguments["database"]
    assert own.execute("INSERT INTO t (n) VALUES (10) RETURNING id", database=database) == [(10,)]
    assert own.execute("SELECT nextval('alone')", database=database) == [(71,)]


def test_a_row_that_stands_twice_against_its_key_is_saved_once_and_told(
    own: Cluster, service: Callable[..., str], opened: Callable[..., Any]
) -> None:
    name = service("CREATE TABLE t (id int PRIMARY KEY, body text)", "INSERT INTO t VALUES (1, 'one')")
    with own.connect("service") as connection:
        damage.hide(connection, "t_pkey", "INSERT INTO t VALUES (1, 'other')")
    run = opened(name, ["postgres", "restoring database"])
    restored_beside_a_copy(run)
    carried_out(run, recovery.salvage, [], wanted=True)
    twice = told(run, recovery.salvaged)["table public.t"]
    assert twice.status is WARNING and "1 row stood there twice" in twice.message


def test_a_table_whose_file_is_gone_or_cut_is_never_taken_for_an_empty_or_shorter_one(
    own: Cluster, service: Callable[..., str], opened: Callable[..., Any]
) -> None:
    name = service(
        "CREATE TABLE gone (id int PRIMARY KEY)", "INSERT INTO gone SELECT n FROM generate_series(1, 10) AS n",
        "CREATE TABLE t (id int PRIMARY KEY, body text)", MANY, "VACUUM t", "CREATE TABLE empty (id int PRIMARY KEY)",
    )  # fmt: skip
    paths = own.execute("SELECT pg_relation_filepath('gone'), pg_relation_filepath('t')", database="service")[0]
    own.execute("INSERT INTO t VALUES (5000, 'since'), (5001, 'since')", "CHECKPOINT", database="service")
    own.stop()
    (own.data / paths[0]).unlink()
    with (own.data / paths[1]).open("r+b") as file:
        file.truncate(4 * 8192)
    own.start()
    run = opened(name, ["postgres", "restoring database"])
    read = told(run, recovery.readable)
    assert set(read) == {"table public.gone", "table public.t"}
    assert {one.status for one in read.values()} == {CRITICAL}
    assert "could not open file" in read["table public.gone"].message, read["table public.gone"].message
    assert "its file ends before block 4" in read["table public.t"].message, read["table public.t"].message
    restored = restored_beside_a_copy(run)
    assert carried_out(run, recovery.salvage, [], wanted=True).state is PlanState.VERIFIED
    database = restored.steps[0].arguments["database"]
    assert own.execute("SELECT count(*) FROM gone", database=database) == [(10,)]
    assert own.execute("SELECT count(*) FROM t", database=database)[0][0] >= 1000
    saved = told(run, recovery.salvaged)
    assert saved["table public.gone"].status is saved["table public.t"].status is WARNING
    assert "pages gave nothing" in saved["table public.t"].message, saved["table public.t"].message


def test_what_can_be_read_goes_before_a_row_of_the_backup_that_holds_the_same_unique_value(
    own: Cluster, service: Callable[..., str], opened: Callable[..., Any]
) -> None:
    name = service(
        "CREATE TABLE t (id int PRIMARY KEY, body text UNIQUE)",
        "INSERT INTO t SELECT n, repeat(md5(n::text), 3) FROM generate_series(1, 1000) AS n",
    )
    own.execute(
        "DELETE FROM t WHERE id = 1", "VACUUM t",
        "INSERT INTO t SELECT 5000, repeat(md5('1'), 3)", database="service",
    )  # fmt: skip
    assert own.execute("SELECT ctid::text LIKE '(0,%' FROM t WHERE id = 5000", database="service") == [(True,)]
    spoil(own, "'t'", 4, 100)
    run = opened(name, ["postgres", "restoring database"])
    restored = restored_beside_a_copy(run)
    carried_out(run, recovery.salvage, [], wanted=True)
    database = restored.steps[0].arguments["database"]
    rows_ = own.execute("SELECT id FROM t WHERE body = repeat(md5('1'), 3)", database=database)
    assert rows_ == [(5000,)]
    listed = own.execute("SELECT content FROM runbook_salvage.rows WHERE what = 'refused'", database=database)
    assert len(listed) == 1 and listed[0][0].startswith("(1,")
    saved = told(run, recovery.salvaged)
    assert saved["table public.t"].status is WARNING and "rows of t" not in str(saved)


def test_a_session_that_somebody_ends_and_a_database_that_is_not_there_say_nothing_of_pages(
    own: Cluster, service: Callable[..., str], opened: Callable[..., Any]
) -> None:
    name = service("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    (table,) = tables_of(load_target(name), "service")
    with Damage(lambda: own.connect("service", application_name="ended")) as reading:
        assert reading.look(table, [table.whole], 10).rows == 1
        own.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'ended'")
        with pytest.raises(CouldNotFindOut, match="terminating connection"):
            reading.look(table, [table.whole], 10)
        assert reading.look(table, [table.whole], 10).rows == 1
    own.execute("ALTER DATABASE service ALLOW_CONNECTIONS false")
    (found,) = opened(name, ["restoring database"]).ask(recovery.readable).findings
    assert found.status is UNKNOWN and "not currently accepting" in found.message, found.message
    own.execute("ALTER DATABASE service ALLOW_CONNECTIONS true", "DROP DATABASE service")
    (found,) = opened(name, ["restoring database"]).ask(recovery.readable).findings
    assert found.status is UNKNOWN and "has no database service" in found.message, found.message
    own.execute("CREATE DATABASE service")


def test_a_database_that_nothing_was_put_aside_for_gets_its_former_name_again(
    own: Cluster, service: Callable[..., str], opened: Callable[..., Any]
) -> None:
    name, former = service("CREATE TABLE t (id int)"), "service_before_20261128_030000"
    own.execute(f"ALTER DATABASE service RENAME TO {former}")
    run = opened(name, ["restoring database"])
    done = carried_out(run, recovery.bring_back, [], back=former)
    assert done.state is PlanState.VERIFIED, done.told
    (undoing,) = done.plan.inverse
    recovery.bring_back.acts[undoing.act].do(run._dependencies, undoing.arguments)
    names = own.execute("SELECT datname FROM pg_database WHERE datname LIKE 'service%'")
    assert names == [(former,)] and undoing.shown.endswith(f"ALTER DATABASE service RENAME TO {former}; COMMIT")


def test_a_copy_of_an_earlier_damage_is_not_read_for_this_one(
    service: Callable[..., str], opened: Callable[..., Any], tmp_path: Path
) -> None:
    name = service("CREATE TABLE t (id int PRIMARY KEY)")
    run = opened(name, ["postgres", "restoring database"])
    restored_beside_a_copy(run)
    assert run.propose(recovery.salvage, wanted=True, verify=[]).plans
    (copied,) = (tmp_path / "preserved").glob("*/cluster/complete")
    os.utime(copied, (time.time() - 3 * 86_400,) * 2)
    assert "no physical copy of the last two days" in run.propose(recovery.salvage, wanted=True, verify=[]).reason


@contextmanager
def answering(status: int | None) -> Iterator[str]:
    """Answer every request as a proxy does that has nothing behind it; None: take it, and keep silent."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            held = []
            with suppress(OSError):
                while True:
                    held.append(listening.accept()[0])
                    if status is not None:
                        held[-1].recv(65_536)
                        body = b"<html><h1>Bad Gateway</h1></html>"
                        head = f"HTTP/1.1 {status} No\r\nContent-Type: text/html\r\nConnection: close\r\n"
                        held[-1].sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                        held.pop().close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_proxy_with_nothing_behind_it_is_no_service_and_one_that_keeps_silent_may_write(
    service: Callable[..., str], opened: Callable[..., Any], profile: Callable[..., str], tmp_path: Path
) -> None:
    text = (tmp_path / f"{service('CREATE TABLE t (id int PRIMARY KEY)')}.toml").read_text()
    commands = 'stop = ["/bin/true"]\nstart = ["/bin/true"]\n'
    for status, runs in ((502, False), (None, True)):
        with answering(status) as url:
            named = f'[deadlines]\nconnect = 1.0\n[api]\nurl = "{url}"\n[recovery]\n{commands}'
            name = profile(text.replace("[recovery]\n", named), "behind")
            run = opened(name, ["api", "postgres", "restoring database"])
            assert told(run, recovery.position)["service"].status is CRITICAL
            stop = run.propose(recovery.stop_service, wanted=True, verify=[])
            assert stop.plans if runs else "what stands before it answers 502" in stop.reason
            if not runs:
                assert run.propose(recovery.start_service, wanted=True, verify=[]).plans
                carried_out(run, backups.restore, [backups.restored], wanted=True)
            swap = run.propose(recovery.swap, wanted=True, verify=[])
            assert ("keeps a request waiting" in swap.reason) if runs else swap.plans


def test_where_the_catalog_is_damaged_nothing_is_saved_and_the_way_is_told(
    own: Cluster, service: Callable[..., str], opened: Callable[..., Any]
) -> None:
    name = service("CREATE TABLE t (id int PRIMARY KEY, body text)", MANY)
    run = opened(name, ["restoring database"])
    carried_out(run, backups.restore, [backups.restored], wanted=True)
    ((path,),) = own.execute("SELECT pg_relation_filepath('pg_attribute')", database="service")
    ((pages,),) = own.execute("SELECT pg_relation_size('pg_attribute') / 8192", database="service")
    own.execute("CHECKPOINT")
    own.stop()
    for block in range(pages):
        damage.flip_bytes(own.data / path, block, 5000)
    own.start()
    run = opened(name, ["restoring database"])
    found = told(run, recovery.readable)["database service"]
    assert found.status is CRITICAL and "its catalog cannot be read" in found.message, found.message
    reason = run.propose(recovery.salvage, wanted=True, verify=[]).reason
    assert "invalid page" in reason or "cannot be reached" in reason
    kept = carried_out(run, recovery.copy_cluster, [], wanted=True)
    assert kept.state is PlanState.VERIFIED, kept.told


def test_what_stands_against_saving_is_said_before(
    own: Cluster,
    service: Callable[..., str],
    opened: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    name = service("CREATE TABLE t (id int PRIMARY KEY)")
    run = opened(name, ["postgres", "restoring database"])
    assert "no restored database waits" in run.propose(recovery.salvage, wanted=True, verify=[]).reason
    carried_out(run, backups.restore, [backups.restored], wanted=True)
    assert "there is no physical copy" in run.propose(recovery.salvage, wanted=True, verify=[]).reason
    carried_out(run, recovery.copy_cluster, [], wanted=True)
    own.execute("ALTER TABLE t ADD COLUMN more int", database="service")
    assert "1 tables have other columns" in run.propose(recovery.salvage, wanted=True, verify=[]).reason
    own.execute("ALTER TABLE t DROP COLUMN more", "CREATE TABLE later (id int)", database="service")
    assert "1 tables are not in the backup (public.later)" in run.propose(
        recovery.salvage, wanted=True, verify=[]
    ).reason  # fmt: skip
    own.execute("DROP TABLE later", database="service")
    for change in (recovery.salvage, recovery.copy_cluster):
        if change is recovery.copy_cluster:
            shutil.rmtree(tmp_path / "preserved")
            (tmp_path / "preserved").mkdir()
        monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(1000, 999, 1))
        reason = run.propose(change, wanted=True, verify=[]).reason
        assert "1 B left" in reason, reason
        monkeypatch.undo()


def test_without_checksums_without_amcheck_or_without_the_right_it_is_unknown_and_told_how_to_get_it(
    own: Cluster, service: Callable[..., str], opened: Callable[..., Any], profile: Callable[..., str]
) -> None:
    name = service("CREATE TABLE t (id int PRIMARY KEY)")
    run = opened(name, ["postgres"])
    (found,) = run.ask(postgres.heap_integrity).findings
    assert (
        found.status is UNKNOWN and "CREATE EXTENSION amcheck; GRANT EXECUTE ON FUNCTION verify_heapam" in found.message
    )
    own.execute("DROP ROLE IF EXISTS reader", "CREATE ROLE reader LOGIN")
    own.execute("CREATE EXTENSION amcheck", database="service")
    run = opened(profile(own.profile("reader", "service"), "reader"), ["postgres"])
    (found,) = run.ask(postgres.heap_integrity).findings
    assert found.status is UNKNOWN and 'role "reader" may not call amcheck' in found.message
    assert run.ask(recovery.readable).findings[0].status is UNKNOWN


def test_the_services_own_rules_name_what_breaks_them_and_say_what_cannot_be_asked(
    own: Cluster, service: Callable[..., str], opened: Callable[..., Any], profile: Callable[..., str]
) -> None:
    name = service(
        "CREATE TABLE documents (doc_id text)", "CREATE TABLE sentences (id int, doc_id text, text text)",
        "CREATE TABLE candidates (id int, sentence_id int, start_offset int, end_offset int)",
        "CREATE TABLE triage_items (item_id text, candidate_id int, sentence_id int, status text)",
        "INSERT INTO documents VALUES ('d1')", "INSERT INTO sentences VALUES (1, 'd1', 'short'), (2, 'gone', 'x')",
        "INSERT INTO candidates VALUES (1, 1, 0, 5), (2, 1, 3, 6), (3, 9, 0, 1)",
        "INSERT INTO triage_items VALUES ('i1', 1, 1, 'pending'), ('i2', 8, 1, 'pending'), ('i3', 1, 2, 'pending')",
    )  # fmt: skip
    found = told(opened(name, ["postgres"]), annotations.rules)
    assert {subject: (finding.status, finding.value) for subject, finding in found.items()} == {
        "sentences without document": (CRITICAL, 1), "candidates without sentence": (CRITICAL, 1),
        "items without candidate": (CRITICAL, 1), "items of other sentence": (CRITICAL, 1),
        "offsets outside text": (CRITICAL, 1),
    }  # fmt: skip
    assert "2 among them" in found["offsets outside text"].message
    own.execute("DROP ROLE IF EXISTS reader", "CREATE ROLE reader LOGIN")
    closed = told(opened(profile(own.profile("reader", "service"), "reader"), ["postgres"]), annotations.rules)
    assert {finding.status for finding in closed.values()} == {UNKNOWN}
    assert "GRANT SELECT (doc_id) ON documents TO reader" in closed["sentences without document"].message
    own.execute("DROP DATABASE service WITH (FORCE)", "CREATE DATABASE service")
    (none,) = told(opened(name, ["postgres"]), annotations.rules).values()
    assert none.status is UNKNOWN and "none of the service's tables" in none.message


def test_of_changes_made_together_none_happens_where_one_is_refused_and_the_next_is_not_in_its_way(
    service: Callable[..., str],
) -> None:
    cluster_ = RestoringDatabase.open(load_target(service("CREATE TABLE t (id int)")), "runbook test")
    try:
        making = sql.SQL("CREATE ROLE {}").format(sql.Identifier("made_together"))
        with pytest.raises(ChangeFailed, match="already exists"):
            cluster_.change_together([making, making])
        asking = "SELECT count(*) AS n FROM pg_roles WHERE rolname = 'made_together'"
        assert cluster_.change(asking) == [{"n": 0}]
        cluster_.change_together([making])
        assert cluster_.change(asking) == [{"n": 1}]
        cluster_.change("DROP ROLE made_together")
    finally:
        cluster_.close()

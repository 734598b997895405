"""What maintenance asks of a database, and the plans that vacuum, analyze and rebuild, on real servers."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest
from cluster import Cluster, cluster, needs_contrib
from psycopg import sql
from running import only as only_run
from running import wait_for

from runbook import open_run, postgres
from runbook.connections import OperatorDatabase, PostgresConnection
from runbook.model import Finding, Status
from runbook.model.plan import PlanState
from runbook.plans.token import token_of
from runbook.postgres import Bloat, Sizes
from runbook.session import Run
from runbook.session.display import ShownAnswer
from runbook.target import load_target
from runbook_sandbox import postgres_server
from runbook_sandbox.place import Place

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
ASKED = (
    postgres.maintenance_at_work, postgres.xmin_horizon, postgres.autovacuum, postgres.wraparound, postgres.sizes,
    postgres.bloat, postgres.sequences, postgres.foreign_keys, postgres.checksums, postgres.index_integrity,
)  # fmt: skip
HOSTILE = "ta\"ble\n--' ; %s {x} \u202e"
NARROW = 2_126_008_811  # 99% of what an int4 column holds


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A server whose autovacuum comes every second, with a database of the owner `shop` and a role for each right."""
    with cluster(autovacuum_naptime="1s", max_prepared_transactions=5, wal_level="logical") as running:
        running.execute(
            "CREATE ROLE shop LOGIN", "CREATE ROLE watcher LOGIN", "GRANT pg_monitor TO watcher",
            "CREATE ROLE nobody_in_particular LOGIN", "CREATE DATABASE shop OWNER shop", "CREATE DATABASE many",
        )  # fmt: skip
        extensions = {name for (name,) in running.execute("SELECT name FROM pg_available_extensions")}
        for name in {"amcheck", "pgstattuple"} & extensions:
            running.execute(f"CREATE EXTENSION {name}", database="shop")
        yield running


@pytest.fixture
def asking(profile: Callable[..., str]) -> Iterator[Callable[..., Run]]:
    """Open runs on a server; they are closed after the test."""
    runs: list[Run] = []

    def open_(on: Cluster, user: str = "postgres", database: str = "shop") -> Run:
        name = profile(on.profile(user, database) + '[host]\nwhere = "here"\n', name=f"as-{user}")
        runs.append(open_run("test", target=name, needs=["postgres"]))
        return runs[-1]

    yield open_
    for run in runs:
        run.close()


@pytest.fixture
def schema(server: Cluster) -> Iterator[str]:
    """A schema of this test alone, which the sessions that the test opens find first."""
    server.execute("CREATE SCHEMA own AUTHORIZATION shop", database="shop")
    yield "own"
    server.execute("DROP SCHEMA own CASCADE", database="shop")


@contextmanager
def idle_transaction(on: Cluster, *statements: str, database: str = "shop") -> Iterator[int]:
    """Hold a transaction open that has done this and keeps its snapshot, and give its pid."""
    with on.connect(database, application_name="etl-nightly") as session:
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        for statement in statements or ("SELECT 1",):
            session.execute(statement)
        yield session.info.backend_pid
        session.execute("ROLLBACK")


def only(answer: ShownAnswer) -> Finding:
    (finding,) = answer.findings
    return finding


def by_object(answer: ShownAnswer) -> dict[str, Finding]:
    return {finding.object: finding for finding in answer.findings}


def needs_amcheck(server: Cluster) -> None:
    if not server.execute("SELECT 1 FROM pg_extension WHERE extname = 'amcheck'", database="shop"):
        pytest.skip("this server comes without amcheck")


# --- vacuum, and what holds it back


def dead_rows(server: Cluster) -> Any:
    return server.execute("SELECT last_autovacuum, n_dead_tup FROM pg_stat_user_tables WHERE relname = 'orders'",
                          database="shop")[0]  # fmt: skip


def test_dead_rows_that_an_idle_transaction_holds_back_name_it_and_a_plan_to_vacuum_waits_for_its_end(
    server: Cluster, asking: Callable[..., Run], schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    server.execute(
        "CREATE TABLE own.orders AS SELECT n AS id FROM generate_series(1, 30000) AS n", "ANALYZE own.orders",
        database="shop",
    )  # fmt: skip
    proposal = {"table": "own.orders", "minutes": 1.0, "verify": [postgres.autovacuum]}
    with idle_transaction(server) as pid:
        server.execute("DELETE FROM own.orders WHERE id % 5 < 3", database="shop")
        wait_for(lambda: dead_rows(server)[0] is not None)
        run = asking(server)
        found = by_object(run.ask(postgres.autovacuum))["table own.orders"]
        held = f"held back by an idle transaction pid {pid} of application etl-nightly"
        assert found.status is WARNING and f"60% dead rows (18,000 of 30,000) and autovacuum {held}" in found.message
        ended = f"ask its owner; then: runbook run database-issues --target {run.target.name} -p pid={pid}"
        assert found.next == f"end the holder first: {ended}"
        horizon = by_object(run.ask(postgres.xmin_horizon, warning=0, critical=1000))[f"session pid {pid}"]
        assert horizon.status is WARNING and horizon.message.endswith(": SELECT …")
        assert horizon.next == ended
        refused = run.propose(postgres.vacuum, **proposal)
        assert not refused.plans and f"18,000 dead rows, {held}" in refused.reason
    server.execute("ALTER TABLE own.orders SET (autovacuum_enabled = off)", database="shop")
    off = by_object(run.ask(postgres.autovacuum))["table own.orders"]
    if off.status is WARNING:  # autovacuum may have come in between
        assert "autovacuum is off for this table" in off.message
    planned = run.propose(postgres.vacuum, **proposal)
    plan = planned.plans[0].plan
    assert plan.steps[0].shown == 'VACUUM (ANALYZE) "own"."orders"'
    done = run.apply(planned, token_of(plan)).plans[0]
    assert done.state is PlanState.VERIFIED, done
    assert dead_rows(server)[1] == 0


def test_each_of_the_four_kinds_of_holder_is_named(server: Cluster, asking: Callable[..., Run]) -> None:
    make = "SELECT pg_create_logical_replication_slot('left-by-a-consumer', 'pgoutput')".replace("-", "_")
    server.execute(make, database="shop")
    with server.connect("shop") as session:
        session.execute("BEGIN")
        session.execute("CREATE TABLE two_phases (id int)")
        session.execute("PREPARE TRANSACTION 'order-17'")
    try:
        with idle_transaction(server, "CREATE TABLE nowhere (id int)") as pid, standby(server):
            for _ in range(3):
                server.execute("SELECT pg_current_xact_id()")
            seen = "SELECT count(backend_xmin) FROM pg_stat_replication"
            wait_for(lambda: server.execute(seen) == [(1,)])
            run = asking(server)
            found = by_object(run.ask(postgres.xmin_horizon, warning=0, critical=10**6))
            assert f"session pid {pid}" in found and "prepared transaction order-17" in found
            slot = found["replication slot left_by_a_consumer"].message
            assert "inactive, keeps rows of the catalogs" in slot
            dropped = found["replication slot left_by_a_consumer"].next
            assert dropped.startswith("bring its subscriber back; only if it never comes back: SELECT pg_drop_")
            assert "in database \"shop\": ROLLBACK PREPARED 'order-17' " in found["prepared transaction order-17"].next
            fed_back = [told for name, told in found.items() if name.startswith("standby feedback ")]
            assert all("hot_standby_feedback = off there" in told.next for told in fed_back)
            (feedback,) = [told for told in run.ask(postgres.xmin_horizon).frame.to_dict("records")
                           if told["kind"] == "standby feedback"]  # fmt: skip
            assert feedback["application"] == "walreceiver"
    finally:
        server.execute("ROLLBACK PREPARED 'order-17'", database="shop")
        server.execute("SELECT pg_drop_replication_slot('left_by_a_consumer')")


@contextmanager
def standby(primary: Cluster) -> Iterator[Cluster]:
    """A standby of the server that tells it which rows its queries need."""
    with cluster(primary.binaries) as other:
        other.stop("immediate")
        conf = (other.data / "postgresql.conf").read_text()
        for path in sorted(other.data.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        other._call("pg_basebackup", "-h", primary.folder, "-p", primary.port, "-U", "postgres", "-D", other.data,
                    "-R", "-X", "stream", "--checkpoint=fast")  # fmt: skip
        more = "hot_standby_feedback = on\nwal_receiver_status_interval = 1s\nmax_prepared_transactions = 5\n"
        (other.data / "postgresql.conf").write_text(conf + more)
        other.start()
        yield other


def test_a_database_that_runs_out_of_ids_names_which_ids_and_the_oldest_tables(
    server: Cluster, asking: Callable[..., Run]
) -> None:
    run = asking(server)
    warned = by_object(run.ask(postgres.wraparound, warning=1, critical=10**9))
    assert warned["database shop transaction ids"].status is WARNING
    assert "the oldest tables: " in warned["database shop transaction ids"].message
    assert [only_id.object for only_id in run.ask(postgres.wraparound).findings] == ["transaction ids", "multixact ids"]


def test_multixact_ids_run_out_by_themselves() -> None:
    rows = [("database", "shop", 1_000_000, 1_300_000_000, None, True), ("table", "own.hot", 9, 1_300_000_000, 1, True)]
    frame = pd.DataFrame(rows, columns=["kind", "name", "transactions", "multixacts", "bytes", "here"])
    (found,) = postgres.wraparound.check(frame)
    assert (found.status, found.object) == (CRITICAL, "database shop multixact ids")
    assert "own.hot (1,300,000,000)" in found.message
    assert found.next.endswith("runbook run database-maintenance --target {target} -p table=own.hot")
    (other,) = postgres.wraparound.check(frame.assign(here=False))
    assert "a profile whose dsn leads to database shop" in other.next


def test_autovacuum_that_is_off_is_critical(asking: Callable[..., Run]) -> None:
    with cluster(autovacuum="off") as other:
        other.execute("CREATE DATABASE shop")
        found = by_object(asking(other).ask(postgres.autovacuum))["setting autovacuum"]
    assert found.status is CRITICAL and "ALTER SYSTEM RESET autovacuum" in found.next


def tables(*rows: dict[str, Any], **server: Any) -> pd.DataFrame:
    """Return what the probe of autovacuum gives for these tables."""
    now = pd.Timestamp("2026-11-25 12:00", tz="UTC")
    usual = {
        "autovacuum": True, "workers": 0, "max_workers": 3, "switched_off": 0, "role": "runbook", "told_at": now,
        "holder": None, "holder_since": None, "holder_transactions": 0, **server,
    }  # fmt: skip
    table = {
        "table_name": "own.t", "dead": 0, "live": 100_000, "changed": 0, "off_here": False, "progress": None,
        "last_vacuum": now - pd.Timedelta(days=1), "last_analyze": now - pd.Timedelta(days=1),
    }  # fmt: skip
    return pd.DataFrame([{**usual, **table, **row} for row in rows])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"dead": 10_000}, ""),
        ({"dead": 10_001, "live": 10_000_000}, ""),
        ({"dead": 20_000}, "17% dead rows (20,000 of 120,000); last vacuum 24 h ago"),
        ({"dead": 20_000, "last_vacuum": pd.NaT}, "last vacuum never, as far as the statistics go back"),
        ({"changed": 50_000}, ""),
        ({"changed": 50_000, "last_analyze": pd.Timestamp("2026-11-14", tz="UTC")}, "(11 d 12 h ago)"),
        ({"changed": 9_000, "last_analyze": pd.NaT}, ""),
        ({"changed": 50_000, "off_here": True}, "autovacuum is off for this table, and 50,000 rows changed"),
    ],
)
def test_dead_rows_and_old_statistics_are_judged_by_number_share_and_age(row: dict[str, Any], says: str) -> None:
    (found,) = postgres.autovacuum.check(tables(row))
    assert (found.status is WARNING, found.object) == ((True, "table own.t") if says else (False, "autovacuum"))
    assert says in found.message


def test_where_autovacuum_is_off_for_a_table_the_statement_that_takes_it_back_is_told(
    server: Cluster, asking: Callable[..., Run], schema: str
) -> None:
    name = f'{schema}."Left Off"'
    server.execute(
        f"CREATE TABLE {name} (id int) WITH (autovacuum_enabled = off)",
        f"INSERT INTO {name} SELECT generate_series(1, 20000)", database="shop",
    )  # fmt: skip
    run = asking(server)
    wait_for(lambda: f"table {name}" in by_object(run.ask(postgres.autovacuum)))
    found = by_object(run.ask(postgres.autovacuum))[f"table {name}"]
    assert found.next == f"ALTER TABLE {name} RESET (autovacuum_enabled)"
    server.execute(found.next, database="shop")
    there = server.execute(f"SELECT reloptions FROM pg_class WHERE oid = '{name}'::regclass", database="shop")
    assert there == [(None,)]


def test_a_holder_is_blamed_only_where_vacuum_came_in_vain_or_it_is_old() -> None:
    began = {"holder": "a slot", "holder_since": pd.Timestamp("2026-11-25 11:00", tz="UTC"), "dead": 50_000}
    cases = [
        ({**began, "last_vacuum": pd.Timestamp("2026-11-25 11:30", tz="UTC")}, True),
        ({**began, "last_vacuum": pd.Timestamp("2026-11-25 10:30", tz="UTC")}, False),
        ({**began, "last_vacuum": pd.NaT, "holder_transactions": 10_001}, True),
        ({"holder": "a slot", "dead": 50_000, "holder_transactions": 10_001}, True),
    ]
    for row, blamed in cases:
        (found,) = postgres.autovacuum.check(tables(row))
        assert ("held back by a slot" in found.message) is blamed, row


def test_what_to_do_about_a_table_depends_on_what_keeps_vacuum_from_it() -> None:
    old = {"changed": 50_000, "last_analyze": pd.Timestamp("2026-11-14", tz="UTC")}
    held = {"holder": "a slot", "release": "drop it", "holder_transactions": 10_001}
    run = "runbook run database-maintenance --target {target} -p 'table=own.\"T\"'"
    cases: list[tuple[dict[str, Any], str]] = [
        ({"dead": 20_000}, f"{run} (the first plan, VACUUM)"),
        (old, f"{run} (the second plan, ANALYZE)"),
        ({"dead": 20_000, **held}, "end the holder first: drop it"),
        ({"dead": 20_000, "progress": "scanning heap"}, "a vacuum is at work: ask again when it is through"),
        ({"dead": 20_000, "off_here": True}, 'ALTER TABLE own."T" RESET (autovacuum_enabled)'),
    ]
    for row, after in cases:
        (found,) = postgres.autovacuum.check(tables({**row, "table_name": 'own."T"'}))
        assert found.next == after, row
    busy, *_ = postgres.autovacuum.check(tables({"dead": 20_000}, workers=3))
    assert busy.message.endswith("and 1 table waits") and "autovacuum_vacuum_cost_limit" in busy.next


def test_busy_workers_are_told_while_tables_wait_and_the_rest_is_counted() -> None:
    rows = [{"dead": 50_000, "table_name": f"own.t{n}"} for n in range(12)]
    found = postgres.autovacuum.check(tables(*rows, workers=3))
    assert found[0].message == "all 3 workers are at work, and 12 tables wait"
    assert len(found) == 11 and found[-1].message.startswith("3 more")
    (quiet,) = postgres.autovacuum.check(tables({"table_name": None}, workers=3, switched_off=2))
    assert quiet.status is OK and quiet.message.endswith("autovacuum is on, but for 2 tables")


def test_a_vacuum_at_work_is_told_with_how_far_it_is(server: Cluster, asking: Callable[..., Run], schema: str) -> None:
    server.execute(
        "CREATE TABLE own.slow WITH (autovacuum_enabled = off) AS SELECT n, repeat('x', 500) AS t "
        "FROM generate_series(1, 20000) AS n", "DELETE FROM own.slow WHERE n % 2 = 0",
        database="shop",
    )  # fmt: skip
    with server.connect("shop") as session:
        session.execute("SET vacuum_cost_delay = 20")
        session.execute("SET vacuum_cost_limit = 20")

        def work() -> None:
            with suppress(psycopg.errors.QueryCanceled):
                session.execute("VACUUM own.slow")

        at_work = threading.Thread(target=work)
        at_work.start()
        try:
            under_way = (
                "SELECT 1 FROM pg_stat_progress_vacuum WHERE heap_blks_scanned > 0 AND relid = 'own.slow'::regclass"
            )
            wait_for(lambda: server.execute(under_way, database="shop"))
            run = asking(server, "watcher")
            pid = f"pid {session.info.backend_pid}"
            found = by_object(run.ask(postgres.maintenance_at_work))[pid]
            assert found.status is OK and found.message.startswith("VACUUM of own.slow: scanning heap, ")
            assert pid not in list(run.ask(postgres.xmin_horizon).frame["name"]), "a vacuum holds no other one back"
            starved = by_object(run.ask(postgres.autovacuum, rows=5000))["table own.slow"].message
            assert "50% dead rows" in starved and "vacuum at work: scanning heap" in starved
            wanted = {"table": "own.slow", "minutes": 1.0, "verify": [postgres.autovacuum]}
            assert "permission denied for schema own" in run.propose(postgres.vacuum, **wanted).reason
            refused = asking(server).propose(postgres.vacuum, **wanted)
            assert f"{pid} locks own.slow or maintains it already" in refused.reason
        finally:
            session.cancel_safe()
            at_work.join()


# --- keys


def test_an_integer_key_at_its_end_is_found_where_its_bigint_sequence_looks_empty(
    server: Cluster, asking: Callable[..., Run], schema: str
) -> None:
    server.execute(
        "CREATE SEQUENCE own.big AS bigint",
        "CREATE TABLE own.orders (id int PRIMARY KEY DEFAULT nextval('own.big'))",
        f"SELECT setval('own.big', {NARROW})",
        "CREATE TABLE own.wide (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)",
        "CREATE TABLE own.lines (wide_id int REFERENCES own.wide)",
        f"SELECT setval('own.wide_id_seq', {NARROW})",
        "CREATE TABLE own.given (id smallint PRIMARY KEY)", "INSERT INTO own.given VALUES (30000)",
        "CREATE TABLE own.well (id serial PRIMARY KEY)", "INSERT INTO own.well DEFAULT VALUES",
        "CREATE SEQUENCE own.falling INCREMENT -1 MINVALUE -100", "SELECT setval('own.falling', -99)",
        database="shop",
    )  # fmt: skip
    shown = server.execute("SELECT 100.0 * last_value / max_value FROM pg_sequences WHERE sequencename = 'big'",
                           database="shop")[0][0]  # fmt: skip
    assert shown < 0.0000001
    found = by_object(asking(server).ask(postgres.sequences))
    assert set(found) == {"column own.orders.id", "column own.wide.id", "column own.given.id", "sequence own.falling"}
    key = found["column own.orders.id"]
    assert key.status is CRITICAL and key.message.startswith("99.00% used") and "integer, fed by own.big" in key.message
    assert "own.lines.wide_id, which refers to it, holds no more" in found["column own.wide.id"].message
    assert found["column own.given.id"].status is WARNING and found["sequence own.falling"].status is CRITICAL


@pytest.mark.parametrize("name", ["50%_off", "%(names)s", "%s"])
def test_a_percent_sign_in_a_name_hides_no_sequence(
    name: str, server: Cluster, asking: Callable[..., Run], schema: str
) -> None:
    server.execute(f'CREATE TABLE own."{name}" (id serial)', "CREATE TABLE own.plain (id serial)",
                   f"""SELECT setval('own."{name}_id_seq"', {NARROW})""", database="shop")  # fmt: skip
    answer = asking(server).ask(postgres.sequences)
    found = by_object(answer)
    assert set(found) == {f'column own."{name}".id'} and only(answer).status is CRITICAL
    assert by_object(asking(server).ask(postgres.foreign_keys))["foreign keys"].status is OK


def test_a_row_that_refers_to_none_is_found_under_a_validated_key(
    server: Cluster, asking: Callable[..., Run], schema: str
) -> None:
    name = sql.Identifier("own", HOSTILE)
    with server.connect("shop") as session:
        session.execute(sql.SQL("CREATE TABLE {} (a int, {} text, PRIMARY KEY (a, {}))").format(
            name, sql.Identifier('b"%'), sql.Identifier('b"%')))  # fmt: skip
        session.execute(sql.SQL("CREATE TABLE own.items (id int, a int, b text, CONSTRAINT {} FOREIGN KEY (a, b) "
                                "REFERENCES {})").format(sql.Identifier("k'ey%s"), name))  # fmt: skip
        session.execute(sql.SQL("CREATE TABLE own.full_items (a int, b text, FOREIGN KEY (a, b) REFERENCES {} "
                                "MATCH FULL)").format(name))  # fmt: skip
        session.execute("CREATE TABLE own.parts (id int PRIMARY KEY) PARTITION BY RANGE (id)")
        session.execute("CREATE TABLE own.parts_1 PARTITION OF own.parts FOR VALUES FROM (0) TO (10)")
        session.execute("CREATE TABLE own.of_parts (id int REFERENCES own.parts)")
        session.execute(sql.SQL("INSERT INTO {} VALUES (1, 'x')").format(name))
        session.execute("INSERT INTO own.parts VALUES (1)")
        session.execute("INSERT INTO own.of_parts VALUES (1), (NULL)")
        session.execute("INSERT INTO own.items VALUES (1, 1, 'x'), (2, NULL, 'y'), (3, 7, NULL)")
        session.execute("SET session_replication_role = replica")
        session.execute("INSERT INTO own.items VALUES (4, 2, 'x')")
        session.execute("INSERT INTO own.full_items VALUES (1, NULL)")
    assert server.execute("SELECT bool_and(convalidated) FROM pg_constraint WHERE contype = 'f'", database="shop") == [
        (True,)
    ]
    run = asking(server)
    answer = run.ask(postgres.foreign_keys)
    found = by_object(answer)
    assert set(found) == {"own.items: key k'ey%s", "own.full_items: key full_items_a_b_fkey"}
    orphan = found["own.items: key k'ey%s"]
    assert orphan.status is CRITICAL and "1 row refers to no row of own." in orphan.message
    with server.connect("shop") as session:
        assert session.execute(orphan.source.encode()).fetchone() == (1,), "the source can be run by anyone"
    server.execute("VACUUM own.items", database="shop")
    small = run.ask(postgres.foreign_keys, most_mib=0.001)
    large = by_object(small)["large keys"]
    assert large.status is OK and "more than the 0.001 MiB" in large.message and "by hand" in large.next
    assert UNKNOWN not in {finding.status for finding in small.findings}


def test_row_security_hides_no_parents_from_the_comparison(
    server: Cluster, asking: Callable[..., Run], schema: str
) -> None:
    server.execute(
        "CREATE TABLE own.parent (id int PRIMARY KEY)", "CREATE TABLE own.child (id int REFERENCES own.parent)",
        "INSERT INTO own.parent VALUES (1)", "INSERT INTO own.child VALUES (1)",
        "ALTER TABLE own.parent ENABLE ROW LEVEL SECURITY", "GRANT USAGE ON SCHEMA own TO watcher",
        "GRANT SELECT ON ALL TABLES IN SCHEMA own TO watcher",
        database="shop",
    )  # fmt: skip
    found = only(asking(server, "watcher").ask(postgres.foreign_keys))
    assert found.status is UNKNOWN and "row security hides rows" in found.message


# --- integrity


def test_a_damaged_index_is_found_although_count_looks_normal(
    server: Cluster, asking: Callable[..., Run], schema: str
) -> None:
    needs_amcheck(server)
    server.execute(
        "CREATE FUNCTION own.compare(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT btint4cmp($1, $2)'",
        "CREATE OPERATOR CLASS own.ordered FOR TYPE int USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, "
        "OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 own.compare(int, int)",
        "CREATE TABLE own.things AS SELECT n AS id FROM generate_series(1, 2000) AS n",
        "CREATE INDEX things_by_id ON own.things (id own.ordered)",
        # As when the operating system sorts otherwise after an upgrade.
        "CREATE OR REPLACE FUNCTION own.compare(int, int) RETURNS int LANGUAGE sql IMMUTABLE "
        "AS 'SELECT btint4cmp($2, $1)'",
        database="shop",
    )
    assert server.execute("SELECT count(*) FROM own.things", database="shop") == [(2000,)]
    found = only(asking(server).ask(postgres.index_integrity))
    assert (found.status, found.object) == (CRITICAL, "index own.things_by_id")
    assert "is damaged: " in found.message and "(table own.things)" in found.message


def test_a_damaged_page_is_found_once_it_was_read(asking: Callable[..., Run]) -> None:
    with cluster() as other:
        other.execute("CREATE DATABASE shop")
        other.execute("CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) AS n", "CHECKPOINT", database="shop")
        path = other.data / other.execute("SELECT pg_relation_filepath('t')", database="shop")[0][0]
        other.stop()
        with path.open("r+b") as file:
            file.seek(4000)
            file.write(b"damage")
        other.start()
        with pytest.raises(psycopg.errors.DataCorrupted):
            other.execute("SELECT sum(n) FROM t", database="shop")
        wait_for(lambda: other.execute("SELECT max(checksum_failures) FROM pg_stat_database") != [(0,)])
        found = only(asking(other).ask(postgres.checksums))
    assert (found.status, found.object) == (CRITICAL, "database shop") and "1 damaged page met" in found.message


def test_without_checksums_nobody_knows() -> None:
    frame = pd.DataFrame([("shop", "off", 0, None, None)],
                         columns=["database", "data_checksums", "failures", "last_failure", "stats_reset"])  # fmt: skip
    (found,) = postgres.checksums.check(frame)
    assert found.status is UNKNOWN and "found by nothing" in found.message


def test_where_there_is_no_key_none_can_run_out() -> None:
    frame = pd.DataFrame([], columns=["column_name", "percent"])
    (found,) = postgres.sequences.check(frame)
    assert found.status is OK and found.message == "there is no sequence and no integer key that could run out"


def test_air_is_given_back_by_the_plan_for_that_very_index_and_what_is_not_known_is_asked_again() -> None:
    usual = {"kind": "index", "table_name": "own.t", "bytes": 2**30, "how": "measured", "wasted_bytes": 2**30 * 0.9}
    rows = [{**usual, "relation_name": "own.i", "percent": 90.0}, {**usual, "relation_name": "own.j", "percent": None}]
    told = {found.object: found for found in postgres.bloat.check(pd.DataFrame(rows))}
    assert told["index own.i"].next.endswith("runbook run database-maintenance --target {target} -p index=own.i")
    assert told["index own.j"].next == "give what is missing, and ask again"


# --- sizes and bloat


def test_air_in_an_index_is_measured_or_estimated_and_both_say_so(
    server: Cluster, asking: Callable[..., Run], schema: str
) -> None:
    server.execute(
        "CREATE TABLE own.emptied (id int PRIMARY KEY, t text)",
        "ALTER TABLE own.emptied SET (autovacuum_enabled = off)",
        "INSERT INTO own.emptied SELECT n, repeat('x', 50) FROM generate_series(1, 60000) AS n",
        "DELETE FROM own.emptied WHERE id % 20 > 0", "VACUUM ANALYZE own.emptied",
        database="shop",
    )  # fmt: skip
    estimated = asking(server).ask(postgres.bloat, percent=60, index_mib=0.5, table_mib=0.5)
    found = by_object(estimated)
    assert set(found) == {"index own.emptied_pkey", "table own.emptied"}
    assert all(finding.status is WARNING and "an estimate" in finding.message for finding in found.values())
    if server.execute("SELECT 1 FROM pg_extension WHERE extname = 'pgstattuple'", database="shop"):
        # A role with pg_monitor sees no statistics of columns, and may measure.
        measured = asking(server, "watcher").ask(
            postgres.bloat, percent=60, index_mib=0.5, table_mib=0.5, least_mib=0.5
        )
        told = by_object(measured)
        assert all("measured" in told[name].message for name in found)
        for name in found:
            assert told[name].value == pytest.approx(found[name].value, abs=15), name
    unseen = asking(server, "nobody_in_particular").ask(postgres.bloat, percent=60, index_mib=0.5, table_mib=0.5)
    assert all("GRANT SELECT ON own.emptied" in finding.message for finding in unseen.findings)
    assert Bloat(estimated.frame).figure() and Sizes(asking(server).ask(postgres.sizes).frame).figure()


def test_growth_is_told_against_the_newest_archived_run_of_the_target(
    server: Cluster, schema: str, profile: Callable[..., str], archive: Path, run_json: Callable[..., Any],
    asking: Callable[..., Run],
) -> None:  # fmt: skip
    server.execute("CREATE TABLE own.grows AS SELECT 1 AS n", database="shop")
    assert "no earlier run is archived" in asking(server).ask(postgres.sizes).findings[0].message
    profile(server.profile("postgres", "shop"), name="as-postgres")
    _, document = run_json("database-maintenance", "--target", "as-postgres")
    (orphans,) = [f for f in only_run(document).findings if f.check == "postgres.foreign_keys"]
    assert orphans.status is OK, "nothing is wrong here"
    server.execute("INSERT INTO own.grows SELECT generate_series(1, 50000)", database="shop")
    told = by_object(asking(server).ask(postgres.sizes))
    assert "; +1.8 MiB since 20" in told["table own.grows"].message
    assert "MiB since 20" in told["database shop"].message


# --- bounds, rights, versions


@needs_contrib
def test_a_locked_table_costs_its_own_row(server: Cluster, asking: Callable[..., Run], schema: str) -> None:
    server.execute(
        "CREATE TABLE own.free (id serial PRIMARY KEY)", "CREATE TABLE own.locked (id serial PRIMARY KEY, "
        "free_id int REFERENCES own.free)", "CREATE TABLE own.other (id int REFERENCES own.free)",
        database="shop",
    )  # fmt: skip
    with server.connect("shop") as holder:
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE own.locked IN ACCESS EXCLUSIVE MODE")
        holder.execute("ALTER SEQUENCE own.locked_id_seq INCREMENT 2")
        run = asking(server)
        answers = {question.name: run.ask(question) for question in ASKED}
        holder.execute("ROLLBACK")
    unknown = {name: [f for f in answer.findings if f.status is UNKNOWN] for name, answer in answers.items()}
    assert [f.object for f in unknown["postgres.sizes"]] == ["table own.locked"]
    assert [f.object for f in unknown["postgres.foreign_keys"]] == ["own.locked: key locked_free_id_fkey"]
    assert all("role" not in f.next for f in unknown["postgres.foreign_keys"]), "no grant helps against a lock"
    told = {row["table_name"]: row["orphans"] for row in answers["postgres.foreign_keys"].frame.to_dict("records")}
    assert told["own.other"] == 0
    assert not [finding for found in unknown.values() for finding in found if "lock" not in finding.message]
    assert all(answer.seconds < 2 for answer in answers.values())


def test_a_role_with_nothing_but_pg_monitor_is_told_the_grants(
    server: Cluster, asking: Callable[..., Run], schema: str
) -> None:
    server.execute(
        "CREATE TABLE own.parent (id serial PRIMARY KEY)", "CREATE TABLE own.child (id int REFERENCES own.parent)",
        database="shop",
    )  # fmt: skip
    run = asking(server, "watcher")
    told = {question.name: run.ask(question).findings for question in ASKED}
    says = {name: found[0].message for name, found in told.items() if found[0].status is UNKNOWN}
    assert set(says) == {"postgres.sequences", "postgres.foreign_keys", "postgres.index_integrity"}
    assert 'GRANT SELECT ON SEQUENCE own.parent_id_seq TO "watcher"' in says["postgres.sequences"]
    assert 'GRANT SELECT ("id") ON own.child TO "watcher"' in says["postgres.foreign_keys"]
    assert 'GRANT USAGE ON SCHEMA own TO "watcher"; ' in says["postgres.foreign_keys"]
    grant = "GRANT EXECUTE ON FUNCTION bt_index_check(regclass, boolean) TO"
    assert grant in says["postgres.index_integrity"]
    server.execute("GRANT USAGE ON SCHEMA own TO watcher", "GRANT SELECT ON ALL SEQUENCES IN SCHEMA own TO watcher",
                   "GRANT SELECT ON ALL TABLES IN SCHEMA own TO watcher", database="shop")  # fmt: skip
    again = asking(server, "watcher")
    assert {again.ask(question).verdict for question in (postgres.sequences, postgres.foreign_keys)} == {OK}


def test_what_is_critical_stands_before_one_line_for_all_that_a_grant_is_missing_for(
    server: Cluster, asking: Callable[..., Run], schema: str
) -> None:
    server.execute(
        *(f"CREATE TABLE own.t{n} (id serial)" for n in range(15)), "CREATE TABLE own.full_one (id serial)",
        f"SELECT setval('own.full_one_id_seq', {NARROW})", "GRANT USAGE ON SCHEMA own TO watcher",
        "GRANT SELECT ON SEQUENCE own.full_one_id_seq TO watcher", database="shop",
    )  # fmt: skip
    full, hidden = asking(server, "watcher").ask(postgres.sequences).findings
    assert (full.status, full.object) == (CRITICAL, "column own.full_one.id")
    assert (hidden.status, hidden.object) == (UNKNOWN, "15 sequences and keys")
    assert hidden.message.endswith(': GRANT SELECT ON ALL SEQUENCES IN SCHEMA own TO "watcher"')
    assert "give the runbook's role" in hidden.next


def test_a_role_with_nothing_judges_nothing_that_it_cannot_see(server: Cluster, asking: Callable[..., Run]) -> None:
    run = asking(server, "nobody_in_particular")
    for question in (postgres.xmin_horizon, postgres.autovacuum):
        assert 'GRANT pg_monitor TO "nobody_in_particular"' in only(run.ask(question)).message


def test_ten_thousand_tables_are_answered(server: Cluster, asking: Callable[..., Run]) -> None:
    server.execute(
        "DO $$ BEGIN FOR n IN 1..10000 LOOP EXECUTE format('CREATE TABLE t%s (id %s)', n, "
        "CASE WHEN n % 10 = 0 THEN 'serial' ELSE 'int' END); IF n % 500 = 0 THEN COMMIT; END IF; END LOOP; END $$",
        "INSERT INTO t7 SELECT generate_series(1, 1000)", database="many",
    )  # fmt: skip
    run = asking(server, "postgres", "many")
    answers = {question.name: run.ask(question) for question in ASKED[:-1]}
    bad = [finding.object for answer in answers.values() for finding in answer.findings if finding.bad]
    assert all(name.startswith("table pg_catalog.") for name in bad), "those did change"
    assert len(answers["postgres.sequences"].frame) == 1000
    assert answers["postgres.sizes"].frame["table_name"].iloc[0] == "public.t7", "though nothing has analyzed it yet"


@pytest.mark.parametrize("user", ["postgres", "watcher", "nobody"])
def test_every_version_answers_as_every_kind_of_role(
    each_postgres: Cluster, user: str, asking: Callable[..., Run]
) -> None:
    if not each_postgres.execute("SELECT 1 FROM pg_database WHERE datname = 'shop'"):
        each_postgres.execute("CREATE DATABASE shop", "CREATE ROLE watcher LOGIN", "GRANT pg_monitor TO watcher",
                              "CREATE ROLE nobody LOGIN")  # fmt: skip
        each_postgres.execute(
            "CREATE TABLE parent (id serial PRIMARY KEY, t text)", "CREATE TABLE child (id int REFERENCES parent)",
            "INSERT INTO parent (t) SELECT 'x' FROM generate_series(1, 1000)", "VACUUM ANALYZE", database="shop",
        )  # fmt: skip
    run = asking(each_postgres, user)
    for question in ASKED:
        answer = run.ask(question)
        assert not [f for f in answer.findings if "mistake in the runbook" in f.message], answer.findings
        if user == "postgres" and question is not postgres.index_integrity:
            assert answer.verdict is OK, answer.findings


# --- the notebook


@needs_contrib
def test_the_notebook_names_each_cause_with_its_object(
    server: Cluster, schema: str, profile: Callable[..., str], run_json: Callable[..., Any], archive: Path
) -> None:
    server.execute(
        "CREATE TABLE own.parent (id int PRIMARY KEY)", "CREATE TABLE own.child (id int REFERENCES own.parent)",
        "CREATE TABLE own.crowded (id serial PRIMARY KEY)", f"SELECT setval('own.crowded_id_seq', {NARROW})",
        "CREATE TABLE own.orders AS SELECT n AS id FROM generate_series(1, 30000) AS n",
        database="shop",
    )  # fmt: skip
    with server.connect("shop") as session:
        session.execute("SET session_replication_role = replica")
        session.execute("INSERT INTO own.child VALUES (1)")
    profile(server.profile("postgres", "shop"), name="ill")
    with idle_transaction(server) as pid:
        server.execute("DELETE FROM own.orders WHERE id % 5 < 3", database="shop")
        wait_for(lambda: dead_rows(server)[0] is not None)
        status, document = run_json("database-maintenance", "--target", "ill")
    bad = {f"{f.check} {f.object}": f.message for f in only_run(document).findings if f.bad}
    assert status == 2
    assert f"held back by an idle transaction pid {pid}" in bad.pop("postgres.autovacuum table own.orders")
    assert bad.pop("postgres.sequences column own.crowded.id").startswith("99.00% used")
    assert "1 row refers to no row of own.parent" in bad.pop("postgres.foreign_keys own.child: key child_id_fkey")
    assert not bad


# --- plans, on a sandbox


@pytest.fixture
def place(breakable: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The module's own sandbox, with the plans of this test alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return breakable


@pytest.fixture
def run(place: Place) -> Iterator[Run]:
    opened = open_run("database-maintenance", target=place.name, needs=["postgres", "application database"])
    yield opened
    opened.close()


def rebuilding(run: Run, index: str, free_mib: float = 0.0, minutes: float = 1.0) -> Any:
    verify = [postgres.bloat, postgres.index_integrity]
    return run.propose(postgres.reindex, index=index, free_mib=free_mib, minutes=minutes, verify=verify)


def maintaining(run: Run, change: Any, table: str, **more: Any) -> Any:
    return run.propose(change, table=table, minutes=1.0, verify=[postgres.autovacuum], **more)


def test_the_notebook_carries_a_plan_to_analyze_out_by_its_token(
    place: Place, run_json: Callable[..., Any], archive: Path
) -> None:
    arguments = ("database-maintenance", "--target", place.name, "-p", "table=documents")
    _, document = run_json(*arguments)
    tokens = {record.plan.change: record.token for record in only_run(document).plans}
    assert set(tokens) == {"postgres.vacuum", "postgres.analyze"}
    status, document = run_json(*arguments, "--confirm", tokens["postgres.analyze"])
    record = next(record for record in only_run(document).plans if record.plan.change == "postgres.analyze")
    assert status == 0 and record.state is PlanState.VERIFIED
    assert record.steps == ['ANALYZE "public"."documents"']


def test_an_index_is_rebuilt_by_its_plan(place: Place, run: Run) -> None:
    find = "SELECT indexrelid, indisvalid FROM pg_index WHERE indexrelid = 'documents_pkey'::regclass"
    with postgres_server.superuser(place) as admin:
        before = admin.execute(find).fetchone()
        planned = rebuilding(run, "documents_pkey")
        done = run.apply(planned, token_of(planned.plans[0].plan)).plans[0]
        after = admin.execute(find).fetchone()
    assert done.state is PlanState.VERIFIED, done
    assert before is not None and after is not None and after[0] != before[0] and after[1]
    again = run.apply(planned, token_of(planned.plans[0].plan))
    assert again.findings[0].status is CRITICAL and "was used" in again.findings[0].message


def test_a_plan_for_a_table_that_was_made_anew_or_vacuumed_meanwhile_is_stale(place: Place, run: Run) -> None:
    with postgres_server.superuser(place) as admin:
        admin.execute("CREATE TABLE moving (id int PRIMARY KEY); ALTER TABLE moving OWNER TO shrimp_user")
        for meanwhile in ("VACUUM moving", "TRUNCATE moving"):
            planned = maintaining(run, postgres.vacuum, "moving")
            admin.execute(meanwhile.encode())
            told = run.apply(planned, token_of(planned.plans[0].plan)).findings[0]
            assert told.status is CRITICAL and "the plan is stale: " in told.message, meanwhile
        planned = rebuilding(run, "moving_pkey")
        admin.execute("DROP TABLE moving")
        told = run.apply(planned, token_of(planned.plans[0].plan)).findings[0]
    assert told.status is CRITICAL and "oid was " in told.message


def test_a_rebuild_that_fails_names_what_it_left_and_the_next_plan_does_too(place: Place, run: Run) -> None:
    with postgres_server.superuser(place) as admin, postgres_server.superuser(place) as other:
        admin.execute("CREATE TABLE busy (id int PRIMARY KEY); ALTER TABLE busy OWNER TO shrimp_user")
        planned = rebuilding(run, "busy_pkey")
        other.execute("BEGIN")
        other.execute("INSERT INTO busy VALUES (1)")
        done = run.apply(planned, token_of(planned.plans[0].plan)).plans[0]
        assert done.state is PlanState.FAILED
        assert "it left public.busy_pkey_ccnew: DROP INDEX CONCURRENTLY public.busy_pkey_ccnew" in " ".join(done.told)
        wait_for(lambda: "whose transaction is open for more than 5 s" in rebuilding(run, "busy_pkey").reason)
        other.execute("ROLLBACK")
        once_more = rebuilding(run, "busy_pkey")
        assert "left by rebuilds that failed" in " ".join(once_more.plans[0].plan.blast_radius)
        assert "DROP INDEX CONCURRENTLY" in rebuilding(run, "busy_pkey_ccnew").reason
        admin.execute("DROP TABLE busy")


def test_what_must_not_be_done_is_not_planned_and_says_why(place: Place, run: Run) -> None:
    with postgres_server.superuser(place) as admin:
        admin.execute("CREATE TABLE foreign_made (id int PRIMARY KEY)")
        owner = maintaining(run, postgres.vacuum, "pg_authid").reason
        assert "role operator may not vacuum pg_catalog.pg_authid" in owner and "membership in postgres" in owner
        assert "role operator may not rebuild" in rebuilding(run, "foreign_made_pkey").reason
        admin.execute("DROP TABLE foreign_made")
        with postgres_server.superuser(place) as other:
            other.execute("BEGIN")
            other.execute("LOCK TABLE documents IN SHARE MODE")
            assert "locks public.documents" in maintaining(run, postgres.analyze, "documents").reason
            other.execute("ROLLBACK")
    assert "there is no table no_such" in maintaining(run, postgres.analyze, "no_such").reason
    assert "no table is named" in maintaining(run, postgres.vacuum, "").reason
    # From 16 on the server takes what is no name for one that is not there.
    refused = maintaining(run, postgres.vacuum, '"a').reason
    assert "invalid name syntax" in refused or 'there is no table "a' in refused
    assert "KiB are free" in rebuilding(run, "documents_pkey", free_mib=0.01).reason
    assert "no time for it" in rebuilding(run, "documents_pkey", minutes=0).reason
    assert "of the catalogs" in rebuilding(run, "pg_catalog.pg_class_oid_index").reason


def test_a_hostile_name_is_vacuumed_by_its_name(place: Place, run: Run) -> None:
    with postgres_server.superuser(place) as admin:
        admin.execute(sql.SQL("CREATE TABLE {} (id int)").format(sql.Identifier(HOSTILE)))
        admin.execute(sql.SQL("ALTER TABLE {} OWNER TO shrimp_user").format(sql.Identifier(HOSTILE)))
        planned = maintaining(run, postgres.vacuum, sql.Identifier(HOSTILE).as_string())
        done = run.apply(planned, token_of(planned.plans[0].plan)).plans[0]
        admin.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(HOSTILE)))
    assert done.state is PlanState.VERIFIED, done


def test_a_room_that_is_not_known_is_asked_for(place: Place, profile: Callable[..., str]) -> None:
    text = Path(place.read("state.json")["target"]).read_text()
    name = profile(text.replace('where = "here"', 'where = "elsewhere"').split("[host.share]")[0], name="far")
    opened = open_run("database-maintenance", target=name, needs=["postgres"])
    try:
        assert "give `free_mib`" in rebuilding(opened, "documents_pkey").reason
        assert rebuilding(opened, "documents_pkey", free_mib=100).plans
    finally:
        opened.close()


def test_a_cut_plan_finds_out_whether_its_step_happened(place: Place, run: Run) -> None:
    began = pd.Timestamp.now("UTC").to_pydatetime()
    connection = OperatorDatabase.open(load_target(place.name), "test")

    class There:
        target = load_target(place.name)

        @staticmethod
        def connection(_: type) -> PostgresConnection:
            return connection

    try:
        for change, act in ((postgres.analyze, "analyze"), (postgres.vacuum, "vacuum")):
            arguments = maintaining(run, change, "sentences").plans[0].plan.steps[0].arguments
            assert change.acts[act].happened(There(), arguments, began) is False
            change.acts[act].do(There(), arguments)
            wait_for(lambda c=change, a=act, g=arguments: c.acts[a].happened(There(), g, began))
        arguments = rebuilding(run, "sentences_pkey").plans[0].plan.steps[0].arguments
        assert postgres.reindex.acts["reindex"].happened(There(), arguments, began) is False
        postgres.reindex.acts["reindex"].do(There(), arguments)
        assert postgres.reindex.acts["reindex"].happened(There(), arguments, began) is True
    finally:
        connection.close()

"""Which statements are slow, which indexes are missing or of no use, and plans that measure and log, on servers."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest
from cluster import CONTRIB, Cluster, cluster
from psycopg import sql
from running import wait_for

from runbook import open_run, postgres
from runbook.connections import PostgresConnection, read_sql
from runbook.model import Finding, NotPlanned, Status, UsageError
from runbook.model.layout import run_folder
from runbook.model.plan import PlanState
from runbook.plans.token import token_of
from runbook.postgres import explain_analyze
from runbook.postgres.log_slow_statements import SQL_14
from runbook.postgres.log_slow_statements import check as check_logging
from runbook.session import Run

OK, WARNING, UNKNOWN, SKIPPED = Status.OK, Status.WARNING, Status.UNKNOWN, Status.SKIPPED
LOOKUP = "SELECT id FROM events WHERE owner = %s"
HOSTILE = 'tab"le; DROP\n\u202eTABLE ' + "x" * 38  # 63 bytes


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A server that records statements; a table with an index on what it is looked up by; the roles of a target."""
    if not CONTRIB:
        pytest.skip("this PostgreSQL comes without contrib")
    with cluster(
        shared_preload_libraries="pg_stat_statements", max_parallel_workers_per_gather=0, autovacuum="off"
    ) as running:
        running.execute(
            "CREATE EXTENSION pg_stat_statements",
            "CREATE ROLE runbook LOGIN IN ROLE pg_monitor",
            "CREATE ROLE app LOGIN",
            "CREATE ROLE operator LOGIN IN ROLE pg_monitor, app",
            "CREATE TABLE events (id int PRIMARY KEY, owner int NOT NULL, note text)",
            "INSERT INTO events SELECT n, n % 20000, 'note ' || n FROM generate_series(1, 60000) AS n",
            "CREATE INDEX events_owner ON events (owner)",
            "CREATE TABLE secrets_of_others (id int)",
            "GRANT SELECT, UPDATE, DELETE ON events TO app",
            "VACUUM ANALYZE events",
        )
        yield running


@pytest.fixture
def own(server: Cluster, request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """Make things in a schema of this test, which is gone afterwards; what it makes is reached by its bare name."""
    server.execute("CREATE SCHEMA own", "GRANT ALL ON SCHEMA own TO app", "SELECT pg_stat_reset()")

    def execute(*statements: str) -> None:
        server.execute("SET search_path = own, public", *statements)

    yield execute
    server.execute("DROP SCHEMA own CASCADE")


@pytest.fixture
def opened(
    server: Cluster, profile: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Run]]:
    """Open runs on the server as a target's roles; plans and archive are those of this test alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("RUNBOOK_EVIDENCE", str(tmp_path / "evidence"))
    runs: list[Run] = []

    def open_(role: str = "runbook", operator: str = "operator", database: str = "postgres") -> Run:
        text = _profile(server, role, operator, database)
        runs.append(open_run("query-performance", target=profile(text), needs=["postgres"]))
        return runs[-1]

    yield open_
    for run in runs:
        run.close()


def _profile(server: Cluster, role: str = "runbook", operator: str = "operator", database: str = "postgres") -> str:
    return (
        f'[postgres]\ndsn = "{server.dsn(role, database)}"\napplication_dsn = "{server.dsn("app", database)}"\n'
        f'operator_dsn = "{server.dsn(operator, database)}"\n'
    )


@contextmanager
def load(
    server: Cluster, statement: str = LOOKUP, values: tuple[Any, ...] = (17,), role: str = "app"
) -> Iterator[None]:
    """Execute a statement again and again, as the application does, once it has begun."""
    ended, begun = threading.Event(), threading.Event()

    def work() -> None:
        with server.connect(user=role, application_name="web") as session:
            session.prepare_threshold = None
            while not ended.is_set():
                session.execute(statement, values)
                begun.set()

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait(20)
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def without_index(server: Cluster) -> Iterator[None]:
    server.execute("DROP INDEX events_owner")
    try:
        yield
    finally:
        server.execute("CREATE INDEX events_owner ON events (owner)")


def only(findings: Any) -> Finding:
    (found,) = findings
    return found


def told(run: Run, question: Any, **arguments: Any) -> Finding:
    return only(run.ask(question, **arguments).findings)


def objects(run: Run, question: Any, **arguments: Any) -> dict[str, Finding]:
    return {finding.object: finding for finding in run.ask(question, **arguments).findings}


def unused(run: Run) -> dict[str, Finding]:
    """Return what is found of this test's own indexes of some size, as if the statistics were old enough."""
    found = objects(run, postgres.unused_indexes, mebibytes=0.1, days=0)
    return {name: finding for name, finding in found.items() if name.startswith("index own.")}


def queryid(server: Cluster, like: str) -> int:
    find = f"SELECT queryid FROM pg_stat_statements WHERE query LIKE '{like}' ORDER BY total_exec_time DESC LIMIT 1"
    return int(server.execute(find)[0][0])


INDEXES = (postgres.invalid_indexes, postgres.missing_indexes, postgres.duplicate_indexes, postgres.unused_indexes)
STATEMENTS = (postgres.slow_queries_now, postgres.slow_queries, postgres.regressions, postgres.explain)


# --- what is slow


@pytest.mark.slow
def test_a_query_made_slow_by_a_dropped_index_is_named_with_its_statement_and_its_table(
    server: Cluster, archive: Path, profile: Callable[..., str], run_json: Callable[..., Any]
) -> None:
    limits = "".join(
        f'[thresholds."postgres.{name}"]\nmean_ms = 1\n' for name in ("slow_queries_now", "slow_queries", "regressions")
    )
    name = profile(_profile(server) + limits, name="shop")
    asked = ("query-performance", "--target", name, "-p", "seconds=1.0")
    with load(server):
        _, document = run_json(*asked)
    lookups = [finding for finding in document.runs[0].findings if finding.bad and "owner = $1" in finding.message]
    assert not lookups
    # Of a run whose data is damaged nothing is known, and the others are compared all the same.
    damaged = run_json(*asked)[1].runs[0].run_id
    (file,) = run_folder(archive, damaged).glob("data/*postgres.slow_queries.parquet")
    file.write_bytes(b"PAR1 no more")
    with without_index(server), load(server):
        code, document = run_json(*asked)
    assert code == 1
    statement = f"statement {queryid(server, 'SELECT id FROM events WHERE owner%')}"
    # On a busy machine a statement of the runbook itself can be told as well.
    found = {finding.check: finding for finding in document.runs[0].findings if finding.object.startswith(statement)}
    assert "SELECT id FROM events WHERE owner = $1" in found["postgres.slow_queries_now"].message
    assert "in 1 run" in found["postgres.regressions"].message
    plan = found["postgres.explain"]
    assert plan.object == f"{statement} on public.events" and all(finding.bad for finding in found.values())
    assert "reads all of public.events (60,000 rows" in plan.message and "(events.owner = $1)" in plan.message


def test_totals_hide_what_is_slow_now(server: Cluster, opened: Callable[..., Run]) -> None:
    server.execute("SELECT pg_stat_statements_reset()")
    with server.connect(user="app") as session:
        for number in range(3000):
            session.execute(LOOKUP, (number,), prepare=False)
    run = opened()
    with without_index(server), load(server):
        now = run.ask(postgres.slow_queries_now, seconds=0.5, mean_ms=1, calls=20)
        since = run.ask(postgres.slow_queries, mean_ms=1, calls=20)
    (lookup,) = [finding for finding in now.findings if "FROM events WHERE owner" in finding.message]
    assert lookup.status is WARNING and lookup.object == f"statement {postgres.slowest(now, since)}"
    assert [finding.status for finding in since.findings] == [OK]
    for answer in (now, since):
        assert postgres.Statements(answer.frame)._repr_mimebundle_()["image/png"].startswith(b"\x89PNG")


def test_the_runbook_never_names_its_own_statements(server: Cluster, opened: Callable[..., Run]) -> None:
    server.execute("SELECT pg_stat_statements_reset()")
    with server.connect(user="app") as session:
        session.execute(LOOKUP, (1,), prepare=False)
        # As it is where the runbook has no role of its own.
        for _ in range(5):
            session.execute("-- Is this one of the runbook?\nSELECT pg_sleep(0.01)")
    server.execute("SELECT pg_sleep(0.01) AS of_its_role", user="runbook")
    for role in ("runbook", "app"):
        server.execute("GRANT pg_monitor TO app")
        run = opened(role=role)
        with load(server, "-- Is this one of the runbook?\nSELECT pg_sleep(0.01), %s", (1,)):
            now = run.ask(postgres.slow_queries_now, seconds=0.5, mean_ms=0, calls=0, running_seconds=0)
        since = run.ask(postgres.slow_queries, mean_ms=0, calls=0)
        plan = run.ask(postgres.explain)
        assert "nothing to compare with yet" in (compared := told(run, postgres.regressions)).message or (
            "there is no archive" in compared.message
        )
        server.execute("REVOKE pg_monitor FROM app")
        texts = [*now.frame["query"], *since.frame["query"], plan.frame.attrs["query"]]
        assert any("FROM events" in text for text in texts)
        assert not [text for text in texts if "one of the runbook" in text or "runbook_statement" in text], role
        assert role == "app" or not [text for text in texts if "of_its_role" in text]


@pytest.mark.slow
def test_a_statement_that_was_quick_and_rare_is_judged_and_compared_beyond_the_fifty_costliest(
    server: Cluster, opened: Callable[..., Run], archive: Path, profile: Callable[..., str],
    run_json: Callable[..., Any],
) -> None:  # fmt: skip
    server.execute("SELECT pg_stat_statements_reset()")
    with server.connect(user="app") as session:
        for _ in range(10):
            session.execute("SELECT 1 AS formerly_quick", prepare=False)
        for number in range(60):
            session.execute(f"SELECT pg_sleep(0.01){', 1' * number}".encode())
    name = profile(_profile(server), name="compared")
    run_json("query-performance", "--target", name, "-p", "seconds=0.2")
    frame = opened().ask(postgres.slow_queries).frame
    assert frame is not None and len(frame) > 60
    number = queryid(server, "SELECT $1 AS formerly_quick")
    place = frame.index[frame["queryid"] == number][0]
    assert place >= 50 and frame["query"][place] == "(its text was not read)"
    # The same text is slow now: as if the function behind it had changed.
    run = open_run("test", target=name, needs=["postgres"])
    now = pd.DataFrame({"queryid": [number], "database": ["postgres"], "calls": [50], "total_ms": [500.0]})
    found = objects(run, postgres.regressions, now=now)
    run.close()
    assert "AS formerly_quick" in found[f"statement {number}"].message
    # Of all that is slow, the 50 costliest hide nothing.
    with server.connect(user="app") as session:
        for costly in range(60):
            session.execute(("SELECT pg_sleep(0.08)" + ", 'x'" * costly).encode())
        for _ in range(100):
            session.execute("SELECT pg_sleep(0.0201), 1.5 AS often", prepare=False)
    for by in ("io", "temp"):
        assert "AS often" in told(opened(), postgres.slow_queries, by=by).message, by


def test_statements_that_wait_for_a_lock_are_told_as_one_and_those_beyond_ten_are_counted(
    server: Cluster, opened: Callable[..., Run]
) -> None:
    sessions = [server.connect(user="app") for _ in range(14)]
    threads = []
    with server.connect() as holder:
        holder.execute("BEGIN")
        holder.execute("LOCK events IN ACCESS EXCLUSIVE MODE")

        def work(session: Any, statement: str) -> None:
            with suppress(psycopg.errors.QueryCanceled):
                session.execute(statement)

        for place, session in enumerate(sessions):
            statement = "SELECT pg_sleep(60)" if place < 12 else "SELECT count(*) FROM events"
            threads.append(threading.Thread(target=work, args=(session, statement)))
            threads[-1].start()
        busy = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state = 'active'"
        wait_for(lambda: server.execute(busy) == [(14,)])
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        wait_for(lambda: server.execute(waits) == [(2,)])
        found = objects(opened(), postgres.slow_queries_now, seconds=0.1, running_seconds=0)
        for session in sessions:
            session.cancel_safe()
        holder.execute("ROLLBACK")
    for thread, session in zip(threads, sessions, strict=True):
        thread.join()
        session.close()
    named = [finding for name, finding in found.items() if name.startswith("pid ")]
    assert len(named) == 10 and all("pg_sleep" in finding.message for finding in named)
    assert found["other running statements"].message == "2 more statements have been running for as long"
    locks = found["lock waits"]
    assert locks.message == "2 statements wait for locks of other sessions" and "postgres.blocking" in locks.next


@pytest.mark.parametrize("by", ["total", "mean", "variance", "io", "temp"])
def test_statements_are_ranked_by_each_measure(by: str, opened: Callable[..., Run]) -> None:
    answer = opened().ask(postgres.slow_queries, by=by, calls=10**9)
    column = {
        "total": "total_ms",
        "mean": "mean_ms",
        "variance": "stddev_ms",
        "io": "blocks_read",
        "temp": "temp_blocks",
    }
    assert answer.frame is not None and answer.frame[column[by]].astype(float).is_monotonic_decreasing
    assert "plot: the statements that cost the most" in postgres.Statements(answer.frame).text()
    assert postgres.Statements(answer.frame)._repr_mimebundle_()["image/png"]


def test_a_ranking_that_there_is_not_and_samples_that_cannot_be_are_refused(opened: Callable[..., Run]) -> None:
    run = opened()
    with pytest.raises(UsageError, match="total, mean, variance"):
        run.ask(postgres.slow_queries, by="beauty")
    with pytest.raises(UsageError, match="samples are taken"):
        run.ask(postgres.slow_queries_now, seconds=0)


def test_a_reset_between_the_samples_is_noticed(server: Cluster, opened: Callable[..., Run]) -> None:
    run = opened()
    timer = threading.Timer(0.7, lambda: server.execute("SELECT pg_stat_statements_reset()"))
    timer.start()
    found = told(run, postgres.slow_queries_now, seconds=2.0)
    timer.join()
    assert found.status is UNKNOWN and "were reset between the two samples" in found.message


def test_one_that_was_forgotten_in_between_counts_from_then_on(server: Cluster, opened: Callable[..., Run]) -> None:
    with server.connect(user="app") as session:
        for _ in range(50):
            session.execute(LOOKUP, (1,), prepare=False)
    number = queryid(server, "SELECT id FROM events WHERE owner%")

    def forget() -> None:
        server.execute(f"SELECT pg_stat_statements_reset(0, 0, {number})")
        with server.connect(user="app") as session:
            session.execute(LOOKUP, (1,), prepare=False)

    run = opened()
    run.ask(postgres.own_role)  # what takes its time at first is over
    timer = threading.Timer(0.7, forget)
    timer.start()
    answer = run.ask(postgres.slow_queries_now, seconds=2.0)
    timer.join()
    assert answer.frame is not None
    assert answer.frame.loc[answer.frame["queryid"] == number, "calls"].tolist() == [1]


def test_a_statement_that_has_not_ended_is_in_no_statistics_and_told_all_the_same(
    server: Cluster, opened: Callable[..., Run]
) -> None:
    with load(server, "SELECT pg_sleep(3), %s", ("a secret of somebody",)):
        found = objects(opened(), postgres.slow_queries_now, seconds=0.5, running_seconds=0.1)
    running = [finding for name, finding in found.items() if name.startswith("pid ")]
    assert running and running[0].status is WARNING and "has been running for" in running[0].message
    assert "a secret of somebody" not in running[0].message


@pytest.mark.parametrize(
    ("attrs", "status"),
    [
        ({"minutes": 2, "whole": False}, UNKNOWN),
        ({"minutes": 2, "whole": True}, OK),
        ({"minutes": 99, "whole": False}, OK),
    ],
)
def test_counters_that_were_just_reset_know_little_but_of_a_server_as_young(
    attrs: dict[str, Any], status: Status
) -> None:
    frame = pd.DataFrame({"mean_ms": [1.0], "calls": [5]})
    frame.attrs = {"by": "total", "forgotten": 0, "database": "d", "block_size": 8192, **attrs}
    found = only(postgres.slow_queries.check(frame))
    assert found.status is status and f"{attrs['minutes']} min ago" in found.message


def test_forgotten_statements_are_told(opened: Callable[..., Run]) -> None:
    frame = opened().ask(postgres.slow_queries).frame
    assert frame is not None
    frame.attrs["forgotten"] = 12
    found = postgres.slow_queries.check(frame, calls=10**9)
    assert "statements were forgotten 12 times" in found[0].message


def test_secrets_in_the_texts_of_statements_are_not_shown(server: Cluster, opened: Callable[..., Run]) -> None:
    server.execute("ALTER ROLE app PASSWORD 'hunter2-and-more'", "SELECT 1 AS one -- password=hunter3-and-more")
    run = opened()
    for by in ("total", "mean"):
        answer = run.ask(postgres.slow_queries, by=by, mean_ms=0, calls=0)
        shown = f"{answer._repr_mimebundle_()} {answer.frame}"
        assert (answer.frame is not None and answer.frame["query"].str.contains("ALTER ROLE app").any()) or by == "mean"
        assert "hunter2" not in shown and "hunter3" not in shown


@pytest.mark.parametrize("notebook", ["query-performance", "database-maintenance", "read-replica"])
def test_an_outage_is_critical_in_each_notebook_about_the_database(
    notebook: str, archive: Path, profile: Callable[..., str], run_json: Callable[..., Any]
) -> None:
    dsn = "host=127.0.0.1 port=9 user=app dbname=shop"
    name = profile(f'[postgres]\ndsn = "{dsn}"\napplication_dsn = "{dsn}"\n', name="gone")
    code, document = run_json(notebook, "--target", name)
    critical = [finding for finding in document.runs[0].findings if finding.status is Status.CRITICAL]
    assert code == 2 and [finding.check for finding in critical] == ["postgres.reachable"]


# --- what is needed to ask


def test_every_question_answers_on_each_version_and_statements_are_skipped_with_how_to_have_them(
    each_postgres: Cluster, profile: Callable[..., str]
) -> None:
    run = open_run("query-performance", target=profile(each_postgres.profile()), needs=["postgres"])
    for question in (*INDEXES, postgres.slow_statement_logging):
        assert told(run, question).status is OK, question.name
    # On a server older than 15 this one is asked.
    frame = run._dependencies.connection(PostgresConnection).rows(SQL_14, {"operator": "postgres"})
    assert frame["may_set"].tolist() == [True] and frame["milliseconds"].tolist() == [-1]
    for question in STATEMENTS:
        found = told(run, question)
        assert found.status is SKIPPED and "shared_preload_libraries = 'pg_stat_statements'" in found.message
    run.close()


def test_the_columns_of_each_version_of_the_extension_are_read(each_postgres: Cluster) -> None:
    with each_postgres.connect() as session:
        asked = {"by": "io", "apart": True, "mean_ms": 20, "calls": 100}
        for name in ("blk_read_time", "shared_blk_read_time"):
            session.execute("BEGIN")
            session.execute(
                "CREATE FUNCTION pg_stat_statements(boolean) RETURNS TABLE (userid oid, dbid oid, queryid int8, "
                "query text, calls int8, total_exec_time float8, stddev_exec_time float8, rows int8, "
                "shared_blks_read int8, local_blks_read int8, temp_blks_read int8, temp_blks_written int8, "
                f"{name} float8) LANGUAGE sql AS 'SELECT 1::oid, 1::oid, 5::int8, ''SELECT'', 2::int8, 3.0::float8, "
                "0.0::float8, 1::int8, 1::int8, 1::int8, 1::int8, 1::int8, 7.5::float8'"
            )
            cursor = session.execute(read_sql("runbook.postgres", "slow_queries").encode(), asked)
            assert cursor.description is not None
            row = dict(zip([column.name for column in cursor.description], cursor.fetchone() or (), strict=True))
            assert row["read_ms"] == 7.5 and row["mean_ms"] == 1.5
            session.execute(read_sql("runbook.postgres", "statements_sample").encode(), asked)
            session.execute("ROLLBACK")


def test_a_database_without_the_extension_is_told_how_to_have_it(server: Cluster, opened: Callable[..., Run]) -> None:
    server.execute("CREATE DATABASE bare")
    for question in STATEMENTS:
        found = told(opened(database="bare"), question)
        assert found.status is UNKNOWN and "CREATE EXTENSION pg_stat_statements" in found.message


def test_the_extension_is_found_in_any_schema(server: Cluster, opened: Callable[..., Run]) -> None:
    server.execute("CREATE DATABASE elsewhere")
    server.execute(
        'CREATE SCHEMA "its own"', 'CREATE EXTENSION pg_stat_statements SCHEMA "its own"', database="elsewhere"
    )
    found = told(opened(database="elsewhere"), postgres.slow_queries_now, seconds=0.1)
    assert found.status is UNKNOWN and 'GRANT USAGE ON SCHEMA "its own" TO runbook' in found.message
    server.execute('GRANT USAGE ON SCHEMA "its own" TO runbook', database="elsewhere")
    assert told(opened(database="elsewhere"), postgres.slow_queries_now, seconds=0.1).status is OK


def test_a_server_that_is_told_to_record_nothing_says_so(server: Cluster, opened: Callable[..., Run]) -> None:
    server.execute("ALTER ROLE runbook SET compute_query_id = off")
    found = told(opened(), postgres.slow_queries_now)
    server.execute("ALTER ROLE runbook RESET ALL")
    assert found.status is UNKNOWN and "ALTER SYSTEM SET compute_query_id = auto" in found.message


def test_a_lower_limit_of_the_profile_is_the_one_that_the_rows_are_chosen_by(
    server: Cluster, profile: Callable[..., str]
) -> None:
    server.execute("SELECT pg_stat_statements_reset()")
    with server.connect(user="app") as session:
        for number in range(60):  # each of them costs more in all
            session.execute("SELECT pg_sleep(0.01)" + ", 1" * number)
        for _ in range(30):
            session.execute("SELECT 1 AS quick_and_often", prepare=False)
    texts = {}
    for calls in (100, 20):
        own = f'[thresholds."postgres.slow_queries"]\nmean_ms = 0.0001\ncalls = {calls}\n'
        run = open_run("t", target=profile(server.profile("runbook") + own, f"calls-{calls}"), needs=["postgres"])
        frame = run.ask(postgres.slow_queries).frame
        texts[calls] = "" if frame is None else " ".join(frame["query"])
        run.close()
    assert "pg_sleep" in texts[100] and "quick_and_often" not in texts[100]
    assert "quick_and_often" in texts[20]


@pytest.mark.parametrize("question", [*STATEMENTS, postgres.invalid_indexes], ids=lambda question: question.name)
def test_a_role_that_sees_only_itself_is_told_the_missing_grant(question: Any, opened: Callable[..., Run]) -> None:
    found = told(opened(role="app"), question)
    assert found.status is UNKNOWN and 'GRANT pg_monitor TO "app"' in found.message


@pytest.mark.parametrize("question", [postgres.missing_indexes, postgres.duplicate_indexes, postgres.unused_indexes],
                         ids=lambda question: question.name)  # fmt: skip
def test_indexes_are_seen_by_any_role(question: Any, server: Cluster, opened: Callable[..., Run]) -> None:
    server.execute("SELECT pg_stat_reset()")
    assert told(opened(role="app"), question).status is OK


def test_a_table_that_is_locked_holds_up_no_question_about_indexes(server: Cluster, opened: Callable[..., Run]) -> None:
    server.execute("SELECT pg_stat_reset()")
    run = opened()
    with server.connect() as session:
        session.execute("BEGIN")
        session.execute("LOCK events IN ACCESS EXCLUSIVE MODE")
        for question in INDEXES:
            assert told(run, question).status is OK, question.name
        session.execute("ROLLBACK")


# --- plans


def test_a_plan_is_shown_and_nothing_is_executed(server: Cluster, opened: Callable[..., Run]) -> None:
    server.execute("DELETE FROM events WHERE id = -1 AND owner > 7", user="app")
    number = queryid(server, "DELETE FROM events WHERE id%")
    calls = f"SELECT calls FROM pg_stat_statements WHERE queryid = {number}"
    before = server.execute(calls)
    answer = opened().ask(postgres.explain, statement=number)
    assert only(answer.findings).status is OK and answer.frame is not None
    assert answer.frame["node"].tolist()[0] == "ModifyTable" and "events" in set(answer.frame["relation"])
    assert server.execute(calls) == before and server.execute("SELECT count(*) FROM events") == [(60000,)]


def test_a_text_with_something_behind_it_is_planned_as_one_statement_or_not_at_all(
    server: Cluster, opened: Callable[..., Run]
) -> None:
    from runbook.postgres.prepared import prepared

    run = opened()
    database = run._dependencies.connection(PostgresConnection)
    for text in ("SELECT 1; DROP TABLE events", "SELECT 1; SELECT 2", "VACUUM", "CREATE TABLE t (id int)"):
        with pytest.raises(Exception, match=r"syntax error|multiple commands"), prepared(database, text):
            raise AssertionError("it was prepared")
    with prepared(database, "SELECT $1::int, $2::text") as (_, parameters):
        assert parameters == 2
    assert len(database.rows("SELECT name FROM pg_prepared_statements")) == 0, "it outlives no transaction"
    assert server.execute("SELECT count(*) FROM events") == [(60000,)]


def test_what_cannot_be_planned_is_unknown_with_the_reason(server: Cluster, opened: Callable[..., Run]) -> None:
    server.execute("CREATE TABLE to_go (id int)", "DROP TABLE to_go", "SELECT * FROM secrets_of_others WHERE id = 5")
    run = opened()
    utility = told(run, postgres.explain, statement=queryid(server, "DROP TABLE to_go%"))
    assert utility.status is UNKNOWN and "has no plan for app" in utility.message
    hidden = told(run, postgres.explain, statement=queryid(server, "%FROM secrets_of_others%"))
    assert hidden.status is UNKNOWN and "permission denied for table secrets_of_others" in hidden.message
    assert "no statement 12345 is recorded" in told(run, postgres.explain, statement=12345).message


def test_a_plan_of_a_locked_table_is_not_waited_for(server: Cluster, opened: Callable[..., Run]) -> None:
    server.execute("SELECT note FROM events WHERE owner = 5", user="app")
    run = opened()
    with server.connect() as session:
        session.execute("BEGIN")
        session.execute("LOCK events IN ACCESS EXCLUSIVE MODE")
        found = told(run, postgres.explain, statement=queryid(server, "SELECT note FROM events%"))
        session.execute("ROLLBACK")
    assert found.status is UNKNOWN and "another session locks" in found.message


def test_an_interval_that_lost_its_constant_is_planned_all_the_same(
    server: Cluster, opened: Callable[..., Run]
) -> None:
    server.execute("SELECT id FROM events WHERE now() - interval '3 hours' < now() AND id = 1", user="app")
    assert told(opened(), postgres.explain, statement=queryid(server, "%- interval%")).status is OK


# --- indexes


def test_an_index_whose_build_failed_is_named_whatever_its_name(
    own: Callable[..., None], opened: Callable[..., Run]
) -> None:
    own("CREATE TABLE twice (v int)", "INSERT INTO twice VALUES (1), (1)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        own("CREATE UNIQUE INDEX CONCURRENTLY twice_v ON twice (v)")
    found = told(opened(), postgres.invalid_indexes)
    assert found.status is WARNING and found.object == "index own.twice_v" and "on own.twice" in found.message
    assert "nobody can rely on its uniqueness" in found.message
    assert found.next.startswith('DROP INDEX CONCURRENTLY "own"."twice_v", find the rows')


def test_the_notebook_names_an_invalid_index(
    server: Cluster, own: Callable[..., None], profile: Callable[..., str], run_json: Callable[..., Any], archive: Path
) -> None:
    own("CREATE TABLE twice (v int)", "INSERT INTO twice VALUES (1), (1)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        own("CREATE UNIQUE INDEX CONCURRENTLY twice_v ON twice (v)")
    _, document = run_json("query-performance", "--target", profile(_profile(server), name="shop"), "-p", "seconds=0.2")
    (found,) = [finding for finding in document.runs[0].findings if finding.check == "postgres.invalid_indexes"]
    assert found.status is WARNING and found.object == "index own.twice_v" and "on own.twice" in found.message


def test_a_build_that_is_under_way_is_no_failed_one_and_one_that_was_broken_off_is(
    server: Cluster, own: Callable[..., None], opened: Callable[..., Run]
) -> None:
    own("CREATE TABLE busy (v int)", "INSERT INTO busy VALUES (1)")
    run = opened()
    with server.connect() as holder, server.connect() as builder:
        holder.execute("BEGIN")
        holder.execute("UPDATE own.busy SET v = 2")

        def build() -> None:
            with suppress(psycopg.Error):
                builder.execute("CREATE INDEX CONCURRENTLY busy_v ON own.busy (v)")

        thread = threading.Thread(target=build)
        thread.start()
        wait_for(lambda: server.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(1,)])
        during = told(run, postgres.invalid_indexes)
        builder.cancel()
        thread.join()
        holder.execute("ROLLBACK")
    assert during.status is OK and "but for 1 index of a build that is under way" in during.message
    after = told(run, postgres.invalid_indexes)
    assert after.status is WARNING and after.object == "index own.busy_v"
    own(after.next.rpartition("; or at once: ")[2])
    assert told(run, postgres.invalid_indexes).status is OK


def test_of_unused_indexes_only_those_are_named_that_are_of_no_other_use(
    own: Callable[..., None], opened: Callable[..., Run]
) -> None:
    own(
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent, u int UNIQUE, i int NOT NULL, v int)",
        "INSERT INTO parent VALUES (1)",
        "INSERT INTO child SELECT n, 1, n, n, n FROM generate_series(1, 20000) AS n",
        "CREATE INDEX child_v ON child (v)",
        "CREATE INDEX child_parent ON child (parent)",
        "CREATE UNIQUE INDEX child_i ON child (i)",
        "ALTER TABLE child REPLICA IDENTITY USING INDEX child_i",
    )
    run = opened()
    answer = run.ask(postgres.unused_indexes, mebibytes=0.1)
    young = only(answer.findings)
    assert young.status is OK and "their statistics began only" in young.message
    (found,) = unused(run).values()
    assert found.status is WARNING and found.object == "index own.child_v" and "on own.child" in found.message
    assert "every replica" in found.next and found.unit == "MiB"
    assert young.message.startswith("2 indexes of ") and " together were not used, but" in young.message
    one = only(postgres.unused_indexes.check(answer.frame[answer.frame["index"] == "child_v"]))
    assert one.message.startswith("1 index of ") and " was not used, but" in one.message
    told_of = answer.frame[answer.frame["index"] == "child_v"]
    told_of.attrs = {**answer.frame.attrs, "replicas": 1}
    assert "; 1 replica is connected, " in only(postgres.unused_indexes.check(told_of, days=0)).message
    assert told(run, postgres.unused_indexes, days=0).status is OK, "small ones are not worth it"
    own("SET enable_seqscan = off", "SELECT * FROM child WHERE v = 5")
    wait_for(lambda: not unused(run))
    own(found.next.rpartition("then ")[2])


def test_the_parts_of_a_partitioned_index_are_judged_together(
    own: Callable[..., None], opened: Callable[..., Run]
) -> None:
    own(
        "CREATE TABLE whole (k int, v int) PARTITION BY LIST (k)",
        "CREATE TABLE part1 PARTITION OF whole FOR VALUES IN (1)",
        "CREATE TABLE part2 PARTITION OF whole FOR VALUES IN (2)",
        "INSERT INTO whole SELECT 1 + n % 2, n FROM generate_series(1, 20000) AS n",
        "CREATE INDEX whole_v ON whole (v)",
    )
    run = opened()
    assert set(unused(run)) == {"index own.whole_v"}
    assert unused(run)["index own.whole_v"].next.endswith('; then DROP INDEX "own"."whole_v"')
    own("SET enable_seqscan = off", "SELECT * FROM part1 WHERE v = 5")
    wait_for(lambda: not unused(run))


def test_duplicate_indexes_are_the_same_in_everything_or_the_beginning_of_another(
    own: Callable[..., None], opened: Callable[..., Run]
) -> None:
    own(
        "CREATE TABLE many (id int PRIMARY KEY, a int, b int, t text)",
        "CREATE INDEX same_1 ON many (a)",
        "CREATE INDEX same_2 ON many (a)",
        "CREATE INDEX same_as_key ON many (id)",
        "CREATE INDEX longer ON many (b, t)",
        "CREATE INDEX shorter ON many (b)",
        "CREATE INDEX lower_1 ON many (lower(t))",
        "CREATE INDEX lower_2 ON many   (lower(t))",
        # None of these is one.
        "CREATE INDEX other_predicate ON many (a) WHERE b > 5",
        "CREATE INDEX other_order ON many (a DESC)",
        "CREATE INDEX other_method ON many USING hash (a)",
        "CREATE INDEX plain_t ON many (t)",
        "CREATE INDEX other_class ON many (t text_pattern_ops)",
        'CREATE INDEX other_collation ON many (t COLLATE "POSIX")',
        "CREATE INDEX second_column ON many (t, b)",
        "CREATE UNIQUE INDEX unique_beginning ON many (b) WHERE false",
    )
    found = objects(opened(), postgres.duplicate_indexes)
    # plain_t (t) is the beginning of second_column (t, b).
    assert set(found) == {f"index own.{name}" for name in ("same_2", "same_as_key", "shorter", "lower_2", "plain_t")}
    assert "the same as many_pkey" in found["index own.same_as_key"].message
    assert "first ones of longer" in found["index own.shorter"].message
    for finding in found.values():
        own(finding.next.partition(", after a look")[0])
    own("ALTER TABLE many ADD CONSTRAINT twice UNIQUE (id)")
    of_constraint = told(opened(), postgres.duplicate_indexes)
    assert of_constraint.object == "index own.twice"
    own(of_constraint.next.partition("; ")[0])


def test_a_foreign_key_without_an_index_is_named_and_one_with_any_that_serves_is_not(
    own: Callable[..., None], opened: Callable[..., Run]
) -> None:
    own(
        "CREATE TABLE parent (x int, y int, PRIMARY KEY (x, y))",
        "CREATE TABLE one (x int, y int, CONSTRAINT bare FOREIGN KEY (x, y) REFERENCES parent)",
        "CREATE TABLE two (x int, y int, FOREIGN KEY (x, y) REFERENCES parent)",
        "CREATE INDEX ON two (y, x)",
        "CREATE TABLE key (id int PRIMARY KEY)",
        "CREATE TABLE three (k int REFERENCES key, l int REFERENCES key)",
        "CREATE INDEX ON three (k) WHERE k IS NOT NULL",
        "CREATE INDEX wrong ON three (l) WHERE k IS NOT NULL",
        "INSERT INTO one SELECT FROM generate_series(1, 300)",
        "INSERT INTO three SELECT FROM generate_series(1, 300)",
        "ANALYZE one, three",
    )
    run = opened()
    found = objects(run, postgres.missing_indexes, rows=200)
    assert set(found) == {"foreign key bare of own.one", "foreign key three_l_fkey of own.three"}
    assert "reads all 300 rows" in found["foreign key bare of own.one"].message
    assert found["foreign key bare of own.one"].next == 'CREATE INDEX CONCURRENTLY ON "own"."one" ("x", "y")'
    small = told(run, postgres.missing_indexes)
    assert small.status is OK and "2 foreign keys of small tables" in small.message


def test_a_table_that_is_mostly_read_from_end_to_end_is_named(
    own: Callable[..., None], opened: Callable[..., Run]
) -> None:
    own(
        "CREATE TABLE scanned (v int)",
        "CREATE TABLE peeked (v int)",
        "INSERT INTO scanned SELECT generate_series(1, 300)",
        "INSERT INTO peeked SELECT generate_series(1, 300)",
        "ANALYZE scanned, peeked",
        "DO $$ BEGIN FOR n IN 1..150 LOOP PERFORM FROM own.scanned WHERE v = n; "
        "PERFORM FROM own.peeked LIMIT 1; END LOOP; END $$",
    )
    run = opened()
    wait_for(lambda: "table own.scanned" in objects(run, postgres.missing_indexes, rows=200))
    found = told(run, postgres.missing_indexes, rows=200)
    assert found.status is WARNING and "300 of its 300 rows each time" in found.message
    assert 'CREATE INDEX CONCURRENTLY ON "own"."scanned" (…)' in found.next
    assert told(run, postgres.missing_indexes).status is OK


def test_a_parallel_scan_hides_no_table_behind_the_share_of_each_worker(
    server: Cluster, own: Callable[..., None], opened: Callable[..., Run]
) -> None:
    own(
        "CREATE TABLE shared_out (v int)",
        "INSERT INTO shared_out SELECT generate_series(1, 300)",
        "ANALYZE shared_out",
        "DO $$ BEGIN FOR n IN 1..150 LOOP PERFORM FROM own.shared_out WHERE v = n LIMIT 1; END LOOP; END $$",
    )
    server.execute("ALTER ROLE runbook SET max_parallel_workers_per_gather = 7",
                   "ALTER ROLE runbook SET min_parallel_table_scan_size = 0")  # fmt: skip
    answer = opened().ask(postgres.missing_indexes, rows=200)
    server.execute("ALTER ROLE runbook RESET ALL")
    frame = answer.frame
    assert frame is not None and frame["workers"].tolist() == [7]
    # As 8 processes leave it: each has read its eighth, and counts as a scan.
    frame["seq_scans"], frame["seq_rows"] = 1200, 150 * 300 / 2
    found = only(postgres.missing_indexes.check(frame))
    assert found.object == "table own.shared_out" and "each worker of a parallel scan counts as one" in found.message
    assert only(postgres.missing_indexes.check(frame.assign(workers=0))).status is OK


def test_a_foreign_key_of_a_partitioned_table_that_was_never_analyzed_counts_its_parts(
    own: Callable[..., None], opened: Callable[..., Run]
) -> None:
    own(
        "CREATE TABLE key (id int PRIMARY KEY)",
        "INSERT INTO key VALUES (1)",
        "CREATE TABLE whole (k int, l int REFERENCES key) PARTITION BY LIST (k)",
        "CREATE TABLE half PARTITION OF whole FOR VALUES IN (1) PARTITION BY LIST (l)",
        "CREATE TABLE quarter PARTITION OF half FOR VALUES IN (1)",
        "INSERT INTO whole SELECT 1, 1 FROM generate_series(1, 300)",
        "ANALYZE quarter",
    )
    found = objects(opened(), postgres.missing_indexes, rows=200)["foreign key whole_l_fkey of own.whole"]
    assert "reads all 300 rows" in found.message
    own(found.next.partition("; ")[0])


def test_hostile_names_are_told_as_they_are_without_being_obeyed(
    server: Cluster, own: Callable[..., None], opened: Callable[..., Run]
) -> None:
    name = sql.Identifier(HOSTILE).as_string()
    own(
        f"CREATE TABLE {name} (v int, {name} text)",
        f"INSERT INTO {name} SELECT n, 'x' || n FROM generate_series(1, 300) AS n",
        f"CREATE INDEX one ON {name} (v)",
        f"CREATE INDEX two ON {name} (v)",
        f"ANALYZE {name}",
        f"GRANT SELECT ON {name} TO app",
    )
    server.execute(f"SELECT v FROM own.{name} WHERE {name} = 'y'", user="app")
    run = opened()
    assert told(run, postgres.duplicate_indexes).object == "index own.two"
    number = queryid(server, "SELECT v FROM own.%")
    found = told(run, postgres.explain, statement=number, rows=100)
    assert found.status is WARNING and 'on own.tab"le; DROP' in found.object
    assert "\u202e" not in found.object and "\n" not in found.object


# --- the plans that change something


def test_a_statement_is_executed_once_by_a_plan_and_rolled_back(server: Cluster, opened: Callable[..., Run]) -> None:
    server.execute("SELECT note FROM events WHERE owner = 3 AND note LIKE 'n%'", user="app")
    number = queryid(server, "SELECT note FROM events WHERE owner = $1 AND note%")
    run = opened()
    asked = {"statement": number, "seconds": 5.0, "verify": [postgres.reachable]}
    shown = run.propose(postgres.explain_analyze, values='[3, "n%"]', **asked)
    plan = shown.plans[0].plan
    assert plan.steps[0].shown.startswith("BEGIN READ ONLY; SET LOCAL statement_timeout = '5s'; PREPARE")
    assert plan.steps[0].shown.endswith("EXPLAIN (ANALYZE, BUFFERS) EXECUTE \"runbook_statement\"('3', 'n%'); ROLLBACK")
    done = run.apply(shown, token_of(plan)).plans[0]
    assert done.state is PlanState.VERIFIED and "actual time=" in done.told[-1], done.told
    assert "loops=1" in done.told[-1] and "Buffers:" in done.told[-1]


def test_a_select_behind_a_comment_is_executed_and_its_plan_is_shown_in_lines(
    server: Cluster, opened: Callable[..., Run]
) -> None:
    server.execute("/*route='/things',db_driver='psycopg'*/ -- as sqlcommenter says\nSELECT count(*) FROM events",
                   user="app")  # fmt: skip
    run = opened()
    number = queryid(server, "/*route%SELECT count(*) FROM events")
    shown = run.propose(postgres.explain_analyze, statement=number, values="", seconds=5.0, verify=[postgres.reachable])
    told_ = run.apply(shown, token_of(shown.plans[0].plan))._repr_mimebundle_()
    lines = [line.strip() for line in told_["text/plain"].splitlines()]
    assert any(line.startswith(("->  Seq Scan", "->  Index Only Scan")) for line in lines), lines
    assert any(line.startswith("Execution Time: ") for line in lines)


@pytest.mark.parametrize(
    "text", ["/* SELECT */ UPDATE events", "/* open SELECT", "-- SELECT\nDELETE", "selective", "/*a*/ (/*b*/ DELETE"]
)
def test_a_comment_makes_no_select_of_what_is_none(text: str) -> None:
    facts = {"query": text, "parameters": 0, "mean_ms": 1.0}
    with pytest.raises(NotPlanned, match="is no SELECT"):
        explain_analyze.draft(facts, statement=1, values="", seconds=5.0)


@pytest.mark.parametrize(
    ("statement", "values", "why"),
    [
        ("SELECT note FROM events WHERE owner%", "[]", "takes 1 values, and 0 are given"),
        ("SELECT note FROM events WHERE owner%", "{", "JSON list"),
        ("SELECT note FROM events WHERE owner%", "[[1]]", "JSON list"),
        ("UPDATE events%", "[1, 2]", "is no SELECT"),
    ],
)
def test_what_is_not_to_be_executed_is_not_planned(
    statement: str, values: str, why: str, server: Cluster, opened: Callable[..., Run]
) -> None:
    server.execute("SELECT note FROM events WHERE owner = 3", "UPDATE events SET note = 'x' WHERE id = -1", user="app")
    number = queryid(server, statement if "owner" not in statement else "SELECT note FROM events WHERE owner = $1")
    shown = opened().propose(postgres.explain_analyze, statement=number, values=values, seconds=5.0, verify=[])
    assert not shown.plans and why in shown.reason


def test_what_writes_behind_a_select_is_refused_by_the_transaction(
    server: Cluster, own: Callable[..., None], opened: Callable[..., Run]
) -> None:
    own("CREATE TABLE written (v int)", "CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS "
        "'INSERT INTO own.written VALUES (1) RETURNING v'", "SELECT own.writes()")  # fmt: skip
    run = opened(operator="postgres")
    number = queryid(server, "SELECT own.writes()%")
    shown = run.propose(postgres.explain_analyze, statement=number, values="", seconds=5.0, verify=[])
    done = run.apply(shown, token_of(shown.plans[0].plan)).plans[0]
    assert done.state is PlanState.FAILED and "read-only transaction" in done.told[-1]
    assert server.execute("SELECT count(*) FROM own.written") == [(1,)]


def test_without_a_statement_nothing_is_planned(opened: Callable[..., Run]) -> None:
    shown = opened().propose(postgres.explain_analyze, statement=0, values="", seconds=5.0, verify=[])
    assert "no statement is named" in shown.reason and not shown.findings
    assert explain_analyze.watched == ("queryid", "query")


def test_slow_statements_are_logged_for_a_time_told_meanwhile_and_switched_back(
    server: Cluster, opened: Callable[..., Run]
) -> None:
    server.execute(
        "GRANT ALTER SYSTEM ON PARAMETER log_min_duration_statement TO operator",
        "GRANT EXECUTE ON FUNCTION pg_reload_conf() TO operator",
    )
    run = opened()
    asked = {"verify": [postgres.reachable], "minutes": 30}
    shown = run.propose(postgres.log_slow_statements, milliseconds=300, **asked)
    plan = shown.plans[0].plan
    assert plan.summary == "log statements of 300 ms and more for 30 min, then switch it back"
    done = run.apply(shown, token_of(plan)).plans[0]
    assert done.state is PlanState.VERIFIED, done.told
    found = told(run, postgres.slow_statement_logging)
    assert (
        found.status is WARNING and f"by plan {plan.id}" in found.message and "to be switched back at" in found.message
    )
    server.execute("SELECT pg_sleep(0.35) AS slow_one")
    assert "slow_one" in server.log()
    assert "are logged already" in run.propose(postgres.log_slow_statements, milliseconds=300, **asked).reason
    # What was there before is what the inverse of another plan brings back.
    shown = run.propose(postgres.log_slow_statements, milliseconds=400, **asked)
    inverse = shown.plans[0].plan.inverse
    assert inverse[0].shown == 'ALTER SYSTEM SET "log_min_duration_statement" = 300'
    off = run.propose(postgres.log_slow_statements, milliseconds=-1, **asked)
    assert off.plans[0].plan.steps[0].shown == 'ALTER SYSTEM RESET "log_min_duration_statement"'
    assert run.apply(off, token_of(off.plans[0].plan)).plans[0].state is PlanState.VERIFIED
    wait_for(lambda: told(run, postgres.slow_statement_logging).status is OK)
    server.execute("REVOKE ALTER SYSTEM ON PARAMETER log_min_duration_statement FROM operator",
                   "REVOKE EXECUTE ON FUNCTION pg_reload_conf() FROM operator")  # fmt: skip


def test_the_inverse_of_the_logging_takes_it_back(server: Cluster, opened: Callable[..., Run]) -> None:
    run = opened(operator="postgres")
    shown = run.propose(postgres.log_slow_statements, milliseconds=250, minutes=5, verify=[])
    run.apply(shown, token_of(shown.plans[0].plan))
    for step in shown.plans[0].plan.inverse:
        postgres.log_slow_statements.acts[step.act].do(run._dependencies, step.arguments)
    wait_for(lambda: told(run, postgres.slow_statement_logging).status is OK)
    assert "log_min_duration" not in (server.data / "postgresql.auto.conf").read_text()


def test_where_nothing_is_logged_there_is_nothing_to_switch_back(opened: Callable[..., Run]) -> None:
    for role in ("runbook", "app"):
        shown = opened(role, operator="postgres").propose(
            postgres.log_slow_statements, milliseconds=-1, minutes=30, verify=[]
        )
        assert not shown.plans and "there is nothing to take back" in shown.reason and not shown.findings


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ('ALTER DATABASE "postgres" {}', "ALTER DATABASE postgres RESET log_min_duration_statement"),
        ("ALTER ROLE runbook {}", "ALTER ROLE runbook RESET log_min_duration_statement"),
        (
            'ALTER ROLE runbook IN DATABASE "postgres" {}',
            "ALTER ROLE runbook IN DATABASE postgres RESET log_min_duration_statement",
        ),
        ("ALTER ROLE ALL {}", "ALTER ROLE ALL RESET log_min_duration_statement"),
    ],
)
def test_no_logging_is_planned_where_a_value_of_its_own_would_hold_it_off(
    setting: str, words: str, server: Cluster, opened: Callable[..., Run]
) -> None:
    server.execute(setting.format("SET log_min_duration_statement = 5000"))
    try:
        run = opened(operator="postgres")
        for milliseconds in (300, -1):
            shown = run.propose(postgres.log_slow_statements, milliseconds=milliseconds, minutes=30, verify=[])
            assert not shown.plans and "it would take no effect" in shown.reason and words in shown.reason
        found = told(run, postgres.slow_statement_logging)
        assert found.status is OK and "statements of 5000 ms and more are logged here, by ALTER " in found.message
    finally:
        server.execute(words)
    assert (
        opened(operator="postgres").propose(postgres.log_slow_statements, milliseconds=300, minutes=30, verify=[]).plans
    ), "what is told to be done first is enough"


def test_a_role_with_a_value_of_its_own_is_named_as_out_of_reach(server: Cluster, opened: Callable[..., Run]) -> None:
    server.execute("ALTER ROLE app SET log_min_duration_statement = 7000")
    try:
        shown = opened(operator="postgres").propose(
            postgres.log_slow_statements, milliseconds=300, minutes=30, verify=[]
        )
    finally:
        server.execute("ALTER ROLE app RESET log_min_duration_statement")
    assert "ALTER ROLE app RESET log_min_duration_statement" in shown.plans[0].plan.blast_radius[-1]


def test_a_role_that_may_not_is_told_the_grants(opened: Callable[..., Run]) -> None:
    shown = opened().propose(postgres.log_slow_statements, milliseconds=300, minutes=30, verify=[])
    assert not shown.plans
    assert 'GRANT ALTER SYSTEM ON PARAMETER log_min_duration_statement TO "operator"' in shown.reason
    assert 'GRANT EXECUTE ON FUNCTION pg_reload_conf() TO "operator"' in shown.reason


def test_before_15_only_a_superuser_may() -> None:
    facts = {"milliseconds": -1, "by_alter_system": False, "operator": "operator", "may_set": False, "may_reload": True,
             "version_num": 140000, "source": "default", "overrides": None}  # fmt: skip
    with pytest.raises(Exception, match="before 15 only a superuser"):
        postgres.log_slow_statements.draft(facts, milliseconds=300, minutes=30)


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        ({"by_alter_system": False}, OK, "as the configuration file says"),
        ({"source": "database"}, OK, "are logged here, by ALTER DATABASE … SET"),
        ({"by_alter_system": True}, WARNING, "not by a plan that is kept here"),
        ({"by_alter_system": None, "sees_source": False}, UNKNOWN, "GRANT pg_monitor"),
        (
            {"by_alter_system": True, "plan": "pln_x"},
            WARNING,
            "to be switched back at 2026-01-01 10:30 UTC, 90 min ago",
        ),
    ],
)
def test_logging_that_was_left_on_is_told_with_whose_it_is(facts: dict[str, Any], status: Status, words: str) -> None:
    since = datetime(2026, 1, 1, 10, tzinfo=UTC)
    times = {"loaded": since, "since": since, "until": since + timedelta(minutes=30), "now": since + timedelta(hours=2)}
    frame = pd.DataFrame(
        [{"milliseconds": 200, "sees_source": True, "source": "configuration file", "plan": "", **times, **facts}]
    )
    found = only(check_logging(frame))
    assert found.status is status and words in found.message

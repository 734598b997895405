"""Who holds connections and locks, and the plans that end what holds them, on real servers."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest
from cluster import Cluster, cluster
from running import text_of, wait_for

from runbook import open_run, postgres
from runbook.model import ChangeFailed, Finding, Status, UsageError
from runbook.model.plan import PlanState
from runbook.plans.token import token_of
from runbook.postgres import BlockingTree, Connections, idle_sessions
from runbook.postgres.blocking import lines
from runbook.session import Run
from runbook_sandbox import servers

NEWER = [folder for folder in servers.all_postgres() if servers.version(folder) >= (16,)]
OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A server with 20 slots, and the roles that a target has: the runbook's, the operator's, the application's."""
    with cluster(max_connections=20, max_prepared_transactions=5, deadlock_timeout="30s") as running:
        running.execute(
            "CREATE ROLE runbook LOGIN IN ROLE pg_monitor",
            "CREATE ROLE app LOGIN",
            "CREATE ROLE operator LOGIN IN ROLE pg_signal_backend, pg_monitor",
            "CREATE TABLE things (id int PRIMARY KEY, v int)",
            "INSERT INTO things SELECT n, 0 FROM generate_series(1, 50) AS n",
            "GRANT ALL ON things TO app",
        )
        yield running


@pytest.fixture
def opened(
    server: Cluster, profile: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Run]]:
    """Open runs on the server as the runbook's role; plans are those of this test alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    runs: list[Run] = []

    def open_(role: str = "runbook", operator: str = "operator") -> Run:
        text = f'[postgres]\ndsn = "{server.dsn(role)}"\noperator_dsn = "{server.dsn(operator)}"\n'
        runs.append(open_run("database-issues", target=profile(text), needs=["postgres"]))
        return runs[-1]

    yield open_
    for run in runs:
        run.close()
    wait_for(lambda: server.execute("SELECT count(*) FROM pg_stat_activity WHERE usename <> 'postgres'") == [(0,)])


@contextmanager
def sessions(server: Cluster, count: int, application: str, role: str = "app") -> Iterator[list[Any]]:
    """Hold so many idle sessions of an application."""
    with ExitStack() as held:
        yield [
            held.enter_context(server.connect(user=role, application_name=application))
            for _ in range(count)
        ]  # fmt: skip


@contextmanager
def waiting(server: Cluster, application: str, *statements: str) -> Iterator[Any]:
    """Hold a session that executes statements in one transaction; it waits with the last one, then commits."""
    session = server.connect(user="app", application_name=application)

    def last() -> None:
        with suppress(psycopg.Error):
            session.execute(statements[-1])
            session.execute("COMMIT")

    session.execute("BEGIN")
    for statement in statements[:-1]:
        session.execute(statement)
    thread = threading.Thread(target=last)
    thread.start()
    find = f"SELECT wait_event_type FROM pg_stat_activity WHERE application_name = '{application}'"
    wait_for(lambda: server.execute(find) == [("Lock",)])
    try:
        yield session
    finally:
        session.cancel()
        thread.join()
        session.close()


@contextmanager
def root(server: Cluster, row: int = 1, application: str = "etl-nightly") -> Iterator[Any]:
    """Hold a transaction that has locked a row and does nothing."""
    with server.connect(user="app", application_name=application) as session:
        session.execute("BEGIN")
        session.execute(f"UPDATE things SET v = v + 1 WHERE id = {row} -- password 'hunter2'")
        yield session
        with suppress(psycopg.Error):
            session.execute("ROLLBACK")


@contextmanager
def chain(server: Cluster) -> Iterator[int]:
    """Hold a chain of locks that is three deep, and give the root's pid."""
    with (
        root(server) as first,
        waiting(server, "web-1", "UPDATE things SET v = 1 WHERE id = 2", "UPDATE things SET v = 1 WHERE id = 1"),
        waiting(server, "web-2", "UPDATE things SET v = 1 WHERE id = 3", "UPDATE things SET v = 1 WHERE id = 2"),
        waiting(server, "web-3", "UPDATE things SET v = 1 WHERE id = 3"),
    ):
        yield first.info.backend_pid


def only(findings: Any) -> Finding:
    (found,) = findings
    return found


def soon(run: Run) -> Any:
    return run.ask(postgres.blocking, warning=0.0, critical=0.001)


# --- connections


def test_a_quiet_server_is_well(opened: Callable[..., Run]) -> None:
    run = opened()
    for question in (postgres.connections, postgres.blocking):
        assert only(run.ask(question).findings).status is OK, question.name


def test_an_application_that_leaks_is_named_with_its_share_its_states_and_from_where(
    server: Cluster, opened: Callable[..., Run]
) -> None:
    with sessions(server, 16, "batch-import"):
        time.sleep(0.3)
        told = only(opened().ask(postgres.connections, idle_seconds=0.2).findings)
    assert told.status is CRITICAL and told.object == "batch-import" and told.value == pytest.approx(100 * 16 / 17)
    assert told.message.startswith("holds 16 of 17 usable slots: 16 idle; from the local socket (16); a leak")
    assert told.next.endswith(" -p application=batch-import") and "connection-exhaustion" in told.next


def test_connections_that_work_are_load_and_no_leak(server: Cluster, opened: Callable[..., Run]) -> None:
    with ExitStack() as busy:
        for number in range(10):
            held = busy.enter_context(server.connect(user="app", application_name="web"))
            thread = threading.Thread(target=lambda session=held: session.execute("SELECT pg_sleep(1.5)"))
            thread.start()
            busy.callback(thread.join)
            assert number < 10
        wait_for(lambda: server.execute("SELECT count(*) FROM pg_stat_activity WHERE state = 'active'") == [(11,)])
        told = only(opened().ask(postgres.connections).findings)
    assert told.status is WARNING and told.object == "web" and told.message.endswith("load: most are at work")
    assert "runbook run query-performance --target " in told.next


def test_sessions_idle_in_a_transaction_are_no_leak_of_a_pool_and_told_as_what_they_are(
    server: Cluster, opened: Callable[..., Run]
) -> None:
    with ExitStack() as held:
        for _ in range(12):
            session = held.enter_context(server.connect(user="app", application_name="batch"))
            session.execute("BEGIN")
            held.callback(session.execute, "ROLLBACK")
        told = only(opened().ask(postgres.connections, idle_seconds=0).findings)
    assert told.object == "batch" and "most are idle in transaction, for up to" in told.message
    assert told.next.endswith("in this notebook"), "which is database-issues, where sessions are shown"
    assert "connection-exhaustion" not in told.next


def test_one_without_a_name_is_told_by_its_role(server: Cluster, opened: Callable[..., Run]) -> None:
    with sessions(server, 12, ""):
        told = only(opened().ask(postgres.connections).findings)
    assert told.object == "(role app)" and "not yet long enough to tell a leak from a pause" in told.message


def test_growth_tells_in_how_many_minutes_the_slots_are_taken_and_that_it_is_a_leak(
    server: Cluster, opened: Callable[..., Run]
) -> None:
    run = opened()
    with ExitStack() as held:

        def leak() -> None:
            for _ in range(6):
                held.enter_context(server.connect(user="app", application_name="leaky"))
                time.sleep(0.1)

        thread = threading.Thread(target=leak)
        thread.start()
        answer = run.ask(postgres.connection_growth, samples=4, every=0.25)
        thread.join()
    told = only(answer.findings)
    assert (
        told.status is WARNING and told.object == "leaky" and re.search(r"all slots are taken in \d+ s;", told.message)
    )
    assert told.message.endswith("they stay idle, a leak")
    assert Connections(answer.frame)._repr_mimebundle_()["image/png"].startswith(b"\x89PNG")


def test_what_does_not_grow_is_well(opened: Callable[..., Run]) -> None:
    assert only(opened().ask(postgres.connection_growth, samples=2, every=0.1).findings).status is OK


def test_samples_that_cannot_be_are_refused(opened: Callable[..., Run]) -> None:
    with pytest.raises(UsageError, match="growth takes 2 to 60 samples"):
        opened().ask(postgres.connection_growth, samples=1)


@pytest.mark.parametrize("question", [postgres.connections, postgres.connection_growth, postgres.blocking])
def test_a_role_that_sees_only_itself_is_told_the_missing_grant(
    question: Any, server: Cluster, opened: Callable[..., Run]
) -> None:
    told = only(opened(role="app").ask(question).findings)
    assert told.status is UNKNOWN and 'GRANT pg_monitor TO "app"' in told.message


# --- locks


def test_of_a_chain_the_root_is_named_and_not_its_victims(server: Cluster, opened: Callable[..., Run]) -> None:
    run = opened()
    with chain(server) as pid:
        answer = soon(run)
    told = only(answer.findings)
    assert told.status is CRITICAL and told.object == f"pid {pid} (etl-nightly)"
    assert told.message.startswith("keeps 3 sessions waiting, 3 deep, for up to ")
    assert (
        "has been idle in transaction for" in told.message
        and "UPDATE things SET v = v + … WHERE id = …" in told.message
    )
    assert "hunter2" not in told.message, "literals can be anyone's"
    assert told.next.startswith("ask its owner; then: runbook run database-issues --target ")
    assert f" -p pid={pid}," in told.next
    told_lines = BlockingTree(answer.frame).text().splitlines()
    assert [line.partition(":")[0].split()[-1] for line in told_lines] == ["etl-nightly", "web-1", "web-2", "web-3"]
    assert [len(line) - len(line.lstrip()) for line in told_lines] == [0, 2, 4, 6]
    assert BlockingTree(answer.frame)._repr_mimebundle_()["image/png"].startswith(b"\x89PNG")


def test_short_waits_are_what_locks_are_for(server: Cluster, opened: Callable[..., Run]) -> None:
    with root(server), waiting(server, "web-1", "UPDATE things SET v = 1 WHERE id = 1"):
        told = only(opened().ask(postgres.blocking).findings)
    assert told.status is OK and told.message.startswith("1 session keeps others waiting, for 0 s")


def test_a_prepared_transaction_can_be_the_root(server: Cluster, opened: Callable[..., Run]) -> None:
    server.execute("BEGIN", "UPDATE things SET v = 1 WHERE id = 9", "PREPARE TRANSACTION 'forgotten'")
    try:
        with waiting(server, "web-1", "UPDATE things SET v = 1 WHERE id = 9"):
            answer = soon(opened())
    finally:
        server.execute("ROLLBACK PREPARED 'forgotten'")
    told, (first, second) = only(answer.findings), lines(answer.frame)
    assert first == "a prepared transaction, which no session holds" and "web-1: waits " in second
    unknown = answer.frame.assign(waits=float("nan"), mode=None)
    assert lines(unknown)[1].endswith("web-1: waits (since when is not known yet) for a lock")
    (young,) = postgres.blocking.check(unknown, warning=-1)
    assert "since when is not known yet" in young.message and "nan" not in young.message
    assert told.object == "a prepared transaction" and "pg_prepared_xacts" in told.next


def test_many_sessions_behind_one_are_told_at_once(profile: Callable[..., str]) -> None:
    with cluster(max_connections=230) as large, ExitStack() as held:
        large.execute("CREATE TABLE things (id int PRIMARY KEY, v int)", "INSERT INTO things VALUES (1, 0)")
        large.execute("CREATE ROLE app LOGIN", "GRANT ALL ON things TO app")
        first = held.enter_context(root(large))
        threads = []
        for _ in range(200):
            session = held.enter_context(large.connect(user="app", application_name="web"))
            thread = threading.Thread(target=_wait_in_vain, args=(session,))
            thread.start()
            threads.append((session, thread))
        wait_for(
            lambda: large.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") == [(200,)]
        )
        run = open_run("t", target=profile(large.profile()), needs=["postgres"])
        told = only(soon(run).findings)
        run.close()
        assert (
            told.object == f"pid {first.info.backend_pid} (etl-nightly)"
            and "keeps 200 sessions waiting" in told.message
        )
        for session, _ in threads:
            session.cancel()
        for _, thread in threads:
            thread.join()


def _wait_in_vain(session: Any) -> None:
    with suppress(psycopg.Error):
        session.execute("UPDATE things SET v = 1 WHERE id = 1")


def test_each_version_answers_the_same_questions(each_postgres: Cluster, profile: Callable[..., str]) -> None:
    run = open_run("t", target=profile(each_postgres.profile()), needs=["postgres"])
    for question in (postgres.connections, postgres.blocking, postgres.connection_growth):
        arguments = {"samples": 2, "every": 0.05} if question is postgres.connection_growth else {}
        told = only(run.ask(question, **arguments).findings)
        assert told.status is OK, told
    run.close()


# --- plans


def planned(run: Run, change: Any, verify: Any = (postgres.blocking,), **arguments: Any) -> Any:
    return run.propose(change, verify=verify, even_if_well=True, **arguments)


def test_the_root_is_ended_by_its_plan_and_all_behind_it_go_on(server: Cluster, opened: Callable[..., Run]) -> None:
    run = opened()
    with root(server) as first, waiting(server, "web-1", "UPDATE things SET v = 7 WHERE id = 1"):
        shown = planned(run, postgres.terminate, pid=0)
        plan = shown.plans[0].plan
        pid = first.info.backend_pid
        assert f"WHERE pid = {pid} AND backend_start = '" in plan.steps[0].shown
        assert any("its work is lost" in line for line in plan.blast_radius)
        assert plan.blast_radius[2].startswith("1 session that waits for it")
        run.apply(shown, "")
        assert first.execute("SELECT 1").fetchone() == (1,), "without its token nothing is done"
        done = run.apply(shown, token_of(plan)).plans[0]
        assert done.state is PlanState.VERIFIED, done.told
        with pytest.raises(psycopg.OperationalError):
            first.execute("SELECT 1")


def test_another_root_that_is_as_bad_as_before_does_not_speak_against_the_plan(
    server: Cluster, opened: Callable[..., Run]
) -> None:
    run = opened()
    verify = [postgres.blocking.given(warning=0.0, critical=0.001)]
    with (
        root(server, row=1) as first,
        waiting(server, "web-1", "UPDATE things SET v = 7 WHERE id = 1"),
        root(server, row=20, application="report") as other,
        waiting(server, "web-2", "UPDATE things SET v = 7 WHERE id = 20"),
    ):
        shown = planned(run, postgres.terminate, verify, pid=first.info.backend_pid)
        done = run.apply(shown, token_of(shown.plans[0].plan)).plans[0]
        assert done.state is PlanState.VERIFIED and done.helped.answer == "helped", done.told
        assert any(line.startswith("still not well: ") and "(report)" in line for line in done.told)
        assert other.execute("SELECT 1").fetchone() == (1,)


def test_a_statement_is_cancelled_and_its_session_goes_on(server: Cluster, opened: Callable[..., Run]) -> None:
    run = opened()
    with root(server), waiting(server, "web-1", "UPDATE things SET v = 7 WHERE id = 1") as victim:
        shown = planned(run, postgres.cancel, pid=victim.info.backend_pid)
        done = run.apply(shown, token_of(shown.plans[0].plan)).plans[0]
        assert done.state is PlanState.VERIFIED, done.told
        wait_for(lambda: victim.info.transaction_status.name == "INERROR")
        assert victim.execute("ROLLBACK") is not None


def test_what_is_idle_has_nothing_to_cancel(server: Cluster, opened: Callable[..., Run]) -> None:
    with root(server) as first:
        shown = planned(opened(), postgres.cancel, pid=first.info.backend_pid)
    assert not shown.plans and "only ending it helps" in shown.reason


def test_a_session_that_went_on_meanwhile_is_not_ended(server: Cluster, opened: Callable[..., Run]) -> None:
    run = opened()
    with root(server) as first:
        shown = planned(run, postgres.terminate, pid=first.info.backend_pid)
        first.execute("COMMIT")
        done = run.apply(shown, token_of(shown.plans[0].plan))
        assert "the plan is stale: state was idle in transaction and is idle" in done.findings[0].message
        assert first.execute("SELECT 1").fetchone() == (1,)


def test_the_pid_alone_ends_nothing_the_moment_it_began_must_be_the_same(
    server: Cluster, opened: Callable[..., Run]
) -> None:
    act = postgres.terminate.acts["terminate"]
    run = opened()
    with root(server) as first:
        arguments = {"pid": first.info.backend_pid, "backend_start": "2020-01-01 00:00:00+00"}
        with pytest.raises(ChangeFailed, match="is not there any more"):
            act.do(run._dependencies, arguments)
        assert first.execute("SELECT 1").fetchone() == (1,)


def test_the_servers_own_processes_and_the_runbooks_are_never_ended(
    server: Cluster, opened: Callable[..., Run]
) -> None:
    run = opened()
    ((checkpointer,),) = server.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
    with sessions(server, 1, "runbook morning-health-check", "runbook") as (own,):
        shown = planned(run, postgres.terminate, pid=own.info.backend_pid)
        assert "is a session of the runbook itself" in shown.reason
    shown = planned(run, postgres.terminate, pid=checkpointer)
    assert not shown.plans, shown.reason


def test_what_the_operator_may_not_end_is_told_in_the_servers_words(
    server: Cluster, opened: Callable[..., Run]
) -> None:
    run = opened()
    with root(server) as first:
        shown = planned(run, postgres.terminate, pid=first.info.backend_pid)
        server.execute("REVOKE pg_signal_backend FROM operator")
        try:
            done = run.apply(shown, token_of(shown.plans[0].plan))
        finally:
            server.execute("GRANT pg_signal_backend TO operator")
        assert done.plans[0].state is PlanState.FAILED
        assert "PostgreSQL refused: " in done.findings[0].message


@pytest.mark.parametrize("change", [postgres.terminate, postgres.cancel], ids=lambda change: change.name)
def test_what_the_operator_may_not_end_is_not_planned(change: Any, server: Cluster, opened: Callable[..., Run]) -> None:
    with server.connect(application_name="admin") as admin:
        shown = planned(opened(), change, pid=admin.info.backend_pid)
    assert not shown.plans and "only a superuser may end a session of a superuser (postgres)" in shown.reason
    assert shown.findings[0].status is WARNING and shown.findings[0].next == "", "the reason is all that helps"
    with root(server) as first:
        shown = planned(opened(operator="runbook"), postgres.terminate, pid=first.info.backend_pid)
        assert not shown.plans and 'GRANT pg_signal_backend TO "runbook"' in shown.reason
        assert planned(opened(operator="app"), postgres.terminate, pid=first.info.backend_pid).plans, "its own"


def test_idle_sessions_that_the_operator_may_not_end_are_not_planned(
    server: Cluster, opened: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle_sessions, "SHORTEST", 0.1)
    asked = {"verify": [], "application": "leaky", "older": 0.2}
    with sessions(server, 2, "leaky"):
        time.sleep(0.3)
        shown = planned(opened(operator="runbook"), postgres.terminate_idle, **asked)
        assert not shown.plans and 'GRANT pg_signal_backend TO "runbook"' in shown.reason
        with sessions(server, 1, "leaky", "postgres"):
            time.sleep(0.3)
            shown = planned(opened(), postgres.terminate_idle, **asked)
            assert not shown.plans and "only a superuser may end" in shown.reason


def test_an_application_without_a_name_is_named_by_its_role_as_its_connections_are(
    server: Cluster, opened: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle_sessions, "SHORTEST", 0.1)
    run = opened()
    with sessions(server, 12, "") as nameless, sessions(server, 1, "web") as other:
        time.sleep(0.8)
        (found,) = [f for f in run.ask(postgres.connections).findings if f.object.startswith("(role ")]
        shown = planned(run, postgres.terminate_idle, verify=[], application=found.object, older=0.5)
        done = run.apply(shown, token_of(shown.plans[0].plan)).plans[0]
        assert done.state is PlanState.VERIFIED and "ended 12, not_ended 0" in done.told[-1]
        assert other[0].execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError):
            nameless[0].execute("SELECT 1")


def test_without_an_operators_role_the_profile_is_what_is_missing(
    server: Cluster, opened: Callable[..., Run], profile: Callable[..., str]
) -> None:
    run = open_run(
        "database-issues", target=profile(f'[postgres]\ndsn = "{server.dsn("runbook")}"\n'), needs=["postgres"]
    )
    with root(server) as first:
        shown = planned(run, postgres.terminate, pid=first.info.backend_pid)
        assert not shown.plans and "names no operator_dsn" in shown.reason
    run.close()


def test_only_sessions_idle_for_long_are_ended_and_only_of_one_application(
    server: Cluster, opened: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle_sessions, "SHORTEST", 0.1)
    run = opened()
    with sessions(server, 3, "leaky") as old, sessions(server, 1, "web") as other:
        time.sleep(0.8)
        with sessions(server, 1, "leaky") as young, root(server, application="leaky") as open_one:
            shown = planned(run, postgres.terminate_idle, verify=[], application="leaky", older=0.7)
            plan = shown.plans[0].plan
            assert plan.summary == "end 3 idle sessions of leaky"
            old[0].execute("SELECT 1")  # it works again: it is left alone
            done = run.apply(shown, token_of(plan)).plans[0]
            assert done.state is PlanState.VERIFIED and "ended 2, not_ended 0" in done.told[-1]
            for session in (old[0], other[0], young[0], open_one):
                assert session.execute("SELECT 1").fetchone() == (1,)
            for session in old[1:]:
                with pytest.raises(psycopg.OperationalError):
                    session.execute("SELECT 1")


def test_a_pause_between_two_requests_is_no_reason_to_end_a_session(opened: Callable[..., Run]) -> None:
    shown = planned(opened(), postgres.terminate_idle, verify=[], application="web", older=5)
    assert not shown.plans and "may be a pause" in shown.reason


def test_a_role_is_limited_and_unlimited_again_by_the_inverse(server: Cluster, opened: Callable[..., Run]) -> None:
    run = opened(operator="postgres")
    shown = planned(run, postgres.role_limits, verify=[], role="app", connections=7, idle_minutes=15)
    plan = shown.plans[0].plan
    assert [step.shown for step in plan.steps] == [
        'ALTER ROLE "app" CONNECTION LIMIT 7',
        'ALTER ROLE "app" IN DATABASE "postgres" SET idle_session_timeout = \'15min\'',
    ]
    assert plan.inverse[1].shown.endswith("RESET idle_session_timeout")
    done = run.apply(shown, token_of(plan)).plans[0]
    assert done.state is PlanState.VERIFIED, done.told
    with server.connect(user="app") as limited:
        assert limited.execute("SHOW idle_session_timeout").fetchone() == ("15min",)
    again = planned(run, postgres.role_limits, verify=[], role="app", connections=7, idle_minutes=0)
    assert "has these limits already" in again.reason
    for step in reversed(plan.inverse):
        postgres.role_limits.acts[step.act].do(run._dependencies, step.arguments)
    assert server.execute("SELECT rolconnlimit, (SELECT count(*) FROM pg_db_role_setting WHERE setconfig <> '{}') "
                          "FROM pg_roles WHERE rolname = 'app'") == [(-1, 0)]  # fmt: skip


def test_limits_that_the_operator_may_not_set_are_not_planned_and_the_grants_told_are_enough(
    each_postgres: Cluster, profile: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    newer = each_postgres.execute("SELECT current_setting('server_version_num')::int >= 160000") == [(True,)]
    roles = ("limited", "limiting", "limit_reads", "limit_super")
    each_postgres.execute(*(f"DROP ROLE IF EXISTS {role}" for role in roles))
    each_postgres.execute("CREATE ROLE limited LOGIN", "CREATE ROLE limiting LOGIN", "CREATE ROLE limit_reads LOGIN",
                          "GRANT pg_monitor TO limit_reads", "CREATE ROLE limit_super LOGIN SUPERUSER")  # fmt: skip
    text = f'[postgres]\ndsn = "{each_postgres.dsn("limit_reads")}"\noperator_dsn = "{each_postgres.dsn("limiting")}"\n'
    run = open_run("connection-exhaustion", target=profile(text), needs=["postgres"])
    asked = {"verify": [], "role": "limited", "connections": 7, "idle_minutes": 15}
    try:
        shown = planned(run, postgres.role_limits, **asked)
        assert not shown.plans and "role limiting may not alter role limited" in shown.reason
        assert 'ALTER ROLE "limiting" CREATEROLE' in shown.reason
        admin = 'GRANT "limited" TO "limiting" WITH ADMIN TRUE, INHERIT FALSE, SET FALSE'
        assert (admin in shown.reason) is newer
        each_postgres.execute(*shown.reason.partition("as a superuser: ")[2].split("; "))
        shown = planned(run, postgres.role_limits, **asked)
        done = run.apply(shown, token_of(shown.plans[0].plan)).plans[0]
        assert done.state is PlanState.VERIFIED, done.told
        shown = planned(run, postgres.role_limits, **{**asked, "role": "limit_super", "connections": 0})
        assert not shown.plans and "that is for superusers alone" in shown.reason
    finally:
        run.close()
        each_postgres.execute(*(f"DROP ROLE IF EXISTS {role}" for role in roles))


def test_the_last_slot_that_is_reserved_is_enough_and_without_any_that_is_said(
    server: Cluster, opened: Callable[..., Run]
) -> None:
    with sessions(server, 17, "batch-import"):
        told = only(opened().ask(postgres.connections).findings)
        assert told.status is UNKNOWN and "has no connection slot left for role runbook" in told.message
        told = only(opened(role="postgres").ask(postgres.connections).findings)
        assert told.status is CRITICAL and told.object == "batch-import", "as a superuser, by a slot that is reserved"


@pytest.mark.skipif(not NEWER, reason="roles with reserved slots are there from PostgreSQL 16 on")
def test_a_role_with_reserved_slots_answers_when_all_others_are_taken(profile: Callable[..., str]) -> None:
    with cluster(NEWER[0], max_connections=12, reserved_connections=3) as newer:
        newer.execute(
            "CREATE ROLE app LOGIN", "CREATE ROLE runbook LOGIN IN ROLE pg_monitor, pg_use_reserved_connections"
        )
        with sessions(newer, 6, "batch-import"):
            text = f'[postgres]\ndsn = "{newer.dsn("runbook")}"\napplication_dsn = "{newer.dsn("app")}"\n'
            run = open_run("t", target=profile(text), needs=["postgres", "application database"])
            assert only(run.ask(postgres.reachable).findings).status is CRITICAL
            told = only(run.ask(postgres.connections).findings)
            assert told.status is CRITICAL and told.message.startswith("holds 6 of 6 usable slots")
            run.close()


# --- the notebooks


def test_database_issues_names_the_root_of_a_chain_first_and_its_token_ends_it(
    server: Cluster, profile: Callable[..., str], run_json: Callable[..., Any], runbook: Any, archive: Path
) -> None:
    name = profile(
        f'[postgres]\ndsn = "{server.dsn("runbook")}"\noperator_dsn = "{server.dsn("operator")}"\n'
        f'application_dsn = "{server.dsn("app")}"\n'
        '[thresholds."postgres.blocking"]\nwarning = 0.001\ncritical = 0.01\n'
    )
    asked = ("database-issues", "--target", name, "-p", "seconds=0.2")
    with chain(server) as pid:
        status, document = run_json(*asked)
        run = document.runs[0]
        critical = [finding for finding in run.findings if finding.status == "CRITICAL"]
        assert status == 2 and [f.object for f in critical] == [f"pid {pid} (etl-nightly)"]
        assert "keeps 3 sessions waiting, 3 deep" in critical[0].message
        (plan,) = run.plans
        assert plan.summary.startswith(f"end the session pid {pid} (etl-nightly, app@postgres")
        assert "only ending it helps" in run.not_planned["postgres.cancel"]
        again = {check.question: check.arguments for check in plan.plan.checks}
        assert again["postgres.slow_queries_now"] == {"seconds": 0.5}, "what was slow by it is asked anew as well"
        _, document = run_json(*asked, "--confirm", plan.token)
        (done,) = document.runs[0].plans
        assert done.state is PlanState.VERIFIED and done.helped is not None and done.helped.answer == "helped", done
        assert server.execute(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}") == [(0,)]
    told = text_of(archive)
    assert "hunter2" not in told and plan.token not in told and f"begin here: postgres.blocking pid {pid}" in told
    assert runbook("evidence", "verify").returncode == 0


def test_connection_exhaustion_names_who_leaks_and_plans_nothing_while_a_pause_is_as_likely(
    server: Cluster, profile: Callable[..., str], run_json: Callable[..., Any], archive: Path
) -> None:
    dsn, operator, as_app = server.dsn("postgres"), server.dsn("operator"), server.dsn("app")
    name = profile(
        f'[postgres]\ndsn = "{dsn}"\noperator_dsn = "{operator}"\napplication_dsn = "{as_app}"\n'
        "[service]\nworkers = 1\npool_size = 2\nmax_overflow = 0\n"
    )
    asked = ("connection-exhaustion", "--target", name, "-p", "samples=2", "-p", "application=batch-import")
    with sessions(server, 17, "batch-import"):
        server.execute("SELECT pg_sleep(1)")
        status, document = run_json(*asked, "-p", "older=60")
        run = document.runs[0]
        found = {finding.check: finding for finding in run.findings}
        assert status == 2 and found["postgres.connections"].object == "batch-import"
        assert "17 of 17 usable slots" in found["postgres.connections"].message
        assert "no connection slot left for role app" in found["postgres.reachable"].message
        assert "no session of batch-import has been idle for 60 s" in run.not_planned["postgres.terminate_idle"]


# --- pools


def with_service(server: Cluster, profile: Callable[..., str], text: str) -> Finding:
    name = profile(f'[postgres]\ndsn = "{server.dsn("runbook")}"\n[service]\n{text}')
    run = open_run("t", target=name, needs=["postgres"])
    try:
        return only(run.ask(postgres.pool).findings)
    finally:
        run.close()


def test_pools_that_could_take_more_than_there_is_are_critical_with_their_sum(
    server: Cluster, profile: Callable[..., str]
) -> None:
    told = with_service(server, profile, "workers = 2\npool_size = 4\nmax_overflow = 2\nreplicas = 3")
    assert told.status is CRITICAL and "= 3 × 2 × (4 + 2) = 36 connections, 17 are usable" in told.message
    assert "workers from the profile" in told.message


def test_what_the_profile_does_not_say_is_read_in_the_checkout_and_its_place_is_told(
    server: Cluster, profile: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "settings.py").write_text(
        'SIZE = int(os.getenv("DB_POOL_SIZE", "20"))\nmax_overflow = 1\n'
    )
    (tmp_path / "docker-compose.yml").write_text("services:\n  api:\n    command: uvicorn app --workers 2\n")
    (tmp_path / ".env").write_text("# DB_POOL_SIZE=99\nDB_POOL_SIZE=4\n")
    (tmp_path / ".env.example").write_text("DB_POOL_SIZE=77\n")
    told = with_service(server, profile, f'replicas = 1\ncheckout = "{tmp_path}"')
    assert told.status is OK and "= 1 × 2 × (4 + 1) = 10 connections" in told.message
    assert "pool_size from .env:2 (but 20 in services/settings.py:1)" in told.message
    assert (
        "workers from docker-compose.yml:3" in told.message
        and "max_overflow from services/settings.py:2" in told.message
    )


def test_what_nobody_says_is_told_as_the_librarys_default(
    server: Cluster, profile: Callable[..., str], tmp_path: Path
) -> None:
    told = with_service(server, profile, f'checkout = "{tmp_path}"')
    assert told.status is WARNING and "pool_size from SQLAlchemy's default" in told.message, "15 of 17"


def test_without_any_place_to_look_the_pools_are_unknown(
    server: Cluster, opened: Callable[..., Run], profile: Callable[..., str]
) -> None:
    told = only(opened().ask(postgres.pool).findings)
    assert told.status is UNKNOWN and "the profile has no [service]" in told.message
    told = with_service(server, profile, 'checkout = "/nowhere"')
    assert told.status is UNKNOWN and "the checkout /nowhere cannot be read" in told.message


def test_a_name_with_dollars_is_drawn_as_it_is() -> None:
    rows = [(seconds, "app $\\frac$", 3, 3, 10) for seconds in (0.0, 1.0)]
    frame = pd.DataFrame(rows, columns=["seconds", "application", "connections", "idle", "usable"])
    assert Connections(frame)._repr_mimebundle_()["image/png"].startswith(b"\x89PNG")

"""Questions to a real PostgreSQL that is well, locked, full, silent, stopped, restarted, or closed to the runbook."""

import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cluster import CONTRIB

import runbook
from runbook import open_run, postgres, queue
from runbook.connections import PostgresConnection
from runbook.connections import postgres as connecting
from runbook.model import CouldNotFindOut, Finding, Question, Status, UsageError
from runbook.session import Run
from runbook.session.display import ShownAnswer
from runbook.target import load_target
from runbook_sandbox import faults, postgres_server
from runbook_sandbox.place import Place

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
NEEDS = ["postgres", "application database"]
# All that apply to a sandbox, which has no standby, lets roles in without a password on loopback (its profile accepts
# that), and has amcheck only where its server has it.
_APART = (postgres.standby_state, postgres.hba, *(() if CONTRIB else (postgres.index_integrity,)))
EVERY = (*(question for question in postgres.questions if question not in _APART), queue.oldest_item)
# A server without pg_stat_statements records no statements, and is well all the same.
WELL = {OK} if CONTRIB else {OK, Status.SKIPPED}
CONNECT, GRACE = 2.0, 0.5  # libpq takes no connect_timeout below 2 s
PACKAGE = Path(str(files(runbook)))
SQL_FILES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("sql/*.sql"))


@pytest.fixture
def place(breakable: Place) -> Iterator[Place]:
    """The module's own sandbox, healed after the test."""
    yield breakable
    faults.heal(breakable)


@pytest.fixture
def opened(opened: Callable[..., Run]) -> Callable[..., Run]:
    """Open a run on what the questions here need."""
    return lambda target="breakable", notebook="test": opened(*NEEDS, target=target, notebook=notebook)


@pytest.fixture
def as_role(place: Place, profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Write a profile for another role, database or password of the same server."""

    def write(
        user: str, *, password: str | None = None, database: str = "shrimp_annotation", application: bool = False
    ) -> str:
        known = password if password is not None else (place.folder / "secrets" / user).read_text()
        monkeypatch.setenv("OTHER_PASSWORD", known)
        text = Path(place.read("state.json")["target"]).read_text()
        key = "application_" if application else ""
        dsn = f"postgresql://{user}@127.0.0.1:{port_of(place)}/{database}"
        text = re.sub(
            rf"(?m)^{key}dsn = .*\n{key}password = .*",
            f'{key}dsn = "{dsn}"\n{key}password = "env:OTHER_PASSWORD"',
            text,
        )
        return profile(text, name="other")

    return write


@contextmanager
def role(place: Place, name: str, *grants: str) -> Iterator[None]:
    """Let a role be there for a while."""
    with postgres_server.superuser(place) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'of-{name}'")
        for grant in grants:
            admin.execute(grant)
        try:
            yield
        finally:
            admin.execute(f"DROP OWNED BY {name}")
            admin.execute(f"DROP ROLE {name}")


@contextmanager
def transaction(place: Place, *statements: str, application: str = "etl-nightly") -> Iterator[int]:
    """Hold a transaction open that has done this, and give its pid."""
    with postgres_server.superuser(place) as other:
        other.execute(f"SET application_name = '{application}'")
        other.execute("BEGIN")
        for statement in statements:
            other.execute(statement)
        try:
            yield other.info.backend_pid
        finally:
            other.execute("ROLLBACK")


def port_of(place: Place) -> int:
    port: int = place.read("state.json")["ports"]["postgres"]
    return port


def only(answer: ShownAnswer) -> Finding:
    (finding,) = answer.findings
    return finding


def statuses(run: Run, *questions: Question) -> dict[str, Status]:
    return {question.name: run.ask(question).verdict for question in questions}


def pg_isready(place: Place, database: str = "shrimp_annotation") -> str:
    tool = Path(place.read("state.json")["postgres_bin"]) / "pg_isready"
    if not tool.exists():
        pytest.skip("this server comes without pg_isready")
    argv = [tool, "-h", "127.0.0.1", "-p", str(port_of(place)), "-d", database]
    return subprocess.run(argv, capture_output=True, text=True).stdout


def test_a_server_that_is_well_is_told_so(place: Place, opened: Callable[..., Run]) -> None:
    run = opened()
    assert set(statuses(run, *EVERY).values()) == WELL
    message = only(run.ask(postgres.reachable)).message
    assert f"shrimp_annotation at 127.0.0.1:{port_of(place)} as shrimp_user" in message, "as the application connects"


# --- who gets in


def test_all_slots_used_is_critical_where_pg_isready_accepts_connections(
    place: Place, opened: Callable[..., Run]
) -> None:
    faults.break_sandbox(place, "slots-full")
    assert "accepting connections" in pg_isready(place)
    run = opened()
    reachable, slots = only(run.ask(postgres.reachable)), only(run.ask(postgres.connection_slots))
    assert (reachable.status, reachable.value) == (CRITICAL, "slots")
    assert "has no connection slot left for role shrimp_user" in reachable.message
    assert reachable.next.startswith("runbook run connection-exhaustion --target breakable: who holds them")
    assert slots.status is UNKNOWN and "no connection slot left for role runbook" in slots.message
    (explained,) = [f for f in run.summary().findings if f.check == "postgres.connection_slots"]
    assert explained.explained_by == "postgres.reachable"


def test_slots_that_run_out_while_the_runbook_is_in_are_critical(place: Place, opened: Callable[..., Run]) -> None:
    run = opened()
    faults.break_sandbox(place, "slots-full")
    found = only(run.ask(postgres.connection_slots))
    assert (found.status, found.object, found.unit) == (CRITICAL, "slots", "%")
    usable = postgres_server.MAX_CONNECTIONS - 3
    assert f"{usable} of {usable} connection slots used (3 more are reserved)" in found.message
    assert found.next.startswith("runbook run connection-exhaustion --target breakable: ")


def test_a_missing_database_is_critical_where_pg_isready_accepts_connections(
    place: Place, opened: Callable[..., Run], as_role: Callable[..., str]
) -> None:
    assert "accepting connections" in pg_isready(place, "no_such_database")
    found = only(opened(as_role("shrimp_user", database="no_such_database", application=True)).ask(postgres.reachable))
    assert (found.status, found.value) == (CRITICAL, "no-database")
    assert "is up and has no database no_such_database" in found.message


def test_a_dsn_without_a_database_is_refused_since_libpq_takes_the_role_for_it(
    place: Place, profile: Callable[..., str]
) -> None:
    password = (place.folder / "secrets" / "shrimp_user").read_text()
    with pytest.raises(psycopg.OperationalError, match='database "shrimp_user" does not exist'):
        psycopg.connect(host="127.0.0.1", port=port_of(place), user="shrimp_user", password=password)
    profile(f'[postgres]\ndsn = "postgresql://shrimp_user@127.0.0.1:{port_of(place)}"', name="short")
    with pytest.raises(UsageError, match="the database is not named"):
        open_run("test", target="short", needs=NEEDS)


@pytest.mark.parametrize("application", [True, False])
def test_a_wrong_password_is_unknown_and_says_that_the_server_is_up(
    application: bool, opened: Callable[..., Run], as_role: Callable[..., str]
) -> None:
    user = "shrimp_user" if application else "runbook"
    run = opened(as_role(user, password="not-the-password", application=application))
    refused, other = (postgres.reachable, postgres.connection_slots)[:: 1 if application else -1]
    found = only(run.ask(refused))
    assert found.status is UNKNOWN and f"is up and refused the log-in of role {user}" in found.message
    assert run.ask(other).verdict is OK, "the other role is not concerned"
    assert "not-the-password" not in str(run._repr_mimebundle_())


def test_a_password_that_is_not_set_is_unknown_and_names_its_variable(
    opened: Callable[..., Run], as_role: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = as_role("shrimp_user", application=True)
    monkeypatch.delenv("OTHER_PASSWORD")
    found = only(opened(target).ask(postgres.reachable))
    assert found.status is UNKNOWN and "OTHER_PASSWORD is not set" in found.message


@pytest.mark.parametrize("part", ["api", "redis"])
def test_what_is_no_postgresql_is_not_ok_and_named(
    part: str, place: Place, profile: Callable[..., str], opened: Callable[..., Run]
) -> None:
    port = place.read("state.json")["ports"][part]
    profile(
        f'[postgres]\ndsn = "postgresql://runbook@127.0.0.1:{port}/x"\n[deadlines]\nconnect = {CONNECT}', name="odd"
    )
    found = only(opened("odd").ask(postgres.reachable))
    assert found.status is CRITICAL and f"127.0.0.1:{port}" in found.message


# --- stopped, silent, back again


def test_a_host_name_that_cannot_be_resolved_is_no_matter_of_the_servers_disk(
    profile: Callable[..., str], opened: Callable[..., Run]
) -> None:
    profile('[postgres]\ndsn = "host=no-such-host.invalid user=u dbname=d"', name="nowhere")
    found = only(opened("nowhere").ask(postgres.reachable))
    assert (found.status, found.value) == (CRITICAL, "name")
    assert "getent hosts" in found.next and "disk" not in found.next


def test_a_stopped_server_is_critical_and_explains_the_rest(place: Place, opened: Callable[..., Run]) -> None:
    faults.break_sandbox(place, "postgres-down")
    began = time.monotonic()
    run = opened()
    assert statuses(run, *EVERY) == {**dict.fromkeys((q.name for q in EVERY), UNKNOWN), "postgres.reachable": CRITICAL}
    assert time.monotonic() - began < 1, "a refusal is known at once"
    found = only(run.ask(postgres.reachable))
    assert found.value == "refused" and f"PostgreSQL at 127.0.0.1:{port_of(place)} refuses connections" in found.message
    explained = [f for f in run.summary().findings if f.check != "postgres.reachable"]
    assert {f.explained_by for f in explained} == {"postgres.reachable"}


def limited(place: Place, profile: Callable[..., str], question: float) -> str:
    text = Path(place.read("state.json")["target"]).read_text()
    return profile(f"{text}\n[deadlines]\nconnect = {CONNECT}\nquestion = {question}\n", name="limited")


def test_a_silent_server_costs_one_deadline_for_all_roles_and_questions(
    place: Place, profile: Callable[..., str], opened: Callable[..., Run]
) -> None:
    faults.break_sandbox(place, "postgres-hangs")
    began = time.monotonic()
    run = opened(limited(place, profile, 1))
    judged = statuses(run, *EVERY)
    assert time.monotonic() - began < CONNECT + GRACE + 0.5
    assert judged == {**dict.fromkeys(judged, UNKNOWN), "postgres.reachable": CRITICAL}
    found = only(run.ask(postgres.reachable))
    assert found.value == "timeout" and "no answer within 2 s" in found.message
    assert "a firewall drops what is sent" in found.next


def test_a_server_that_falls_silent_costs_one_question_and_the_next_are_answered_at_once(
    place: Place, profile: Callable[..., str], opened: Callable[..., Run]
) -> None:
    run = opened(limited(place, profile, 0.7))
    assert run.ask(postgres.own_role).verdict is OK
    faults.break_sandbox(place, "postgres-hangs")
    silent, after = run.ask(postgres.connection_slots), run.ask(postgres.longest_transaction)
    assert only(silent).status is UNKNOWN and "no answer within 0.7 s" in only(silent).message
    assert 0.7 <= silent.seconds < 1.2
    assert only(after).status is UNKNOWN and "not asked again in this run" in only(after).message
    assert after.seconds < 0.5


def test_a_server_that_was_restarted_between_two_questions_is_told_and_found_again(
    place: Place, opened: Callable[..., Run]
) -> None:
    run = opened()
    assert run.ask(postgres.connection_slots).verdict is OK
    faults.break_sandbox(place, "postgres-down")
    faults.heal(place)
    found = only(run.ask(postgres.connection_slots))
    assert found.status is UNKNOWN and f"127.0.0.1:{port_of(place)} closed the connection" in found.message
    assert set(statuses(opened(), *EVERY).values()) == WELL


def test_a_question_after_the_summary_opens_its_own_connection(place: Place, opened: Callable[..., Run]) -> None:
    run = opened()
    run.summary()
    assert set(statuses(run, *EVERY).values()) == WELL


# --- rights


def test_a_role_without_pg_monitor_is_told_the_grant(
    place: Place, opened: Callable[..., Run], as_role: Callable[..., str]
) -> None:
    with role(place, "plain"):
        run = opened(as_role("plain", password="of-plain"))
        slots, longest = only(run.ask(postgres.connection_slots)), only(run.ask(postgres.longest_transaction))
        own = only(run.ask(postgres.own_role))
        run.close()
    assert (slots.status, longest.status) == (UNKNOWN, UNKNOWN)
    assert all('GRANT pg_monitor TO "plain"' in finding.message for finding in (slots, longest))
    assert (own.status, own.object) == (WARNING, "plain") and "lacks pg_monitor" in own.message
    assert own.next == 'as a superuser: GRANT pg_monitor TO "plain"'


def test_a_role_that_may_not_read_the_queue_is_told_the_table(
    place: Place, opened: Callable[..., Run], as_role: Callable[..., str]
) -> None:
    with role(place, "watcher", "GRANT pg_monitor TO watcher"):
        run = opened(as_role("watcher", password="of-watcher"))
        oldest, slots = only(run.ask(queue.oldest_item)), run.ask(postgres.connection_slots)
        run.close()
    assert oldest.status is UNKNOWN
    assert "the role may not: permission denied for table triage_items" in oldest.message
    assert slots.verdict is OK


def test_a_superuser_is_a_warning_that_says_why(
    place: Place, profile: Callable[..., str], opened: Callable[..., Run]
) -> None:
    dsn = f"host={place.folder / 'postgres'} port={port_of(place)} user=postgres dbname=shrimp_annotation"
    profile(f'[postgres]\ndsn = "{dsn}"', name="super")
    run = opened("super")
    found = only(run.ask(postgres.own_role))
    assert (found.status, found.object) == (WARNING, "postgres")
    assert "is a superuser" in found.message and "VACUUM" in found.message
    assert "postgres (superuser)" in run._repr_mimebundle_()["text/plain"]
    assert run.ask(postgres.connection_slots).verdict is OK, "it sees every session"


@pytest.mark.parametrize("user", ["shrimp_user", "writer"])
def test_a_role_that_can_change_the_data_is_a_warning(
    user: str, place: Place, opened: Callable[..., Run], as_role: Callable[..., str]
) -> None:
    with role(place, "writer", "GRANT pg_monitor, pg_write_all_data TO writer"):
        run = opened(as_role(user, password="of-writer" if user == "writer" else None))
        found = only(run.ask(postgres.own_role))
        run.close()
    assert (found.status, found.object) == (WARNING, user) and "change 11 tables" in found.message


@pytest.mark.parametrize(
    ("grant", "says"),
    [
        ("GRANT INSERT, UPDATE, DELETE ON documents TO handy", "statistics: change 1 table"),
        ("GRANT shrimp_user TO handy", "member of shrimp_user"),
        ("GRANT pg_execute_server_program, pg_signal_backend TO handy", "member of pg_execute_server_program"),
        ("ALTER ROLE handy CREATEROLE CREATEDB REPLICATION", "statistics: CREATEROLE, CREATEDB, REPLICATION"),
    ],
)
def test_a_role_that_can_do_harm_by_a_side_door_is_a_warning(
    grant: str, says: str, place: Place, opened: Callable[..., Run], as_role: Callable[..., str]
) -> None:
    with role(place, "handy", f"GRANT pg_monitor TO handy; {grant}"):
        run = opened(as_role("handy", password="of-handy"))
        found = only(run.ask(postgres.own_role))
        run.close()
        with postgres_server.superuser(place) as connection:
            connection.execute("DROP OWNED BY handy")
    assert found.status is WARNING and says in found.message


# --- locks and long transactions


def test_a_locked_table_costs_its_own_answer_and_is_not_waited_for(place: Place, opened: Callable[..., Run]) -> None:
    run = opened()
    with transaction(place, "LOCK TABLE triage_items IN ACCESS EXCLUSIVE MODE"):
        locked, other = run.ask(queue.oldest_item), run.ask(postgres.connection_slots)
    assert only(locked).status is UNKNOWN and "locks what this asks for" in only(locked).message
    assert locked.seconds < connecting.LOCK_TIMEOUT_MS / 1000 + 0.3
    assert other.verdict is OK
    assert run.ask(queue.oldest_item).verdict is OK, "asked again when the lock is gone"


def test_an_idle_transaction_is_found_and_names_pid_and_application(place: Place, opened: Callable[..., Run]) -> None:
    run = opened()
    with transaction(place, "SELECT count(*) FROM documents") as pid:
        time.sleep(0.3)
        warned = only(run.ask(postgres.longest_transaction, warning=0.2, critical=600))
        alarmed = only(run.ask(postgres.longest_transaction, warning=0.1, critical=0.2))
        usual = only(run.ask(postgres.longest_transaction))
    assert (warned.status, alarmed.status, usual.status) == (WARNING, CRITICAL, OK)
    assert warned.object == alarmed.object == f"pid {pid} (etl-nightly)"
    assert "idle in transaction: SELECT count(*) FROM documents" in warned.message
    assert (warned.threshold, warned.unit) == (0.2, "s") and float(warned.value or 0) > 0.2
    assert warned.next == f"ask its owner; then: runbook run database-issues --target breakable -p pid={pid}"


def test_a_transaction_that_works_is_found_with_what_it_does(place: Place, opened: Callable[..., Run]) -> None:
    run = opened()
    with postgres_server.superuser(place) as other:
        pid = other.info.backend_pid

        def work() -> None:
            with suppress(psycopg.errors.QueryCanceled):
                other.execute("SELECT pg_sleep(30)")

        at_work = threading.Thread(target=work)
        at_work.start()
        time.sleep(0.3)
        found = only(run.ask(postgres.longest_transaction, warning=0.1, critical=600))
        other.cancel_safe()
        at_work.join()
    assert (found.status, found.object) == (WARNING, f"pid {pid} (postgres)"), "without a name it is known by its role"
    assert "active: SELECT pg_sleep(…)" in found.message


# --- what a session of the runbook may and does


@pytest.fixture
def session(place: Place, profile: Callable[..., str]) -> Iterator[PostgresConnection]:
    """A connection of the runbook with rights that it should not have."""
    dsn = f"host={place.folder / 'postgres'} port={port_of(place)} user=postgres dbname=shrimp_annotation"
    profile(f'[postgres]\ndsn = "{dsn}"', name="super")
    connection = PostgresConnection.open(load_target("super"), "runbook test")
    yield connection
    connection.close()


@pytest.mark.parametrize(
    "statement",
    ["INSERT INTO alembic_version VALUES ('9999')", "DELETE FROM documents", "CREATE TABLE new (a int)",
     "DROP TABLE documents", "CREATE ROLE other", "TRUNCATE annotation_events"],
)  # fmt: skip
def test_a_session_is_read_only_also_for_a_superuser(statement: str, session: PostgresConnection, place: Place) -> None:
    with pytest.raises(CouldNotFindOut, match="in a read-only transaction"):
        session.rows(statement)
    with postgres_server.superuser(place) as admin:
        assert admin.execute("SELECT array_agg(version_num) FROM alembic_version").fetchone() == (["0001"],)
    assert session.rows("SELECT 1 AS one")["one"].tolist() == [1], "the session is of use afterwards"


def test_limits_hold_for_the_statement_and_not_for_the_session(session: PostgresConnection) -> None:
    told = "SELECT current_setting('statement_timeout') AS s, current_setting('lock_timeout') AS l"
    assert session.rows(told).iloc[0].tolist() == ["5s", "50ms"]
    outside = session._connection.execute(told.encode()).fetchone()
    assert outside == ("0", "0"), "a pooler would hand them on to the next client"


def test_a_statement_that_takes_too_long_is_ended_on_the_server(
    session: PostgresConnection, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "STATEMENT_TIMEOUT_MS", 200)
    began = time.monotonic()
    with pytest.raises(CouldNotFindOut, match=r"the query took longer than .* and was ended"):
        session.rows("SELECT pg_sleep(20)")
    assert time.monotonic() - began < 1
    with postgres_server.superuser(place) as admin:
        running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND application_name = 'runbook test'"
        assert admin.execute(running.encode()).fetchone() == (0,)
    assert len(session.rows("SELECT 1")) == 1


def test_the_server_sees_which_notebook_asks(place: Place, opened: Callable[..., Run]) -> None:
    run = opened(notebook="a-notebook")
    seen = b"SELECT usename FROM pg_stat_activity WHERE application_name = 'runbook a-notebook' ORDER BY 1"
    with postgres_server.superuser(place) as admin:
        assert admin.execute(seen).fetchall() == [("runbook",), ("shrimp_user",)]
        run.close()
        end = time.monotonic() + 5
        while (left := admin.execute(seen).fetchall()) and time.monotonic() < end:
            time.sleep(0.02)
        assert left == []


# --- the packaged SQL


def test_there_is_packaged_sql_to_test() -> None:
    assert len(SQL_FILES) >= 6 and "queue/sql/oldest_item.sql" in SQL_FILES


# For a superuser, who alone reads how passwords are kept, and for the operator, who changes a user.
REFUSED = (
    "postgres/sql/password_kinds.sql", "users/sql/deactivate.sql", "users/sql/reactivate.sql", "queue/sql/release.sql",
    "queue/sql/hold_again.sql", "recovery/sql/salvage_schema.sql", "recovery/sql/salvage_told.sql",
)  # fmt: skip


@pytest.mark.parametrize("name", SQL_FILES)
def test_packaged_sql_says_first_what_it_asks_and_runs_as_the_runbooks_role(name: str, sandbox: Place) -> None:
    text = (PACKAGE / name).read_text()
    if not CONTRIB and "FROM pg_stat_statements" in text:
        pytest.skip("this PostgreSQL comes without contrib")
    assert re.fullmatch(r"-- [A-Z].*([?.]|[?.]\))", text.splitlines()[0]), "its first line says what it asks"
    connection = PostgresConnection.open(load_target(sandbox.name), "runbook test")
    try:
        newer = re.search(r"_(\d\d)\.sql$", name)
        if newer and connection.version_num < int(newer[1]) * 10000:
            return  # of views that this server does not have yet; the modules' own tests run it on one that does
        named: dict[str, Any] = dict.fromkeys(re.findall(r"%\((\w+)\)s", text))
        named |= {"percent": 100.0} if "percent" in named else {}
        if name in REFUSED:
            with pytest.raises(CouldNotFindOut, match=r"permission denied|read-only|does not exist|malformed"):
                connection.rows(text.strip(), named or None)
            return
        assert len(connection.rows(text.strip(), named or None).columns) >= 1
    finally:
        connection.close()

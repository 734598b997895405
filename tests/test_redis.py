"""Questions to a real Redis that is well, stopped, silent, full, closed to the runbook, or cannot save."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from runbook import api, redis
from runbook.model import Finding, Status
from runbook.session import Run
from runbook.session.display import ShownAnswer
from runbook_sandbox import faults, stack
from runbook_sandbox.place import Place

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
CONNECT, GRACE = 0.6, 0.5


@pytest.fixture
def place(breakable: Place) -> Iterator[Place]:
    """The module's own sandbox, healed after the test."""
    yield breakable
    faults.heal(breakable)


@pytest.fixture
def server(place: Place) -> Iterator[Any]:
    """A client that may change the server."""
    password = (place.folder / "secrets" / "redis").read_text()
    client = redis_client.Redis(port=port_of(place), password=password, decode_responses=True, socket_timeout=5)
    client.ping()
    yield client
    client.close()


@pytest.fixture
def opened(opened: Callable[..., Run]) -> Callable[..., Run]:
    """Open a run that needs Redis."""
    return lambda target="breakable", *more: opened("redis", *more, target=target)


@pytest.fixture
def limited(place: Place, profile: Callable[..., str]) -> str:
    """The same sandbox with short deadlines."""
    text = Path(place.read("state.json")["target"]).read_text()
    return profile(f"{text}\n[deadlines]\nconnect = {CONNECT}\nquestion = 0.8\n", name="limited")


@pytest.fixture
def as_user(place: Place, profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Write a profile that logs in with another user or password."""

    def write(password: str | None, user: str = "") -> str:
        text = f'[redis]\nurl = "redis://{user and user + "@"}127.0.0.1:{port_of(place)}/0"\n'
        if password is not None:
            monkeypatch.setenv("OTHER_PASSWORD", password)
            text += 'password = "env:OTHER_PASSWORD"\n'
        return profile(text, name="other")

    return write


def port_of(place: Place) -> int:
    port: int = place.read("state.json")["ports"]["redis"]
    return port


def only(answer: ShownAnswer) -> Finding:
    (finding,) = answer.findings
    return finding


def save(server: Any) -> str:
    """Save in the background and return how that ended."""
    server.bgsave()
    end = time.monotonic() + 10
    while (told := server.info("persistence"))["rdb_bgsave_in_progress"] and time.monotonic() < end:
        time.sleep(0.02)
    return str(told["rdb_last_bgsave_status"])


def test_a_server_that_is_well_is_told_so(place: Place, opened: Callable[..., Run]) -> None:
    run = opened()
    assert [run.ask(question).verdict for question in redis.questions if question != redis.access] == [OK, OK, OK]
    assert f"127.0.0.1:{port_of(place)}" in only(run.ask(redis.reachable)).message
    assert "Redis " in run._repr_mimebundle_()["text/plain"]


def test_a_stopped_server_is_critical_and_explains_the_rest(place: Place, opened: Callable[..., Run]) -> None:
    faults.break_sandbox(place, "redis-down")
    run = opened()
    found = only(run.ask(redis.reachable))
    assert (found.status, found.value) == (CRITICAL, "refused")
    assert f"Redis at 127.0.0.1:{port_of(place)} refuses connections" in found.message
    assert [only(run.ask(question)).status for question in (redis.memory, redis.persistence)] == [UNKNOWN, UNKNOWN]
    rest = [finding for finding in run.summary().findings if finding.check != "redis.reachable"]
    assert {finding.explained_by for finding in rest} == {"redis.reachable"} and len(rest) == 2


def test_a_silent_server_costs_one_deadline(place: Place, limited: str, opened: Callable[..., Run]) -> None:
    faults.break_sandbox(place, "redis-hangs")
    began = time.monotonic()
    run = opened(limited)
    judged = [run.ask(question) for question in redis.questions]
    assert time.monotonic() - began < CONNECT + GRACE + 0.5
    assert [answer.verdict for answer in judged] == [CRITICAL, UNKNOWN, UNKNOWN, UNKNOWN]
    assert only(judged[0]).value == "timeout" and "kept silent: no answer within 0.6 s" in only(judged[0]).message


def test_a_server_that_falls_silent_keeps_no_later_question_waiting(
    place: Place, limited: str, opened: Callable[..., Run]
) -> None:
    run = opened(limited)
    faults.break_sandbox(place, "redis-hangs")
    answers = [run.ask(question) for question in (redis.reachable, redis.memory, redis.persistence)]
    assert OK not in [answer.verdict for answer in answers] and only(answers[0]).status is CRITICAL
    assert all("no answer within" in only(answer).message for answer in answers)
    assert answers[0].seconds < 1.2 and max(answer.seconds for answer in answers[1:]) < 0.5


def test_a_server_that_was_restarted_between_two_questions_is_asked_anew(
    place: Place, opened: Callable[..., Run]
) -> None:
    run = opened()
    assert run.ask(redis.memory).verdict is OK
    faults.break_sandbox(place, "redis-down")
    assert only(run.ask(redis.reachable)).status is CRITICAL
    faults.heal(place)
    assert opened().ask(redis.memory).verdict is OK


@pytest.mark.parametrize("password", ["not-the-password", None])
def test_a_wrong_or_missing_password_is_unknown_and_says_that_the_server_is_up(
    password: str | None, opened: Callable[..., Run], as_user: Callable[..., str]
) -> None:
    run = opened(as_user(password))
    found = only(run.ask(redis.reachable))
    assert (found.status, found.value) == (UNKNOWN, "password")
    assert "is up and refused the log-in" in found.message
    assert "not-the-password" not in str([run._repr_mimebundle_(), run.summary()._repr_mimebundle_()])


def test_no_client_slot_left_is_critical_and_named(server: Any, opened: Callable[..., Run]) -> None:
    usual = server.config_get("maxclients")["maxclients"]
    server.config_set("maxclients", 1)
    try:
        found = only(opened().ask(redis.reachable))
    finally:
        server.config_set("maxclients", usual)
    assert (found.status, found.value) == (CRITICAL, "slots") and "has no client slot left" in found.message


@pytest.mark.parametrize("part", ["api", "postgres"])
def test_what_is_no_redis_is_not_ok_and_named(
    part: str, place: Place, profile: Callable[..., str], opened: Callable[..., Run]
) -> None:
    port = place.read("state.json")["ports"][part]
    profile(f'[redis]\nurl = "redis://127.0.0.1:{port}/0"\n[deadlines]\nconnect = {CONNECT}', name="odd")
    found = only(opened("odd").ask(redis.reachable))
    assert found.status is CRITICAL and f"127.0.0.1:{port}" in found.message


def test_a_server_that_is_nearly_full_is_critical(place: Place, opened: Callable[..., Run]) -> None:
    faults.break_sandbox(place, "redis-full")
    found = only(opened().ask(redis.memory))
    assert (found.status, found.threshold, found.unit) == (CRITICAL, 90, "%")
    assert float(found.value or 0) > 90
    assert "maxmemory" in found.message and "policy noeviction" in found.message


def test_without_a_limit_of_its_own_the_machines_memory_is_the_limit(server: Any, opened: Callable[..., Run]) -> None:
    server.config_set("maxmemory", 0)
    try:
        found = only(opened().ask(redis.memory))
    finally:
        server.config_set("maxmemory", stack.REDIS_MEMORY)
    assert found.status is OK and "no maxmemory is set" in found.message


def test_a_snapshot_that_fails_is_critical_until_one_succeeds(
    place: Place, server: Any, opened: Callable[..., Run]
) -> None:
    # A folder stands where the file should be: nobody, root included, can save over it.
    dump = place.folder / "redis" / "dump.rdb"
    dump.unlink(missing_ok=True)
    dump.mkdir()
    try:
        assert save(server) == "err"
        run = opened()
        found = only(run.ask(redis.persistence))
        assert (found.status, found.object, found.value) == (CRITICAL, "RDB", "err")
        assert "the last write failed" in found.message and "do not restart Redis" in found.next
    finally:
        dump.rmdir()
        assert save(server) == "ok"
    assert run.ask(redis.persistence).verdict is OK


def test_neither_snapshots_nor_a_log_is_a_warning(server: Any, opened: Callable[..., Run]) -> None:
    server.config_set("save", "")
    try:
        found = only(opened().ask(redis.persistence))
    finally:
        server.config_set("save", "3600 1")
    assert (found.status, found.object) == (WARNING, "persistence")
    assert "neither snapshots nor an append-only file are on" in found.message


def test_an_append_only_file_alone_is_enough(server: Any, opened: Callable[..., Run]) -> None:
    server.config_set("appendonly", "yes")
    server.config_set("save", "")
    try:
        found = only(opened().ask(redis.persistence))
    finally:
        server.config_set("save", "3600 1")
        server.config_set("appendonly", "no")
    assert (found.status, found.object) == (OK, "AOF")


@pytest.fixture
def narrow(server: Any, as_user: Callable[..., str]) -> Iterator[Callable[[str], str]]:
    """Log in as a user who may do everything but this."""

    def narrow(forbidden: str) -> str:
        server.execute_command("ACL", "SETUSER", "watcher", "on", ">of-watcher", "~*", "+@all", *forbidden.split())
        return as_user("of-watcher", user="watcher")

    yield narrow
    server.execute_command("ACL", "DELUSER", "watcher")


def test_a_user_who_may_not_see_the_configuration_is_told_so(
    narrow: Callable[[str], str], opened: Callable[..., Run]
) -> None:
    run = opened(narrow("-config"))
    found = only(run.ask(redis.persistence))
    assert found.status is UNKNOWN and "CONFIG GET is refused" in found.message
    assert run.ask(redis.memory).verdict is OK


def test_a_failed_snapshot_is_critical_also_where_the_configuration_is_hidden(
    place: Place, server: Any, narrow: Callable[[str], str], opened: Callable[..., Run]
) -> None:
    dump = place.folder / "redis" / "dump.rdb"
    dump.unlink(missing_ok=True)
    dump.mkdir()
    try:
        assert save(server) == "err"
        assert only(opened(narrow("-config")).ask(redis.persistence)).status is CRITICAL
    finally:
        dump.rmdir()
        assert save(server) == "ok"


@pytest.mark.parametrize("command", ["info", "time"])
def test_a_user_who_may_not_ask_for_the_basics_loses_only_what_they_tell(
    command: str, narrow: Callable[[str], str], opened: Callable[..., Run]
) -> None:
    run = opened(narrow(f"-{command}"))
    assert only(run.ask(redis.reachable)).status is OK
    memory = only(run.ask(redis.memory))
    assert memory.status is (UNKNOWN if command == "info" else OK)
    assert command != "info" or "info" in memory.message


def test_500_to_everything_after_redis_was_lost_points_to_redis(place: Place, opened: Callable[..., Run]) -> None:
    faults.break_sandbox(place, "redis-down")
    run = opened("breakable", "api")
    answers = [run.ask(question) for question in (api.user_request, api.liveness, redis.reachable)]
    assert [answer.verdict for answer in answers] == [CRITICAL, CRITICAL, CRITICAL]
    summary = run.summary()
    found = {finding.check: finding for finding in summary.findings}
    request = found["api.user_request"]
    assert request.value == 500 and "answered 500" in request.message
    assert request.explained_by == found["api.liveness"].explained_by == "redis.reachable"
    assert request.next.startswith("first redis.reachable: the service answers 500 to everything after it lost Redis")
    assert summary.findings.worst_first()[0].check == "redis.reachable"
    assert "first redis.reachable" in summary._repr_mimebundle_()["text/plain"]

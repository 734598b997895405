"""Every check of the library, fed with small frames as its probe gives them: well, at its limits, and its odd cases."""

import inspect
import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest

from runbook import api, clock, host, postgres, queue, redis
from runbook.connections import Response
from runbook.kernels.questions import all_questions
from runbook.model import CouldNotFindOut, Finding, Question, Status, Unreachable
from runbook.redaction import Redactor

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
QUESTIONS = {question.name: question for question in all_questions()}
_session = Redactor(["a-secret-of-the-target"])
Rows = Sequence[dict[str, Any]]


def judge(question: Question, frame: pd.DataFrame | Rows, **thresholds: float) -> list[Finding]:
    """Return the findings on a frame that came through the session's scrubbing; the check must not touch it."""
    given: pd.DataFrame = _session.frame(frame if isinstance(frame, pd.DataFrame) else pd.DataFrame(list(frame)))
    before = given.copy(deep=True)
    findings = question.check(given, **thresholds)
    pd.testing.assert_frame_equal(given, before)
    assert len({finding.object for finding in findings}) == len(findings), "each object is judged once"
    assert all(finding.message and not finding.check for finding in findings)
    return findings


def only(question: Question, rows: pd.DataFrame | Rows, **thresholds: float) -> Finding:
    (finding,) = judge(question, rows, **thresholds)
    return finding


def by_object(findings: Sequence[Finding]) -> dict[str, Finding]:
    return {finding.object: finding for finding in findings}


# --- what holds for every question


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_says_what_it_asks_and_how_it_judges(name: str) -> None:
    question = QUESTIONS[name]
    assert question.title.endswith("?") and question.title[0].isupper()
    assert question.source and question.next and question.needs is not None
    for function in (question.probe, question.check):
        assert inspect.getdoc(function), f"{function.__module__}.{function.__name__}"
    # Probe and check stand in one module of the question's own package.
    assert question.probe.__module__ == question.check.__module__
    assert question.probe.__module__.split(".")[1] == question.name.split(".")[0]


LESS_IS_WORSE = ("certificates.expiry", "reports.growth")


@pytest.mark.parametrize("name", QUESTIONS)
def test_thresholds_are_keyword_only_numbers_with_defaults(name: str) -> None:
    question = QUESTIONS[name]
    frame, *limits = inspect.signature(question.check).parameters.values()
    assert frame.name == "frame" and frame.kind is frame.POSITIONAL_OR_KEYWORD
    assert all(limit.kind is limit.KEYWORD_ONLY and isinstance(limit.default, int | float) for limit in limits)
    assert list(question.thresholds) == [limit.name for limit in limits]
    for first, value in question.thresholds.items():
        if first.startswith("warning"):
            critical = question.thresholds[first.replace("warning", "critical", 1)]
            # Of what becomes less, such as the days that are left, the critical number is the smaller one.
            assert value <= critical or name in LESS_IS_WORSE, "a warning comes before its critical"


def test_names_are_unique_and_what_explains_a_question_exists() -> None:
    questions = list(all_questions())
    assert len(QUESTIONS) == len(questions)
    assert {cause for question in questions for cause in question.explained_by} <= set(QUESTIONS)
    for package in (api, clock, host, postgres, queue, redis):
        assert all(getattr(package, q.name.partition(".")[2]) is q for q in package.questions)
        assert {q.name for q in package.questions} <= set(QUESTIONS)


# --- limits, each at itself and just above


def slots(used: float) -> Rows:
    return [{"role": "runbook", "used": used, "usable": 100, "max_connections": 103, "reserved": 3}]


def transaction(seconds: float) -> Rows:
    session = {"session_role": "app", "application": "etl", "state": "active", "query": "SELECT 1"}
    return [{"pid": 7.0, "seconds": seconds, "since": pd.Timestamp(0, tz="UTC"), **session}]


def answered(ms: float, **more: Any) -> Rows:
    return [{"place": "here", "as_application": True, "answered": True, "kind": "", "reason": "", "ms": ms, **more}]


def request(ms: float = 12, **more: Any) -> Rows:
    row = {"path": "/documents", "answered": True, "kind": "", "reason": "", "status": 200, "problem": "", "detail": ""}
    return [{**row, "ms": ms, **more}]


def disk(used: float, files: float = 0, files_total: float = 100, **more: Any) -> Rows:
    row = {"host": "node", "path": "/", "used": used, "total": 100, "files": files, "files_total": files_total}
    return [{**row, "problem": "", **more}]


def load(ratio: float, busy: float = math.nan) -> Rows:
    return [{"host": "node", "cpus": 4.0, "load_1": 99.0, "load_5": 4 * ratio, "load_15": 0.0, "busy": busy}]


def limited(refused: float, requests: float = 100, **more: Any) -> Rows:
    return [{"enabled": True, "per_minute": 60, "per_hour": 1000, "refused": refused, "requests": requests, **more}]


def redis_memory(used: float, limit: float = 100, **more: Any) -> Rows:
    return [{"used": used, "limit": limit, "limit_is": "maxmemory", "policy": "noeviction", "evicted": 0, **more}]


def waiting(hours: float, status: str = "pending") -> Rows:
    return [{"status": status, "items": 3, "oldest": pd.Timestamp(0, tz="UTC"), "seconds": 3600 * hours}]


def queued(items: float, **more: Any) -> Rows:
    return [{"items": items, "told_as": "total_items", "pending_critical": 2, "pending_high": 5, **more}]


def clocks(*offsets: float) -> Rows:
    return [{"dependency": name, "offset": x, "precision": 0.1} for name, x in zip("abcdef", offsets, strict=False)]


LIMITS = [
    (postgres.connection_slots, slots, "slots", 80, 90, 1),
    (postgres.longest_transaction, transaction, None, 300, 600, 0.1),
    (postgres.reachable, answered, "PostgreSQL", 500, 2000, 0.1),
    (redis.reachable, answered, "Redis", 100, 1000, 0.1),
    (redis.memory, redis_memory, "memory", 80, 90, 0.1),
    (host.disk, disk, "node / space", 80, 90, 0.1),
    (host.disk, lambda x: disk(1, files=x), "node / inodes", 80, 90, 0.1),
    (host.memory, lambda x: [{"host": "node", "used": x, "total": 100}], "node memory", 90, 95, 0.1),
    (host.load, load, "node load", 2, 4, 0.01),
    (api.user_request, request, "/documents", 2000, 5000, 0.1),
    (api.rate_limits, limited, "refused requests", 1, 50, 0.1),
    (queue.size, queued, "triage queue", 1000, 5000, 1),
    (queue.oldest_item, waiting, "pending items", 24, 72, 0.01),
    (clock.offsets, clocks, "a", 5, 60, 0.1),
]


@pytest.mark.parametrize(
    ("question", "rows", "obj", "warning", "critical", "step"), LIMITS, ids=[f"{x[0].name}-{x[2]}" for x in LIMITS]
)
def test_a_value_at_its_limit_is_within_it_and_above_it_is_not(
    question: Question, rows: Any, obj: str | None, warning: float, critical: float, step: float
) -> None:
    values = (warning, warning + step, critical, critical + step)
    found = [by_object(judge(question, rows(value))) for value in values]
    judged = [each[obj] if obj else next(iter(each.values())) for each in found]
    assert [finding.status for finding in judged] == [OK, WARNING, WARNING, CRITICAL]
    assert [finding.unit != "" for finding in judged] == [True] * 4
    assert [finding.threshold for finding in judged[1:]] == [warning, warning, critical]
    assert [float(finding.value or 0) for finding in judged] == pytest.approx(values)


@pytest.mark.parametrize(("question", "rows"), [x[:2] for x in LIMITS], ids=[f"{x[0].name}-{x[2]}" for x in LIMITS])
def test_a_targets_own_limits_take_the_place_of_the_defaults(question: Question, rows: Any) -> None:
    warning, critical = question.thresholds
    assert CRITICAL in {f.status for f in judge(question, rows(0.5), **{warning: 0.01, critical: 0.02})}
    assert {f.status for f in judge(question, rows(99), **{warning: 1e9, critical: 1e9})} == {OK}


# --- api


def test_a_service_that_answers_healthy_is_well_and_the_word_is_not_believed() -> None:
    found = only(api.liveness, request(told="healthy"))
    assert (found.status, found.value, found.unit) == (OK, 12.0, "ms")
    assert 'always "healthy", whatever its dependencies do' in found.message


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"status": 500, "told": ""}, "/health answered 500"),
        ({"status": 301, "told": "healthy"}, "/health answered 301"),
        ({"problem": "/health answered 200 with HTML where JSON was expected", "told": ""}, "is this the service?"),
        ({"told": "degraded"}, "calls itself 'degraded'"),
        ({"told": ""}, "calls itself 'nothing'"),
    ],
)
def test_any_other_answer_on_health_is_critical_and_says_what_came(row: dict[str, Any], says: str) -> None:
    found = only(api.liveness, request(**row))
    assert found.status is CRITICAL and says in found.message


@pytest.mark.parametrize("question", [api.liveness, api.user_request])
@pytest.mark.parametrize(
    ("kind", "status"),
    [("refused", CRITICAL), ("timeout", CRITICAL), ("name", CRITICAL), ("tls", CRITICAL), ("not-configured", UNKNOWN)],
)
def test_no_answer_is_critical_unless_no_service_is_configured(question: Question, kind: str, status: Status) -> None:
    row = {"answered": False, "kind": kind, "reason": f"because {kind}", "status": 0, "told": ""}
    found = only(question, request(0, **row))
    assert (found.status, found.message, found.value) == (status, f"because {kind}", kind)
    assert "process or container" in found.next


@pytest.mark.parametrize(
    ("http", "detail", "status", "says"),
    [
        (200, "", OK, "answered 200 in 12 ms"),
        (204, "", OK, "answered 204"),
        (500, "404: No documents available", OK, "no outage"),
        (500, "", CRITICAL, "answered 500"),
        (500, "500: connection to 404: lost", CRITICAL, "answered 500"),
        (503, "404: nothing", CRITICAL, "answered 503"),
        (502, "", CRITICAL, "answered 502"),
        (401, "Not authenticated", UNKNOWN, "api.token"),
        (403, "", UNKNOWN, "api.token"),
        (429, "Rate limit exceeded", WARNING, "rate limit refuses the runbook's own request"),
        (404, "Not Found", UNKNOWN, "is the profile's api.user_request right?"),
        (422, "", UNKNOWN, "is the profile's api.user_request right?"),
    ],
)
def test_a_users_request_is_judged_by_what_its_status_means(http: int, detail: str, status: Status, says: str) -> None:
    found = only(api.user_request, request(status=http, detail=detail))
    assert found.status is status and says in found.message and detail in found.message
    assert found.status is OK or (found.value, found.unit) == (http, "HTTP status")


def test_a_slow_error_is_an_error_and_a_slow_empty_answer_no_outage() -> None:
    assert only(api.user_request, request(60_000, status=500, detail="404: nothing")).status is OK
    assert only(api.user_request, request(60_000, status=429)).status is WARNING


def parts(status: int, **ready: bool) -> Rows:
    return [{"part": part.replace("_", " "), "ready": is_, "status": status, "ms": 3.0} for part, is_ in ready.items()]


def test_a_service_that_is_ready_with_all_inside_it_is_well() -> None:
    found = only(api.readiness, parts(200, ready=True, triage=True, llm=True))
    assert (found.status, found.value) == (OK, 200) and "all 2 parts inside are ready" in found.message


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (parts(200, ready=True, triage=True, llm=False), "/ready answered 200; not ready: llm"),
        (parts(503, ready=False, triage=True), "/ready answered 503"),
        (parts(503, ready=False, breaker_openai=False), "/ready answered 503; not ready: breaker openai, nothing else"),
        (parts(404, ready=False), "/ready answered 404"),
        (parts(200, ready=False), "/ready answered 200"),
    ],
)
def test_a_service_that_is_not_ready_is_critical_and_says_which_part(rows: Rows, says: str) -> None:
    found = only(api.readiness, rows)
    assert (found.status, found.message) == (CRITICAL, says)


def breakers(**states: str) -> pd.DataFrame:
    rows = [{"breaker": k, "state": v, "failures": 0, "last_failure": pd.NaT} for k, v in states.items()]
    return pd.DataFrame(rows, columns=["breaker", "state", "failures", "last_failure"])


def test_no_breaker_yet_is_ok_and_not_called_closed() -> None:
    found = only(api.circuit_breakers, breakers())
    assert (found.status, found.object) == (OK, "breakers")
    assert "no breaker exists yet (not: closed)" in found.message


@pytest.mark.parametrize(
    ("state", "status"),
    [("closed", OK), ("CLOSED", OK), ("half_open", WARNING), ("half-open", WARNING), ("HALF_OPEN", WARNING),
     ("open", CRITICAL), ("Open", CRITICAL), ("not told", UNKNOWN), ("ajar", UNKNOWN)],
)  # fmt: skip
def test_a_breaker_is_judged_by_its_state_in_any_spelling(state: str, status: Status) -> None:
    assert only(api.circuit_breakers, breakers(openai=state)).status is status


def test_each_breaker_has_its_own_finding_with_its_failures() -> None:
    frame = breakers(openai="open", ollama="closed").assign(failures=[5, 0])
    found = by_object(judge(api.circuit_breakers, frame))
    assert found["openai"].message == "open after 5 failures" and found["ollama"].message == "closed"
    assert (found["openai"].status, found["ollama"].status) == (CRITICAL, OK)


ALERT_COLUMNS = ["alert", "severity", "message", "triggered_at"]


def test_no_active_alert_is_ok() -> None:
    found = only(api.active_alerts, pd.DataFrame(columns=ALERT_COLUMNS))
    assert (found.status, found.message, found.value) == (OK, "no active alerts", 0)


@pytest.mark.parametrize(
    ("severity", "status"),
    [("critical", CRITICAL), ("CRITICAL", CRITICAL), ("error", CRITICAL), ("warning", WARNING), ("info", OK),
     ("", WARNING), ("purple", WARNING)],
)  # fmt: skip
def test_an_alert_is_as_bad_as_it_says_and_at_least_a_warning_when_it_does_not(severity: str, status: Status) -> None:
    rows = [("high_cpu", severity, "CPU usage 97%", "2031-01-31"), ("other", "info", "", "")]
    found = by_object(judge(api.active_alerts, pd.DataFrame(rows, columns=ALERT_COLUMNS)))
    assert found["high_cpu"].status is status
    assert found["high_cpu"].message == "CPU usage 97% (since 2031-01-31)"
    assert found["other"].message == "active (since a time not told)"


def test_rate_limits_that_are_on_and_refuse_nobody_are_well() -> None:
    found = by_object(judge(api.rate_limits, limited(0)))
    assert {f.status for f in found.values()} == {OK}
    assert found["limits"].message == "on: 60 per minute, 1000 per hour"
    assert found["refused requests"].message.startswith("0 of 100 requests refused (429)")


def test_rate_limits_that_are_off_are_a_warning() -> None:
    found = by_object(judge(api.rate_limits, limited(0, enabled=False)))
    assert (found["limits"].status, found["limits"].message) == (WARNING, "rate limiting is off")


@pytest.mark.parametrize("missing", [None, math.nan])
def test_refused_requests_that_nobody_counts_are_unknown_and_not_none(missing: float | None) -> None:
    found = by_object(judge(api.rate_limits, limited(missing, missing)))  # type: ignore[arg-type]
    assert found["refused requests"].status is UNKNOWN and found["limits"].status is OK
    assert "http_requests_total" in found["refused requests"].message


def test_before_the_first_request_none_was_refused() -> None:
    assert by_object(judge(api.rate_limits, limited(0, 0)))["refused requests"].value == 0


# --- postgres


@pytest.mark.parametrize(("question", "obj"), [(postgres.reachable, "PostgreSQL"), (redis.reachable, "Redis")])
@pytest.mark.parametrize(
    ("kind", "status"),
    [("refused", CRITICAL), ("timeout", CRITICAL), ("slots", CRITICAL), ("no-database", CRITICAL), ("other", CRITICAL),
     ("password", UNKNOWN), ("not-configured", UNKNOWN)],
)  # fmt: skip
def test_a_store_that_gives_no_answer_is_critical_unless_only_the_runbook_is_kept_out(
    question: Question, obj: str, kind: str, status: Status
) -> None:
    row = answered(math.nan, answered=False, place="", kind=kind, reason=f"because {kind}")
    found = only(question, row)
    assert (found.object, found.status, found.message, found.value) == (obj, status, f"because {kind}", kind)


def test_reachability_says_when_it_was_judged_by_the_runbooks_own_role() -> None:
    assert "the profile names no application_dsn" in only(postgres.reachable, answered(3, as_application=False)).message
    assert "own role" not in only(postgres.reachable, answered(3)).message


def test_connection_slots_count_what_is_usable_and_tell_what_is_reserved() -> None:
    found = only(postgres.connection_slots, [{"used": 97, "usable": 97, "max_connections": 100, "reserved": 3}])
    assert (found.status, found.value) == (CRITICAL, 100)
    assert found.message == "97 of 97 connection slots used (3 more are reserved)"


def test_without_a_usable_slot_all_are_taken() -> None:
    found = only(postgres.connection_slots, [{"used": 0, "usable": 0, "max_connections": 3, "reserved": 3}])
    assert (found.status, found.value) == (CRITICAL, 100)


def test_no_open_transaction_is_ok() -> None:
    columns = list(transaction(0)[0])
    found = only(postgres.longest_transaction, pd.DataFrame(columns=columns))
    assert (found.status, found.value) == (OK, 0) and "besides this one" in found.message


def test_short_transactions_are_one_finding_and_each_long_one_its_own() -> None:
    short = [*transaction(3), *transaction(250)]
    found = only(postgres.longest_transaction, short)
    assert (found.object, found.status, found.value) == ("transactions", OK, 250)
    assert found.message == "2 open, the oldest for 250 s"
    idle = {**transaction(700)[0], "pid": 8.0, "application": "", "state": "idle in transaction"}
    long = by_object(judge(postgres.longest_transaction, [*short, *[{**transaction(301)[0], "pid": 9.0}], idle]))
    assert {obj: f.status for obj, f in long.items()} == {"pid 9 (etl)": WARNING, "pid 8 (app)": CRITICAL}
    assert "open for 700 s, idle in transaction: SELECT 1" in long["pid 8 (app)"].message


ROLE = {"role": "runbook", "is_superuser": False, "sees_all": True, "writes_tables": 0, "powers": ""}


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({}, OK, "change nothing"),
        ({"is_superuser": True}, WARNING, "is a superuser"),
        ({"is_superuser": True, "sees_all": False, "writes_tables": 9}, WARNING, "is a superuser"),
        ({"powers": "CREATEROLE"}, WARNING, "can do more than read statistics: CREATEROLE"),
        ({"writes_tables": 3}, WARNING, "change 3 tables"),
        ({"sees_all": False}, WARNING, "lacks pg_monitor"),
    ],
)
def test_a_role_that_can_do_harm_or_sees_too_little_is_a_warning(
    change: dict[str, Any], status: Status, says: str
) -> None:
    found = only(postgres.own_role, [{**ROLE, **change}])
    assert (found.object, found.status) == ("runbook", status) and says in found.message


# --- redis


def test_redis_memory_tells_the_limit_its_policy_and_what_was_evicted() -> None:
    found = only(redis.memory, redis_memory(85 * 2**20, 100 * 2**20, evicted=7))
    assert found.status is WARNING and found.value == 85
    assert found.message == "85.0 MiB of 100.0 MiB, maxmemory; policy noeviction, 7 keys evicted"


def test_redis_memory_without_any_limit_is_unknown() -> None:
    assert only(redis.memory, redis_memory(10, 0, limit_is="the machine's memory")).status is UNKNOWN


def kept(rdb: tuple[object, object], aof: tuple[object, object]) -> pd.DataFrame:
    rows = [("RDB", *rdb, 3, pd.Timestamp(0, tz="UTC")), ("AOF", *aof, None, pd.NaT)]
    return pd.DataFrame(rows, columns=["kind", "enabled", "last_write", "changes", "saved_at"])


ON, OFF, FAILING = (True, "ok"), (False, "ok"), (True, "err")


@pytest.mark.parametrize(
    ("rdb", "aof", "expected"),
    [
        (ON, OFF, {"RDB": OK}),
        (OFF, ON, {"AOF": OK}),
        (ON, ON, {"RDB": OK, "AOF": OK}),
        (FAILING, OFF, {"RDB": CRITICAL}),
        (ON, FAILING, {"RDB": OK, "AOF": CRITICAL}),
        ((None, "err"), OFF, {"RDB": CRITICAL}),
        ((None, "ok"), ON, {"AOF": OK}),
        ((False, "err"), OFF, {"persistence": WARNING}),
        (OFF, OFF, {"persistence": WARNING}),
        ((None, "ok"), OFF, {"persistence": UNKNOWN}),
        ((None, None), (False, None), {"persistence": UNKNOWN}),
        ((False, None), (False, None), {"persistence": WARNING}),
    ],
)
def test_persistence_is_judged_by_the_last_write_of_what_is_on(
    rdb: tuple[object, object], aof: tuple[object, object], expected: dict[str, Status]
) -> None:
    found = judge(redis.persistence, kept(rdb, aof))
    assert {finding.object: finding.status for finding in found} == expected


@pytest.mark.parametrize(("rdb", "aof"), [((True, None), OFF), (OFF, (True, None)), ((True, None), (False, None))])
def test_a_last_write_that_redis_does_not_tell_is_not_called_failed(
    rdb: tuple[object, object], aof: tuple[object, object]
) -> None:
    found = only(redis.persistence, kept(rdb, aof))
    assert found.status in (OK, UNKNOWN) and "nan" not in found.message


def test_persistence_says_what_a_restart_would_lose() -> None:
    assert "loses everything" in only(redis.persistence, kept(OFF, OFF)).message
    assert "the last write failed (err)" in only(redis.persistence, kept(FAILING, OFF)).message
    assert "CONFIG GET is refused" in only(redis.persistence, kept((None, "ok"), OFF)).message


# --- host


def test_inodes_are_judged_apart_from_space() -> None:
    found = by_object(judge(host.disk, disk(10, files=95)))
    assert {obj: f.status for obj, f in found.items()} == {"node / space": OK, "node / inodes": CRITICAL}
    assert found["node / inodes"].message == "95 of 100 files (inodes) used"


def test_a_file_system_without_a_limit_of_files_has_space_only() -> None:
    assert [f.object for f in judge(host.disk, disk(10, files_total=0))] == ["node / space"]


def test_a_file_system_that_cannot_be_looked_at_is_unknown_and_hides_no_other() -> None:
    lost = disk(0, 0, 0, path="/data", total=0, problem="No such file or directory")
    found = by_object(judge(host.disk, [*disk(95), *lost]))
    assert {obj: f.status for obj, f in found.items()} == {
        "node / space": CRITICAL, "node / inodes": OK, "node /data": UNKNOWN,
    }  # fmt: skip
    assert "No such file" in found["node /data"].message


def test_a_disk_or_memory_of_no_size_is_unknown() -> None:
    assert only(host.disk, disk(0, files_total=0, total=0)).status is UNKNOWN
    assert only(host.memory, [{"host": "node", "used": 0, "total": 0}]).status is UNKNOWN


def test_memory_is_told_in_bytes_that_people_read() -> None:
    found = only(host.memory, [{"host": "node", "used": 2**30, "total": 4 * 2**30}])
    assert (found.status, found.value, found.message) == (OK, 25, "1.0 GiB of 4.0 GiB used")


def test_load_is_judged_for_each_processor_over_five_minutes() -> None:
    found = only(host.load, load(1.0))
    assert (found.status, found.value) == (OK, 1)
    assert found.message == "5-minute load 4.00 on 4 processors"


def test_a_share_of_a_machine_is_judged_by_its_own_processors_and_not_by_the_machines_load() -> None:
    found = only(host.load, load(99, busy=1.0))
    assert (found.status, found.value, found.message) == (OK, 0.25, "1.00 of 4 processors busy")


# --- queue


def test_the_queues_size_tells_the_key_that_it_stood_under_and_what_is_urgent() -> None:
    found = only(queue.size, queued(7))
    assert (found.status, found.value) == (OK, 7)
    assert found.message == "7 items (told as total_items); pending ones of high priority: 2 critical, 5 high"


def test_an_empty_queue_tells_fewer_keys_and_is_well() -> None:
    found = only(queue.size, queued(0, pending_critical=math.nan, pending_high=math.nan))
    assert (found.status, found.value, found.message) == (OK, 0, "0 items (told as total_items)")


def test_no_waiting_item_is_ok() -> None:
    found = only(queue.oldest_item, pd.DataFrame(columns=list(waiting(0)[0])))
    assert (found.status, found.message, found.value) == (OK, "no item waits", 0)


def test_items_that_only_the_service_knows_of_are_unknown() -> None:
    elsewhere = {"status": "not in the table", "items": 8, "oldest": pd.NaT, "seconds": math.nan}
    found = only(queue.oldest_item, [elsewhere])
    assert (found.object, found.status) == ("waiting items", UNKNOWN)
    assert found.message == "the service says 8 items, the table none: its queue is in its memory"


class Asked:
    """A run whose table holds these rows and whose service gives this answer: JSON, a status, or why there is none."""

    def __init__(self, rows: Rows, told: dict[str, Any] | int | CouldNotFindOut) -> None:
        self.table, self.told = pd.DataFrame(list(rows), columns=list(waiting(0)[0])), told

    def connection(self, _: type) -> "Asked":
        return self

    def rows(self, _: str, values: Any = None, **__: Any) -> pd.DataFrame:
        return self.table if values is None else pd.DataFrame({"pages": [1]})

    def get(self, path: str, seconds: float) -> Response:
        assert path == "/triage/statistics" and seconds < queue.oldest_item.deadline
        if isinstance(self.told, CouldNotFindOut):
            raise self.told
        status, body = (self.told, {}) if isinstance(self.told, int) else (200, self.told)
        return Response(path, status, 0.0, "application/json", json.dumps(body).encode(), False)


@pytest.mark.parametrize(
    ("told", "items"),
    [
        ({"queue_size": 0, "total_items": 60, "completed_items": 60}, None),
        ({"total_items": 0}, None),
        ({"total_items": 8, "completed_items": 8}, None),
        ({"total_items": 8, "completed_items": 2}, 6),
        ({"queue_size": 3, "completed_items": 9}, 3),
        ({"queue_size": 3}, 3),
        (Unreachable("api", "not-configured", "the profile has no [api]"), None),
    ],
)
def test_an_empty_table_is_compared_with_what_the_service_tells(told: Any, items: int | None) -> None:
    frame = queue.oldest_item.probe(Asked([], told))
    found = only(queue.oldest_item, frame)
    if items is None:
        assert (found.status, found.message) == (OK, "no item waits")
    else:
        assert found.status is UNKNOWN and f"the service says {items} items, the table none" in found.message


@pytest.mark.parametrize("told", [500, {}, {"total_items": "8"}, Unreachable("api", "refused", "nothing listens")])
def test_an_empty_table_and_a_service_that_does_not_tell_is_no_answer(told: Any) -> None:
    with pytest.raises(CouldNotFindOut, match="the table holds no waiting item, and whether the service knows of any"):
        queue.oldest_item.probe(Asked([], told))


def test_a_table_with_waiting_items_is_enough() -> None:
    assert len(queue.oldest_item.probe(Asked(waiting(1), CouldNotFindOut("not to be asked")))) == 1


def test_each_status_of_waiting_items_is_judged_by_its_own_oldest() -> None:
    found = by_object(judge(queue.oldest_item, [*waiting(1), *waiting(100, "in_review")]))
    assert {obj: f.status for obj, f in found.items()} == {"pending items": OK, "in_review items": CRITICAL}
    assert found["in_review items"].message == "3 items, the oldest waits for 100.0 h"


def test_an_item_from_the_future_is_unknown_and_names_clock_and_time_zone() -> None:
    found = only(queue.oldest_item, waiting(-2))
    assert found.status is UNKNOWN and "2.0 h in the future: a clock or a time zone is wrong" in found.message


def test_an_item_from_some_seconds_ahead_has_waited_for_no_time() -> None:
    found = only(queue.oldest_item, waiting(-30 / 3600))
    assert found.status is OK and "waits for 0.0 h" in found.message


# --- clocks


def test_clocks_that_agree_are_well() -> None:
    found = judge(clock.offsets, clocks(0, 0, 0))
    assert {f.status for f in found} == {OK}
    assert {f.message for f in found} == {"agrees with this machine's clock"}


@pytest.mark.parametrize(
    ("offset", "status", "says"),
    [(90, CRITICAL, "90.0 s ahead of"), (-90, CRITICAL, "90.0 s behind"), (-6, WARNING, "6.0 s")],
)
def test_a_clock_is_judged_alike_ahead_and_behind(offset: float, status: Status, says: str) -> None:
    found = by_object(judge(clock.offsets, clocks(offset, 0)))
    assert found["a"].status is status and says in found["a"].message
    assert found["b"].status is OK and "this machine" not in found


@pytest.mark.parametrize("offsets", [(90, 91, 90.5), (-90, -91), (6, 7)])
def test_when_all_other_clocks_are_off_alike_it_is_this_machines(offsets: tuple[float, ...]) -> None:
    found = by_object(judge(clock.offsets, clocks(*offsets)))
    assert found["this machine"].status is CRITICAL and "it is this one" in found["this machine"].message
    assert len(found) == len(offsets) + 1


@pytest.mark.parametrize("offsets", [(90,), (90, -90), (90, 200), (90, 90, 0)])
def test_one_clock_alone_or_clocks_off_differently_accuse_no_machine(offsets: tuple[float, ...]) -> None:
    assert "this machine" not in by_object(judge(clock.offsets, clocks(*offsets)))

"""Questions to a service that answers anything but what it should: each finding is right, named and in time."""

import gzip
import json
import socket
import socketserver
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import trustme

from runbook import api, clock, open_run, queue
from runbook.connections.http import BODY_LIMIT, ApiConnection
from runbook.model import Finding, Question, Status
from runbook.session.display import ShownAnswer
from runbook.target import load_target

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
CONNECT, QUESTION, SLACK = 0.6, 1.0, 1.0
USER = "/documents?limit=1"
STATISTICS = "/triage/statistics"
# What an audit asks: other paths, and several findings each (test_api_exposure.py).
EXPOSURE = (api.security_headers, api.cors, api.open_documentation, api.debug, api.tls_redirect)
EVERY = (*(question for question in api.questions if question not in EXPOSURE), queue.size)
PATHS = {
    "api.liveness": "/health", "api.readiness": "/ready", "api.user_request": USER, "api.circuit_breakers": "/health",
    "api.active_alerts": "/alerts", "api.rate_limits": "/health", "queue.size": STATISTICS,
    "api.error_rate": USER,
}  # fmt: skip
HEALTH = {
    "status": "healthy", "version": "1.2.3", "circuit_breakers": {"ollama": {"state": "closed"}},
    "rate_limiting": {"enabled": True, "per_minute": 60, "per_hour": 1000},
}  # fmt: skip
Behaviour = Callable[[socket.socket], None]
Answer = bytes | Behaviour


def http(body: Any = b"", status: int = 200, kind: str = "application/json", **headers: str) -> bytes:
    """Return a whole HTTP answer; a body that is no bytes is told as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": kind, "content-length": str(len(content)), "connection": "close", **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
    return f"HTTP/1.1 {status} So\r\n{head}\r\n".encode() + content


def healthy() -> dict[str, Answer]:
    counted = b'http_requests_total{method="GET",path="/",status="200"} 99.0\nhttp_requests_total{status="429"} 1.0\n'
    return {
        "/health": http(HEALTH),
        "/ready": http({"ready": True, "services": {"triage": True}}),
        USER: http({"documents": []}),
        "/alerts": http({"active_alerts": {}, "alert_count": 0}),
        STATISTICS: http({"queue_size": 3, "total_items": 9}),
        "/metrics/prometheus": http(counted, kind="text/plain"),
    }


class Hostile(socketserver.ThreadingTCPServer):
    """A server that answers each path with given bytes or in a way of its own; "*" is every path that has none."""

    allow_reuse_address = True
    daemon_threads = False  # they are waited for when it is closed: nothing is left behind

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Speak)
        self.answers: dict[str, Answer] = {}
        self.tls: ssl.SSLContext | None = None
        self.stopped = threading.Event()
        self.seen: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        self.stopped.set()
        self.shutdown()
        self.server_close()

    def hang(self, _: socket.socket) -> None:
        self.stopped.wait()

    def drip(self, line: socket.socket, begun: bytes = b"HTTP/1.1 200 OK\r\nx: ") -> None:
        line.sendall(begun)
        while not self.stopped.wait(1):
            line.sendall(b"a")


class Speak(socketserver.BaseRequestHandler):
    """One connection, one answer."""

    server: Hostile

    def handle(self) -> None:
        with suppress(OSError):
            line = self.server.tls.wrap_socket(self.request, server_side=True) if self.server.tls else self.request
            with line:
                head = b""
                while b"\r\n\r\n" not in head:
                    if not (more := line.recv(65536)):
                        return
                    head += more
                self.server.seen.append(head.decode())
                answer = self.server.answers.get(head.split()[1].decode(), self.server.answers.get("*", b""))
                if isinstance(answer, bytes):
                    line.sendall(answer)
                else:
                    answer(line)


@pytest.fixture
def hostile() -> Iterator[Callable[[], Hostile]]:
    """Start servers that are stopped after the test."""
    started: list[Hostile] = []

    def start() -> Hostile:
        started.append(Hostile())
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def service(hostile: Callable[[], Hostile]) -> Hostile:
    """A service that is well until a test changes its answers."""
    server = hostile()
    server.answers = healthy()
    return server


@pytest.fixture
def ask(service: Hostile, profile: Callable[..., str]) -> Callable[..., Any]:
    """Ask questions in a run of its own, in time, and return the only finding of the one, or the answers of several."""

    def ask(*questions: Question, url: str | None = None, more: str = "") -> Any:
        limits = f"[deadlines]\nconnect = {CONNECT}\nquestion = {QUESTION}\n"
        profile(f'[api]\nurl = "{url or service.url}"\n{more}\n{limits}', name="hostile")
        began = time.monotonic()
        run = open_run("test", target="hostile", needs=["api"])
        try:
            answers = [run.ask(question) for question in questions]
        finally:
            run.close()
        # A hung dependency costs its deadline once: to open it, or one question.
        assert time.monotonic() - began < CONNECT + QUESTION + SLACK
        return only(answers[0]) if len(questions) == 1 else answers

    return ask


def only(answer: ShownAnswer) -> Finding:
    (finding,) = answer.findings
    assert finding.check == answer.question.name and finding.source
    return finding


def verdicts(answers: list[ShownAnswer]) -> dict[str, Status]:
    return {answer.question.name: answer.verdict for answer in answers}


def test_a_service_that_is_well_is_told_so(ask: Callable[..., Any]) -> None:
    assert set(verdicts(ask(*EVERY)).values()) == {OK}


# --- answers that are not what was asked for

WRONG = {
    "HTML": (http(b"<html><body>It works!</body></html>", kind="text/html"), "with HTML where JSON was expected"),
    "broken JSON": (http(b'{"status": "heal'), "with no valid JSON"),
    "no body": (http(), "with no valid JSON"),
    "a list": (http([1, 2]), "answered JSON, but no object: list"),
    "a number too long": (http(b'{"a": ' + b"9" * 5000 + b"}"), "with no valid JSON"),
    "bytes of no text": (http(b"\xff\xfe\x00\x81"), "with no valid JSON"),
    "JSON nested too deep": (http(b"[" * 200_000 + b"]" * 200_000), "with no valid JSON"),
}


@pytest.mark.parametrize(
    "question", [q for q in EVERY if q is not api.user_request], ids=lambda question: question.name
)
@pytest.mark.parametrize("what", WRONG)
def test_an_answer_that_is_not_the_services_is_never_ok(
    what: str, question: Question, service: Hostile, ask: Callable[..., Any]
) -> None:
    service.answers[PATHS[question.name]], says = WRONG[what]
    found = ask(question)
    assert found.status is (CRITICAL if question is api.liveness else UNKNOWN)
    assert PATHS[question.name] in found.message and says in found.message


def test_ten_megabytes_are_not_read_to_the_end(service: Hostile, ask: Callable[..., Any]) -> None:
    sent = []

    def flood(line: socket.socket) -> None:
        line.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{")
        for _ in range(160):
            sent.append(line.send(b" " * 65536))

    service.answers[STATISTICS] = flood
    ask(api.liveness)  # imports and caches are no part of the body
    tracemalloc.start()
    try:
        found = ask(queue.size)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.status is UNKNOWN and "/triage/statistics answered more than 1 MB" in found.message
    assert peak < 5 * BODY_LIMIT and sum(sent) < 10 << 20


def test_a_small_body_that_unpacks_to_a_huge_one_is_cut_before_it_fills_the_memory(
    service: Hostile, ask: Callable[..., Any]
) -> None:
    service.answers[STATISTICS] = http(gzip.compress(bytes(64 << 20)), content_encoding="gzip")
    ask(api.liveness)
    tracemalloc.start()
    try:
        found = ask(queue.size)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.status is UNKNOWN and "/triage/statistics" in found.message
    assert peak < 8 * BODY_LIMIT, f"{peak >> 20} MB"


def test_a_body_that_cannot_be_unpacked_is_told(service: Hostile, ask: Callable[..., Any]) -> None:
    service.answers["/alerts"] = http(b"no gzip", content_encoding="gzip")
    found = ask(api.active_alerts)
    assert found.status is UNKNOWN and "/alerts" in found.message


def test_a_redirect_loop_is_cut_and_told(service: Hostile, ask: Callable[..., Any]) -> None:
    service.answers["/health"] = http(status=302, location="/health")
    found = ask(api.liveness)
    assert (found.status, found.value) == (CRITICAL, "redirects")
    assert "/health redirects more than 5 times" in found.message
    assert len(service.seen) <= 7


def test_a_redirect_elsewhere_does_not_carry_the_token(
    service: Hostile, hostile: Callable[[], Hostile], ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TOKEN", "a-token-of-the-target")
    thief = hostile()
    thief.answers = healthy()
    service.answers[USER] = http(status=302, location=f"{thief.url}{USER}")
    assert ask(api.user_request, more='token = "env:API_TOKEN"').status is OK
    assert "Bearer a-token-of-the-target" in service.seen[-1]
    assert thief.seen and "a-token-of-the-target" not in thief.seen[-1]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://[", "http://127.0.0.1:9/"])
def test_a_redirect_that_leads_nowhere_is_told_and_not_blamed_on_the_services_own_address(
    location: str, service: Hostile, ask: Callable[..., Any]
) -> None:
    service.answers["/health"] = http(status=302, location=location)
    found = ask(api.liveness)
    assert found.status is CRITICAL
    assert f"{service.url} refuses connections" not in found.message
    assert f"name of {service.url} cannot be resolved" not in found.message


def test_500_everywhere_is_critical_where_users_feel_it_and_unknown_where_nothing_was_told(
    service: Hostile, ask: Callable[..., Any]
) -> None:
    service.answers = {"*": http({"detail": "Internal server error"}, 500)}
    answers = ask(*EVERY)
    critical = dict.fromkeys(("api.liveness", "api.readiness", "api.user_request", "api.error_rate"), CRITICAL)
    assert verdicts(answers) == {**dict.fromkeys(PATHS, UNKNOWN), **critical}
    assert all(f"{PATHS[answer.question.name]} answered 500" in only(answer).message for answer in answers[:2])
    assert only(answers[2]).object == USER and "Internal server error" in only(answers[2]).message
    assert all("answered 500" in only(answer).message or "(500)" in only(answer).message for answer in answers)


@pytest.mark.parametrize(
    ("failing", "says", "status"),
    [(0, "0 of 10 requests in a row failed", OK), (1, "1 of 10 requests in a row failed (500)", WARNING),
     (2, "2 of 10 requests in a row failed (500)", CRITICAL)],
)  # fmt: skip
def test_one_replica_that_fails_is_seen_by_ten_requests_in_a_row(
    failing: int, says: str, status: Status, service: Hostile, ask: Callable[..., Any]
) -> None:
    left = iter([True] * failing + [False] * 10)

    def sometimes(line: socket.socket) -> None:
        line.sendall(http({"detail": "boom"}, 500) if next(left) else http({"documents": []}))

    service.answers[USER] = sometimes
    found = ask(api.error_rate)
    assert (found.message, found.status) == (says, status)


def test_refused_requests_leave_the_error_rate_unknown(service: Hostile, ask: Callable[..., Any]) -> None:
    service.answers[USER] = http({"error": "Rate limit exceeded"}, 429)
    found = ask(api.error_rate)
    assert found.status is UNKNOWN and "10 of 10 requests in a row were refused with 429" in found.message


def test_503_on_ready_names_what_is_not_ready_also_where_health_stays_healthy(
    service: Hostile, ask: Callable[..., Any]
) -> None:
    told = {"ready": False, "services": {"triage": True, "llm": False}, "critical_breakers_open": ["ollama_api"]}
    service.answers["/ready"] = http({"detail": told}, 503)
    ready, breakers, alive = ask(api.readiness, api.circuit_breakers, api.liveness)
    assert only(ready).status is CRITICAL
    assert only(ready).message == "/ready answered 503; not ready: llm, breaker ollama_api"
    assert {f.object: f.status for f in breakers.findings} == {"ollama": OK, "ollama_api": CRITICAL}
    assert only(alive).status is OK


def test_503_on_ready_tells_a_reason_that_is_a_sentence(service: Hostile, ask: Callable[..., Any]) -> None:
    service.answers["/ready"] = http({"detail": "Service initializing"}, 503)
    found = ask(api.readiness)
    assert found.status is CRITICAL and "503" in found.message and "Service initializing" in found.message


def test_503_on_ready_from_a_proxy_is_critical_as_any_other_error_is(service: Hostile, ask: Callable[..., Any]) -> None:
    service.answers["/ready"] = http(b"<html>Service Unavailable</html>", 503, kind="text/html")
    found = ask(api.readiness)
    assert found.status is CRITICAL and "/ready answered 503" in found.message


@pytest.mark.parametrize("status", [401, 403])
def test_a_request_that_needs_a_token_is_unknown_and_names_the_profiles_key(
    status: int, service: Hostile, ask: Callable[..., Any]
) -> None:
    service.answers[USER] = http({"detail": "Not authenticated"}, status)
    found = ask(api.user_request)
    assert (found.status, found.value) == (UNKNOWN, status)
    assert f"answered {status}" in found.message and "api.token" in found.message


def test_429_is_a_warning_that_names_the_rate_limit(service: Hostile, ask: Callable[..., Any]) -> None:
    service.answers[USER] = service.answers[STATISTICS] = http({"error": "Rate limit exceeded", "retry_after": 5}, 429)
    user, size = map(only, ask(api.user_request, queue.size))
    assert (user.status, user.value) == (WARNING, 429)
    assert "429" in user.message and "Rate limit exceeded" in user.message
    assert size.status is UNKNOWN and "answered 429" in size.message


# --- no answer, or none that ends


@pytest.mark.parametrize("question", (*EVERY, *EXPOSURE[:-1]), ids=lambda question: question.name)
def test_a_service_that_accepts_and_hangs_costs_its_deadline(
    question: Question, service: Hostile, ask: Callable[..., Any]
) -> None:
    service.answers = {"*": service.hang}
    found = ask(question)
    assert found.status is (CRITICAL if question is api.liveness else UNKNOWN)
    assert "accepted and kept silent" in found.message or "no answer within 0.6 s" in found.message


def test_all_questions_to_a_service_that_hangs_cost_one_deadline(service: Hostile, ask: Callable[..., Any]) -> None:
    service.answers = {"*": service.hang}
    answers = ask(*EVERY)
    assert max(answer.seconds for answer in answers) < 0.5, "the open used the deadline up"
    assert OK not in verdicts(answers).values() and len(service.seen) == 1


def test_a_service_that_falls_silent_keeps_no_later_question_waiting(
    service: Hostile, profile: Callable[..., str]
) -> None:
    profile(f'[api]\nurl = "{service.url}"\n[deadlines]\nconnect = {CONNECT}\nquestion = {CONNECT}', name="late")
    run = open_run("test", target="late", needs=["api"])
    service.answers = {"*": service.hang}
    answers = [run.ask(question) for question in (*EVERY, *EXPOSURE)]
    run.close()
    assert OK not in verdicts(answers).values() and only(answers[0]).status is CRITICAL
    assert answers[0].seconds < CONNECT + 0.5 and max(answer.seconds for answer in answers[1:]) < 0.5


@pytest.mark.parametrize("begun", [b"HTTP/1.1 200 OK\r\nx: ", b'HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{"a": "'])
def test_a_service_that_drips_for_ever_costs_its_deadline(
    begun: bytes, service: Hostile, ask: Callable[..., Any]
) -> None:
    service.answers["/health"] = lambda line: service.drip(line, begun)
    found = ask(api.liveness)
    assert found.status is CRITICAL and "no answer within 0.6 s" in found.message


def test_a_path_that_drips_costs_one_question_and_what_follows_is_answered_at_once(
    service: Hostile, profile: Callable[..., str]
) -> None:
    # Each byte comes within the connection's own limit: only the question's deadline ends it.
    service.answers[USER] = lambda line: service.drip(line, b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n")
    profile(f'[api]\nurl = "{service.url}"\n[deadlines]\nconnect = 2\nquestion = {QUESTION}', name="drip")
    run = open_run("test", target="drip", needs=["api"])
    dripped, after = run.ask(api.user_request), run.ask(api.liveness)
    run.close()
    assert only(dripped).status is CRITICAL and "no answer within 1 s" in only(dripped).message
    assert QUESTION <= dripped.seconds < QUESTION + 0.5
    assert after.seconds < 0.5 and only(after).status is not OK and "not asked again" in only(after).message


def test_a_service_that_closes_at_once_is_critical(service: Hostile, ask: Callable[..., Any]) -> None:
    service.answers = {"*": b""}
    found = ask(api.liveness)
    assert (found.status, found.value) == (CRITICAL, "protocol")
    assert f"{service.url}/health broke off" in found.message


def test_what_speaks_no_http_is_critical(service: Hostile, ask: Callable[..., Any]) -> None:
    service.answers = {"*": b"220 mail.example.com ESMTP ready\r\n"}
    found = ask(api.liveness)
    assert found.status is CRITICAL and "broke off" in found.message


def test_nothing_listening_is_critical_and_names_the_place(ask: Callable[..., Any]) -> None:
    with socket.socket() as held:  # bound and not listening: refused, and nobody else can take it
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        alive, size = ask(api.liveness, queue.size, url=url)
    assert (only(alive).status, only(alive).value) == (CRITICAL, "refused")
    assert only(size).status is UNKNOWN
    assert all(f"{url} refuses connections" in only(answer).message for answer in (alive, size))


def test_a_name_that_cannot_be_resolved_is_critical_and_named(ask: Callable[..., Any]) -> None:
    found = ask(api.liveness, url="http://nowhere.invalid:8000")
    assert (found.status, found.value) == (CRITICAL, "name")
    assert "http://nowhere.invalid:8000 cannot be resolved" in found.message


# --- certificates


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def served(authority: trustme.CA, *names: str, **dates: datetime) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **dates).configure_cert(context)
    return context


def test_a_certificate_of_an_unknown_authority_is_critical(
    service: Hostile, ask: Callable[..., Any], authority: trustme.CA
) -> None:
    service.tls = served(authority, "127.0.0.1")
    found = ask(api.liveness)
    assert (found.status, found.value) == (CRITICAL, "tls")
    assert "its certificate or TLS is not accepted" in found.message and "issuer" in found.message


@pytest.mark.parametrize(("name", "days", "says"), [("other.example.com", 1, "mismatch"), ("127.0.0.1", -1, "expired")])
def test_a_certificate_for_another_name_or_day_is_critical_and_says_why(
    name: str, days: int, says: str, service: Hostile, ask: Callable[..., Any], authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    service.tls = served(authority, name, not_after=datetime.now(UTC) + timedelta(days=days))
    found = ask(api.liveness, more=f'ca_file = "{tmp_path / "ca.pem"}"')
    assert found.status is CRITICAL and says in found.message


def test_a_certificate_of_the_profiles_own_authority_is_accepted(
    service: Hostile, ask: Callable[..., Any], authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    service.tls = served(authority, "127.0.0.1")
    assert ask(api.liveness, more=f'ca_file = "{tmp_path / "ca.pem"}"').status is OK


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_that_cannot_be_used_is_named(content: str | None, ask: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    found = ask(api.liveness, more=f'ca_file = "{path}"')
    assert found.status is not OK and f"the CA file {path} cannot be used" in found.message


# --- clocks


@pytest.mark.parametrize(("hours", "way"), [(1, "ahead of"), (-1, "behind")])
def test_a_clock_that_is_off_by_an_hour_is_critical(
    hours: int, way: str, service: Hostile, ask: Callable[..., Any]
) -> None:
    told = format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)
    service.answers["/health"] = http(HEALTH, date=told)
    found = ask(clock.offsets)
    assert (found.status, found.object, found.unit) == (CRITICAL, "api", "s")
    assert found.value == pytest.approx(3600, abs=3) and f"s {way} this machine's clock" in found.message


@pytest.mark.parametrize(
    "date", ["", "tomorrow", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 -2359"]
)
def test_a_date_that_is_none_leaves_the_service_well_and_its_clock_unknown(
    date: str, service: Hostile, ask: Callable[..., Any]
) -> None:
    service.answers["/health"] = http(HEALTH, date=date)
    alive, clocks = ask(api.liveness, clock.offsets)
    assert only(alive).status is OK and only(clocks).status is UNKNOWN


# --- bodies that contradict what is documented, or themselves


@pytest.mark.parametrize("count", [0, 2, 7])
def test_alerts_whose_count_and_list_disagree_are_not_believed(
    count: int, service: Hostile, ask: Callable[..., Any]
) -> None:
    service.answers["/alerts"] = http({"active_alerts": {"cpu": {"severity": "info"}}, "alert_count": count})
    found = ask(api.active_alerts)
    assert found.status is UNKNOWN and f"counts {count} alerts and lists 1" in found.message


@pytest.mark.parametrize("told", ["CPU usage is above 95%", None, ["critical"]])
def test_an_alert_of_another_shape_is_still_an_alert(told: Any, service: Hostile, ask: Callable[..., Any]) -> None:
    service.answers["/alerts"] = http({"active_alerts": {"cpu": told}, "alert_count": 1})
    assert ask(api.active_alerts).status is not OK


def test_a_queue_told_as_total_items_only_is_judged_by_that_and_says_so(
    service: Hostile, ask: Callable[..., Any]
) -> None:
    service.answers[STATISTICS] = http({"total_items": 1234})
    found = ask(queue.size)
    assert (found.status, found.value) == (WARNING, 1234) and "(told as total_items)" in found.message


@pytest.mark.parametrize(
    "told",
    [{"by_status": {}, "items": 7}, {"total_items": None}, {"total_items": "7"}, {"total_items": True}, {},
     {"total_items": 7.5}, {"queue_size": [7]}],
)  # fmt: skip
def test_a_queue_that_tells_no_size_is_unknown_with_the_keys_that_came_and_never_0(
    told: dict[str, Any], service: Hostile, ask: Callable[..., Any]
) -> None:
    service.answers[STATISTICS] = http(told)
    found = ask(queue.size)
    assert (found.status, found.value) == (UNKNOWN, None)
    assert found.message.endswith(f"the keys that came: {', '.join(sorted(told)) or 'none'}")


@pytest.mark.parametrize(("done", "status", "value"), [(8000, OK, 300), (None, CRITICAL, 8300), (8301, UNKNOWN, None)])
def test_what_is_done_does_not_wait(
    done: int | None, status: Status, value: float | None, service: Hostile, ask: Callable[..., Any]
) -> None:
    service.answers[STATISTICS] = http({"total_items": 8300, "completed_items": done})
    found = ask(queue.size)
    assert (found.status, found.value) == (status, value), found.message
    assert ("(told as total_items less completed_items)" in found.message) is (value == 300)


def test_an_empty_queue_is_0_and_ok(service: Hostile, ask: Callable[..., Any]) -> None:
    service.answers[STATISTICS] = http({"total_items": 0})
    found = ask(queue.size)
    assert (found.status, found.value) == (OK, 0)


def test_no_breakers_yet_is_ok_and_not_called_closed(service: Hostile, ask: Callable[..., Any]) -> None:
    service.answers["/health"] = http({**HEALTH, "circuit_breakers": {}})
    found = ask(api.circuit_breakers)
    assert (found.status, found.object) == (OK, "breakers") and "(not: closed)" in found.message


@pytest.mark.parametrize("told", [{}, {"circuit_breakers": None}, {"circuit_breakers": ["open"]}])
def test_a_health_without_breakers_is_unknown_with_the_keys_that_came(
    told: dict[str, Any], service: Hostile, ask: Callable[..., Any]
) -> None:
    service.answers["/health"] = http({"status": "healthy", **told})
    found = ask(api.circuit_breakers)
    assert found.status is UNKNOWN and "does not tell circuit_breakers" in found.message and "status" in found.message


@pytest.mark.parametrize("path", ["documents", "gold_annotations"])
def test_nothing_there_told_as_a_500_is_no_outage(path: str, service: Hostile, ask: Callable[..., Any]) -> None:
    service.answers[f"/{path}"] = http({"detail": "404: No documents to process"}, 500)
    found = ask(api.user_request, more=f'user_request = "/{path}"')
    assert (found.status, found.value, found.object) == (OK, 500, f"/{path}")
    assert "404: No documents to process" in found.message and "no outage" in found.message


@pytest.mark.parametrize(
    "exposition",
    [http(b"process_cpu_seconds_total 1.0\n", kind="text/plain"), http(b"{{{", kind="text/plain"),
     http(b'http_requests_total{status="200"} many\n'), http(b'http_requests_total{status="200'), http(status=404),
     http(b'http_requests_total{path="/"} 3\n'), http(b"\xff" * 100), http(b'http_requests_total{status="200"} NaN\n')],
)  # fmt: skip
def test_requests_that_are_not_counted_are_unknown_and_the_metric_is_named(
    exposition: bytes, service: Hostile, ask: Callable[..., Any]
) -> None:
    service.answers["/metrics/prometheus"] = exposition
    limits, refused = ask(api.rate_limits, api.liveness)[0].findings
    assert (limits.status, refused.status) == (OK, UNKNOWN)
    assert "http_requests_total" in refused.message and "/metrics/prometheus" in refused.message
    assert "acknowledge this in the profile" in refused.next and "who sends" not in refused.next


def test_limits_that_are_said_to_be_on_and_told_by_no_number_are_not_believed(
    service: Hostile, ask: Callable[..., Any]
) -> None:
    service.answers["/health"] = http({**HEALTH, "rate_limiting": {"enabled": True}})
    limits, _ = ask(api.rate_limits, api.liveness)[0].findings
    assert limits.status is UNKNOWN and "no limit is told" in limits.message


STRANGE = [
    (queue.size, STATISTICS, {"total_items": 10**400}),
    (queue.size, STATISTICS, {"total_items": -(10**30)}),
    (queue.size, STATISTICS, {"total_items": float("inf"), "queue_size": float("nan")}),
    (queue.size, STATISTICS, {"total_items": 1, "pending_critical": "two", "pending_high": [3]}),
    (queue.size, STATISTICS, {"total_items": 1, "pending_critical": None, "pending_high": {}}),
    (api.circuit_breakers, "/health", {"circuit_breakers": {"a": {"state": "open", "last_failure_time": 1e300}}}),
    (api.circuit_breakers, "/health", {"circuit_breakers": {"a": {"state": "open", "last_failure_time": 10**30}}}),
    (api.circuit_breakers, "/health", {"circuit_breakers": {"a": {"state": ["open"], "failure_count": 10**400}}}),
    (api.circuit_breakers, "/ready", {"ready": True, "critical_breakers_open": 5}),
    (api.circuit_breakers, "/ready", {"ready": True, "critical_breakers_open": [None, {"a": 1}]}),
    (api.readiness, "/ready", {"ready": "yes", "services": ["triage"], "critical_breakers_open": "all"}),
    (api.active_alerts, "/alerts", {"active_alerts": {"\ud800": {"severity": "\udfff", "message": "\x00"}}}),
    (api.active_alerts, "/alerts", {"active_alerts": {"a": {"severity": 9, "message": {"b": []}}}}),
    (api.rate_limits, "/health", {"rate_limiting": {"enabled": "yes", "per_minute": [], "per_hour": {"a": 10**400}}}),
    (api.liveness, "/health", {"status": {"a": "\ud800"}, "version": ["\ud800"] * 9}),
    (api.user_request, USER, {"detail": "\ud800"}),
]


@pytest.mark.parametrize(
    ("question", "path", "told"),
    STRANGE,
    ids=[f"{question.name}-{json.dumps(told)[:60]}" for question, _, told in STRANGE],
)
def test_values_of_any_kind_and_size_end_in_a_finding_and_never_in_a_traceback(
    question: Question, path: str, told: Any, service: Hostile, ask: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("RUNBOOK_SPOOL", str(tmp_path))
    service.answers[path] = http(told, 500 if question is api.user_request else 200)
    answer, _ = ask(question, api.liveness)
    assert answer.findings
    json.dumps(answer._repr_mimebundle_(), ensure_ascii=False).encode()


# --- what a hostile text may do to who reads it

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b[2J\x1b]0;owned\x07"


@pytest.mark.parametrize(
    ("question", "path", "told", "status"),
    [
        (api.active_alerts, "/alerts", {"active_alerts": {EVIL: {"severity": EVIL, "message": EVIL}}}, 200),
        (api.user_request, USER, {"detail": EVIL}, 500),
        (api.liveness, "/health", {"status": EVIL, "version": EVIL}, 200),
        (api.readiness, "/ready", {"ready": True, "services": {EVIL: False}}, 200),
        (api.circuit_breakers, "/health", {"circuit_breakers": {EVIL: {"state": EVIL}}}, 200),
        (queue.size, STATISTICS, {EVIL: 1}, 200),
    ],
    ids=lambda value: value.name if isinstance(value, Question) else None,
)
@pytest.mark.parametrize("kind", ["text/html", "text/plain"])
def test_a_hostile_text_is_shown_and_does_nothing(
    kind: str, question: Question, path: str, told: Any, status: int, service: Hostile, profile: Callable[..., str]
) -> None:
    service.answers[path] = http(told, status)
    profile(f'[api]\nurl = "{service.url}"', name="hostile")
    run = open_run("test", target="hostile", needs=["api"])
    shown = [run.ask(question), run, run.summary()]
    texts = [thing._repr_mimebundle_()[kind] for thing in shown]
    assert "alert(1)" in texts[0] and "alert(1)" in texts[2]
    for text in texts:
        assert not {"\x1b", "\x07"} & set(text), "a terminal obeys such characters"
        assert kind == "text/plain" or not [tag for tag in ("<script", "<img") if tag in text]


def test_the_service_sees_who_asks_and_nothing_but_reading(service: Hostile, profile: Callable[..., str]) -> None:
    profile(f'[api]\nurl = "{service.url}"', name="plain")
    connection = ApiConnection.open(load_target("plain"), "runbook a-notebook")
    connection.get("/ready")
    connection.close()
    assert connection.identity == {"what": "service", "where": service.url, "version": "1.2.3"}
    assert all(head.startswith("GET ") and "user-agent: runbook a-notebook" in head.lower() for head in service.seen)


def test_a_refusal_of_the_runbooks_own_address_is_no_verdict_on_readiness() -> None:
    frame = pd.DataFrame([{"part": "ready", "ready": False, "status": 429, "ms": 1.0, "reason": ""}])
    (told,) = api.readiness.check(frame)
    assert told.status is Status.UNKNOWN and "refuses the runbook's own address" in told.message
    assert "run it again" in told.next

"""The language model, asked for real: name, connection, TLS, key, quota, model and pace, each told from the others."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import trustme
from monitoring import free_port, serving

from runbook.llm import reachable, told
from runbook.llm.told import check as check_told
from runbook.model import Finding, Status
from runbook.session import open_run
from runbook.target import load_target

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
KEY = "sk-tests-0123456789abcdefghij"
MODELS = {"object": "list", "data": [{"id": name, "owned_by": "system"} for name in ("gpt-4o", "gpt-4o-mini", "o3")]}
Answering = Callable[[str, dict[str, str]], tuple[int, dict[str, str], bytes] | None]


def as_json(status: int, told: Any, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(told).encode()


def error(code: str | None, message: str = "no", kind: str = "") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind or code, "param": None, "code": code}}


def openai(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Answer as OpenAI does: the list of models for the key, and nothing without."""
    if path != "/v1/models":
        return as_json(404, error("unknown_url"))
    if headers.get("authorization") != f"Bearer {KEY}" and "cookie" not in headers:
        return as_json(401, error("invalid_api_key", f"Incorrect API key provided: {KEY[:8]}***{KEY[-4:]}"))
    return as_json(200, MODELS, **{"Set-Cookie": "session=1; Path=/"})


TAKEN = 'model = "gpt-4o"\ntoken = "env:TESTS_LLM_KEY"'


@pytest.fixture
def ask_all(profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[Finding]]]:
    """Ask about the model at a place, with what else its section says, and return the findings."""
    monkeypatch.setenv("TESTS_LLM_KEY", KEY)
    runs = []

    def asking(url: str, more: str = TAKEN, connect: float = 1.0) -> list[Finding]:
        section = f'[llm]\nurl = "{url}"\n{more}\n' if url else ""
        run = open_run("tests", target=profile(f"{section}[deadlines]\nconnect = {connect}"), needs=["llm"])
        runs.append(run)
        return list(run.ask(reachable).findings)

    yield asking
    for run in runs:
        run.close()


@pytest.fixture
def ask(ask_all: Callable[..., list[Finding]]) -> Callable[..., Finding]:
    """Ask about the model, and return the one finding."""

    def asking(*given: Any, **more: Any) -> Finding:
        (found,) = ask_all(*given, **more)
        return found

    return asking


def answered(ask: Callable[..., Finding], answer: Answering, **more: Any) -> Finding:
    with serving(answer) as served:
        return ask(served.url, **more)


# --- it works


def test_a_key_that_is_taken_and_a_model_that_is_there_are_well(ask: Callable[..., Finding]) -> None:
    with serving(openai) as served:
        found = ask(served.url)
        one, other = served.asked
    assert found.status is OK and "takes the key, has gpt-4o among 3 models" in found.message
    assert one[0] == "/v1/models" and one[1]["authorization"] == f"Bearer {KEY}" and KEY not in found.message
    assert other[0] == "/v1/models" and "authorization" not in other[1], "only that it is refused proves the key"


def public(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """List the models to anyone, as many do that speak OpenAI's language."""
    return as_json(200, MODELS)


def busy(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Answer the first request, and no other one at once."""
    return as_json(200, MODELS) if "authorization" in headers else as_json(503, error("server_error"))


@pytest.mark.parametrize(
    ("answer", "says"), [(public, "proves nothing about the key at env:TESTS_LLM_KEY"), (busy, "(503)")]
)
def test_a_list_that_is_public_proves_nothing_about_the_key(
    answer: Answering, says: str, ask_all: Callable[..., list[Finding]]
) -> None:
    with serving(answer) as served:
        model, key = ask_all(served.url)
    assert model.status is OK and "key" not in model.message and "has gpt-4o among 3 models" in model.message
    assert key.status is UNKNOWN and says in key.message and key.next


def test_a_model_that_a_public_list_lacks_is_missing_and_the_key_unknown(
    ask_all: Callable[..., list[Finding]],
) -> None:
    with serving(public) as served:
        model, key = ask_all(served.url, more='model = "gpt-5"\ntoken = "env:TESTS_LLM_KEY"')
    assert (model.status, model.value, key.status) == (CRITICAL, "no model", UNKNOWN) and "takes" not in model.message


def test_ollama_lists_its_models_elsewhere_and_takes_no_key(ask: Callable[..., Finding]) -> None:
    models = {"models": [{"name": "llama3.2:3b"}, {"name": "mistral:latest"}]}

    def ollama(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        return as_json(200, models) if path == "/api/tags" else as_json(404, {"error": "not found"})

    for model in ("llama3.2:3b", "mistral"):
        found = answered(ask, ollama, more=f'kind = "ollama"\nmodel = "{model}"')
        assert found.status is OK and "key" not in found.message
    missing = answered(ask, ollama, more='kind = "ollama"\nmodel = "phi4"')
    assert missing.status is CRITICAL and missing.value == "no model" and "ollama pull phi4" in missing.next


# --- it answers with an error


@pytest.mark.parametrize(
    ("status", "body", "expected", "value", "says"),
    [
        (401, error("invalid_api_key"), CRITICAL, "key refused", "revoked"),
        (401, {"detail": "Unauthorized"}, CRITICAL, "key refused", "is refused: 401"),
        (403, error("unsupported_country_region_territory"), CRITICAL, "no right", "no right"),
        (
            429,
            error("insufficient_quota", "You exceeded your current quota"),
            CRITICAL,
            "quota",
            "waiting does not help",
        ),
        (429, error(None, "check your plan and billing", "insufficient_quota"), CRITICAL, "quota", "quota"),
        (429, error("rate_limit_exceeded"), WARNING, "too many requests", "passes by itself"),
        (429, {}, WARNING, "too many requests", "429"),
        (500, error("server_error"), CRITICAL, "provider fails", "itself fails"),
        (503, {"error": "overloaded"}, CRITICAL, "provider fails", "overloaded"),
        (404, {"error": "not found"}, CRITICAL, "no such path", "url or kind"),
        (418, {}, UNKNOWN, "", "418"),
        (200, {"data": "no list"}, CRITICAL, "strange", "without a list"),
        (200, ["no", "object"], CRITICAL, "strange", "no object"),
    ],
)
def test_each_error_is_told_from_the_others(
    status: int, body: Any, expected: Status, value: str, says: str, ask: Callable[..., Finding]
) -> None:
    found = answered(ask, lambda path, headers: as_json(status, body))
    assert (found.status, found.value) == (expected, value) and says in found.message and found.next


def test_a_revoked_key_is_told_by_its_reference_and_never_itself(ask: Callable[..., Finding]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TESTS_LLM_KEY", "sk-tests-revoked-987654321")
        found = answered(ask, openai)
    assert found.status is CRITICAL and "env:TESTS_LLM_KEY" in found.message and "invalid_api_key" in found.message
    # A provider's words repeat parts of a wrong key.
    assert "sk-" not in found.message and "***" not in found.message


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "body",
    [
        error("invalid_api_key", f"the credential {KEY[:12]}... is unknown"),
        {"detail": f"{KEY[:12]}... is unknown"},
        error(KEY[:12], "no"),
        error(None, "no", KEY[:12]),
    ],
)
def test_of_a_refused_key_no_part_is_shown(status: int, body: Any, ask: Callable[..., Finding]) -> None:
    found = answered(ask, lambda path, headers: as_json(status, body))
    assert found.status is CRITICAL and KEY[:12] not in str(found)
    assert ("invalid_api_key" in found.message) == ("invalid_api_key" in str(body))


@pytest.mark.parametrize("status", [200, 400, 500])
def test_what_is_shown_of_other_answers_is_scrubbed_before_it_is_cut(status: int, ask: Callable[..., Finding]) -> None:
    words = f"{'a' * 185} {KEY} is unknown"  # the cut goes through the key
    found = answered(ask, lambda path, headers: as_json(status, {words: 1} if status == 200 else error(words, words)))
    assert found.status is not OK and "aaa" in found.message and KEY[:8] not in str(found)


def test_without_a_key_nothing_is_proven_of_the_services(ask: Callable[..., Finding]) -> None:
    found = answered(ask, openai, more='model = "gpt-4o"')
    assert found.status is UNKNOWN and "proves nothing" in found.message


def test_a_model_that_is_not_listed_is_told_with_those_that_are(ask: Callable[..., Finding]) -> None:
    found = answered(ask, openai, more='model = "gpt-5"\ntoken = "env:TESTS_LLM_KEY"')
    assert found.status is CRITICAL and "no model gpt-5" in found.message and "gpt-4o-mini" in found.message


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((200, {"Content-Type": "text/html"}, b"<html><script>alert(1)</script>log in"), "page for people"),
        ((200, {"Content-Type": "application/json"}, b"{"), "no valid JSON"),
        ((200, {"Content-Type": "application/json"}, b"x" * (5 << 20)), "more than 4 MB"),
        ((302, {"Location": "https://login.example/"}, b""), "no valid JSON"),
    ],
)
def test_what_is_no_language_model_is_told_as_that(answer: Any, says: str, ask: Callable[..., Finding]) -> None:
    found = answered(ask, lambda path, headers: answer)
    assert found.status is CRITICAL and says in found.message and "script" not in found.message


def test_hostile_words_are_cut_and_shown_plainly(ask: Callable[..., Finding]) -> None:
    hostile = error("x\x1b[31m\u202e", "a" * 5000 + "\n<script>")
    found = answered(ask, lambda path, headers: as_json(500, hostile))
    assert len(found.message) < 500 and "\x1b" not in found.message and "\n" not in found.message


def test_a_slow_answer_is_told_with_its_stages(ask: Callable[..., Finding]) -> None:
    def slow(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        time.sleep(0.4)
        return openai(path, headers)

    limits = '[thresholds."llm.reachable"]\nwarning_ms = 200'
    found = answered(ask, slow, more=f'model = "gpt-4o"\ntoken = "env:TESTS_LLM_KEY"\n{limits}')
    assert found.status is WARNING and found.message.startswith("slow: answered 200") and "connection" in found.message


def test_of_a_model_that_is_too_slow_the_key_is_not_asked_for_once_more(
    ask_all: Callable[..., list[Finding]],
) -> None:
    def slow(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        time.sleep(0.6)
        return openai(path, headers)

    limits = '[thresholds."llm.reachable"]\nwarning_ms = 200\ncritical_ms = 500'
    with serving(slow) as served:
        found, key = ask_all(served.url, more=f'timeout = 1\nmodel = "gpt-4o"\ntoken = "env:TESTS_LLM_KEY"\n{limits}')
        assert len(served.asked) == 1
    assert found.status is CRITICAL and found.message.startswith("slow: answered 200")
    assert key.status is UNKNOWN and "too slow to be asked" in key.message


# --- it does not answer


def test_a_name_that_does_not_exist_is_told_as_that(ask: Callable[..., Finding]) -> None:
    found = ask("https://no-such-name.invalid")
    assert (found.status, found.value) == (CRITICAL, "name") and "cannot be resolved" in found.message


def test_where_nothing_listens_it_is_refused(ask: Callable[..., Finding]) -> None:
    found = ask(f"http://127.0.0.1:{free_port()}")
    assert (found.status, found.value) == (CRITICAL, "refused") and "where the runbook runs" in found.message


def test_a_black_hole_is_told_from_a_server_that_keeps_silent(ask: Callable[..., Finding]) -> None:
    with socket.socket() as full, socket.socket() as one, socket.socket() as two:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for held in (one, two):  # its queue is full, and nobody takes from it
            held.setblocking(False)
            held.connect_ex(full.getsockname())
        found = ask(f"http://127.0.0.1:{full.getsockname()[1]}", connect=0.5)
    assert (found.status, found.value) == (CRITICAL, "not-accepted") and "does not take the connection" in found.message


MORE = 'timeout = 0.5\nmodel = "gpt-4o"\ntoken = "env:TESTS_LLM_KEY"'


def test_a_server_that_accepts_and_keeps_silent_is_told(ask: Callable[..., Finding]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        plain = ask(f"http://127.0.0.1:{port}", more=MORE)
        secure = ask(f"https://127.0.0.1:{port}", more=MORE)
    assert (plain.status, plain.value) == (CRITICAL, "timeout") and "kept silent" in plain.message
    assert (secure.status, secure.value) == (CRITICAL, "tls-silent") and "TLS" in secure.message


@contextmanager
def silent_after_tls(context: ssl.SSLContext) -> Iterator[int]:
    """Shake hands, and then say nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def serve() -> None:
            try:
                held.append(context.wrap_socket(server.accept()[0], server_side=True))
            except OSError:
                return

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        for one in held:
            one.close()


def secured(tmp_path: Path, **how: Any) -> tuple[ssl.SSLContext, Path]:
    """Return a server's TLS of an authority of its own, and that authority's file."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost", **how).configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return context, tmp_path / "ca.pem"


def test_tls_is_verified_by_the_named_authority(ask: Callable[..., Finding], tmp_path: Path) -> None:
    context, authority = secured(tmp_path)
    with serving(openai, context) as served:
        known = f'model = "gpt-4o"\ntoken = "env:TESTS_LLM_KEY"\nca_file = "{authority}"'
        assert ask(served.url, more=known).status is OK
        found = ask(served.url)
        assert not [headers for _, headers in served.asked[1:] if "authorization" in headers], "the key was not sent"
    assert (found.status, found.value) == (CRITICAL, "tls") and "do not switch verification off" in found.next


def test_an_expired_certificate_is_told_as_that(ask: Callable[..., Finding], tmp_path: Path) -> None:
    context, authority = secured(tmp_path, not_after=datetime.now(UTC) - timedelta(days=1))
    with serving(openai, context) as served:
        found = ask(served.url, more=f'token = "env:TESTS_LLM_KEY"\nca_file = "{authority}"')
    assert found.value == "tls" and "expired" in found.message


def test_silence_after_tls_is_told_from_silence_in_it(ask: Callable[..., Finding], tmp_path: Path) -> None:
    context, authority = secured(tmp_path)
    with silent_after_tls(context) as port:
        found = ask(f"https://127.0.0.1:{port}", more=f'{MORE}\nca_file = "{authority}"')
    assert found.value == "timeout" and "kept silent" in found.message


def test_an_answer_that_drips_ends_at_its_deadline(ask: Callable[..., Finding]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            client, _ = server.accept()
            try:
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(50):
                    client.sendall(b" ")
                    time.sleep(0.1)
            except OSError:
                return

        threading.Thread(target=drip, daemon=True).start()
        found = ask(f"http://127.0.0.1:{server.getsockname()[1]}", more=MORE)
    assert (found.status, found.value) == (CRITICAL, "timeout")


# --- the profile


def test_without_a_section_it_is_unknown_and_says_how_to_name_it(ask: Callable[..., Finding]) -> None:
    found = ask("")
    assert found.status is UNKNOWN and "no [llm]" in found.message and "example profile" in found.next


def test_a_key_that_is_not_there_is_unknown_and_told_by_where_it_should_be(ask: Callable[..., Finding]) -> None:
    found = ask("http://127.0.0.1:9", more='token = "env:TESTS_NOWHERE"')
    assert found.status is UNKNOWN and "TESTS_NOWHERE is not set" in found.message


def test_the_key_is_among_what_is_scrubbed(profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTS_LLM_KEY", KEY)
    name = profile('[llm]\nurl = "https://api.openai.com"\ntoken = "env:TESTS_LLM_KEY"')
    assert KEY in load_target(name).secret_values()


# --- what the service says of it


def service(health: dict[str, Any], exposition: str = "") -> Answering:
    def answer(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if path == "/metrics/prometheus":
            return 200, {"Content-Type": "text/plain"}, exposition.encode()
        return as_json(200, health)

    return answer


COUNTED = '# TYPE candidate_generation_total counter\ncandidate_generation_total{status="success"} 4.0\n'
OPEN = {"status": "healthy", "circuit_breakers": {"ollama_api": {"state": "open", "failure_count": 3}}}


def test_a_model_that_fails_behind_a_service_that_says_success_is_told(profile: Callable[..., str]) -> None:
    with serving(service(OPEN, COUNTED)) as served:
        llm = f'[llm]\nurl = "http://127.0.0.1:{free_port()}"\nkind = "ollama"'
        run = open_run("tests", target=profile(f'[api]\nurl = "{served.url}"\n{llm}'), needs=["api", "llm"])
        (found,) = run.ask(told).findings
        run.close()
    assert found.status is WARNING
    for words in ("does not work: refused", "ollama_api is open", "4 generations are counted as a success, 0 as failed",
                  '/health says "healthy"', "prove nothing", "openai and gpt-4o"):  # fmt: skip
        assert words in found.message


CLOSED = {"status": "healthy", "circuit_breakers": {"ollama_api": {"state": "closed", "failure_count": 0}}}


@pytest.mark.parametrize(
    ("health", "named", "expected", "says"),
    [
        (CLOSED, True, OK, "no breaker is open, and the model itself answers"),
        (CLOSED, False, UNKNOWN, "whether the model itself works is not known: not-configured"),
        ({"status": "healthy", "circuit_breakers": {}}, True, UNKNOWN, "no calls of the model since it started"),
        ({"status": "healthy"}, True, UNKNOWN, "tells of no circuit breakers"),
    ],
)
def test_a_service_is_believed_where_breakers_and_the_model_bear_it_out_and_else_nothing_is_known(
    health: dict[str, Any], named: bool, expected: Status, says: str, profile: Callable[..., str]
) -> None:
    with serving(service(health, COUNTED)) as served, serving(public) as model:
        llm = f'[llm]\nurl = "{model.url}"\nmodel = "gpt-4o"' if named else ""
        run = open_run("tests", target=profile(f'[api]\nurl = "{served.url}"\n{llm}'), needs=["api", "llm"])
        (found,) = run.ask(told).findings
        run.close()
    assert found.status is expected and says in found.message
    assert found.status is OK or found.next


def test_a_service_that_counts_its_failures_tells_the_truth_and_the_model_fails() -> None:
    row = {"health": "healthy", "breakers": 1, "open_breakers": "", "succeeded": 4.0, "failed": 7.0}
    (found,) = check_told(pd.DataFrame([{**row, "model_status": "CRITICAL", "model_says": "refused"}]))
    assert found.status is WARNING and "and yet" not in found.message

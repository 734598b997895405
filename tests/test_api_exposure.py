"""What the service's interface shows to strangers: asked of the practice stack, and of small servers that do wrong."""

import json
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import jwt
import pandas as pd
import pytest
import trustme
from monitoring import serving

from runbook.api import cors, debug, open_documentation, security_headers, tls_redirect
from runbook.model import Finding, Status
from runbook.redaction.well_known import WELL_KNOWN
from runbook.session import open_run
from runbook.users import signing_key
from runbook_sandbox import faults
from runbook_sandbox.place import Place

OK, WARNING, CRITICAL, UNKNOWN, SKIPPED = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN, Status.SKIPPED
Ask = Callable[..., dict[str, Finding]]
Answer = tuple[int, dict[str, str], bytes]
WELL_KEPT = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Content-Type": "application/json",
}


@pytest.fixture
def ask(profile: Callable[..., str]) -> Iterator[Ask]:
    """Ask a question of the service at an address, or of a target by its name; return the findings by object."""
    runs = []

    def asked(question: Any, where: str, more: str = "") -> dict[str, Finding]:
        named = profile(f'[api]\nurl = "{where}"\n{more}') if "://" in where else where
        run = open_run("tests", target=named, needs=["api"])
        runs.append(run)
        return {finding.object: finding for finding in run.ask(question).findings}

    yield asked
    for run in runs:
        run.close()


def only(findings: dict[str, Finding]) -> Finding:
    (one,) = findings.values()
    return one


def service(path: str, headers: dict[str, str]) -> Answer:
    """Answer as a well-kept service does."""
    body = {"status": "healthy", "environment": "production"} if path == "/health" else {"documents": []}
    status = 200 if path in ("/health", "/documents?limit=1") else 404
    return status, WELL_KEPT, json.dumps(body).encode()


def everything(path: str, headers: dict[str, str]) -> Answer:
    """Answer every path alike, as a front end does."""
    return 200, {"Content-Type": "text/html"}, b"<html><title>Welcome</title></html>"


# --- the practice stack, as the runbook documents the service


def test_the_documented_service_shows_strangers_nothing(sandbox: Place, ask: Ask) -> None:
    for question in (security_headers, cors, open_documentation, debug):
        assert {one.status for one in ask(question, "sandbox").values()} == {OK}, question.name
    assert only(ask(tls_redirect, "sandbox")).status is SKIPPED


def test_what_is_opened_for_practice_is_found(breakable: Place, ask: Ask) -> None:
    for fault in ("cors-open", "docs-open", "headers-missing"):
        faults.break_sandbox(breakable, fault)
    try:
        told = ask(security_headers, "breakable")
        lacking = {"X-Content-Type-Options", "frame protection", "Cache-Control"}
        assert {name for name, one in told.items() if one.status is WARNING} == lacking
        other = only(ask(cors, "breakable"))
        assert other.status is CRITICAL and "with cookies" in other.message
        docs = ask(open_documentation, "breakable")
        assert {docs[path].status for path in ("/docs", "/redoc", "/openapi.json")} == {WARNING}
        assert "PATCH /auth/users/{user_id}" in docs["operations that write"].message
        assert "login" not in docs["operations that write"].message
    finally:
        faults.heal(breakable)


# --- headers


def test_hsts_is_asked_for_over_https_only(ask: Ask) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serving(service) as plain:
        assert "Strict-Transport-Security" not in ask(security_headers, plain.url)
    for sent, status in (("", WARNING), ("max-age=3600", WARNING), ("max-age=31536000; includeSubDomains", OK)):

        def answer(path: str, headers: dict[str, str], sent: str = sent) -> Answer:
            status, told, body = service(path, headers)
            return status, {**told, **({"Strict-Transport-Security": sent} if sent else {})}, body

        with serving(answer, context) as served, authority.cert_pem.tempfile() as trusted:
            found = ask(security_headers, served.url, f'ca_file = "{trusted}"')
        assert found["Strict-Transport-Security"].status is status


def test_a_header_that_tells_the_version_is_found_and_one_that_names_the_server_is_not(ask: Ask) -> None:
    for server, status in (("uvicorn", OK), ("nginx/1.18.0 (Ubuntu)", WARNING)):

        def answer(path: str, headers: dict[str, str], server: str = server) -> Answer:
            status, told, body = service(path, headers)
            return status, {**told, "Server": server}, body

        with serving(answer) as served:
            assert ask(security_headers, served.url)["version"].status is status


def test_a_stranger_carries_no_token(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTS_TOKEN", "a-token-of-the-tests-0123456789")
    with serving(service) as served:
        for question in (security_headers, cors, open_documentation, debug):
            served.asked.clear()
            ask(question, served.url, 'token = "env:TESTS_TOKEN"')
            opened, *strangers = served.asked
            assert "authorization" in opened[1] and strangers
            assert not [asked for asked, headers in strangers if "authorization" in headers]


# --- other sites


def test_every_way_to_let_in_any_site_is_told_by_how_bad_it_is(ask: Ask) -> None:
    ways = [
        ("*", "", WARNING),
        ("*", "true", CRITICAL),
        ("reflected", "", WARNING),
        ("reflected", "true", CRITICAL),
        ("https://annotate.example", "true", OK),
        ("", "", OK),
    ]
    for origin, credentials, status in ways:

        def answer(path: str, headers: dict[str, str], origin: str = origin, more: str = credentials) -> Answer:
            told = {**WELL_KEPT}
            if origin and "origin" in headers:
                told["Access-Control-Allow-Origin"] = headers["origin"] if origin == "reflected" else origin
            if more:
                told["Access-Control-Allow-Credentials"] = more
            return 404 if path.startswith("/runbook-") else 200, told, b"{}"

        with serving(answer) as served:
            assert only(ask(cors, served.url)).status is status, (origin, credentials)


def test_a_service_that_refuses_or_fails_every_request_leaves_it_unknown(ask: Ask) -> None:
    for status in (429, 500):
        with serving(lambda path, headers, status=status: (status, {}, b"{}")) as served:
            assert only(ask(cors, served.url)).status is UNKNOWN
            assert only(ask(security_headers, served.url)).status is UNKNOWN
            assert {one.status for one in ask(open_documentation, served.url).values()} == {UNKNOWN}
            assert {one.status for one in ask(debug, served.url).values()} == {UNKNOWN}


def test_a_path_that_is_not_there_tells_nothing_of_what_other_sites_may_read(ask: Ask) -> None:
    def answer(path: str, headers: dict[str, str]) -> Answer:
        return 405 if "access-control-request-method" in headers else 404, {}, b"{}"

    with serving(answer) as served:
        found = only(ask(cors, served.url))
    assert found.status is UNKNOWN and "404, 405" in found.message and "api.user_request" in found.message


def test_a_service_that_falls_silent_to_strangers_is_waited_for_once(ask: Ask, profile: Callable[..., str]) -> None:
    def answer(path: str, headers: dict[str, str]) -> Answer:
        if path != "/health":
            time.sleep(1.5)
        return service(path, headers)

    with serving(answer) as served:
        named = profile(f'[api]\nurl = "{served.url}"\n[deadlines]\nquestion = 1.0')
        run = open_run("tests", target=named, needs=["api"])
        answers = [run.ask(question) for question in (open_documentation, cors, debug)]
        run.close()
    assert {one.verdict for one in answers} == {UNKNOWN} and max(one.seconds for one in answers[1:]) < 0.5


# --- what answers everything


def test_a_service_that_answers_everything_is_recognised_and_not_believed(ask: Ask) -> None:
    for answer in (everything, lambda path, headers: (200, {"Content-Type": "application/json"}, b"{}")):
        with serving(answer) as served:
            docs = ask(open_documentation, served.url)
            assert docs["control request"].status is UNKNOWN
            assert {docs[path].status for path in ("/docs", "/redoc", "/openapi.json")} == {OK}
            assert ask(security_headers, served.url)["control request"].status is UNKNOWN
            assert only(ask(debug, served.url)).status is only(ask(cors, served.url)).status is UNKNOWN


def test_a_schema_that_nobody_could_have_made_by_hand_is_bounded(ask: Ask) -> None:
    hostile = {f"/<script>alert({number})</script>{'x' * 500}": {"post": {}} for number in range(500)}
    schema = {"openapi": "3.1.0", "paths": {**hostile, "/ok": {"post": {"security": [{"bearer": []}]}}, "/odd": 7}}

    def answer(path: str, headers: dict[str, str]) -> Answer:
        return (200, WELL_KEPT, json.dumps(schema).encode()) if path == "/openapi.json" else service(path, headers)

    with serving(answer) as served:
        found = ask(open_documentation, served.url)["operations that write"]
    assert found.value == 500 and "and 495 more" in found.message and len(found.message) < 700


# --- insides


def test_a_traceback_in_an_answer_is_found(ask: Ask) -> None:
    def answer(path: str, headers: dict[str, str]) -> Answer:
        if path.startswith("/documents?limit=runbook"):
            shown = b'Traceback (most recent call last):\n  File "/app/main.py", line 7, in <module>'
            return 500, {"Content-Type": "text/plain"}, shown
        return service(path, headers)

    with serving(answer) as served:
        found = [one for one in ask(debug, served.url).values() if one.status is CRITICAL]
    assert len(found) == 1 and "answered 500 with a traceback" in found[0].message


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"environment": "production"}, OK),
        ({"environment": "development"}, WARNING),
        ({"environment": "production", "debug": True}, CRITICAL),
        ({}, UNKNOWN),
    ],
)
def test_what_health_tells_of_its_environment_is_judged(ask: Ask, told: dict[str, Any], status: Status) -> None:
    def answer(path: str, headers: dict[str, str]) -> Answer:
        return (200, WELL_KEPT, json.dumps(told).encode()) if path == "/health" else service(path, headers)

    with serving(answer) as served:
        assert ask(debug, served.url)["environment"].status is status


# --- without TLS


def test_who_comes_over_plain_http_is_to_be_sent_to_https(ask: Ask) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    answers: list[tuple[Answer, Status]] = [
        ((308, {"Location": "https://127.0.0.1/health"}, b""), OK),
        ((302, {"Location": "http://127.0.0.1/other"}, b""), WARNING),
        ((200, WELL_KEPT, b"{}"), WARNING),
    ]
    with serving(service, context) as secure, authority.cert_pem.tempfile() as trusted:
        for answer, status in answers:
            with serving(lambda path, headers, answer=answer: answer) as plain:
                more = f'plain_url = "{plain.url}"\nca_file = "{trusted}"'
                assert only(ask(tls_redirect, secure.url, more)).status is status
                closed = plain.url
        more = f'plain_url = "{closed}"\nca_file = "{trusted}"'
        assert only(ask(tls_redirect, secure.url, more)).status is OK


# --- the key that tokens are signed with


def signed_with(key: str, algorithm: str = "HS256") -> str:
    return jwt.encode({"sub": "1", "username": "admin"}, key, algorithm=algorithm)


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_a_token_signed_with_a_well_known_key_is_critical_and_neither_is_shown(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "your-secret-key-here"
    for algorithm in ("HS256", "HS384", "HS512"):
        token = signed_with(key, algorithm)
        monkeypatch.setenv("TESTS_TOKEN", token)
        found = only(ask(signing_key, "http://127.0.0.1:1", 'token = "env:TESTS_TOKEN"'))
        assert found.status is CRITICAL and found.value == WELL_KNOWN.index(key) + 1
        assert key not in str(found) and token not in str(found)


def test_the_practice_stacks_own_tokens_are_signed_with_no_well_known_key(
    sandbox: Place, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = sandbox.read("state.json")["ports"]["api"]
    credentials = {"username": "admin", "password": (sandbox.folder / "secrets" / "admin").read_text()}
    told = httpx.post(f"http://127.0.0.1:{port}/auth/login", json=credentials, trust_env=False).json()
    monkeypatch.setenv("TESTS_TOKEN", told["access_token"])
    found = only(ask(signing_key, f"http://127.0.0.1:{port}", 'token = "env:TESTS_TOKEN"'))
    assert found.status is OK and f"none of {len(WELL_KNOWN)}" in found.message


@pytest.mark.parametrize(
    ("token", "status"),
    [
        ("not-a-token-at-all-0123456789", UNKNOWN),
        ("eyJhbGciOiJub25lIn0.e30.", CRITICAL),
        ("eyJhbGciOiJSUzI1NiJ9.e30.AAAA", OK),
        ("eyJhbGciOiI.e30.AAAA", UNKNOWN),
    ],
)
def test_a_token_of_another_kind_is_told_as_such(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, token: str, status: Status
) -> None:
    monkeypatch.setenv("TESTS_TOKEN", token)
    assert only(ask(signing_key, "http://127.0.0.1:1", 'token = "env:TESTS_TOKEN"')).status is status


def test_without_a_token_and_an_administrator_the_key_is_unknown_and_it_says_what_to_do(ask: Ask) -> None:
    with serving(service) as served:
        found = only(ask(signing_key, served.url))
    assert found.status is UNKNOWN and "the profile names no administrator" in found.message


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_without_a_token_the_administrator_logs_in_and_its_token_is_looked_at(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = signed_with("your-secret-key-here")
    monkeypatch.setenv("TESTS_WORD", "of-the-administrator")

    def answer(path: str, headers: dict[str, str]) -> Answer:
        return 200, {"Content-Type": "application/json"}, json.dumps({"access_token": token}).encode()

    with serving(answer) as served:
        found = only(ask(signing_key, served.url, 'admin_password = "env:TESTS_WORD"'))
    assert found.status is CRITICAL and token not in str(found)


@pytest.mark.parametrize("algorithm", ["hs256", "HS999", "foo"])
def test_a_way_of_signing_that_nobody_knows_is_not_taken_for_a_pair_of_keys(algorithm: str) -> None:
    frame = pd.DataFrame([{"algorithm": algorithm, "tried": 0, "matched": 0}])
    assert only_of(signing_key.check(frame)).status is Status.UNKNOWN
    assert only_of(signing_key.check(frame.assign(algorithm="RS256"))).status is Status.OK


def only_of(findings: list[Finding]) -> Finding:
    (found,) = findings
    return found

"""The practice stack in its mode as-built: it answers as the service does, with all that its documents do not say.

``contract/as_built.json`` holds what the service answered, a row for each request: in which state, by whom, and the
shape of the answer. ``<string>``, ``<integer>``, ``<number>``, ``<boolean>`` and ``<time>`` stand for any such value,
``["<each>", shape]`` for a list of any length, ``"<any>"`` for further keys; all else is literal.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from runbook import llm, queue
from runbook.model import Status
from runbook.session import open_run
from runbook_sandbox import as_built, faults, postgres_server, stack
from runbook_sandbox.place import Place, SandboxError

CONTRACT = json.loads((Path(__file__).parent / "contract" / "as_built.json").read_text())
STATES = tuple(dict.fromkeys(row["state"] for row in CONTRACT))
REQUEST_KEYS = [
    "timestamp", "level", "logger", "message", "module", "function", "line",
    "method", "path", "status_code", "duration_ms", "user_id", "uptime",
]  # fmt: skip
SENTENCE = {"doc_id": "doc1", "sent_id": "s1", "text": "WSSV killed shrimp."}
NEW_USER = {"username": "new_user", "email": "user@example.com", "password": "a-long-password", "role": "annotator"}
KINDS: dict[str, tuple[type, ...]] = {"<string>": (str,), "<integer>": (int,), "<number>": (int, float)}


def differences(shape: Any, got: Any, where: str = "body") -> list[str]:
    """Return where an answer differs from the contract's shape."""
    if isinstance(shape, dict) and "<metrics>" in shape:
        told = [line.split()[2] for line in got.splitlines() if line.startswith("# TYPE ")]
        needed, more = set(shape["<metrics>"]), set(shape.get("<more>", []))
        return [] if needed <= set(told) <= needed | more else [f"{where}: the metrics are {told}"]
    if isinstance(shape, dict) and isinstance(got, dict):
        fixed = shape.keys() - {"<any>"}
        further = got.keys() - fixed
        found = [f"{where}: {key} is missing" for key in fixed - got.keys()]
        found += [f"{where}: {key} is not expected" for key in further if "<any>" not in shape]
        both = [(key, shape[key]) for key in fixed & got.keys()]
        both += [(key, shape["<any>"]) for key in further if "<any>" in shape]
        return found + [line for key, value in both for line in differences(value, got[key], f"{where}.{key}")]
    if isinstance(shape, list) and isinstance(got, list):
        each = [shape[1]] * len(got) if shape[:1] == ["<each>"] else shape
        if len(each) != len(got):
            return [f"{where}: {len(got)} elements"]
        return [line for n, value in enumerate(each) for line in differences(value, got[n], f"{where}[{n}]")]
    if shape == "<boolean>":
        well = isinstance(got, bool)
    elif shape == "<time>":
        well = isinstance(got, str) and datetime.fromisoformat(got).tzinfo is None
    elif isinstance(shape, str) and shape in KINDS:
        well = isinstance(got, KINDS[shape]) and not isinstance(got, bool)
    else:
        well = type(shape) is type(got) and shape == got
    return [] if well else [f"{where}: {got!r} where {shape!r} is expected"]


def client(place: Place) -> httpx.Client:
    port = place.read("state.json")["ports"]["api"]
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)


def password(place: Place, username: str) -> str:
    return (place.folder / "secrets" / username).read_text()


def headers(asking: httpx.Client, place: Place, who: str) -> dict[str, str]:
    if who == "nobody":
        return {}
    if who == "bad token":
        return {"authorization": "Bearer no.such.token"}
    username = "annotator1" if who == "annotator" else "admin"
    body = {"username": username, "password": password(place, username)}
    token = {"authorization": f"Bearer {asking.post('/auth/login', json=body).json()['access_token']}"}
    if who == "logged out":
        assert asking.post("/auth/logout", headers=token).status_code == 200
    return token


def restart(place: Place, *, documents: bool = True) -> None:
    """Start the service anew, its memory empty or holding what it reads at its start."""
    for path in (place.folder / "documents").iterdir():
        path.unlink()
    if documents:
        (place.folder / "documents" / "report1.txt").write_text(as_built.DOCUMENT)
    faults.heal(place)
    faults.break_sandbox(place, "api-down")
    faults.heal(place)


def own_log(place: Place) -> tuple[str, str]:
    """Return the name of today's log and what the running service wrote to it: all behind the past made for it."""
    (path,) = sorted((place.folder / "logs").glob("api_*.log"))[-1:]
    text = path.read_text(errors="replace")
    return path.name, text[text.rindex("\n", 0, text.rindex("Logging configured successfully")) + 1 :]


def logged(place: Place, *, since: int = 0) -> list[dict[str, Any]]:
    """Return the lines of the requests in the log of today, from a number of lines on."""
    lines = [json.loads(line) for line in own_log(place)[1].splitlines()]
    return [line for line in lines if line["logger"] == "api.requests"][since:]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    made = stack.up("as-built", "as-built", watched=False)
    try:
        yield made
    finally:
        stack.down(made)


@pytest.fixture(scope="module", params=STATES)
def state(place: Place, request: pytest.FixtureRequest) -> Iterator[str]:
    """The sandbox in each state of the contract, once for all rows of it."""
    restart(place, documents=request.param != "empty")
    with client(place) as asking:
        if request.param == "model failed":
            asking.post("/candidates/generate", json=SENTENCE)
    if request.param == "rate limited":
        faults.break_sandbox(place, "rate-limited")
    yield request.param
    faults.heal(place)


@pytest.fixture
def fresh(place: Place) -> Iterator[httpx.Client]:
    """The service just started, with a handful of items."""
    restart(place)
    with client(place) as asking:
        yield asking
    faults.heal(place)


@pytest.mark.parametrize(
    ("row", "state"), [(row, row["state"]) for row in CONTRACT], indirect=["state"], ids=[r["name"] for r in CONTRACT]
)
def test_it_answers_as_the_service_does(row: dict[str, Any], state: str, place: Place) -> None:
    with client(place) as asking:
        told = headers(asking, place, row["who"])
        body = row.get("body")
        if isinstance(body, dict) and body.get("password") == "<admin>":
            body = {**body, "password": password(place, "admin")}
        content = {"content": row["raw"]} if "raw" in row else {"json": body}
        kind = {"content-type": "application/json"} if "raw" in row else {}
        answer = asking.request(row["method"], row["path"], headers=told | kind, **content)
    assert (answer.status_code, answer.headers["content-type"]) == (row["status"], row["content_type"]), answer.text
    text = row["content_type"].startswith("text/plain")
    assert not differences(row["shape"], answer.text if text else answer.json())


def test_the_contract_names_each_request_once() -> None:
    assert len({row["name"] for row in CONTRACT}) == len(CONTRACT) == 57


# --- what nobody would expect


def test_a_user_cannot_be_changed_or_removed(fresh: httpx.Client, place: Place) -> None:
    admin = headers(fresh, place, "admin")
    assert fresh.patch("/auth/users/1", json={"is_active": False}, headers=admin).status_code == 404
    assert fresh.delete("/auth/users/1", headers=admin).status_code == 404


def test_who_is_added_is_told_to_be_there_and_is_not(fresh: httpx.Client, place: Place) -> None:
    admin = headers(fresh, place, "admin")
    for _ in range(2):
        added = fresh.post("/auth/users", json=NEW_USER, headers=admin)
        assert (added.status_code, added.json()["id"]) == (200, 1)
    login = {"username": "new_user", "password": NEW_USER["password"]}
    assert fresh.post("/auth/login", json=login).status_code == 401
    assert [user["username"] for user in fresh.get("/auth/users", headers=admin).json()] == ["admin", "annotator1"]


def test_a_logout_revokes_nothing(fresh: httpx.Client, place: Place) -> None:
    assert fresh.get("/auth/me", headers=headers(fresh, place, "logged out")).status_code == 200


def test_a_refresh_token_is_no_access_token_and_gets_one(fresh: httpx.Client, place: Place) -> None:
    body = {"username": "admin", "password": password(place, "admin")}
    refresh = fresh.post("/auth/login", json=body).json()["refresh_token"]
    assert fresh.get("/auth/me", headers={"authorization": f"Bearer {refresh}"}).status_code == 401
    access = fresh.post("/auth/refresh", json={"refresh_token": refresh}).json()["access_token"]
    assert fresh.get("/auth/me", headers={"authorization": f"Bearer {access}"}).status_code == 200


def test_one_call_of_the_model_fails_three_times_and_opens_the_breaker(fresh: httpx.Client) -> None:
    assert fresh.get("/health").json()["circuit_breakers"] == {} and fresh.get("/ready").status_code == 200
    assert fresh.post("/candidates/generate", json=SENTENCE).status_code == 200
    health = fresh.get("/health").json()
    assert health["status"] == "healthy" and health["circuit_breakers"]["ollama_api"]["failure_count"] == 3
    ready = fresh.get("/ready")
    assert (ready.status_code, ready.json()["detail"]["critical_breakers_open"]) == (503, ["ollama_api"])


def test_no_metric_counts_requests(fresh: httpx.Client) -> None:
    assert "http_requests_total" not in fresh.get("/metrics/prometheus").text


def test_the_queue_is_in_memory_and_the_table_is_empty(fresh: httpx.Client, place: Place) -> None:
    fresh.post("/documents/ingest", json={"title": "new", "text": "Vibrio harveyi was found."})
    assert fresh.post("/triage/populate").json()["queue_statistics"]["total_items"] == 9
    with postgres_server.superuser(place) as connection:
        assert connection.execute("SELECT count(*) FROM triage_items").fetchone() == (0,)
    restart(place)
    assert fresh.get("/triage/statistics").json()["total_items"] == 8


def test_items_of_one_sentence_share_their_identity(fresh: httpx.Client) -> None:
    items = fresh.get("/triage/queue").json()
    assert len(items) == 8 > len({item["item_id"] for item in items})


def test_redis_lost_after_the_start_makes_every_request_500(fresh: httpx.Client, place: Place) -> None:
    faults.break_sandbox(place, "redis-down")
    assert {fresh.get(path).status_code for path in ("/health", "/documents", "/no/such")} == {500}


def test_postgresql_lost_is_not_noticed(fresh: httpx.Client, place: Place) -> None:
    faults.break_sandbox(place, "postgres-down")
    assert {fresh.get(path).status_code for path in ("/health", "/ready", "/documents")} == {200}


# --- faults


def test_the_breaker_and_an_alert_can_be_switched_and_healed(fresh: httpx.Client, place: Place) -> None:
    for fault in ("breaker-open", "alert-active"):
        faults.break_sandbox(place, fault)
    assert fresh.get("/ready").status_code == 503
    assert fresh.get("/alerts").json()["alert_count"] == 1
    counted = 'alerts_triggered_total{alert="high_cpu_usage",severity="critical"} 1.0'
    assert counted in fresh.get("/metrics/prometheus").text
    faults.heal(place)
    assert fresh.get("/ready").status_code == 200 and fresh.get("/alerts").json()["alert_count"] == 0


def test_it_can_be_slowed(fresh: httpx.Client, place: Place) -> None:
    faults.break_sandbox(place, "api-slow")
    assert fresh.get("/health").elapsed.total_seconds() > 2


@pytest.mark.parametrize("fault", ["queue-stuck", "nobody-annotating"])
def test_a_queue_in_memory_cannot_be_aged(fault: str, place: Place) -> None:
    with pytest.raises(SandboxError, match="keeps its queue in its memory"):
        faults.break_sandbox(place, fault)
    assert place.read("state.json")["broken"] == []


def test_an_unknown_mode_is_refused_before_anything_is_made() -> None:
    with pytest.raises(SandboxError, match="unknown mode 'real'; there are: documented, as-built"):
        stack.up("other", "real")
    assert not Place("other").exists


def test_status_tells_the_mode(place: Place, sandbox: Place, runbook: Callable[..., Any]) -> None:
    assert (stack.status(place)["mode"], stack.status(sandbox)["mode"]) == ("as-built", "documented")
    assert "sandbox as-built (as-built): " in runbook("sandbox", "status", "--name", "as-built").stdout


# --- the log


def test_each_request_is_a_line_with_the_services_keys_in_its_order(fresh: httpx.Client, place: Place) -> None:
    since = len(logged(place))
    asked = [("GET", "/health", 200), ("GET", "/no/ü", 404), ("POST", "/export/gold", 500)]
    for method, path, _ in asked:
        fresh.request(method, path, headers=headers(fresh, place, "nobody"))
    lines = logged(place, since=since)
    assert [(line["method"], line["path"], line["status_code"]) for line in lines] == asked
    assert [list(line) for line in lines] == [REQUEST_KEYS] * 3
    assert [(line["level"], line["message"], line["line"]) for line in lines] == [
        ("INFO", "API request completed", 379),
        ("WARNING", "API request error", 377),
        ("ERROR", "API request failed", 375),
    ]
    for line in lines:
        assert (line["module"], line["function"], line["user_id"]) == ("logging_config", "log_api_request", None)
        told = datetime.strptime(line["timestamp"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
        assert abs((datetime.now(UTC) - told).total_seconds()) < 60
        assert line["duration_ms"] == round(line["duration_ms"], 2) and line["uptime"] > 0


def test_a_refused_request_is_never_logged(fresh: httpx.Client, place: Place) -> None:
    faults.break_sandbox(place, "rate-limited")
    since = len(logged(place))
    assert fresh.get("/health").status_code == 429
    faults.heal(place)
    assert 429 not in {line["status_code"] for line in logged(place, since=since)}


def test_who_asks_is_never_logged(fresh: httpx.Client, place: Place) -> None:
    fresh.get("/auth/me", headers=headers(fresh, place, "admin"))
    assert {line["user_id"] for line in logged(place)} == {None}


def test_a_start_and_the_opening_of_the_breaker_are_logged(fresh: httpx.Client, place: Place) -> None:
    fresh.post("/candidates/generate", json=SENTENCE)
    name, text = own_log(place)
    assert "All services initialized successfully" in text
    assert "Circuit breaker ollama_api is now OPEN (failures: 3)" in text
    assert f'"File logging: logs/{name}"' in text


def test_the_documented_service_logs_who_asked_from_where_and_what_was_refused(breakable: Place) -> None:
    keys = [*REQUEST_KEYS[:-1], "client", "uptime"]
    since = len(logged(breakable))
    with client(breakable) as asking:
        admin = headers(asking, breakable, "admin")
        asking.get("/documents", headers=admin)
        half = r'{"username": "mallory\ud83e", "password": "x"}'  # half of a pair: no text that could be sent
        asking.post("/auth/login", content=half, headers={"content-type": "application/json"})
        asking.post("/auth/login", json={"username": "grâce\n", "password": "x"})
        asking.post("/auth/login", content="[]")
        asking.get("/documents", headers={"authorization": "Bearer no.such.token"})
        faults.break_sandbox(breakable, "rate-limited")
        asking.post("/auth/login", json={"username": "admin", "password": "x"})
        lines = logged(breakable, since=since)
        faults.heal(breakable)
    assert [list(line) for line in lines] == [keys] * len(lines)
    assert [(line["path"], line["status_code"], line["user_id"]) for line in lines] == [
        ("/auth/login", 200, "admin"),
        ("/documents", 200, "admin"),
        ("/auth/login", 500, "mallory\ud83e"),
        ("/auth/login", 401, "grâce\n"),
        ("/auth/login", 422, None),
        ("/documents", 200, None),
        ("/auth/login", 429, "admin"),
    ]
    assert (lines[-1]["level"], lines[-1]["message"]) == ("WARNING", "API request error")
    assert {line["client"] for line in lines} == {"127.0.0.1"}


# --- the morning's questions


def test_the_morning_check_says_unknown_to_what_the_service_does_not_tell(place: Place, run_json: Any) -> None:
    restart(place)
    status, document = run_json("morning-health-check", "--target", "as-built")
    bad = {f.check: f.message for f in document.runs[0].findings if f.status is not Status.OK}
    assert status == 3, bad
    assert bad["queue.oldest_item"] == "the service says 8 items, the table none: its queue is in its memory"
    assert "http_requests_total" in bad["api.rate_limits"]
    assert set(bad) == {"queue.oldest_item", "api.rate_limits"}


def test_a_queue_in_memory_is_told_and_nothing_is_said_of_it_by_the_empty_table(place: Place) -> None:
    restart(place)
    run = open_run("queue-backup", target="as-built", needs=["api", "postgres"])
    (found,) = run.ask(queue.compared).findings
    assert (
        found.status is Status.WARNING and "its queue is in its memory, and gone when it is restarted" in found.message
    )
    told = {finding.object: finding.message for finding in run.ask(queue.composition).findings}
    assert told["by status"] == "8 pending (as the service tells: the table holds none of it)"
    assert told["by priority"].startswith("2 HIGH, 6 MEDIUM (as the service tells") and "8 entity" in told["by type"]
    for question in (queue.flow, queue.stuck):
        (found,) = run.ask(question).findings
        assert found.status is Status.UNKNOWN and "the service says 8 items, the table none" in found.message
    shown = run.propose(queue.release, older=8.0, verify=[queue.stuck])
    assert not shown.plans and "no item is stuck in review" in shown.reason
    run.close()


def test_redis_lost_explains_all_that_the_service_no_longer_tells(place: Place, run_json: Any) -> None:
    restart(place)
    faults.break_sandbox(place, "redis-down")
    _, document = run_json("morning-health-check", "--target", "as-built")
    faults.heal(place)
    alone = {f.check for f in document.runs[0].findings if f.bad and not f.explained_by}
    assert alone == {"redis.reachable"}


def test_its_words_about_a_model_that_nobody_runs_are_told_as_proof_of_nothing(
    fresh: httpx.Client, place: Place
) -> None:
    answer = fresh.post("/candidates/generate", json=SENTENCE)
    assert answer.status_code == 200
    run = open_run("tests", target=place.name, needs=["api", "llm"])
    (model,) = run.ask(llm.reachable).findings
    (service,) = run.ask(llm.told).findings
    run.close()
    assert (model.status, model.value) == (Status.CRITICAL, "refused")
    assert service.status is Status.WARNING and "ollama_api is open" in service.message
    assert "1 generation is counted as a success, 0 as failed" in service.message
    assert "openai and gpt-4o" in service.message

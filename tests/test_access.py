"""Who may do what: users of the practice stack in both modes, added, changed, revoked by plans; and lying services."""

import http.server
import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import msgspec
import pandas as pd
import pytest
from cluster import Cluster, free_port
from running import decoded, only, text_of

from runbook import open_run, postgres, redis, users
from runbook.connections import read_sql
from runbook.evidence.archive import state_folder
from runbook.model import CouldNotFindOut, NotPlanned, Status
from runbook.model.plan import PlanState
from runbook.model.plan_text import plan_lines
from runbook.plans.token import token_of
from runbook.users import handed_over, held
from runbook.users.names import require_mail, require_name
from runbook_sandbox import postgres_server, stack
from runbook_sandbox.passwords import hash_password
from runbook_sandbox.place import Place
from runbook_sandbox.servers import find_redis

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
NEEDS = ["api", "postgres"]
NEW = {"name": "new_user", "email": "new_user@example.com", "role": "annotator"}
JWT = re.compile(r"eyJ[A-Za-z0-9_-]{15,}\.[A-Za-z0-9_-]{15,}\.[A-Za-z0-9_-]{15,}")


@pytest.fixture(scope="module")
def built() -> Iterator[Place]:
    """The practice stack as the service is built; its target is `built`."""
    place = stack.up("built", "as-built", watched=False)
    try:
        yield place
    finally:
        stack.down(place)


@pytest.fixture
def opened() -> Iterator[Callable[..., Any]]:
    """Open runs; they are closed after the test, and what was held or handed over is gone."""
    runs = []

    def open_(target: str = "breakable", needs: list[str] = NEEDS) -> Any:
        runs.append(open_run("access-management", target=target, needs=needs))
        return runs[-1]

    yield open_
    for run in runs:
        run.close()
    held._HELD.clear()
    for path in (state_folder() / handed_over.FOLDER).glob("*/*"):
        path.unlink()


@pytest.fixture
def place(breakable: Place) -> Iterator[Place]:
    """The documented stack of this module, with its two users only after the test."""
    yield breakable
    with postgres_server.superuser(breakable) as connection:
        connection.execute("DELETE FROM users WHERE username NOT IN ('admin', 'annotator1')")
        connection.execute(
            "UPDATE users SET is_active = true, role = CASE username WHEN 'admin' THEN 'admin' ELSE 'annotator' END"
        )


def secret_of(place: Place, user: str) -> str:
    return f"file:{place.folder}/secrets/{user}"


def by_object(run: Any, question: Any, **arguments: Any) -> dict[str, Any]:
    return {finding.object: finding for finding in run.ask(question, **arguments).findings}


def plan(run: Any, change: Any, verify: Any, **arguments: Any) -> Any:
    return run.propose(change, verify=[verify], **arguments)


def carry_out(run: Any, change: Any, verify: Any, **arguments: Any) -> Any:
    """Plan a change, confirm it, and return what is shown of it then."""
    shown = plan(run, change, verify, **arguments)
    assert shown.plans, shown.reason
    token = token_of(shown.plans[0].plan)
    return run.apply(run.propose(change, verify=[verify], confirm=token, **arguments), token)


def state_and_after(shown: Any) -> tuple[Any, dict[str, Any]]:
    return shown.plans[0].state, {finding.object: finding for finding in shown.plans[0].after}


# --- added, changed, revoked: as the service is documented


def test_a_user_is_added_logs_in_does_just_what_its_role_may_and_is_refused_once_it_is_revoked(
    place: Place, opened: Any
) -> None:
    run = opened()
    state, after = state_and_after(
        carry_out(run, users.add, users.can_log_in.given(name="new_user", role="annotator"), **NEW)
    )
    assert state is PlanState.VERIFIED and {finding.status for finding in after.values()} == {OK}, after
    assert "is refused the list of users (403)" in after["list of users"].message
    path = handed_over.place_of("breakable", "new_user")
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    viewer = users.can_log_in.given(name="new_user", role="viewer")
    state, after = state_and_after(carry_out(run, users.change_role, viewer, name="new_user", role="viewer"))
    assert state is PlanState.VERIFIED and "read:all" in after["permissions"].message
    state, after = state_and_after(
        carry_out(run, users.revoke, users.is_refused.given(name="new_user"), name="new_user")
    )
    assert state is PlanState.VERIFIED, after
    assert {finding.message for finding in after.values()} == {"refused (401)"} and len(after) == 2
    listed = by_object(run, users.accounts)
    assert listed["administrators"].message.startswith("3 users, 2 may enter")
    assert "already" in plan(run, users.revoke, users.is_refused.given(name="new_user"), name="new_user").reason


def test_a_user_whose_password_nobody_has_is_revoked_and_what_was_not_seen_is_told(place: Place, opened: Any) -> None:
    given = {"name": "annotator1"}
    state, after = state_and_after(carry_out(opened(), users.revoke, users.is_refused.given(**given), **given))
    assert state is PlanState.APPLIED and {finding.status for finding in after.values()} == {UNKNOWN}
    assert "its password is not at hand" in after["log-in of annotator1"].message
    assert "give credentials: a reference" in after["log-in of annotator1"].next


def test_a_password_that_never_worked_proves_nothing_when_it_is_refused(
    place: Place, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRONG", "not-the-password")
    given = {"name": "annotator1", "credentials": "env:WRONG"}
    state, after = state_and_after(carry_out(opened(), users.revoke, users.is_refused.given(**given), **given))
    assert state is PlanState.APPLIED
    assert "that proves nothing" in after["log-in of annotator1"].message


def test_nobody_revokes_the_last_administrator_or_the_one_that_asks(place: Place, opened: Any) -> None:
    refused = users.is_refused.given(name="admin")
    assert "the runbook itself asks as" in plan(opened(), users.revoke, refused, name="admin").reason
    facts = {"id": "1", "username": "root1", "is_own": False, "role": "admin", "is_active": True, "others": False}
    with pytest.raises(NotPlanned, match="the last administrator"):
        users.revoke.draft({**facts, "offered": "offered", "reference": "", "where": ""}, "root1")


def test_what_is_there_already_is_refused_before_the_service_is_asked(place: Place, opened: Any) -> None:
    run = opened()
    with postgres_server.superuser(place) as connection:
        connection.execute(
            "INSERT INTO users (id, username, email, hashed_password, role, created_at, is_active) "
            "VALUES (gen_random_uuid(), '<b>x</b>''; DROP TABLE users', 'taken@example.com', '', 'admin', now(), true)"
        )
    verify = users.can_log_in.given(name="x", role="viewer")
    assert "the name of 'admin'" in plan(run, users.add, verify, **{**NEW, "name": "Admin"}).reason
    taken = plan(run, users.add, verify, **{**NEW, "email": "Taken@example.com"})
    assert "the address of" in taken.reason
    shown = run.ask(users.accounts)._repr_mimebundle_()
    assert "<b>x" in shown["text/plain"] and "<b>x" not in shown["text/html"] and "&lt;b&gt;x" in shown["text/html"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x",
        "а\u0501min",
        "new user",
        "a" * 33,
        "<b>x</b>",
        "x'; DROP TABLE users",
        "../x",
        "-x",
        "x\n",
        "x\u202ey",
        ".x",
        "x/y",
    ],
)
def test_a_name_that_could_be_taken_for_another_or_for_a_command_is_no_new_users(name: str) -> None:
    with pytest.raises(NotPlanned, match="is no name for a user"):
        require_name(name)


@pytest.mark.parametrize(
    "mail", ["", "x", "x@y", "x@@example.com", "x@exаmple.com", "<x>@example.com", "x@-a.com", "a" * 250 + "@b.de"]
)
def test_a_mail_address_is_a_plain_one(mail: str) -> None:
    require_mail("first.last+tag@mail.example.com")
    with pytest.raises(NotPlanned, match="is no mail address"):
        require_mail(mail)


def test_a_password_in_place_of_a_reference_is_refused_and_not_repeated(place: Place, opened: Any) -> None:
    given = {"name": "annotator1", "credentials": "hunter2-hunter2"}
    shown = plan(opened(), users.revoke, users.is_refused.given(**given), **given)
    assert not shown.plans and "is to say where the user's password is" in shown.reason
    assert "hunter2" not in shown._repr_mimebundle_()["text/plain"]


# --- as it is built


def test_as_built_an_added_user_is_told_to_be_there_and_is_not(built: Place, opened: Any) -> None:
    verify = users.can_log_in.given(name="new_user", role="annotator")
    shown = carry_out(opened("built"), users.add, verify, **NEW)
    state, after = state_and_after(shown)
    assert state is PlanState.FAILED and after["log-in"].status is CRITICAL
    assert after["log-in"].message == (
        "new_user cannot log in (401), and the service's list does not show it: whatever it answered, it added nobody"
    )
    assert len(shown.plans) == 1, "nobody was added, so there is nothing to undo"
    assert "nothing is left to be undone: can_enter False" in shown.findings[0].next


def test_as_built_nothing_revokes_access_and_the_plan_in_the_database_is_verified_and_found_useless(
    built: Place, opened: Any
) -> None:
    run = opened("built")
    offered = by_object(run, users.interface)
    assert offered["PATCH /auth/users/{id}"].status is CRITICAL and offered["POST /auth/users"].status is OK
    given = {"name": "annotator1", "credentials": secret_of(built, "annotator1")}
    verify = users.is_refused.given(**given)
    assert "has no PATCH" in plan(run, users.revoke, verify, **given).reason
    shown = carry_out(run, users.deactivate, verify, **given)
    state, after = state_and_after(shown)
    assert state is PlanState.FAILED and {finding.status for finding in after.values()} == {CRITICAL}
    assert "still let in with the token that it had before" in after["token of annotator1"].message
    with postgres_server.superuser(built) as connection:
        assert connection.execute("SELECT is_active FROM users WHERE username = 'annotator1'").fetchone() == (False,)
    apart = by_object(run, users.accounts)["user annotator1"]
    assert apart.status is CRITICAL and "may still enter" in apart.message
    inverse = shown.plans[-1].plan
    state = run.apply(
        run.propose(users.deactivate, verify=[verify], confirm=token_of(inverse), **given), token_of(inverse)
    )
    with postgres_server.superuser(built) as connection:
        assert connection.execute("SELECT is_active FROM users WHERE username = 'annotator1'").fetchone() == (True,)


def test_the_statement_itself_keeps_the_last_administrator(built: Place) -> None:
    statement = read_sql("runbook.users", "deactivate")
    with postgres_server.superuser(built) as connection:
        row = connection.execute("SELECT id::text FROM users WHERE username = 'admin'").fetchone()
        assert row is not None
        values = {"id": row[0], "username": "admin"}
        assert connection.execute(statement.encode(), values).fetchall() == []
        assert connection.execute("SELECT is_active FROM users WHERE username = 'admin'").fetchone() == (True,)


# --- the whole of it, as an operator does it: nothing of a secret is left anywhere


@contextmanager
def watching() -> Iterator[set[bytes]]:
    """Yield what any process of this machine shows of itself while this lasts: arguments and environment."""
    seen: set[bytes] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.2):
            for folder in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        seen.add((folder / name).read_bytes())
                    except OSError:
                        continue

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def test_the_notebook_adds_a_user_and_no_password_or_token_is_in_evidence_state_logs_or_the_list_of_processes(
    place: Place, opened: Any, program: Any, archive: Path
) -> None:
    shown = plan(opened(), users.add, users.can_log_in.given(name="new_user", role="annotator"), **NEW)
    token = token_of(shown.plans[0].plan)
    with watching() as seen:
        ended = program("run", "access-management", "--target", "breakable", "--confirm", token, "--json")
    status, document = ended.returncode, decoded(ended.stdout)
    (done,) = only(document).plans
    assert done.state is PlanState.VERIFIED, only(document).findings
    path = handed_over.place_of("breakable", "new_user")
    first = path.read_text().strip()
    assert len(first) >= 32 and status == 0
    path.unlink()
    texts = text_of(archive) + text_of(state_folder()) + text_of(place.folder / "logs") + document_text(document)
    listed = b"\0".join(seen).decode(errors="replace")
    own = [Path(place.folder / "secrets" / name).read_text().strip() for name in ("admin", "annotator1")]
    assert "access-management" in texts and "new_user" in texts and "access-management" in listed
    for secret in (first, *own):
        assert secret not in texts and secret not in listed
    assert not JWT.search(texts) and not JWT.search(listed)


def document_text(document: Any) -> str:
    return msgspec.json.encode(document).decode()


def test_what_undoes_an_addition_tells_what_it_brings_back_and_nothing_of_the_opposite(
    place: Place, opened: Any
) -> None:
    impatient = users.can_log_in.given(name="new_user", role="admin")  # it is added as an annotator: it does not help
    run = opened()
    added = carry_out(run, users.add, impatient, **NEW)
    record, inverse = added.plans
    told = "\n".join(plan_lines(inverse))
    assert record.state is PlanState.FAILED and "log in" not in told and "can_log_in" not in told
    assert f"brings back what was before {record.plan.id}: can_enter False" in told
    assert "verified by: can_enter being False" in told
    token = token_of(inverse.plan)
    undone = run.apply(run.propose(users.add, verify=[impatient], confirm=token, **NEW), token)
    assert undone.plans[0].state is PlanState.VERIFIED and undone.findings[0].message.endswith(": verified")
    assert by_object(run, users.accounts)["administrators"].message.startswith("3 users, 2 may enter")


def test_a_file_of_an_earlier_try_does_not_stand_in_the_way_of_a_new_user(place: Place, opened: Any) -> None:
    handed_over.write("breakable", "new_user", "of-an-earlier-try")
    log_in = users.can_log_in.given(name="new_user", role="annotator")
    shown = carry_out(opened(), users.add, log_in, **NEW)
    assert shown.plans[0].state is PlanState.VERIFIED
    assert any("opens nothing, and is overwritten" in reach for reach in shown.plans[0].plan.blast_radius)


# --- default passwords


def test_a_default_password_that_still_works_is_named_and_its_token_thrown_away(place: Place, opened: Any) -> None:
    run = opened()
    assert by_object(run, users.default_credentials)["defaults"].status is OK
    with postgres_server.superuser(place) as connection:
        kept = connection.execute("SELECT hashed_password FROM users WHERE username = 'annotator1'").fetchone()
        connection.execute(
            "UPDATE users SET hashed_password = %s WHERE username = 'annotator1'", (hash_password("annotator123"),)
        )
        answer = run.ask(users.default_credentials)
        connection.execute("UPDATE users SET hashed_password = %s WHERE username = 'annotator1'", kept)
    (found,) = answer.findings
    assert (found.object, found.status) == ("user annotator1", CRITICAL)
    assert "annotator123" not in json.dumps(answer._repr_mimebundle_(), default=str) and not JWT.search(
        answer.frame.to_json()
    )


# --- who asks


def test_an_administrators_token_that_expired_is_told_from_one_that_is_wrong_and_one_of_no_administrator(
    place: Place, opened: Any, profile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path(place.read("state.json")["target"]).read_text()
    text = re.sub(r'admin_password = "[^"]*"', 'admin_token = "env:ADMIN_TOKEN"', text)
    key = json.loads((place.folder / "service.json").read_text())["signing_key"]
    ended = datetime.now(UTC) - timedelta(minutes=12)
    login = {"username": "annotator1", "password": (place.folder / "secrets" / "annotator1").read_text()}
    url = f"http://127.0.0.1:{place.read('state.json')['ports']['api']}/auth/login"
    tokens = {
        "expired 12 min ago": jwt.encode({"sub": "x", "username": "admin", "exp": ended}, key, algorithm="HS256"),
        "is not accepted": "not-a-token",
        "no right to manage users": httpx.post(url, json=login).json()["access_token"],
    }
    for says, token in tokens.items():
        monkeypatch.setenv("ADMIN_TOKEN", token)
        answer = opened(profile(text, "tokens")).ask(users.accounts)
        found = {finding.object: finding for finding in answer.findings}
        assert found["service"].status is UNKNOWN and says in found["service"].message
        assert token not in json.dumps(answer._repr_mimebundle_(), default=str)


def test_without_an_administrator_in_the_profile_it_is_said_how_to_name_one(
    place: Place, opened: Any, profile: Any
) -> None:
    text = Path(place.read("state.json")["target"]).read_text()
    name = profile(re.sub(r'admin_password = "[^"]*"', "", text), "nobody")
    assert (
        "admin_username and admin_password, or admin_token"
        in by_object(opened(name), users.accounts)["service"].message
    )


@contextmanager
def lying(answer: Callable[[str, str], tuple[int, str, str]]) -> Iterator[str]:
    """Serve what ``answer`` gives for a method and a path (status, content type, body); yield the address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _do(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            status, kind, body = answer(self.command, self.path)
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST = do_PATCH = do_OPTIONS = _do  # noqa: N815

        def log_message(self, *_: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


JSON, PAGE = "application/json", "<html><body>welcome</body></html>"
TO_EVERYBODY = '{"access_token": "let-in", "token_type": "bearer"}'


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda method, path: (200, "text/html", PAGE), "with HTML where JSON was expected: is this the service?"),
        (lambda method, path: (200, JSON, "{}"), "answered 200 without a token: is this the service?"),
        (lambda method, path: (200, JSON, TO_EVERYBODY), "not with a list of users: is this the service?"),
        (lambda method, path: (200, JSON, TO_EVERYBODY if "login" in path else "[]"), "lists nobody"),
        (
            lambda method, path: (200, JSON, TO_EVERYBODY if "login" in path else '[{"id": 1}]'),
            "not with a list of users",
        ),
        (lambda method, path: (429, JSON, "{}"), "answered 429: too many requests"),
        (lambda method, path: (500, JSON, "{}"), "/auth/login answered 500"),
    ],
    ids=["pages", "empty objects", "a token for all", "an empty list", "half users", "429", "500"],
)
def test_a_service_that_answers_anything_is_not_believed(
    answer: Any, says: str, place: Place, opened: Any, profile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMIN_WORD", "whatever-it-is")
    postgres_part = (
        Path(place.read("state.json")["target"]).read_text().partition("[postgres]")[2].partition("[service]")[0]
    )
    with lying(answer) as url:
        name = profile(f'[api]\nurl = "{url}"\nadmin_password = "env:ADMIN_WORD"\n[postgres]{postgres_part}', "lying")
        run = opened(name)
        told = by_object(run, users.accounts)
        assert told["service"].status is UNKNOWN and says in told["service"].message, told
        assert ("list of users" in told) == (answer("GET", "/auth/users")[0] == 200)
        (tried,) = by_object(run, users.default_credentials).values()
        all_in = answer("POST", "/auth/login")[2] == TO_EVERYBODY
        assert (tried.object, tried.status) == (("every log-in", CRITICAL) if all_in else ("log-ins", UNKNOWN))
        for change, more in ((users.add, NEW), (users.revoke, {"name": "annotator1"})):
            assert not run.propose(change, verify=[], **more).plans
        assert all(finding.status is not OK for finding in by_object(run, users.interface).values())


def test_an_error_that_repeats_the_password_does_not_bring_it_into_the_outcome(
    place: Place, opened: Any, profile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMIN_WORD", "whatever-it-is")
    body: dict[str, str] = {}

    def answer(method: str, path: str) -> tuple[int, str, str]:
        if (method, path) == ("POST", "/auth/users"):
            return 422, JSON, json.dumps({"detail": f"password {body.get('password', '?')} is too weak"})
        if path == "/auth/users":
            me = {"id": 1, "username": "admin", "email": "a@example.com", "role": "admin", "is_active": True}
            return 200, JSON, json.dumps([me])
        if path == "/auth/login":
            return 200, JSON, TO_EVERYBODY
        return (200, JSON, '{"username": "admin"}') if path == "/auth/me" else (404, JSON, "{}")

    kept = handed_over.write

    def spied(target: str, username: str, first: str) -> Path:
        body["password"] = first
        return kept(target, username, first)

    monkeypatch.setattr(handed_over, "write", spied)
    with lying(answer) as url:
        name = profile(f'[api]\nurl = "{url}"\nadmin_password = "env:ADMIN_WORD"\n', "echo")
        shown = carry_out(opened(name), users.add, users.can_log_in.given(name="new_user", role="annotator"), **NEW)
    told = json.dumps(shown._repr_mimebundle_(), default=str)
    assert shown.plans[0].state is PlanState.FAILED and "answered 422" in told and len(body["password"]) >= 32
    assert body["password"] not in told and not handed_over.place_of("echo", "new_user").exists()


def test_a_reference_to_a_password_that_is_not_there_is_told(place: Place, opened: Any) -> None:
    with pytest.raises(CouldNotFindOut, match="NOWHERE is not set"):
        handed_over.read("env:NOWHERE")


# --- PostgreSQL: roles, passwords, pg_hba.conf


ROLES = {
    "owner_of_it": "LOGIN", "acting": "LOGIN IN ROLE owner_of_it", "reader": "LOGIN", "writer": "LOGIN",
    "hashes": "LOGIN",
    "super_too": "SUPERUSER", "rising": "LOGIN IN ROLE super_too", "looking": "LOGIN IN ROLE pg_monitor",
}  # fmt: skip


@pytest.fixture(scope="module")
def shop(postgres_of_all: Cluster) -> Iterator[Cluster]:
    """A server with the service's table of users and a role for each way to reach too far."""
    postgres_of_all.execute(*(f"CREATE ROLE {role} {rights}" for role, rights in ROLES.items()))
    postgres_of_all.execute("CREATE DATABASE access OWNER owner_of_it")
    postgres_of_all.execute(
        "CREATE TABLE users (id int, username text, hashed_password text)", "ALTER TABLE users OWNER TO owner_of_it",
        "GRANT SELECT (username) ON users TO reader", "GRANT UPDATE ON users TO writer",
        "GRANT SELECT ON users TO hashes", "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        database="access",
    )  # fmt: skip
    yield postgres_of_all
    postgres_of_all.execute("DROP DATABASE access WITH (FORCE)")
    postgres_of_all.execute(*(f"DROP ROLE {role}" for role in ROLES))


def test_the_roles_that_reach_too_far_are_named_and_the_others_are_not(
    shop: Cluster, opened: Any, profile: Any
) -> None:
    found = by_object(opened(profile(shop.profile("looking", "access"), "shop"), ["postgres"]), postgres.roles)
    assert set(found) == {"role writer", "role hashes", "role rising"}, found
    assert "may write 1 table of the service" in found["role writer"].message
    assert "may read the password hashes" in found["role hashes"].message
    assert "may become a superuser by SET ROLE" in found["role rising"].message
    shop.execute("GRANT CREATE ON SCHEMA public TO PUBLIC", "GRANT DELETE ON users TO PUBLIC", database="access")
    found = by_object(opened("shop", ["postgres"]), postgres.roles)
    shop.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC", "REVOKE DELETE ON users FROM PUBLIC", database="access")
    assert {"role PUBLIC"} <= set(found) and "may make tables" in found["role PUBLIC"].message
    assert "every role may write 1 table" in found["role PUBLIC"].message


def test_the_form_of_passwords_is_judged_and_the_statement_that_shows_it_works(
    shop: Cluster, opened: Any, profile: Any
) -> None:
    shop.execute("SET password_encryption = 'md5'", "ALTER ROLE reader PASSWORD 'an-old-one'")
    shop.execute("SET password_encryption = 'scram-sha-256'", "ALTER ROLE writer PASSWORD 'a-newer-one'")
    name = profile(shop.profile("looking", "access"), "shop")
    closed = by_object(opened(name, ["postgres"]), postgres.password_encryption)["roles"]
    assert closed.status is UNKNOWN
    shop.execute(*closed.message.partition("as a superuser: ")[2].split("; "), database="access")
    answer = opened(name, ["postgres"]).ask(postgres.password_encryption)
    shop.execute("DROP VIEW role_password_kinds", database="access")
    found = {finding.object: finding.status for finding in answer.findings}
    assert found["role reader"] is WARNING and "role writer" not in found
    assert set(answer.frame["kind"]) <= {"none", "md5", "scram-sha-256"}
    as_superuser = by_object(opened(profile(shop.profile(), "whole"), ["postgres"]), postgres.password_encryption)
    assert as_superuser["role reader"].status is WARNING


HBA = {
    "local all postgres peer": None,
    "host all all 127.0.0.1/32 scram-sha-256": None,
    "hostssl shop app 10.1.0.0/16 scram-sha-256": None,
    "host all all 127.0.0.1/32 trust": (WARNING, "let in without any password"),
    "host all all 0.0.0.0/0 trust": (CRITICAL, "every role, every database and every address"),
    "host shop app 10.1.0.0/16 password": (CRITICAL, "passwords come in the clear"),
    "host all all ::/0 md5": (WARNING, "md5 is taken, too"),
    "host shop app 10.1.0.0/16 scram-sha-256": (WARNING, "without TLS"),
    "host all all all reject": None,
    "host all all nonsense/99 trust": (WARNING, "the server cannot read it"),
}


def test_each_line_of_pg_hba_is_judged_and_the_grant_that_shows_it_works(
    shop: Cluster, opened: Any, profile: Any
) -> None:
    name = profile(shop.profile("looking", "access"), "shop")
    (closed,) = opened(name, ["postgres"]).ask(postgres.hba).findings
    assert closed.status is UNKNOWN
    shop.execute(*closed.message.partition("in this database: ")[2].split("; "), database="access")
    file = shop.data / "pg_hba.conf"
    before = file.read_text()
    try:
        file.write_text("\n".join(HBA) + "\n")  # not loaded: the server goes on with what it has
        found = by_object(opened(name, ["postgres"]), postgres.hba)
    finally:
        file.write_text(before)
    for number, (line, expected) in enumerate(HBA.items(), start=1):
        told = found.pop(f"line {number}", None)
        assert (told is None) == (expected is None), (line, told)
        assert expected is None or (told.status is expected[0] and expected[1] in told.message), (line, told)
    assert not found


# --- Redis


@contextmanager
def server(folder: Path, *lines: str) -> Iterator[int]:
    """Run a Redis on loopback with these lines in its configuration; yield its port."""
    port = free_port()
    conf = folder / "redis.conf"
    conf.write_text("\n".join([f"port {port}", f"dir {folder}", 'save ""', *lines]))
    with subprocess.Popen([find_redis(), conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 10
            while (
                time.monotonic() < end
                and subprocess.run(
                    ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"], stderr=subprocess.DEVNULL
                ).returncode
            ):
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()


def test_a_redis_without_a_password_is_critical_and_nothing_dangerous_is_run(
    tmp_path: Path, opened: Any, profile: Any
) -> None:
    with server(tmp_path, "bind 127.0.0.1", "protected-mode no", 'rename-command DEBUG ""') as port:
        found = by_object(
            opened(profile(f'[redis]\nurl = "redis://127.0.0.1:{port}/0"\n', "open"), ["redis"]), redis.access
        )
        assert found["password"].status is CRITICAL and found["network"].status is WARNING
        assert "FLUSHALL" in found["commands"].message and "DEBUG" not in found["commands"].message
        assert "nopass" in found["user default"].message


def test_a_redis_user_that_may_little_and_one_that_may_not_even_ask(
    tmp_path: Path, opened: Any, profile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_WORD", "a-word-of-the-tests")
    lines = (
        "bind 127.0.0.1", "user default off", "user service on >a-word-of-the-tests ~* +@all -@dangerous -@admin "
        "-@scripting +info +acl|whoami +acl|dryrun +acl|list +config|get",
        "user closed on >a-word-of-the-tests ~* +ping +info +time +client +hello +auth +select",
    )  # fmt: skip
    with server(tmp_path, *lines) as port:
        text = '[redis]\nurl = "redis://{}@127.0.0.1:{}/0"\npassword = "env:REDIS_WORD"\n'
        answer = opened(profile(text.format("service", port), "limited"), ["redis"]).ask(redis.access)
        assert {finding.status for finding in answer.findings} == {OK}, answer.findings
        assert "a-word" not in answer.frame.to_json() and "#" not in answer.frame.to_json()
        found = by_object(opened(profile(text.format("closed", port), "closed"), ["redis"]), redis.access)
        assert (
            found["password"].status is OK
            and found["commands"].status is UNKNOWN
            and found["network"].status is UNKNOWN
        )
        assert "which is good" in found["commands"].message and "which is good" in found["network"].message


def test_a_password_in_the_place_of_its_reference_starts_nothing_and_is_not_repeated(
    runbook: Callable[..., Any], archive: Path
) -> None:
    ended = runbook("run", "access-management", "-p", "credentials=hunter2-itself")
    assert ended.returncode == 64 and "never the secret itself" in ended.stderr
    assert "hunter2" not in ended.stdout + ended.stderr and not list(archive.glob("runs/*"))


def test_an_administrator_who_never_logged_in_is_told_where_log_ins_are_recorded() -> None:
    now = pd.Timestamp.now(tz="UTC")
    common = {
        "role": "admin",
        "is_active": True,
        "service": "admin, active",
        "database": "admin, active",
        "asks": False,
    }
    rows = [
        {
            "username": "ann",
            "last_login": now,
            "created_at": now - pd.Timedelta(days=9),
            "idle_days": 0.0,
            "age_days": 9.0,
        },
        {"username": "old", "last_login": pd.NaT, "created_at": now - pd.Timedelta(days=700), "age_days": 700.0},
    ]
    frame = pd.DataFrame([{**common, **row} for row in rows])
    frame.attrs = {"service": "", "database": "", "open": 401}
    told = {finding.object: finding for finding in users.accounts.check(frame)}
    assert told["log-ins of old"].status is Status.WARNING and "has never logged in" in told["log-ins of old"].message
    assert "log-ins of ann" not in told
    frame.loc[0, "last_login"] = pd.NaT
    alone = {finding.object: finding.status for finding in users.accounts.check(frame)}
    assert "log-ins of old" not in alone and alone["last log-ins"] is Status.UNKNOWN


def test_somebody_who_is_not_there_is_not_revoked_in_silence() -> None:
    facts = {"username": "malory", "id": "", "is_own": False, "role": "", "is_active": False, "others": 1}
    with pytest.raises(NotPlanned, match="lists no user 'malory': nobody was changed"):
        users.revoke.draft(facts, "malory")

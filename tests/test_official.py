"""The practice stack of official images, as far as it can be seen without a registry: its file, and its service."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from psycopg import sql
from running import wait_for

from runbook.docker.compose import program
from runbook.model import CouldNotFindOut
from runbook.target import load_target
from runbook_sandbox import postgres_server, processes, stack
from runbook_sandbox.place import Place

FOLDER = Path(stack.__file__).parent / "official"


def test_compose_takes_the_file_and_asks_for_the_password() -> None:
    try:
        argv = [*program(), "--project-name", "official", "--file", str(FOLDER / "compose.yaml"), "config"]
    except CouldNotFindOut as reason:
        pytest.skip(str(reason))
    with_one = {**os.environ, "SANDBOX_PASSWORD": "chosen"}
    ended = subprocess.run(argv, capture_output=True, text=True, env=with_one)
    assert ended.returncode == 0 and "image: postgres:16" in ended.stdout, ended.stderr
    ended = subprocess.run(argv, capture_output=True, text=True)
    assert ended.returncode != 0 and "a password for the practice stack" in ended.stderr


def test_its_profile_is_valid_and_its_ports_are_those_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_TARGETS", str(FOLDER))
    monkeypatch.setenv("SANDBOX_PASSWORD", "chosen")
    target = load_target("official")
    text = (FOLDER / "compose.yaml").read_text()
    assert target.api is not None and target.postgres is not None and target.redis is not None
    assert f'"127.0.0.1:{httpx.URL(str(target.api.url)).port}-' in text
    for place in ("15432:5432", "16379:6379"):
        assert f'"127.0.0.1:{place}"' in text
    assert ":15432/" in str(target.postgres.dsn) and ":16379/" in str(target.redis.url)


@pytest.fixture
def empty() -> Iterator[tuple[Place, str]]:
    """A real PostgreSQL without roles and tables, and a Redis, whose one password is returned with them."""
    place = stack.up("official", watched=False)
    try:
        password = (place.folder / "secrets" / "redis").read_text()
        processes.end(processes.of_part(place, "api"))
        with postgres_server.superuser(place) as connection:
            connection.execute(sql.SQL("ALTER ROLE postgres PASSWORD {}").format(sql.Literal(password)))
        with postgres_server.superuser(place, "postgres") as connection:
            connection.execute("DROP DATABASE shrimp_annotation WITH (FORCE)")
            connection.execute("DROP OWNED BY operator")
            connection.execute("DROP ROLE shrimp_user, runbook, operator")
        yield place, password
    finally:
        stack.down(place)


def test_the_service_makes_its_database_once_and_serves(empty: tuple[Place, str], tmp_path: Path) -> None:
    place, password = empty
    ports = place.read("state.json")["ports"]
    environment = {
        **os.environ,
        "SANDBOX_PASSWORD": password,
        "POSTGRES": f"127.0.0.1:{ports['postgres']}",
        "REDIS": f"127.0.0.1:{ports['redis']}",
    }
    port = ports["api"]  # given up by the sandbox's own
    for _ in ("made", "there already"):
        argv = [sys.executable, "-m", "runbook_sandbox.official", str(tmp_path / "service"), f"127.0.0.1:{port}"]
        process = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: _answer(f"http://127.0.0.1:{port}/documents?limit=1") == 200, 30)
            told = httpx.post(
                f"http://127.0.0.1:{port}/auth/login", json={"username": "admin", "password": password}, trust_env=False
            )
            assert told.status_code == 200 and told.json()["access_token"]
        finally:
            process.terminate()
            process.wait(20)


def _answer(url: str) -> Any:
    try:
        return httpx.get(url, timeout=3, trust_env=False).status_code
    except httpx.HTTPError:
        return None

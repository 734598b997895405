"""What is asked of a real Docker engine: why a container does not run, what it uses, what happened to it."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import docker
import docker.types
import pandas as pd
import pytest
from engine import Engine

from runbook.connections import ContainersConnection
from runbook.docker import containers, events, images, output, resources, socket_exposure
from runbook.model import Status, UsageError
from runbook.session import open_run

CRITICAL, OK, UNKNOWN, WARNING = Status.CRITICAL, Status.OK, Status.UNKNOWN, Status.WARNING
Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def there(engine_of_all: Engine) -> Engine:
    """The shared engine with one image more, `shrimp/api`, that can run busybox's programs."""
    engine_of_all.image("shrimp/api", version=b"1")
    return engine_of_all


@pytest.fixture
def ask(there: Engine, profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Ask a question about containers of these names (by part); return the findings by the part."""
    monkeypatch.setenv("DOCKER_HOST", there.host)

    def asked(question: Any, named: dict[str, str], **arguments: Any) -> dict[str, Any]:
        text = "[containers]\n" + "".join(f'{part} = "{name}"\n' for part, name in named.items())
        run = open_run("probe", target=profile(text, "engine"), needs=["containers"])
        try:
            return {finding.object: finding for finding in run.ask(question, **arguments).findings}
        finally:
            run.close()

    yield asked
    for container in there.client.containers.list(all=True):
        if container.status == "paused":
            container.unpause()
        container.remove(force=True)


def start(there: Engine, name: str, command: str, **more: Any) -> Any:
    return there.client.containers.run(
        "shrimp/api", ["sh", "-c", command], name=name, detach=True, network_mode="none", **more
    )


def until(container: Any, holds: Callable[[dict[str, Any]], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while True:
        container.reload()
        if holds(container.attrs):
            return
        assert time.monotonic() < end, container.attrs["State"]
        time.sleep(0.1)


def about(ask: Ask, name: str) -> Any:
    return ask(containers, {"api": name})[f"api ({name})"]


# --- why it does not run


def test_a_container_that_runs_is_well(there: Engine, ask: Ask) -> None:
    start(there, "well", "sleep 300")
    told = about(ask, "well")
    assert (told.status, told.value) == (OK, "running")
    assert f"runs since {datetime.now(UTC):%Y-%m-%d}" in told.message and "no health check" in told.message


def test_one_that_is_not_there_is_told_as_absent(there: Engine, ask: Ask) -> None:
    told = about(ask, "nowhere")
    assert told.status is CRITICAL and "there is no such container" in told.message
    assert "docker compose up -d" in told.next


def test_one_that_was_killed_is_told_with_the_time(there: Engine, ask: Ask) -> None:
    container = start(there, "killed", "sleep 300")
    container.kill()
    until(container, lambda told: told["State"]["Status"] == "exited")
    told = about(ask, "killed")
    assert told.status is CRITICAL and "was killed: somebody had the engine kill it (exit code 137)" in told.message
    assert "just now" in told.message and "docker start killed" in told.next


def test_one_that_was_stopped_is_not_told_as_ended_by_itself(there: Engine, ask: Ask) -> None:
    container = start(there, "stopped", "trap 'exit 0' TERM; while :; do sleep 0.1; done")
    container.stop()
    assert "was stopped: somebody had the engine stop it (exit code 0)" in about(ask, "stopped").message


def test_one_that_was_removed_is_told_with_the_time_and_its_image(there: Engine, ask: Ask) -> None:
    start(there, "removed", "sleep 300").remove(force=True)
    told = about(ask, "removed")
    assert "it was removed at " in told.message and "it ran shrimp/api" in told.message


def test_one_that_ended_with_an_error_is_told_with_its_code(there: Engine, ask: Ask) -> None:
    container = start(there, "failed", "exit 3")
    until(container, lambda told: told["State"]["Status"] == "exited")
    assert "does not run: it ended with 3, " in about(ask, "failed").message


def test_one_that_used_up_its_memory_is_told_with_the_limit(there: Engine, ask: Ask) -> None:
    container = start(there, "hungry", "x=aaaaaaaa; while :; do x=$x$x; done", mem_limit="64m")
    until(container, lambda told: told["State"]["Status"] == "exited", 60)
    told = about(ask, "hungry")
    assert told.status is CRITICAL
    assert "was killed for want of memory (its limit of 64.0 MiB was reached; exit code 137)" in told.message
    assert "docker start hungry helps for a while; find what grew, or raise the limit: docker update" in told.next
    happened = ask(events, {"api": "hungry"})["hungry"]
    assert happened.status is CRITICAL and "killed for want of memory, last at " in happened.message
    container.start()
    assert ask(events, {"api": "hungry"})["hungry"].status is WARNING, "it was started again"


def test_one_in_a_crash_loop_is_told_so_even_while_it_runs(there: Engine, ask: Ask) -> None:
    container = start(there, "looping", "sleep 0.2; exit 4", restart_policy={"Name": "always"})
    until(container, lambda told: told["RestartCount"] >= 3)
    told = about(ask, "looping")
    assert told.status is CRITICAL and "in a crash loop: " in told.message and "(policy always)" in told.message
    until(container, lambda told: told["State"]["Status"] == "running" and told["RestartCount"] >= 4)
    told = about(ask, "looping")
    assert told.status is CRITICAL and "it ended with 4" in told.message
    assert ask(events, {"api": "looping"})["looping"].status is WARNING


def test_one_that_is_paused_is_told_so(there: Engine, ask: Ask) -> None:
    start(there, "paused", "sleep 300").pause()
    told = about(ask, "paused")
    assert told.status is CRITICAL and "is paused" in told.message and "docker unpause paused" in told.next


def test_one_whose_image_is_broken_never_ran(there: Engine, ask: Ask) -> None:
    made = there.client.containers.create("shrimp/api", ["/no/such/program"], name="broken", network_mode="none")
    with pytest.raises(docker.errors.APIError):
        made.start()
    told = about(ask, "broken")
    assert told.status is CRITICAL and "was made and never ran: " in told.message and "no such file" in told.message


def test_one_whose_command_is_not_there_is_a_broken_image(there: Engine, ask: Ask) -> None:
    container = start(there, "typo", "exec nothing-like-it")
    until(container, lambda told: told["State"]["Status"] == "exited")
    told = about(ask, "typo")
    assert "(its command is not there: a broken image, or the wrong one)" in told.message
    assert "previous image" in told.next


def test_one_that_fails_its_health_check_is_told_with_what_that_said(there: Engine, ask: Ask) -> None:
    fails = docker.types.Healthcheck(
        test=["CMD", "sh", "-c", "echo no answer on port 8000; exit 1"], interval=10**9, retries=1
    )
    container = start(there, "unwell", "sleep 300", healthcheck=fails)
    until(container, lambda told: told["State"]["Health"]["Status"] == "unhealthy")
    told = about(ask, "unwell")
    assert told.status is CRITICAL and "its own health check fails: no answer on port 8000" in told.message


# --- what it uses, what happened, what it runs, what it wrote


def test_memory_and_processors_are_judged_by_the_containers_own_limits(there: Engine, ask: Ask) -> None:
    start(there, "busy", "while :; do :; done", mem_limit="64m", nano_cpus=200_000_000)
    found = ask(resources, {"api": "busy"})
    memory, processors = found["api (busy) memory"], found["api (busy) processors"]
    assert memory.status is OK and 0 < memory.value < 20 and "of 64.0 MiB" in memory.message
    assert processors.status is CRITICAL and processors.value > 90 and "of 0.2 processors" in processors.message


def test_of_containers_that_do_not_run_nothing_is_used(there: Engine, ask: Ask) -> None:
    (told,) = ask(resources, {"api": "nowhere"}).values()
    assert told.status is UNKNOWN and "none of the containers runs: nowhere" in told.message


def test_what_happened_is_told_in_its_order(there: Engine, ask: Ask) -> None:
    container = start(there, "eventful", "sleep 300")
    container.pause()
    container.unpause()
    told = ask(events, {"api": "eventful"})["eventful"]
    for _ in range(20):  # the engine writes down what it did a moment after it did it
        if ", unpause " in told.message:
            break
        time.sleep(0.25)
        told = ask(events, {"api": "eventful"})["eventful"]
    assert told.status is OK and told.message.startswith("4 events, the last ones: create ")
    assert told.message.index(", pause ") < told.message.index(", unpause ")
    assert "nothing happened" in ask(events, {"api": "another"})["containers"].message


def test_the_image_before_is_named_and_a_name_that_moved_on_is_a_warning(there: Engine, ask: Ask) -> None:
    start(there, "first", "sleep 300")
    before = ask(images, {"api": "first"})["api (first)"]
    assert before.status is OK and "no older one is here to go back to" in before.message
    old = there.client.images.get("shrimp/api:latest")
    old.tag("shrimp/api", "before")
    time.sleep(1.1)  # the engine tells the second in which an image was made
    there.image("shrimp/api", version=b"2")
    moved = ask(images, {"api": "first"})["api (first)"]
    assert moved.status is WARNING and "made anew, the container would run that" in moved.message
    start(there, "second", "sleep 300")
    after = ask(images, {"api": "second"})["api (second)"]
    assert after.status is OK and "; before it: shrimp/api:before" in after.message


def test_the_last_lines_are_told_and_a_container_that_is_gone_has_none(there: Engine, ask: Ask) -> None:
    container = start(there, "talking", "for n in 1 2 3 4; do echo line $n; done; echo password=hunter2hunter2")
    until(container, lambda told: told["State"]["Status"] == "exited")
    told = ask(output, {"api": "talking"}, lines=2)["talking"]
    assert (told.status, told.value) == (OK, 2) and "password=[redacted" in told.message
    (gone,) = ask(output, {"api": "nowhere"}).values()
    assert gone.status is UNKNOWN and "there is no container nowhere" in gone.message


# --- the engine itself


def test_an_engine_that_is_off_and_one_that_may_not_be_asked_are_told_apart(
    profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    name = profile('[containers]\napi = "shrimp-api"\n', "engine")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    run = open_run("probe", target=name, needs=["containers"])
    (told,) = run.ask(containers).findings
    assert told.status is UNKNOWN and "does not answer: No such file or directory" in told.message


def test_an_engine_that_is_off_is_the_cause_that_explains_the_rest(
    run_json: Callable[..., Any], profile: Callable[..., str], archive: Any
) -> None:
    name = profile('[containers]\napi = "shrimp-api"\n[host]\nwhere = "here"\n', "engine")
    _, document = run_json("api-down", "--target", name, DOCKER_HOST="unix:///nowhere/docker.sock")
    found = {f.check: f for f in document.runs[0].findings if f.check.startswith("docker.")}
    engine = found.pop("docker.reachable")
    assert engine.status == "CRITICAL" and "systemctl status docker" in engine.next
    assert {f.explained_by for f in found.values()} == {"docker.reachable"}


def test_an_engine_that_was_restarted_is_not_taken_for_a_quiet_day() -> None:
    frame = pd.DataFrame([], columns=["time", "container", "event", "exit_code", "image"])
    frame.attrs = {"hours": 24.0, "forgotten": {"api": "2026-11-25 02:54:40"}, "since": None}
    (told,) = events.check(frame)
    assert told.status is UNKNOWN and "remembers nothing of it, although" in told.message


def test_health_checks_that_fill_the_engines_memory_are_not_taken_for_its_restart(there: Engine, ask: Ask) -> None:
    quiet = start(there, "quiet", "sleep 300")
    check = docker.types.Healthcheck(test=["CMD", "sh", "-c", ":"], interval=10**9, retries=1)
    start(there, "checked", "sleep 300", healthcheck=check)
    for number in range(60):  # of five events each
        there.client.containers.create("shrimp/api", ["sh"], name=f"passing-{number}").remove()
        quiet.exec_run(["sh", "-c", ":"])
    told = ask(events, {"api": "quiet"})["quiet"]
    assert told.status is OK and "nothing happened to it since" in told.message
    assert "it keeps 256 events, and health checks fill them" in told.message


def test_a_full_memory_is_told_as_full_also_while_more_happens(there: Engine) -> None:
    busy = start(there, "busy", "sleep 300")
    done = threading.Event()

    def happen() -> None:
        while not done.is_set():
            busy.exec_run(["sh", "-c", ":"])

    for _ in range(100):  # of three events each
        busy.exec_run(["sh", "-c", ":"])
    happening = threading.Thread(target=happen)
    happening.start()
    connected = ContainersConnection(docker.DockerClient(there.host), {})
    try:
        told = [connected.remembered_since() for _ in range(5)]
    finally:
        done.set()
        happening.join()
    assert None not in told


@pytest.mark.parametrize(
    ("question", "arguments"), [(output, {"lines": 0}), (output, {"lines": -5}), (events, {"hours": 0})]
)
def test_bounds_that_are_none_are_refused(question: Any, arguments: Any, there: Engine, ask: Ask) -> None:
    with pytest.raises(UsageError, match=next(iter(arguments))):
        ask(question, {"api": "any"}, **arguments)


# --- checks alone


def test_a_restart_long_ago_is_no_crash_loop() -> None:
    now = datetime.now(UTC)
    row = {
        "part": "api", "container": "c", "state": "running", "exit_code": 0, "oom_killed": False, "memory_limit": 0,
        "restarts": 5, "policy": "always", "health": "", "health_said": "", "error": "", "image": "i",
        "ended_by": "", "removed": "",
        "created": now - timedelta(days=3), "started": now - timedelta(minutes=11), "finished": None, "now": now,
    }  # fmt: skip
    (told,) = containers.check(pd.DataFrame([row]))
    assert told.status is OK and "5 restarts" in told.message
    (told,) = containers.check(pd.DataFrame([{**row, "started": now - timedelta(minutes=9)}]))
    assert told.status is CRITICAL and "deployed" not in told.message
    (told,) = containers.check(pd.DataFrame([{**row, "state": "exited", "created": now - timedelta(minutes=12)}]))
    assert "; it was deployed 12 min ago from i (" in told.message, "the commonest cause of an outage"


# --- who could command the engine


def test_a_container_that_has_the_engines_socket_is_named(there: Engine, ask: Ask) -> None:
    path = there.host.removeprefix("unix://")
    start(there, "plain", "sleep 300", volumes={"/etc": {"bind": "/host", "mode": "ro"}})
    start(there, "rooted", "sleep 300", volumes={path: {"bind": "/engine.sock", "mode": "rw"}})
    told = ask(socket_exposure, {"api": "plain"})
    assert told["container rooted"].status is WARNING and "is to be root" in told["container rooted"].message
    assert "container plain" not in told
    mode = Path(path).stat().st_mode & 0o777
    assert told[f"socket {path}"].status is OK and f"mode {mode:04o}" in told[f"socket {path}"].message
    Path(path).chmod(0o666)
    try:
        assert ask(socket_exposure, {"api": "plain"})[f"socket {path}"].status is CRITICAL
    finally:
        Path(path).chmod(mode)

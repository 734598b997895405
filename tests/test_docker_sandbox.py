"""The practice stack as containers of a real Docker engine."""

import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine import Engine, engine

from runbook import docker, integrity, memory
from runbook.docker import containers, output, resources
from runbook.model import Findings, Status
from runbook.model.plan import PlanState
from runbook.plans.token import token_of
from runbook.session import open_run
from runbook_sandbox import faults, processes, stack
from runbook_sandbox.place import Place, SandboxError


@pytest.fixture(scope="module")
def contained(docker_host: Engine) -> Iterator[tuple[Engine, Place]]:
    """A sandbox `contained` on the shared engine."""
    place = stack.up("contained", docker=True, watched=False)
    try:
        yield docker_host, place
    finally:
        stack.down(place)


def findings(question: Any) -> dict[str, Any]:
    run = open_run("probe", target="contained", needs=["containers"])
    try:
        return {finding.object: finding for finding in run.ask(question).findings}
    finally:
        run.close()


def test_each_part_is_a_container_and_the_stack_is_healthy(
    contained: tuple[Engine, Place], run_json: Callable[..., Any], archive: Any
) -> None:
    running, _ = contained
    names = {container.name for container in running.client.containers.list()}
    assert names == {"contained-shrimp-api", "contained-shrimp-postgres", "contained-shrimp-redis"}
    status, document = run_json("morning-health-check", "--target", "contained")
    assert status == 0 and document.runs[0].status == "OK", document.runs[0]
    _, document = run_json("log-review", "--target", "contained")
    told = [f.status for f in document.runs[0].findings if f.check in ("logs.postgres_log", "logs.redis_log")]
    assert told == ["OK", "OK"] and document.runs[0].seconds < 20, "a container that runs is not waited for"


def test_the_containers_are_judged_by_what_the_engine_says(contained: tuple[Engine, Place]) -> None:
    assert {told.status for told in findings(containers).values()} == {Status.OK}
    used = findings(resources)
    assert "of 512.0 MiB" in used["api (contained-shrimp-api) memory"].message
    assert findings(output)["contained-shrimp-api"].value > 0
    assert {told.status for told in findings(integrity.containers).values()} == {Status.OK}


def test_the_api_is_profiled_and_its_time_counted_in_its_container(
    contained: tuple[Engine, Place], run_json: Callable[..., Any], archive: Any
) -> None:
    asked = ("api-performance", "--target", "contained", "-p", "highest=5", "-p", "profile_seconds=1")
    _, document = run_json(*asked)
    told = [f for f in document.runs[0].findings if f.check in ("performance.profile", "performance.time_spent")]
    assert {finding.status for finding in told} == {"OK"}, told
    assert {finding.object for finding in told} >= {"interpreter", "Python", "database"}


def test_a_part_that_is_stopped_is_an_exited_container_and_heals(contained: tuple[Engine, Place]) -> None:
    _, place = contained
    faults.break_sandbox(place, "redis-down")
    try:
        told = findings(containers)["redis (contained-shrimp-redis)"]
        assert told.status is Status.CRITICAL and "does not run" in told.message
    finally:
        faults.heal(place)
    assert findings(containers)["redis (contained-shrimp-redis)"].status is Status.OK


def test_down_leaves_no_container_no_process_and_no_file(engine_of_its_own: Engine) -> None:
    place = stack.up("fleeting", docker=True, watched=False)
    stack.down(place)
    assert not engine_of_its_own.client.containers.list(all=True) and not processes.find(place) and not place.exists


@pytest.fixture
def engine_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    with engine() as running:
        monkeypatch.setenv("DOCKER_HOST", running.host)
        yield running


def test_without_an_engine_nothing_comes_up_and_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(SandboxError, match="no Docker engine answers; start one"):
        stack.up("nowhere", docker=True)
    assert not Place("nowhere").exists


# --- why the API is down


def paused(place: Place, api: Any) -> None:
    api.pause()


def removed(place: Place, api: Any) -> None:
    api.remove(force=True)


def without_redis(place: Place, api: Any) -> None:
    faults.break_sandbox(place, "redis-down")


@pytest.mark.parametrize(
    ("breaks", "check", "says"),
    [
        (paused, "docker.containers", "is paused: its processes stand still"),
        (removed, "docker.containers", "there is no such container"),
        (without_redis, "docker.containers", "does not run: it ended with exit code 0"),
    ],
)
def test_the_notebook_names_why_the_api_is_down(
    breaks: Callable[[Place, Any], None],
    check: str,
    says: str,
    contained: tuple[Engine, Place],
    run_json: Callable[..., Any],
    archive: Any,
) -> None:
    running, place = contained
    api = running.client.containers.get("contained-shrimp-api")
    breaks(place, api)
    try:
        status, document = run_json("api-down", "--target", "contained")
    finally:
        assert faults.heal(place)
        stack.wait_for(place, "api")
    if breaks is without_redis:
        assert "first redis.reachable: " in document.runs[0].not_planned["docker.restart"], "no restart helps"
    first = next(f for f in Findings(document.runs[0].findings).worst_first())
    assert first.check == check, "the cause stands first"
    critical = [f for f in document.runs[0].findings if f.status == "CRITICAL" and f.check == check]
    assert status == 2 and critical and says in critical[0].message and critical[0].next, document.runs[0].findings


def test_with_a_healthy_api_the_notebook_says_so(
    contained: tuple[Engine, Place], run_json: Callable[..., Any], archive: Any
) -> None:
    status, document = run_json("api-down", "--target", "contained")
    (wrote,) = [f for f in document.runs[0].findings if f.check == "docker.output"]
    assert wrote.status == "OK" and "GET /" in wrote.message
    assert {f.check for f in document.runs[0].findings if f.status not in ("OK", "SKIPPED")} <= {"docker.events"}
    assert all(part["runs"] for part in stack.status(Place("contained"))["parts"].values())
    assert status in (0, 1)


# --- memory


def test_a_service_that_was_killed_at_its_limit_is_named_by_the_notebook_and_healed(
    contained: tuple[Engine, Place], run_json: Callable[..., Any], archive: Any
) -> None:
    _, place = contained
    faults.break_sandbox(place, "api-oom")
    try:
        status, document = run_json("high-memory-usage", "--target", "contained", "-p", "seconds=1")
        _, first = run_json("first-five-minutes", "--target", "contained")
    finally:
        faults.heal(place)
    told = {f.object: f for f in document.runs[0].findings if f.check == "memory.kills"}
    killed = told["api (contained-shrimp-api)"]
    severity = next(f for f in first.runs[0].findings if f.check == "assessment.severity" and f.object == "severity")
    assert severity.value == "P0" and "runbook run high-memory-usage " in severity.next, severity
    assert status == 2 and killed.status == "CRITICAL" and "it does not run" in killed.message, told
    assert findings(memory.kills)["api (contained-shrimp-api)"].status is Status.WARNING, "within the day"


def test_the_containers_own_figures_are_told_and_not_those_of_a_python_started_in_it(
    contained: tuple[Engine, Place],
) -> None:
    running, _ = contained  # (errata 28)
    measure = "import psutil; print(psutil.Process().memory_info().rss)"
    api = running.client.containers.get("contained-shrimp-api")
    itself = int(api.exec_run([sys.executable, "-c", measure]).output)
    run = open_run("probe", target="contained", needs=["containers"])
    try:
        frame = run.ask(memory.containers).frame
    finally:
        run.close()
    assert frame is not None
    anonymous = frame.set_index("container")["anonymous"]["api (contained-shrimp-api)"]
    assert anonymous > 40 << 20 and itself < anonymous / 2


def test_objects_inside_of_a_container_are_counted_from_outside_by_a_plan(contained: tuple[Engine, Place]) -> None:
    if shutil.which("gdb") is None:
        pytest.skip("gdb is not installed")
    run = open_run("probe", target="contained", needs=["containers", "host", "api"])
    try:
        shown = run.propose(memory.count_objects, seconds=20.0, verify=[memory.python], even_if_well=True)
        (done,) = run.apply(shown, token_of(shown.plans[0].plan)).plans
        assert done.state is PlanState.VERIFIED and "objects that the collector knows" in " ".join(done.told), done
    finally:
        run.close()


def test_the_only_container_is_restarted_and_waited_for_by_a_plan(contained: tuple[Engine, Place]) -> None:
    run = open_run("probe", target="contained", needs=["containers", "api"])
    try:
        shown = run.propose(docker.restart_in_turn, verify=[memory.containers, containers], even_if_well=True)
        (plan,) = shown.plans
        assert "docker restart --time 10 contained-shrimp-api" in plan.steps[0] and plan.plan.irreversible
        assert "nobody serves meanwhile" in " ".join(plan.plan.blast_radius)
        (done,) = run.apply(shown, token_of(plan.plan)).plans
        assert done.state is PlanState.VERIFIED, done
    finally:
        run.close()

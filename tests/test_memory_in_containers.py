"""Memory of containers on a real engine: whose it is, what is only cache, and what was killed."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine import Engine
from running import wait_for

from runbook import memory
from runbook.connections import ContainersConnection
from runbook.memory import groups
from runbook.model import Finding, Status
from runbook.session import Run

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
Open = Callable[..., Run]
NAMED = '[containers]\napi = "memory-api"\npostgres = "memory-small"\n'
# 40 MiB of a file are written, and nothing else is kept: cache, and hardly any memory of its own.
CACHES = "busybox dd if=/dev/zero of=/big bs=1M count=40; exec busybox sleep 900"
# What doubles a text until there is no more memory for it; the container itself goes on.
EATS = "x=0123456789abcdef; while :; do x=$x$x; done"


def found(run: Run, question: Any, **more: Any) -> dict[str, Finding]:
    return {one.object: one for one in run.ask(question, **more).findings}


@pytest.fixture(scope="module")
def contained(docker_host: Engine) -> Iterator[Engine]:
    """Two containers of busybox, without Python: one that caches much, and one without a limit."""
    docker_host.image("memory")
    docker_host.client.containers.run(
        "memory", ["busybox", "sh", "-c", CACHES], name="memory-api", detach=True, network_mode="none",
        mem_limit="64m", memswap_limit="64m",
    )  # fmt: skip
    docker_host.run("memory-small", "memory", "busybox", "sleep", "900")
    wait_for(lambda: b"sleep" in docker_host.client.containers.get("memory-api").top()["Processes"][0][-1].encode())
    yield docker_host
    for name in ("memory-api", "memory-small"):
        docker_host.client.containers.get(name).remove(force=True)


def test_cache_and_anonymous_memory_are_told_apart(contained: Engine, opened: Open) -> None:
    run = opened("containers", text=NAMED)
    told = found(run, memory.containers)
    api = told["api (memory-api)"]
    assert api.status is OK and api.value is not None and float(api.value) < 50, api
    frame = run.ask(memory.containers).frame
    assert frame is not None
    row = frame.iloc[0]
    assert row["cache"] > 35 << 20 and row["anonymous"] < 8 << 20 and row["limit"] == 64 << 20
    assert row["peak"] >= row["current"] and "memory.*" in api.source
    small = told["postgres (memory-small)"]
    assert small.status is WARNING and "nothing limits it but the machine" in small.message


def test_the_same_is_read_from_inside_and_told_by_the_engine(
    contained: Engine, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = opened("containers", text=NAMED)._dependencies.connection(ContainersConnection)

    def group(name: str) -> Any:
        held = {one.name: one for one in groups.groups(connection)}[name]
        assert held.group is not None
        return held.source, held.group.version, held.group.limit, round(held.group.anonymous or 0, -6)

    contained.client.containers.get("memory-api").exec_run(["busybox", "--install", "-s", "/bin"])
    here = group("memory-api")
    monkeypatch.setattr(groups, "_on_this_machine", lambda told: None)  # as where the engine is another machine's
    inside, engine = group("memory-api"), group("memory-small")
    assert inside[0].startswith("docker exec memory-api grep") and inside[1:] == here[1:]
    assert engine[0] == "docker stats --no-stream memory-small", "that one has no grep"


def test_a_kill_inside_of_a_container_that_goes_on_is_found(contained: Engine, opened: Open) -> None:
    contained.client.containers.get("memory-api").exec_run(["busybox", "sh", "-c", EATS])
    told = found(opened("containers", "host", text=NAMED + '[host]\nwhere = "here"\nname = "box"\n'), memory.kills)
    api = told["api (memory-api)"]
    assert api.status is WARNING and "for want of memory, the last" in api.message
    assert told["postgres (memory-small)"].status is OK
    assert told["box"].status in (OK, WARNING, UNKNOWN)


def test_a_container_that_is_gone_costs_itself_only(contained: Engine, opened: Open) -> None:
    run = opened("containers", text=NAMED.replace("memory-small", "never-made"))
    told = found(run, memory.containers)
    assert told["api (memory-api)"].status is OK
    assert (
        told["postgres (never-made)"].status is UNKNOWN and "no such container" in told["postgres (never-made)"].message
    )


def test_without_an_engine_everything_is_unknown_and_told_why(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    run = opened("containers", "host", text=NAMED + '[host]\nwhere = "here"\nname = "box"\n')
    (told,) = run.ask(memory.containers).findings
    assert told.status is UNKNOWN and "No such file or directory" in told.message
    both = found(run, memory.kills)
    assert both["containers"].status is UNKNOWN and "box" in both
    (told,) = run.ask(memory.growth_now, seconds=1).findings
    assert told.status is UNKNOWN


def test_processes_are_listed_from_inside_by_what_a_small_image_has(contained: Engine, opened: Open) -> None:
    contained.client.containers.get("memory-api").exec_run(["busybox", "--install", "-s", "/bin"])
    run = opened("host", text=NAMED + '[host]\nwhere = "containers"\n')
    answer = run.ask(memory.processes)
    told = {one.object: one for one in answer.findings}
    own = told["api (memory-api) processes"]
    assert own.status is OK and own.message.startswith("1 process, "), own
    assert "busybox (" in own.message or "sleep (" in own.message
    lacking = told["postgres (memory-small) processes"]
    assert lacking.status is UNKNOWN and "no program find" in lacking.message
    assert answer.frame is not None and answer.frame["threads"].iloc[0] == 1

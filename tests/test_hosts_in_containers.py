"""A target that lives in containers of a real Docker engine, looked at from inside them: none of them has Python."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine import Engine
from running import wait_for
from test_hosts import ASKED, lines

from runbook import host, logs
from runbook.connections import ContainersConnection
from runbook.model import CouldNotFindOut, Finding, Status
from runbook.session import Run

OK, UNKNOWN = Status.OK, Status.UNKNOWN
Open = Callable[..., Run]


@pytest.fixture
def opened(opened: Open) -> Open:
    """Open a run on a target with this profile."""
    return lambda text, *needs: opened(*(needs or ("host",)), text=text)


def found(run: Run, question: Any, **more: Any) -> dict[str, Finding]:
    return {one.object: one for one in run.ask(question, **more).findings}


IN_CONTAINERS = '[host]\nwhere = "containers"\n[containers]\napi = "inside-api"\nredis = "inside-redis"\n'


@pytest.fixture(scope="module")
def contained(docker_host: Engine) -> Iterator[Engine]:
    """Two containers of busybox: one with the programs of a system, one with hardly any, neither with Python."""
    docker_host.image("inside")
    script = "busybox --install -s /bin; mkdir /logs; echo '%s' > /logs/api_1.log; exec sleep 900"
    docker_host.client.containers.run(
        "inside", ["busybox", "sh", "-c", script % lines(5).replace("'", "")], name="inside-api", detach=True,
        network_mode="none", mem_limit="64m", memswap_limit="64m",
    )  # fmt: skip
    docker_host.run("inside-redis", "inside", "busybox", "sh", "-c", "busybox rm /bin/cat; exec sleep 900")
    api = docker_host.client.containers.get("inside-api")
    wait_for(lambda: api.exec_run(["stat", "/logs/api_1.log"]).exit_code == 0)
    yield docker_host
    for name in ("inside-api", "inside-redis"):
        docker_host.client.containers.get(name).remove(force=True)


def test_containers_are_judged_from_inside_and_by_their_own_limits(contained: Engine, opened: Open) -> None:
    run = opened(IN_CONTAINERS)
    memory = found(run, host.memory)
    api = memory["api (inside-api) memory"]
    assert api.status is OK and "of 64.0 MiB used" in api.message, "not the machine's, as /proc/meminfo inside says"
    assert api.source == "docker stats --no-stream inside-api"
    disks = found(run, host.disk, warning=100, critical=100)
    assert disks["api (inside-api) / space"].status is OK
    lacking = disks["redis (inside-redis) file systems"]
    assert lacking.status is UNKNOWN and "no program stat" in lacking.message
    assert found(run, host.load)["api (inside-api) load"].status is OK
    ports = found(run, host.listening_ports)
    assert (
        ports["redis (inside-redis) sockets"].status is UNKNOWN
        and "cat" in ports["redis (inside-redis) sockets"].message
    )


def test_log_files_inside_a_container_are_read(contained: Engine, opened: Open) -> None:
    run = opened('[logs]\napi = ["container:inside-api:/logs/api_*.log"]\n', "logs")
    assert found(run, logs.coverage)["lines"].message.startswith("5 lines of 1 file")
    lacking = "container:inside-redis:/logs/api_*.log"
    told = found(opened(f'[logs]\napi = ["{lacking}"]\n', "logs"), logs.coverage)[lacking]
    assert told.status is UNKNOWN and "has no program find" in told.message


def test_a_container_that_is_stopped_paused_or_gone_is_told_beside_the_others(contained: Engine, opened: Open) -> None:
    api = contained.client.containers.get("inside-api")
    api.pause()
    try:
        disks = found(opened(IN_CONTAINERS), host.disk)
    finally:
        api.unpause()
    assert "it is stopped or paused" in disks["api (inside-api) file systems"].message
    run = opened(IN_CONTAINERS.replace("inside-redis", "never-made"))
    assert "there is no container never-made" in found(run, host.disk)["redis (never-made) file systems"].message
    assert found(run, host.memory)["redis (never-made) memory"].status is UNKNOWN
    assert found(run, host.load)["redis (never-made) load"].status is UNKNOWN


def test_a_container_of_which_the_engine_tells_nothing_costs_itself_only(
    contained: Engine, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    stats = ContainersConnection.stats

    def silent(engine: ContainersConnection, name: str) -> Any:
        if name == "inside-redis":
            raise CouldNotFindOut("the Docker engine did not answer: timed out")
        return stats(engine, name)

    monkeypatch.setattr(ContainersConnection, "stats", silent)
    run = opened(IN_CONTAINERS)
    for question, what in ((host.memory, "memory"), (host.load, "load")):
        told = found(run, question)
        assert told[f"api (inside-api) {what}"].status is OK
        assert "did not answer: timed out" in told[f"redis (inside-redis) {what}"].message


def test_without_an_engine_the_containers_are_unknown(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    for question in ASKED:
        (told,) = opened(IN_CONTAINERS).ask(question).findings
        assert told.status is UNKNOWN and "No such file or directory" in told.message

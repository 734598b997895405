"""More, fewer and larger containers, by plans on a real engine and a real Compose."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from engine import Engine
from running import only, text_of, wait_for

from runbook import api, docker, memory
from runbook.docker import compose
from runbook.docker.redeploy import rewritten
from runbook.docker.workers import rewritten as with_workers
from runbook.docker.workers import workers_of
from runbook.model import NotPlanned, Status
from runbook.model.plan import PlanState
from runbook.plans.freezing import freeze_inverse
from runbook.plans.token import token_of
from runbook.session import open_run
from runbook_sandbox import stack
from runbook_sandbox.containers import image_of_busybox
from runbook_sandbox.place import Place

CRITICAL, OK, UNKNOWN, WARNING = Status.CRITICAL, Status.OK, Status.UNKNOWN, Status.WARNING


@dataclass
class There:
    engine: Engine
    place: Place

    def containers(self) -> list[Any]:
        label = "com.docker.compose.service=api"
        return list(self.engine.client.containers.list(filters={"label": label}))


@pytest.fixture(scope="module")
def project(docker_host: Engine) -> Iterator[There]:
    """A sandbox `scaled`, whose service is a Compose project, on the shared engine."""
    if shutil.which("docker-compose") is None:
        pytest.skip("Compose is not installed")
    place = stack.up("scaled", compose=True, watched=False)
    try:
        yield There(docker_host, place)
    finally:
        stack.down(place)


@pytest.fixture
def there(project: There, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> There:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return project


Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def run() -> Iterator[Callable[..., Any]]:
    opened = []

    def opening(target: str = "scaled") -> Any:
        opened.append(open_run("horizontal-scaling", target=target, needs=["containers", "api"]))
        return opened[-1]

    yield opening
    for each in opened:
        each.close()


def scaled(run: Any, replicas: int, confirm: str = "") -> Any:
    verify = [docker.replicas.given(wanted=replicas), api.error_rate]
    return run.propose(docker.scale, replicas=replicas, verify=verify, confirm=confirm)


def text(shown: Any) -> str:
    return str(shown._repr_mimebundle_()["text/plain"])


def test_the_sandbox_of_compose_is_reached_as_users_reach_it(there: There) -> None:
    text = Path(os.environ["RUNBOOK_TARGETS"].split(os.pathsep)[0], "scaled.toml").read_text()
    url = next(line.split('"')[1] for line in text.splitlines() if line.startswith('url = "http'))
    assert httpx.get(f"{url}/documents?limit=1", trust_env=False).status_code == 200


# --- more and fewer


@pytest.mark.slow
def test_the_notebook_goes_from_one_to_three_and_back_and_each_answers_by_itself(
    there: There, run: Any, run_json: Any, archive: Path
) -> None:
    tokens = []
    (first,) = there.containers()
    for wanted in (3, 1):
        (plan,) = scaled(run(), wanted).plans
        assert plan.state is PlanState.PLANNED and f"--scale api={wanted} api" in plan.steps[0], plan
        assert "a queue and rate limits of its own" in " ".join(plan.plan.blast_radius)
        assert f"--scale api={4 - wanted} api" in plan.plan.inverse[0].shown
        tokens.append(token_of(plan.plan))
        confirmed = ("--target", "scaled", "-p", f"replicas={wanted}", "--confirm", tokens[-1])
        status, document = run_json("horizontal-scaling", *confirmed)
        (done,) = only(document).plans
        assert status == 0 and done.state is PlanState.VERIFIED, only(document)
        assert done.helped is not None and done.helped.answer == "helped"
        assert len(there.containers()) == wanted
        found = [f for f in only(document).findings if f.check == "docker.replicas"]
        assert len(found) == wanted + 1 and found[0].value == wanted, "each answers by itself"
        assert first.id in [container.id for container in there.containers()], "what runs is not made anew"
    told = text_of(archive)
    assert not [token for token in tokens if token in told]
    assert told.count('"event": "intent"') >= 2 and '"before": [' in told and '"after": [' in told


@pytest.mark.parametrize(
    ("replicas", "says"),
    [
        (0, "0 containers of api would leave nobody to answer"),
        (-1, "-1 containers of api would leave nobody to answer"),
        (10_000, "10000 containers of api on one machine are no plan: at most 32"),
        (11, "11 containers cannot be: ports: "),
    ],
)
def test_a_number_that_cannot_be_is_not_planned_and_not_passed_over(
    replicas: int, says: str, there: There, run: Any
) -> None:
    opened = run()
    shown = scaled(opened, replicas)
    assert not shown.plans and says in text(shown)
    assert shown.findings[0].status is WARNING, "nobody takes it for done"


def test_as_many_as_there_are_need_no_plan(there: There, run: Any) -> None:
    shown = scaled(run(), 1)
    assert not shown.plans and not shown.findings and "1 of api run already" in text(shown)


def test_a_plan_is_stale_when_the_containers_are_others_by_now(there: There, run: Any) -> None:
    opened = run()
    shown = scaled(opened, 2)
    by_hand(there, 2)
    told = opened.apply(shown, token_of(shown.plans[0].plan)).findings[0]
    assert told.status is CRITICAL and "the plan is stale: containers was" in told.message
    by_hand(there, 1)


def by_hand(there: There, replicas: int) -> None:
    """Scale as another operator would."""
    file = str(there.place.folder / "compose.yaml")
    argv = ["docker-compose", "-f", file, "-p", "scaled", "up", "-d", "--scale", f"api={replicas}", "api"]
    subprocess.run(argv, check=True, capture_output=True)


def test_a_service_of_compose_goes_back_to_its_previous_image_by_the_images_name(there: There, run: Any) -> None:
    client, (good,) = there.engine.client, there.containers()
    image = good.attrs["Image"]
    time.sleep(1)  # images are ordered by their whole seconds
    client.api.import_image_from_data(
        image_of_busybox(), repository="runbook-sandbox/api", tag="latest",
        changes=['ENTRYPOINT ["/bin/sh", "-c", "exit 127"]'],
    )  # fmt: skip
    client.api.tag(image, "runbook-sandbox/api", "1")
    by_hand(there, 1)
    wait_for(lambda: not there.containers())
    try:
        opened = run()
        opened.ask(docker.containers)
        shown = opened.propose(docker.previous_image, part="api", verify=[docker.containers, docker.replicas])
        plan = shown.plans[0].plan
        assert [step.act for step in plan.steps] == ["tag", "tag", "up"], plan.steps
        assert opened.apply(shown, token_of(plan)).plans[0].state is PlanState.VERIFIED
        assert [container.attrs["Image"] for container in there.containers()] == [image]
    finally:
        client.api.tag(image, "runbook-sandbox/api", "latest")
        by_hand(there, 1)


# --- what in the Compose files stops it (errata 27)

ANCHORS = """
x-fixed: &fixed
  image: runbook-sandbox/api
  container_name: shrimp-api

services:
  api:
    <<: *fixed
    ports:
      - "127.0.0.1:8081:8000"
      - "9000"
"""
EXTENDS = """
services:
  api:
    extends:
      file: common.yaml
      service: base
"""
COMMON = """
services:
  base:
    image: runbook-sandbox/api
    ports:
      - "8081:8000"
"""


@pytest.fixture
def file(there: There, profile: Callable[..., str], tmp_path: Path) -> Callable[..., str]:
    """Write Compose files and return the name of a target whose project they are."""

    def written(**files: str) -> str:
        for name, content in files.items():
            (tmp_path / f"{name}.yaml").write_text(content)
        containers = '[containers]\napi = "shrimp-api"\n'
        return profile(f'{containers}[compose]\nfiles = ["{tmp_path}/compose.yaml"]\nproject = "other"\n', "files")

    return written


def asked(run: Any, target: str, **arguments: Any) -> list[Any]:
    return list(run(target).ask(docker.compose_file, **arguments).findings)


def test_a_container_name_and_a_fixed_port_are_found_before_with_their_lines_also_behind_an_anchor(
    file: Any, run: Any
) -> None:
    name, port = asked(run, file(compose=ANCHORS))
    assert (name.status, port.status) == (WARNING, WARNING)
    assert "container_name: shrimp-api: there can be one container of a name" in name.message
    assert "compose.yaml, line 4" in name.message
    assert "127.0.0.1:8081:8000" in port.message and "compose.yaml, line 10" in port.message


def test_what_a_service_extends_is_found_in_its_own_file(file: Any, run: Any) -> None:
    (port,) = asked(run, file(compose=EXTENDS, common=COMMON))
    assert "8081:8000" in port.message and "common.yaml, line 6" in port.message


def test_a_range_of_ports_is_enough_for_as_many(there: There, run: Any) -> None:
    assert [f.status for f in asked(run, "scaled", wanted=10)] == [OK]
    assert [f.status for f in asked(run, "scaled", wanted=11)] == [WARNING]


def test_without_any_such_line_nothing_stops_it(file: Any, run: Any) -> None:
    (free,) = asked(run, file(compose='services:\n  api:\n    image: x\n    ports: ["8000"]\n'))
    assert free.status is OK


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("services:\n  api:\n    imag: x\n", "Compose cannot read its files"),
        ("services: [\n", "Compose cannot read its files"),
        ("services:\n  web:\n    image: x\n", "has no service api; it has web"),
    ],
)
def test_files_that_cannot_be_read_are_unknown_with_composes_own_words(
    content: str, says: str, file: Any, run: Any
) -> None:
    (told,) = asked(run, file(compose=content))
    assert told.status is UNKNOWN and says in told.message


def test_version_2_is_preferred_where_docker_has_it(
    file: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A stand-in for its command: it hands over to the version that is here, and keeps what it was called with.
    called = tmp_path / "called"
    docker_command = tmp_path / "bin" / "docker"
    docker_command.parent.mkdir()
    docker_command.write_text(f'#!/bin/sh\necho "$@" >>{called}\nshift\nexec docker-compose "$@"\n')
    docker_command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker_command.parent}:{os.environ['PATH']}")
    compose.program.cache_clear()
    try:
        (free,) = asked(run, file(compose='services:\n  api:\n    image: x\n    ports: ["8000"]\n'))
    finally:
        compose.program.cache_clear()
    assert free.status is OK
    assert [line.split()[0] for line in called.read_text().splitlines()] == ["compose"] * 2
    assert called.read_text().splitlines()[1].endswith(" config")


def test_a_fixed_port_keeps_the_plan_from_being_made(file: Any, run: Any) -> None:
    target = file(compose=ANCHORS)
    shown = scaled(run(target), 3)
    assert not shown.plans and "3 containers cannot be: container_name: shrimp-api" in text(shown)
    assert "compose.yaml, line 4" in text(shown) and shown.findings[0].status is WARNING


# --- larger and smaller


def limited(run: Any, **wanted: Any) -> Any:
    arguments = {"part": "api", "memory": 0, "cpus": 0.0, **wanted}
    return run.propose(docker.limits, verify=[docker.containers], **arguments)


def host_of(there: There) -> dict[str, Any]:
    (container,) = there.containers()
    return dict(container.attrs["HostConfig"])


def test_the_limit_that_fits_is_proposed_set_live(there: There, run: Any) -> None:
    opened = run()
    (size,) = [f for f in opened.ask(docker.sizing, seconds=0.2).findings if f.object.startswith("api")]
    assert size.status is OK and "its limit is 512.0 MiB" in size.message
    before, (container,) = host_of(there), there.containers()
    shown = limited(opened, memory=768, cpus=1.5)
    step = shown.plans[0].plan.steps[0]
    assert step.shown.startswith(f"docker update --memory {768 << 20} ") and "--cpus 1.5" in step.shown
    done = opened.apply(shown, token_of(shown.plans[0].plan)).plans[0]
    assert done.state is PlanState.VERIFIED, done
    after = host_of(there)
    assert (after["Memory"], after["NanoCpus"]) == (768 << 20, 1_500_000_000)
    assert there.containers()[0].attrs["State"]["StartedAt"] == container.attrs["State"]["StartedAt"], "no restart"
    container.update(mem_limit=before["Memory"], memswap_limit=before["MemorySwap"])


def redeployed(run: Any, memory: int, confirm: str = "") -> Any:
    return run.propose(docker.redeploy, memory=memory, cpus=0.0, verify=[docker.replicas], confirm=confirm)


@pytest.mark.slow
def test_limits_are_written_into_the_compose_file_line_by_line_and_the_service_is_made_anew_and_back(
    there: There, run: Any
) -> None:
    path = there.place.folder / "compose.yaml"
    before, (old,), opened = path.read_text(), there.containers(), run()
    shown = redeployed(opened, 640)
    plan = shown.plans[0].plan
    line = 1 + before.splitlines().index("          memory: 512M")
    assert plan.steps[0].shown.endswith(f": -{line} 'memory: 512M'; +{line} 'memory: 640M'"), plan.steps
    assert path.read_text() == before, "a plan writes nothing"
    done = opened.apply(shown, token_of(plan)).plans[0]
    assert done.state is PlanState.VERIFIED, done
    assert path.read_text() == before.replace("memory: 512M", "memory: 640M")
    assert host_of(there)["Memory"] == 640 << 20 and there.containers()[0].id != old.id
    inverse = freeze_inverse(plan, docker.redeploy, docker.redeploy.observe(opened._dependencies, 640, 0.0))
    loaded = redeployed(opened, 640, confirm=token_of(inverse))
    undone = opened.apply(loaded, token_of(inverse)).plans[0]
    assert undone.state is PlanState.VERIFIED, undone
    assert path.read_text() == before and not list(path.parent.glob("*.before-*"))
    assert host_of(there)["Memory"] == 512 << 20


def test_a_compose_file_that_was_edited_in_between_makes_the_plan_stale(there: There, run: Any) -> None:
    path, opened = there.place.folder / "compose.yaml", run()
    before = path.read_text()
    shown = redeployed(opened, 640)
    path.write_text(before + "# a colleague was here\n")
    try:
        told = opened.apply(shown, token_of(shown.plans[0].plan)).findings[0]
        assert told.status is CRITICAL and "the plan is stale: sha256 was" in told.message
        assert "memory: 640M" not in path.read_text()
    finally:
        path.write_text(before)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x: &a\n  image: x\nservices:\n  api:\n    <<: *a\n", "api is written by an anchor"),
        ("services:\n    api: {image:   x}\n  # odd\n", "formatted anew"),
        ("services:\n  web:\n    image: x\n", "or elsewhere"),
    ],
)
def test_a_file_whose_other_lines_would_change_is_left_to_its_owner(text: str, says: str) -> None:
    with pytest.raises(NotPlanned, match=says):
        rewritten(text, "api", 640 << 20, 0)


@pytest.mark.parametrize("indent", ["", "  "])
def test_comments_quotes_and_the_indentation_of_lists_stay(indent: str) -> None:
    text = f"# ours\nservices:\n  api:\n    image: 'x'   # pinned\n    ports:\n    {indent}- \"8000\"\n"
    wanted = text + "    deploy:\n      resources:\n        limits:\n          memory: 640M\n          cpus: '1.5'\n"
    assert rewritten(text, "api", 640 << 20, 1.5) == wanted


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"memory": 8}, "the kernel would kill it"),
        ({"memory": 100_000_000}, "is more than the machine has"),
        ({"memory": 512, "cpus": 4096.0}, "processors are more than the machine has"),
        ({"memory": -1}, "a limit below nothing is none"),
    ],
)
def test_a_limit_that_cannot_be_is_not_planned(wanted: dict[str, Any], says: str, there: There, run: Any) -> None:
    shown = limited(run(), **wanted)
    assert not shown.plans and says in text(shown) and shown.findings[0].status is WARNING


def test_the_limits_that_it_has_need_no_plan(there: There, run: Any) -> None:
    shown = limited(run(), memory=host_of(there)["Memory"] >> 20)
    assert not shown.plans and not shown.findings and "has these limits already" in text(shown)


# --- workers, and one after another


def planned(run: Any, change: Any, confirm: str = "", **arguments: Any) -> Any:
    verify = [memory.containers, docker.replicas]
    return run.propose(change, verify=verify, confirm=confirm, **arguments)


def test_workers_are_written_into_the_compose_file_and_brought_back(there: There, run: Any) -> None:
    opened = run()
    shown = planned(opened, docker.workers, workers=2)
    (plan,) = shown.plans
    assert plan.state is PlanState.PLANNED and "WEB_CONCURRENCY: '2'" in plan.steps[0], plan.steps
    assert any("connections to the database" in line for line in plan.plan.blast_radius)
    done = opened.apply(shown, token_of(plan.plan)).plans[0]
    assert done.state is PlanState.VERIFIED, done
    assert "WEB_CONCURRENCY: '2'" in (there.place.folder / "compose.yaml").read_text()
    again = planned(run(), docker.workers, workers=2)
    assert not again.plans and "has 2 in each container already" in text(again)
    with pytest.raises(NotPlanned, match="do not fit into the limit"):
        docker.workers.draft(docker.workers.observe(opened._dependencies, 60), 60)


def test_containers_are_restarted_one_after_another(there: There, run: Any) -> None:
    opened = run()
    before = docker.restart_in_turn.observe(opened._dependencies)
    shown = opened.propose(
        docker.restart_in_turn, verify=[docker.replicas, memory.containers], even_if_well=True
    )  # fmt: skip
    (plan,) = shown.plans
    assert "and wait until it answers" in plan.steps[0] and plan.plan.irreversible
    done = opened.apply(shown, token_of(plan.plan)).plans[0]
    assert done.state is PlanState.VERIFIED, done
    after = docker.restart_in_turn.observe(opened._dependencies)
    assert [one["id"] for one in after["containers"]] == [one["id"] for one in before["containers"]]
    assert after["containers"][0]["started"] > before["containers"][0]["started"]


@pytest.mark.parametrize(
    ("silent", "running", "says"),
    [(["api-1"], [{"id": "a", "name": "api-1", "started": "x"}], "api-1 does not answer by itself")],
)
def test_what_does_not_answer_is_not_restarted_in_turn(silent: Any, running: Any, says: str) -> None:
    facts = {"service": "api", "containers": running, "silent": silent, "others": 0, "engine": "e"}
    with pytest.raises(NotPlanned, match=says):
        docker.restart_in_turn.draft(facts)


WITH_WORKERS = """services:
  api:
    image: shrimp  # the service
    command: uvicorn app:app --host 0.0.0.0 --workers 4
  web:
    command: ["gunicorn", "-w", "8", "app"]
  bare:
    image: x
    environment:
      - A=1
"""


@pytest.mark.parametrize(
    ("service", "before", "line"),
    [
        ("api", 4, "command: uvicorn app:app --host 0.0.0.0 --workers 2"),
        ("web", 8, 'command: ["gunicorn", "-w", "2", "app"]'),
        ("bare", 0, "- WEB_CONCURRENCY=2"),
    ],
)
def test_workers_are_written_where_they_stand(service: str, before: int, line: str) -> None:
    from ruamel.yaml import YAML

    def told(text: str) -> int:
        return workers_of(YAML(typ="safe").load(text)["services"][service])

    after = with_workers(WITH_WORKERS, service, 2)
    assert told(WITH_WORKERS) == before and told(after) == 2
    changed = [one.strip() for one in after.splitlines() if one not in WITH_WORKERS.splitlines()]
    assert changed == [line] or changed == [line.replace('"2"', "'2'")], changed

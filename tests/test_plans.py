"""Changes on a real engine: planned, confirmed by their token, carried out, verified, undone; and refused."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import docker as docker_sdk
import httpx
import msgspec
import nbformat
import pytest
from engine import Engine, engine
from running import only, text_of, wait_for

from runbook import api, docker, postgres, redis
from runbook.model import Act, ChangeFailed, CouldNotFindOut, DoesNotApply, Findings, Status
from runbook.model.plan import PlanState
from runbook.plans import freezing
from runbook.plans import place as plans_place
from runbook.plans.lock import Held, _path, holder, lock
from runbook.plans.place import all_plans, journal
from runbook.plans.token import plan_of, token_of
from runbook.redaction import Redactor, redact_notebook
from runbook.session import open_run
from runbook_sandbox import faults, stack
from runbook_sandbox.place import Place

WELL = [docker.containers, api.liveness, api.readiness, api.user_request]
FIRST = [docker.reachable, postgres.reachable, redis.reachable]
NEEDS = ["containers", "api", "postgres", "application database", "redis"]
CRITICAL, OK, UNKNOWN, WARNING = Status.CRITICAL, Status.OK, Status.UNKNOWN, Status.WARNING


@dataclass
class There:
    """A sandbox of containers, and what of it a test touches."""

    engine: Engine
    place: Place

    @property
    def api(self) -> Any:
        return self.engine.client.containers.get("contained-shrimp-api")

    def other(self, command: str, image: str = "runbook-sandbox/api", **more: Any) -> Any:
        """Put another container in the API's place."""
        return self.engine.client.containers.run(
            image, ["sh", "-c", command], name="contained-shrimp-api", detach=True, network_mode="none", **more
        )


@pytest.fixture(scope="module")
def stack_of_containers(docker_host: Engine) -> Iterator[There]:
    place = stack.up("contained", docker=True, watched=False)
    try:
        yield There(docker_host, place)
    finally:
        stack.down(place)


@pytest.fixture
def there(stack_of_containers: There, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[There]:
    """The sandbox `contained`, well again after the test, and plans of this test alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    client = stack_of_containers.engine.client
    yield stack_of_containers
    for container in client.containers.list(all=True):
        if container.labels.get("runbook.sandbox") is None:
            container.remove(force=True)
    for container in client.containers.list(all=True):
        if container.name.startswith("kept-"):
            container.rename(container.name.removeprefix("kept-"))
    faults.heal(stack_of_containers.place)


def kept_aside(there: There) -> None:
    """Stop the API's container and give its name free."""
    there.api.stop(timeout=1)
    there.api.rename("kept-contained-shrimp-api")


@dataclass
class Planned:
    run: Any
    shown: Any

    @property
    def plan(self) -> Any:
        return self.shown.plans[0].plan

    @property
    def token(self) -> str:
        return token_of(self.plan)

    def text(self) -> str:
        return str(self.shown._repr_mimebundle_()["text/plain"])


@pytest.fixture
def propose() -> Iterator[Callable[..., Planned]]:
    """Open a run, ask what the notebook asks, and propose a change of the API's container."""
    opened = []

    def proposed(
        change: Any = docker.restart, target: str = "contained", asks: Any = (*WELL, *FIRST), **more: Any
    ) -> Planned:
        run = open_run("api-down", target=target, needs=NEEDS)
        opened.append(run)
        for question in asks:
            run.ask(question)
        arguments = {"part": "api", "verify": WELL, "first": FIRST, **more}
        return Planned(run, run.propose(change, **arguments))

    yield proposed
    for run in opened:
        run.close()


def events_of(plan: Any) -> list[str]:
    return [entry.event for entry in journal(plan)]


def finding(shown: Any) -> Any:
    return shown.findings[0]


# --- planned, confirmed, verified


def test_a_killed_container_is_started_by_its_plan_and_the_service_is_back(there: There, propose: Any) -> None:
    there.api.kill()
    planned = propose()
    assert planned.plan.steps[0].shown == f"docker start {there.api.id[:12]}"
    assert planned.plan.inverse[0].shown.startswith("docker stop") and events_of(planned.plan) == []
    assert there.api.status == "exited", "a plan changes nothing"
    done = planned.run.apply(planned.shown, planned.token)
    record = done.plans[0]
    assert (record.state, record.helped.answer) == (PlanState.VERIFIED, "helped"), record
    assert events_of(planned.plan) == ["confirmed", "intent", "outcome", "ended"]
    assert there.api.status == "running" and finding(done).status is OK
    assert {f.check for f in record.after} == {question.name for question in WELL}
    assert not [f for f in planned.run.findings if f.bad], "the last look counts"


def test_without_a_token_nothing_is_changed(there: There, propose: Any) -> None:
    there.api.kill()
    planned = propose()
    shown = planned.run.apply(planned.shown, "")
    assert "nothing was changed: no token was given" in shown._repr_mimebundle_()["text/plain"]
    assert there.api.status == "exited" and events_of(planned.plan) == []


def test_a_token_is_used_once(there: There, propose: Any) -> None:
    there.api.kill()
    planned = propose()
    planned.run.apply(planned.shown, planned.token)
    started = there.api.attrs["State"]["StartedAt"]
    again = planned.run.apply(planned.shown, planned.token)
    assert finding(again).status is CRITICAL and "this token was used" in finding(again).message
    assert there.api.attrs["State"]["StartedAt"] == started


def test_a_running_container_is_restarted_only_when_asked_for_and_that_is_irreversible(
    there: There, propose: Any
) -> None:
    assert "nothing that it would mend is wrong" in propose().text()
    planned = propose(even_if_well=True)
    assert planned.plan.steps[0].shown == f"docker restart --time 10 {there.api.id[:12]}"
    assert "IRREVERSIBLE" in planned.text() and "its queue" in planned.text()
    before = there.api.attrs["State"]["StartedAt"]
    done = planned.run.apply(planned.shown, planned.token)
    assert done.plans[0].state is PlanState.VERIFIED and done.plans[0].helped.answer == "made no difference"
    assert there.api.attrs["State"]["StartedAt"] > before


def test_a_paused_container_is_let_go_on_and_keeps_its_process(there: There, propose: Any) -> None:
    pid = there.api.attrs["State"]["Pid"]
    there.api.pause()
    planned = propose(asks=[docker.containers, api.liveness])  # each that hangs costs its deadline
    assert planned.plan.steps[0].shown == f"docker unpause {there.api.id[:12]}"
    done = planned.run.apply(planned.shown, planned.token)
    assert done.plans[0].state is PlanState.VERIFIED and there.api.attrs["State"]["Pid"] == pid


# --- not planned


def test_with_the_database_down_a_restart_is_not_planned(there: There, propose: Any) -> None:
    faults.break_sandbox(there.place, "postgres-down")
    planned = propose()
    assert not planned.shown.plans and "first postgres.reachable" in planned.text()
    (ended,) = [f for f in planned.run.findings.of("docker.containers") if f.bad]
    assert ended.status is CRITICAL and "does not run: it ended with exit code 0" in ended.message


def test_an_absent_container_is_not_restarted(there: There, propose: Any) -> None:
    kept_aside(there)
    assert "there is no container contained-shrimp-api to restart" in propose().text()


def test_a_read_only_target_takes_no_plan_and_no_token(
    there: There, propose: Any, profile: Callable[..., str], run_json: Any, runbook: Any
) -> None:
    there.api.kill()
    planned = propose()
    text = Path(os.environ["RUNBOOK_TARGETS"].split(os.pathsep)[1], "contained.toml").read_text()
    profile("read_only = true\n" + text, "contained")
    refused = propose()
    assert not refused.shown.plans and "the profile of contained says read_only" in refused.text()
    assert finding(refused.run.apply(refused.shown, planned.token)).status is CRITICAL
    ended = runbook("run", "api-down", "--target", "contained", "--confirm", planned.token)
    assert ended.returncode == 64 and "read_only: it takes no change" in ended.stderr
    assert there.api.status == "exited"


# --- refused


def test_a_container_that_was_made_anew_in_between_makes_the_plan_stale(there: There, propose: Any) -> None:
    there.api.kill()
    planned = propose()
    kept_aside(there)
    made = there.other("sleep 300")
    shown = planned.run.apply(planned.shown, planned.token)
    told = finding(shown)
    assert told.status is CRITICAL and "the plan is stale" in told.message
    assert f"id was {planned.plan.observed['id']} and is {made.id}" in told.message
    assert "state was exited and is running" in told.message
    assert events_of(planned.plan) == ["refused"]


def test_a_token_of_another_plan_target_notebook_or_user_confirms_nothing(
    there: There, propose: Any, monkeypatch: pytest.MonkeyPatch, runbook: Any, profile: Callable[..., str]
) -> None:
    planned, other = propose(even_if_well=True), propose(even_if_well=True)
    crossed = other.run.apply(planned.shown, other.token)
    assert f"this token is of plan {other.plan.id}, not of {planned.plan.id}" in finding(crossed).message
    unknown = other.run.apply(planned.shown, "tok_" + "a" * 20)
    assert "of no plan of yours on this machine" in finding(unknown).message

    def refused(*arguments: str) -> str:
        ended = runbook("run", *arguments)
        assert ended.returncode == 64, ended
        return str(ended.stderr)

    profile("", "elsewhere")
    said = refused("api-down", "--target", "elsewhere", "--confirm", planned.token)
    assert f"this token is of plan {planned.plan.id}, of api-down on contained" in said
    assert "plans no change" in refused("log-review", "--target", "contained", "--confirm", planned.token)
    assert "one target" in refused("api-down", "--target", "a", "--target", "b", "--confirm", planned.token)
    assert "--confirm TOKEN" in refused("api-down", "--target", "contained", "-p", f"confirm={planned.token}")
    assert "no plan of yours" in refused("api-down", "--target", "contained", "--confirm", "nonsense")
    monkeypatch.setattr("runbook.plans.admission.whoami", lambda: "somebody")
    assert "is root's, and you are somebody" in finding(planned.run.apply(planned.shown, planned.token)).message
    assert not events_of(planned.plan) and not events_of(other.plan)


def test_a_plan_expires(there: There, propose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "MINUTES", -1.0)
    planned = propose(even_if_well=True)
    told = finding(planned.run.apply(planned.shown, planned.token)).message
    assert f"plan {planned.plan.id} expired at " in told and not events_of(planned.plan)


def test_a_plan_that_was_changed_on_the_disk_has_no_token(there: There, propose: Any) -> None:
    planned = propose(even_if_well=True)
    token, path = planned.token, plans_place.plans_folder() / planned.plan.id / "plan.json"
    other = msgspec.structs.replace(planned.plan, steps=[])
    path.write_bytes(plans_place.encoded(other))
    assert plan_of(token) is None
    assert "of no plan of yours" in finding(planned.run.apply(planned.shown, token)).message


# --- one at a time, and what a death leaves behind

_HOLDER = """
import sys, time
from runbook.plans.lock import lock
with lock("contained", "pln_other"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_while_another_change_of_the_target_is_under_way_nothing_is_changed(there: There, propose: Any) -> None:
    there.api.kill()
    planned = propose()
    with subprocess.Popen([sys.executable, "-c", _HOLDER], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        told = finding(planned.run.apply(planned.shown, planned.token)).message
        assert "another change of contained is under way: root on " in told and "with plan pln_other" in told
        assert f"process {other.pid}" in told and there.api.status == "exited"
        other.kill()
    left, live = holder("contained")
    assert left is not None and left.pid == other.pid and not live, "a lock left by the dead is told from a live one"
    done = planned.run.apply(planned.shown, planned.token)
    assert done.plans[0].state is PlanState.VERIFIED
    assert any("the lock was left by one who died" in told for told in done.plans[0].told)


def test_who_looks_whether_a_lock_is_held_keeps_nobody_from_taking_it() -> None:
    with lock("looked-at", "pln_one"):
        pass
    with (_path("looked-at")).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        letting_go = threading.Timer(0.05, fcntl.flock, (file, fcntl.LOCK_UN))
        letting_go.start()
        with lock("looked-at", "pln_two") as left:
            assert left is None
        letting_go.join()


def _refused_as_another_user() -> int:
    """Return 0 where the lock of another user is refused with the holder's name."""
    if os.geteuid() == 0:
        os.setuid(65534)
    try:
        with lock("shared", "pln_two"):
            return 1
    except Held as held:
        return 0 if f"(process {os.getppid()})" in str(held) else 2


def test_the_lock_is_one_for_all_users() -> None:
    with lock("shared", "pln_one"):
        child = os.fork()
        if child == 0:
            os._exit(_refused_as_another_user())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert holder("shared") == (None, False)


_DIES = """
import os, signal, sys
from dataclasses import replace
from runbook import api, docker
from runbook.model import Act
from runbook.plans.token import token_of
from runbook.redaction import Redactor, redact_notebook
from runbook.session import open_run
real = docker.restart.acts["start"]
def dies(asking, arguments):
    if sys.argv[1] == "after":
        real.do(asking, arguments)
    os.kill(os.getpid(), signal.SIGKILL)
change = replace(docker.restart, acts={**docker.restart.acts, "start": Act(dies, real.happened)})
run = open_run("api-down", target="contained", needs=["containers", "api"])
for question in (docker.containers, api.liveness): run.ask(question)
shown = run.propose(change, part="api", verify=[docker.containers, api.liveness])
run.apply(shown, token_of(shown.plans[0].plan))
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_after_a_death_between_intent_and_outcome_the_next_run_says_so_and_its_token_goes_on(
    when: str, there: There, propose: Any
) -> None:
    there.api.kill()
    died = subprocess.run([sys.executable, "-c", _DIES, when], capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    (plan,) = all_plans()
    assert events_of(plan) == ["confirmed", "intent"]
    planned = propose(even_if_well=True)
    (told,) = planned.run.findings.of("plans.half_done")
    assert told.status is UNKNOWN and told.object == plan.id
    assert f"step 1 (docker start {there.api.id[:12]}): whether it happened is not known" in told.message
    record = planned.run.apply(planned.run.propose(docker.restart, part="api", verify=WELL, confirm=token_of(plan)),
                               token_of(plan)).plans[0]  # fmt: skip
    assert record.state is PlanState.VERIFIED, record
    assert record.helped.answer == "helped", "compared with how it was before the first step, whoever did that"
    assert any(("it did happen" if when == "after" else "it did not happen") in line for line in record.told)
    assert events_of(plan).count("intent") == (1 if when == "after" else 2)
    assert not planned.run.findings.of("plans.half_done"), "it has come to its end"


def test_a_plan_that_was_cut_short_is_closed_by_hand(there: There, propose: Any, runbook: Any) -> None:
    there.api.kill()
    subprocess.run([sys.executable, "-c", _DIES, "before"], capture_output=True)
    (plan,) = all_plans()
    shown = runbook("plans", "show", plan.id).stdout
    assert "intent of step 1: docker start" in shown and "its token is shown on a terminal only" in shown
    assert runbook("plans", "close", plan.id, "it did not start; started by hand").returncode == 0
    assert not propose().run.findings.of("plans.half_done")
    assert runbook("plans", "close", plan.id, "again").returncode == 64
    assert runbook("plans", "show", "pln_../../x").returncode == 64


def test_an_engine_that_vanishes_in_the_middle_leaves_the_plan_unknown(
    profile: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with engine() as running:
        monkeypatch.setenv("DOCKER_HOST", running.host)
        running.image("shrimp/api")
        # It does not end when it is told to, so that the engine is busy with it for a while.
        running.run("shrimp-api", "shrimp/api", "sh", "-c", "trap '' TERM; while :; do sleep 0.2; done")
        run = open_run(
            "api-down", target=profile('[containers]\napi = "shrimp-api"\n', "vanishing"), needs=["containers"]
        )
        run.ask(docker.containers)
        shown = run.propose(docker.restart, part="api", verify=[docker.containers], even_if_well=True)
        pid = int(Path(running.host.removeprefix("unix://")).with_name("docker.pid").read_text())
        vanishing = subprocess.Popen(["sh", "-c", f"sleep 1; kill -KILL {pid}"])
        done = run.apply(shown, token_of(shown.plans[0].plan))
        vanishing.wait()
        plan = shown.plans[0].plan
        assert done.plans[0].state is PlanState.UNKNOWN and finding(done).status is UNKNOWN
        assert "whether it happened is not known: the Docker engine broke off" in finding(done).message
        assert events_of(plan) == ["confirmed", "intent", "outcome"] and journal(plan)[-1].result == "unknown"
        assert run.findings.of("plans.half_done"), "it is told until it is looked into"
        run.close()


# --- it did not help


def test_a_change_that_does_not_help_is_failed_and_its_inverse_is_offered_and_rolls_it_back(
    there: There, propose: Any
) -> None:
    there.api.kill()
    faults.break_sandbox(there.place, "breaker-open")  # so that it is not ready, however often it is started
    impatient = replace(docker.restart, patience=1.5)
    planned = propose(impatient)
    done = planned.run.apply(planned.shown, planned.token)
    record, inverse = done.plans
    assert (record.state, record.helped.answer) == (PlanState.FAILED, "did not help")
    assert any("api.readiness" in line for line in record.helped.left) and finding(done).status is CRITICAL
    assert inverse.plan.undoes == planned.plan.id and inverse.state is PlanState.PLANNED
    assert inverse.steps == [f"docker stop --time 10 {there.api.id[:12]}"] and there.api.status == "running"
    again = planned.run.propose(impatient, part="api", verify=WELL, confirm=token_of(inverse.plan))
    undone = planned.run.apply(again, token_of(inverse.plan)).plans[0]
    assert undone.state is PlanState.VERIFIED and there.api.status == "exited"
    assert journal(planned.plan)[-1].event == "rolled-back"
    assert planned.run.propose(docker.restart, part="api", verify=WELL).plans[0].state is PlanState.PLANNED


def test_a_rollback_that_fails_is_told_as_failed_too(there: There, propose: Any) -> None:
    def refuses(asking: Any, arguments: Any) -> str:
        raise ChangeFailed("the engine refused: no space left on device")

    there.api.kill()
    faults.break_sandbox(there.place, "breaker-open")
    acts = {**docker.restart.acts, "stop": Act(refuses)}
    change = replace(docker.restart, patience=1.0, acts=acts)
    planned = propose(change)
    inverse = planned.run.apply(planned.shown, planned.token).plans[1].plan
    loaded = planned.run.propose(change, part="api", verify=WELL, confirm=token_of(inverse))
    done = planned.run.apply(loaded, token_of(inverse))
    assert done.plans[0].state is PlanState.FAILED and "no space left on device" in finding(done).message
    assert journal(planned.plan)[-1].state == "failed", "the first one is not rolled back"


def test_what_the_engine_refuses_has_not_happened_and_is_failed(there: There, propose: Any) -> None:
    there.api.kill()
    planned = propose()
    start = docker.restart.acts["start"]

    def too_late(asking: Any, arguments: Any) -> str:
        there.api.remove(force=True)
        return start.do(asking, arguments)

    kept = there.api
    acts = {**docker.restart.acts, "start": Act(too_late)}
    change = replace(docker.restart, acts=acts)
    shown = planned.run.apply(replace(planned.shown, change=change), planned.token)
    assert shown.plans[0].state is PlanState.FAILED
    assert f"the Docker engine refused: No such container: {kept.id}" in finding(shown).message


# --- back to the previous image


def test_the_previous_image_comes_back_with_the_containers_own_settings_and_the_newer_one_is_kept(
    there: There, propose: Any
) -> None:
    client, good = there.engine.client, there.api
    from runbook_sandbox.containers import image_of_busybox

    time.sleep(1)  # images are ordered by their whole seconds
    client.api.import_image_from_data(
        image_of_busybox(), repository="runbook-sandbox/api", tag="latest",
        changes=['ENTRYPOINT ["/bin/sh", "-c", "exit 127"]', "ENV RELEASE=2"],
    )  # fmt: skip
    client.api.tag(good.attrs["Image"], "runbook-sandbox/api", "1")
    kept_aside(there)
    host = {**good.attrs["HostConfig"], "RestartPolicy": {"Name": "no"}}
    settings = {**good.attrs["Config"], "Image": "runbook-sandbox/api:latest", "HostConfig": host}
    settings.pop("Entrypoint")
    bad = client.api.create_container_from_config(settings, "contained-shrimp-api")["Id"]
    client.api.start(bad)
    wait_for(lambda: there.api.status == "exited")
    try:
        planned = propose(docker.previous_image)
        assert "back to image runbook-sandbox/api:1" in planned.plan.summary
        assert "(UNPREVIEWABLE)" in planned.text() and "a database that the newer image has migrated" in planned.text()
        done = planned.run.apply(planned.shown, planned.token)
        assert done.plans[0].state is PlanState.VERIFIED, done.plans[0]
        assert there.api.attrs["Image"] == good.attrs["Image"] and "RELEASE=2" not in there.api.attrs["Config"]["Env"]
        assert there.api.attrs["Config"]["Cmd"] == good.attrs["Config"]["Cmd"]
        assert client.containers.get(f"contained-shrimp-api-replaced-{bad[:12]}").status == "exited"
    finally:
        for container in client.containers.list(all=True):
            if container.name.startswith("contained-shrimp-api"):
                container.remove(force=True)
        client.images.remove("runbook-sandbox/api:latest", force=True)
        client.api.tag(good.attrs["Image"], "runbook-sandbox/api", "latest")


# --- its alerts are silenced while it runs


def with_alertmanager(profile: Callable[..., str], url: str) -> None:
    text = Path(os.environ["RUNBOOK_TARGETS"].split(os.pathsep)[1], "contained.toml").read_text()
    text = re.sub(r'\[alertmanager\]\nurl = ".*"\n', "", text)  # the sandbox's own
    profile(text + f'\n[alertmanager]\nurl = "{url}"\nmatchers = {{ service = "shrimp-api" }}\n', "contained")


def test_the_alerts_that_a_change_causes_are_silenced_first_and_for_a_time(
    there: There, propose: Any, profile: Callable[..., str], alertmanager: str
) -> None:
    with_alertmanager(profile, alertmanager)
    there.api.kill()
    planned = propose()
    assert planned.plan.steps[0].shown == (
        f"amtool silence add --alertmanager.url={alertmanager} --duration=10m service=shrimp-api"
    )
    assert httpx.get(f"{alertmanager}/api/v2/silences", trust_env=False).json() == []
    done = planned.run.apply(planned.shown, planned.token)
    assert done.plans[0].state is PlanState.VERIFIED
    (made,) = httpx.get(f"{alertmanager}/api/v2/silences", trust_env=False).json()
    assert made["status"]["state"] == "active" and made["comment"] == planned.plan.summary
    assert [(m["name"], m["value"]) for m in made["matchers"]] == [("service", "shrimp-api")]
    life = datetime.fromisoformat(made["endsAt"]) - datetime.fromisoformat(made["startsAt"])
    assert timedelta(minutes=9) < life <= timedelta(minutes=10)


def test_an_alertmanager_that_does_not_answer_does_not_keep_the_service_down(
    there: There, propose: Any, profile: Callable[..., str]
) -> None:
    with_alertmanager(profile, "http://127.0.0.1:9")
    there.api.kill()
    planned = propose()
    done = planned.run.apply(planned.shown, planned.token).plans[0]
    assert done.state is PlanState.VERIFIED and any("NOT SILENCED, alerts will fire" in line for line in done.told)


# --- why the API is down, as the notebook tells it


def _loops(there: There) -> None:
    looping = there.other("exit 3", restart_policy={"Name": "always"})
    wait_for(lambda: looping.reload() or looping.attrs["RestartCount"] >= 3)


def _used_up_its_memory(there: There) -> None:
    hungry = there.other("x=aaaaaaaa; while :; do x=$x$x; done", mem_limit="64m")
    wait_for(lambda: hungry.reload() or hungry.status == "exited", 60)


def _cannot_run(there: There) -> None:
    broken = there.other("nosuchprogram")
    wait_for(lambda: broken.reload() or broken.status == "exited")


def _is_unwell(there: There) -> None:
    fails = docker_sdk.types.Healthcheck(test=["CMD", "sh", "-c", "echo stuck; exit 1"], interval=10**9, retries=1)
    unwell = there.other("sleep 300", healthcheck=fails)
    wait_for(lambda: unwell.reload() or unwell.attrs["State"]["Health"]["Status"] == "unhealthy")


@pytest.mark.parametrize(
    ("breaks", "says", "planned", "why"),
    [
        (_loops, "in a crash loop: ", 0, "is restarted again and again already"),
        (_used_up_its_memory, "was killed for want of memory (its limit of 64.0 MiB was reached", 1, ""),
        (
            _cannot_run,
            "its command is not there: a broken image, or the wrong one",
            0,
            "cannot run from its image (exit code 127)",
        ),
        (_is_unwell, "its own health check fails: stuck; it was deployed 0 min ago from runbook-sandbox/api", 1, ""),
    ],
)
def test_the_notebook_names_why_the_api_is_down_and_plans_only_what_helps(
    breaks: Callable[[There], None], says: str, planned: int, why: str, there: There, run_json: Any, archive: Path
) -> None:
    kept_aside(there)
    breaks(there)
    status, document = run_json("api-down", "--target", "contained")
    run = only(document)
    told = [f for f in run.findings if f.check == "docker.containers" and f.status == "CRITICAL"]
    assert status == 2 and len(told) == 1 and says in told[0].message, run.findings
    assert len(run.plans) == planned
    assert why in run.not_planned.get("docker.restart", "") and bool(why) != bool(planned)


def _hangs(there: There) -> None:
    faults.break_sandbox(there.place, "api-hangs")


def _no_room(there: There) -> None:
    faults.break_sandbox(there.place, "disk-full")
    there.api.kill()


def _port_closed(there: There) -> None:
    kept_aside(there)
    there.other("sleep 300")


@pytest.mark.parametrize(
    ("breaks", "check", "says", "why"),
    [
        (_hangs, "api.liveness", "accepted and kept silent", ""),
        (_no_room, "host.disk", "of 512.0 MiB used", "first host.disk: "),
        (_port_closed, "api.liveness", "nothing listens there", ""),
    ],
)
def test_what_the_engine_does_not_see_is_named_by_asking_the_service_and_the_machine(
    breaks: Callable[[There], None], check: str, says: str, why: str, there: There, run_json: Any, archive: Path
) -> None:
    breaks(there)
    status, document = run_json("api-down", "--target", "contained")
    run = only(document)
    told = [f.message for f in run.findings if f.check == check and f.status == "CRITICAL"]
    assert status == 2 and told and says in told[0], run.findings
    assert why in run.not_planned.get("docker.restart", "") and len(run.plans) == (not why)


# --- the whole of it, as an operator does it


def test_the_notebook_prints_a_plan_its_token_restarts_and_the_evidence_tells_all_but_the_token(
    there: There, run_json: Any, runbook: Any, archive: Path
) -> None:
    there.api.kill()
    status, document = run_json("api-down", "--target", "contained")
    (plan,) = only(document).plans
    assert status == 2 and plan.state is PlanState.PLANNED and plan.steps == [f"docker start {there.api.id[:12]}"]
    assert plan.token.startswith("tok_") and there.api.status == "exited"
    shown = runbook("plans", "show", plan.id).stdout
    assert "PLAN pln_" in shown and "tok_" not in shown, "what is no terminal is shown no token"
    status, document = run_json("api-down", "--target", "contained", "--confirm", plan.token)
    run = only(document)
    (done,) = run.plans
    assert status in (0, 1) and done.state is PlanState.VERIFIED and done.helped is not None, run
    assert done.helped.answer == "helped" and done.token == "" and there.api.status == "running"
    assert [entry.event for entry in done.journal] == ["confirmed", "intent", "outcome", "ended"]
    assert {f.status for f in done.after} == {"OK"} and CRITICAL in {f.status for f in done.before}
    ended = runbook("run", "api-down", "--target", "contained", "--confirm", plan.token)
    assert ended.returncode == 64 and "this token was used" in ended.stderr
    told = text_of(archive)
    assert plan.token not in told and "[redacted: a confirmation token]" in told
    assert '"event": "intent"' in told and "did it help? It helped" in told
    assert runbook("evidence", "verify").returncode == 0
    assert f"plan {plan.id}: start contained-shrimp-api, which is exited: verified; it helped" in (
        runbook("evidence", "show", run.run_id).stdout
    )
    assert "tok_" not in "".join(p.read_text() for p in plans_place.plans_folder().rglob("*") if p.is_file())


def test_database_issues_starts_the_database_again_by_its_plan(there: There, run_json: Any, archive: Path) -> None:
    server = there.engine.client.containers.get("contained-shrimp-postgres")
    server.kill()
    status, document = run_json("database-issues", "--target", "contained")
    run = only(document)
    (plan,) = run.plans
    assert status == 2 and plan.steps == [f"docker start {server.id[:12]}"]
    critical = [f.check for f in Findings(run.findings).worst_first() if f.status == "CRITICAL" and not f.explained_by]
    assert critical[0] == "postgres.reachable"
    _, document = run_json("database-issues", "--target", "contained", "--confirm", plan.token)
    (done,) = only(document).plans
    assert done.state is PlanState.VERIFIED and done.helped is not None and done.helped.answer == "helped", done
    server.reload()
    assert server.status == "running"


def test_in_jupyterlab_the_token_is_on_the_screen_and_scrubbed_when_the_notebook_is_saved(
    there: There, propose: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "tok_" not in propose(even_if_well=True).text(), "plain papermill keeps what a kernel shows"
    monkeypatch.setenv("JPY_SESSION_NAME", "api-down.ipynb")
    planned = propose(even_if_well=True)
    assert f'confirm = "{planned.token}"' in planned.text()
    cell = nbformat.v4.new_code_cell(f'confirm = "{planned.token}"')
    cell.outputs = [nbformat.v4.new_output("execute_result", planned.shown._repr_mimebundle_())]
    saved = redact_notebook(nbformat.v4.new_notebook(cells=[cell]), Redactor(()))
    assert planned.token not in str(saved) and planned.plan.id in str(saved)


def test_a_plan_whose_steps_hold_a_secret_is_not_stored(there: There, propose: Any) -> None:
    def telling(facts: Any, part: str) -> Any:
        told = docker.restart.draft(facts, part)
        return replace(told, summary="start it with password=hunter2-and-more")

    planned = propose(replace(docker.restart, draft=telling), even_if_well=True)
    assert not planned.shown.plans and not list(all_plans()) and finding(planned.shown).status is WARNING
    assert "hunter2" not in planned.text() and "the form of a secret" in planned.text()
    assert finding(planned.shown).next == "", "to run it again would only say so again"


def test_when_the_engine_is_gone_after_a_failure_the_inverse_is_told_as_not_to_be_planned(
    there: There, propose: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loses_it(asking: Any, arguments: Any) -> str:
        monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
        raise ChangeFailed("the engine refused")

    change = replace(docker.restart, acts={**docker.restart.acts, "start": Act(loses_it)})
    planned = propose(change, even_if_well=True)
    done = planned.run.apply(planned.shown, planned.token)
    monkeypatch.undo()
    assert len(done.plans) == 1 and done.plans[0].state is PlanState.FAILED
    assert "what undoes it cannot be planned now" in finding(done).next


@pytest.mark.parametrize(
    ("raised", "state", "status", "says"),
    [
        (CouldNotFindOut("the engine is gone"), PlanState.APPLIED, UNKNOWN, "could not be looked at: the engine is"),
        (DoesNotApply("there is none any more"), PlanState.FAILED, CRITICAL, "not as expected: there is none any more"),
    ],
    ids=["not seen", "gone"],
)
def test_what_cannot_be_looked_at_afterwards_is_not_known_to_have_failed(
    raised: Exception, state: PlanState, status: Status, says: str, there: There, propose: Any
) -> None:
    started: list[str] = []

    def starts(asking: Any, arguments: Any) -> str:
        started.append(docker.restart.acts["start"].do(asking, arguments))
        return started[0]

    def looks(asking: Any, **arguments: Any) -> dict[str, Any]:
        if started:
            raise raised
        return docker.restart.observe(asking, **arguments)

    there.api.kill()
    acts = {**docker.restart.acts, "start": Act(starts)}
    change = replace(docker.restart, acts=acts, observe=looks, patience=0.1)
    planned = propose(change, verify=[docker.reachable], even_if_well=True)
    done = planned.run.apply(planned.shown, planned.token)
    assert done.plans[0].state is state and finding(done).status is status
    assert any(says in told for told in done.plans[0].told), done.plans[0].told


def test_what_does_not_apply_any_more_is_stale(there: There, propose: Any) -> None:
    def gone(asking: Any, **arguments: Any) -> dict[str, Any]:
        raise DoesNotApply("there is none any more")

    there.api.kill()
    planned = propose()
    shown = planned.run.apply(replace(planned.shown, change=replace(docker.restart, observe=gone)), planned.token)
    assert "the plan is stale: there is none any more; nothing was changed" in finding(shown).message
    assert events_of(planned.plan) == ["refused"]


def test_of_a_plan_whose_first_step_was_refused_there_is_nothing_to_undo(there: There, propose: Any) -> None:
    def refuses(asking: Any, arguments: Any) -> str:
        raise ChangeFailed("refused")

    there.api.kill()
    planned = propose(replace(docker.restart, acts={**docker.restart.acts, "start": Act(refuses)}))
    assert planned.plan.inverse
    done = planned.run.apply(planned.shown, planned.token)
    assert [record.state for record in done.plans] == [PlanState.FAILED]
    assert "undoes it" not in finding(done).next


def test_what_was_told_in_lines_is_shown_in_lines(there: There, propose: Any) -> None:
    def tells(asking: Any, arguments: Any) -> str:
        return "Sort\n  -> Seq Scan\x1b[2J"

    there.api.kill()
    planned = propose(replace(docker.restart, acts={**docker.restart.acts, "start": Act(tells)}, patience=0.1))
    done = planned.run.apply(planned.shown, planned.token)._repr_mimebundle_()
    assert "\n      -> Seq Scan" in done["text/plain"] and "\x1b" not in done["text/plain"]
    assert "    -&gt; Seq Scan" in done["text/html"] and "pre-wrap" in done["text/html"]


def test_a_plan_is_frozen_for_half_an_hour(there: There, propose: Any) -> None:
    plan = propose(even_if_well=True).plan
    life = datetime.fromisoformat(plan.expires) - datetime.fromisoformat(plan.made)
    assert life == timedelta(minutes=30) and datetime.fromisoformat(plan.made) <= datetime.now(UTC)

"""A Kubernetes cluster, asked and scaled by a plan; a stand-in for the API server answers, with its real shapes."""

import base64
import copy
import dataclasses
import json
import os
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from carrying import carried_out
from monitoring import free_port, prometheus, require
from ruamel.yaml import YAML
from running import only, text_of, wait_for
from tls_server import silent_server

from runbook import kubernetes
from runbook.connections import KubernetesConnection
from runbook.kubernetes.quantities import number
from runbook.model import ChangeFailed, Finding, Status, Unreachable, UsageError
from runbook.model.plan import PlanState
from runbook.plans.token import token_of
from runbook.session import open_run
from runbook.target import load_target
from runbook_sandbox import stack
from runbook_sandbox.api_server import DEPLOYMENT, NAMESPACE, StandIn, kubeconfig, serving
from runbook_sandbox.authority import Authority, Issued
from runbook_sandbox.place import Place

CRITICAL, OK, UNKNOWN, WARNING = Status.CRITICAL, Status.OK, Status.UNKNOWN, Status.WARNING
SKIPPED, SLOW = Status.SKIPPED, pytest.mark.slow
TOKEN = "tests-" + "k" * 24
POD = f"{DEPLOYMENT}-7d9c5b-"


class There:
    """A stand-in that is served, and runs on the target that leads to it."""

    def __init__(self, folder: Path, profile: Callable[..., str], url: str, held: StandIn) -> None:
        self.folder, self.url, self.held = folder, url, held
        self._profile, self._runs = profile, list[Any]()

    def target(self, user: dict[str, Any] | None = None, config: str = "", more: str = "") -> str:
        """Write a kubeconfig and a profile, and return the target's name."""
        file, ca = self.folder / "kubeconfig", self.folder / "ca.pem"
        trusted = ca.read_bytes() if ca.exists() else b""
        file.write_text(config or kubeconfig(self.url, user=user or {"token": TOKEN}, ca=trusted))
        section = f'[kubernetes]\ncontext = "stand-in"\nkubeconfig = "{file}"\nnamespace = "{NAMESPACE}"\n'
        return self._profile(f"{section}{more}\n[deadlines]\nconnect = 2.0\n")

    def run(self, *given: Any, **more: Any) -> Any:
        """Open a run on the target, as its kubeconfig then is."""
        self._runs.append(open_run("tests", target=self.target(*given, **more), needs=["kubernetes"]))
        return self._runs[-1]

    def ask(self, question: Any, **arguments: Any) -> list[Finding]:
        return list(self.run().ask(question, **arguments).findings)

    def only(self, question: Any, **arguments: Any) -> Finding:
        (found,) = self.ask(question, **arguments)
        return found

    def close(self) -> None:
        for run in self._runs:
            run.close()


@contextmanager
def stood(folder: Path, profile: Callable[..., str], tls: ssl.SSLContext | None = None) -> Iterator[There]:
    held = StandIn(TOKEN)
    with serving(held, tls) as url:
        there = There(folder, profile, url, held)
        yield there
        there.close()


@pytest.fixture
def there(tmp_path: Path, profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Iterator[There]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with stood(tmp_path, profile) as made:
        yield made


def text(shown: Any) -> str:
    return str(shown._repr_mimebundle_()["text/plain"])


# --- which cluster, and with which credentials


def test_a_run_proves_the_cluster_and_the_deployment(there: There) -> None:
    shown = text(there.run())
    assert "Kubernetes v1.33.4-stand-in" in shown and f"where {there.url} (stand-in)" in shown
    assert f"{DEPLOYMENT} {there.held.deployment()['metadata']['uid']}" in shown
    assert TOKEN not in shown


@pytest.mark.parametrize("question", kubernetes.questions, ids=lambda question: question.name)
def test_a_target_without_a_cluster_is_skipped_and_not_unknown(question: Any, profile: Callable[..., str]) -> None:
    run = open_run("tests", target=profile(""), needs=["kubernetes"])
    (found,) = run.ask(question).findings
    run.close()
    assert found.status is SKIPPED and "names no [kubernetes] cluster" in found.message


def test_a_profile_names_one_context_or_the_cluster_it_runs_in(profile: Callable[..., str]) -> None:
    for section, says in (
        ("", "name the context of a kubeconfig"),
        ('context = "a"\nin_cluster = true\n', "one of them"),
        ('in_cluster = true\nkubeconfig = "/k"\n', "no kubeconfig is read"),
        ('context = "a"\nkubeconfig = "k"\n', "absolute path"),
        ('context = "a"\ndeployment = "A b"\n', "deployment"),
    ):
        with pytest.raises(UsageError, match=says):
            load_target(profile(f'[kubernetes]\nnamespace = "x"\n{section}'))
    target = load_target(profile('[kubernetes]\nnamespace = "x"\nin_cluster = true\n'))
    assert target.kubernetes is not None and target.kubernetes.where == ("--namespace", "x")


def reached(there: There, *given: Any, **more: Any) -> Finding:
    (found,) = there.run(*given, **more).ask(kubernetes.reachable).findings
    return found


def jwt(ends: datetime) -> str:
    parts = [{"alg": "RS256"}, {"sub": "runbook", "exp": int(ends.timestamp())}]
    return ".".join([*(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts), "x"])


def test_credentials_that_are_refused_say_nothing_about_the_cluster_and_when_they_ended(there: There) -> None:
    found = reached(there, user={"token": "another"})
    assert found.status is UNKNOWN and "does not take the credentials (401): Unauthorized" in found.message
    expired = jwt(datetime(2026, 3, 1, 12, 30, tzinfo=UTC))
    found = reached(there, user={"token": expired})
    assert found.status is UNKNOWN and "they ended at 2026-03-01 12:30 UTC" in found.message
    assert expired not in found.message and "log in" in found.next


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ('{"contexts": [], "clusters": [], "users": []}', "has no context stand-in: kubectl config get-contexts"),
        ("}", "gives no credentials for stand-in"),
        ("", "there is no kubeconfig at"),
        ('{"contexts": 7}', "gives no credentials for stand-in"),
    ],
    ids=["no such context", "no YAML", "no file", "another shape"],
)
def test_a_kubeconfig_that_is_of_no_use_is_told_and_nobody_calls_the_cluster_down(
    config: str, says: str, there: There
) -> None:
    run = there.run(config=config or "x")
    if not config:
        (there.folder / "kubeconfig").unlink()
        run = open_run("tests", target="other", needs=["kubernetes"])
    (found,) = run.ask(kubernetes.reachable).findings
    run.close()
    assert found.status is UNKNOWN and says in found.message, found


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("no-such-program-here", "no credentials for stand-in: [Errno 2] No such file"),
        ("echo 'the session has expired' >&2; exit 3", "the session has expired"),
        ("sleep 60", "no credentials for stand-in within 2 s"),
    ],
    ids=["not installed", "ends with an error", "hangs"],
)
def test_a_program_that_gives_no_credentials_is_told_in_its_own_words(program: str, says: str, there: There) -> None:
    argv = {"command": "sh", "args": ["-c", program]} if " " in program else {"command": program}
    exec_ = {"apiVersion": "client.authentication.k8s.io/v1", **argv}
    assert says in reached(there, user={"exec": exec_}).message


def test_a_program_that_gives_a_token_is_asked_for_it(there: There) -> None:
    given = json.dumps({"kind": "ExecCredential", "status": {"token": TOKEN}})
    exec_ = {"apiVersion": "client.authentication.k8s.io/v1", "command": "echo", "args": [given]}
    assert reached(there, user={"exec": exec_}).status is OK


def test_an_api_server_that_is_down_or_hangs_is_critical_and_nothing_else_is_known(there: There) -> None:
    found = reached(there, config=kubeconfig(f"http://127.0.0.1:{free_port()}", user={"token": TOKEN}))
    assert found.status is CRITICAL and "refuses connections" in found.message
    with silent_server() as at:
        run = there.run(config=kubeconfig(f"http://{at}", user={"token": TOKEN}))
        told = [run.ask(question).findings[0] for question in kubernetes.questions]
    assert told[0].status is CRITICAL and "did not answer within" in told[0].message
    assert {one.status for one in told[1:]} == {UNKNOWN}


def test_one_that_falls_silent_later_is_waited_for_once(there: There, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runbook.connections.kubernetes.READ_SECONDS", 1.0)
    run = there.run()
    there.held.seconds = 30
    before = len(there.held.asked)
    found = [run.ask(question).findings[0] for question in (kubernetes.pods, kubernetes.events, kubernetes.top)]
    assert {one.status for one in found} == {UNKNOWN} and len(there.held.asked) == before + 1
    there.held.seconds = 0


def test_what_is_no_api_server_is_not_taken_for_one(there: There) -> None:
    there.held.refuse("GET /version", 404, text="<html>not here</html>")
    shown = text(there.run())
    assert "of a version that it does not tell" in shown


def test_in_a_pod_of_the_cluster_its_service_account_is_taken(
    over_tls: "There", tmp_path: Path, profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    account = tmp_path / "serviceaccount"
    account.mkdir()
    (account / "token").write_text(TOKEN)
    (account / "ca.crt").write_bytes((tmp_path / "ca.pem").read_bytes())
    monkeypatch.setattr("runbook.connections.kubernetes._SERVICE_ACCOUNT", account)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", over_tls.url.rpartition(":")[2])
    name = profile(f'[kubernetes]\nin_cluster = true\nnamespace = "{NAMESPACE}"\n')
    run = open_run("tests", target=name, needs=["kubernetes"])
    (found,) = run.ask(kubernetes.reachable).findings
    assert found.status is OK and "the pod's own cluster" in found.object, found.message
    run.close()
    (account / "token").unlink()
    run = open_run("tests", target=name, needs=["kubernetes"])
    (found,) = run.ask(kubernetes.reachable).findings
    run.close()
    assert found.status is UNKNOWN and "no credentials for the pod's own cluster" in found.message, found.message


def test_a_connection_that_is_closed_ends_its_thread_and_says_so_when_it_is_asked(there: There) -> None:
    connection = KubernetesConnection.open(load_target(there.target()), "tests")
    connection.close()
    connection.close()
    wait_for(lambda: not [one for one in threading.enumerate() if one.name == "kubernetes"])
    with pytest.raises(Unreachable, match="was closed"):
        connection.read("pods")


# --- TLS, by certificates


@contextmanager
def secured(folder: Path, profile: Callable[..., str], authority: Authority) -> Iterator[There]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued = authority.issue(["127.0.0.1"])
    (folder / "pair.pem").write_bytes(issued.key_pem() + issued.pem(whole=True))
    server.load_cert_chain(folder / "pair.pem")
    authority.write(folder / "ca.pem")
    server.load_verify_locations(folder / "ca.pem")
    server.verify_mode = ssl.CERT_OPTIONAL
    with stood(folder, profile, server) as made:
        yield made


def certified(issued: Issued) -> dict[str, str]:
    encoded = [base64.b64encode(one).decode() for one in (issued.pem(whole=True), issued.key_pem())]
    return dict(zip(("client-certificate-data", "client-key-data"), encoded, strict=True))


def test_a_client_certificate_opens_the_cluster_and_its_key_stays_in_no_file(
    tmp_path: Path, profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "tmp"
    own.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    authority = Authority("the tests' cluster")
    with secured(tmp_path, profile, authority) as there:
        mine = authority.issue(["runbook"])
        user, ca = certified(mine), (tmp_path / "ca.pem").read_bytes()
        found = reached(there, config=kubeconfig(there.url, user=user, ca=ca))
        assert found.status is OK, found.message
        assert not list(own.iterdir()), "what the client wrote for it is gone"
        found = reached(there, config=kubeconfig(there.url, user=user))
        assert found.status is CRITICAL and "certificate or TLS is not accepted" in found.message
        ended = authority.issue(["runbook"], days=-2, age=90)
        found = reached(there, config=kubeconfig(there.url, user=certified(ended), ca=ca))
        assert found.status is UNKNOWN and "does not take the client certificate; they ended at" in found.message
        assert not list(own.iterdir())


# --- what the API server refuses


def refusing(there: There, code: int, message: str, **more: Any) -> Finding:
    there.held.refuse("GET /api/v1/namespaces/.*/pods", code, message, **more)
    return there.only(kubernetes.pods)


@pytest.mark.parametrize(
    ("code", "message", "says"),
    [
        (401, "Unauthorized", "does not take the credentials (401): Unauthorized"),
        (403, 'pods is forbidden: User "runbook" cannot list resource "pods"', "forbids it (403): pods is forbidden"),
        (500, "etcdserver: request timed out", "answered 500: etcdserver"),
        (503, "the server is currently unable to handle the request", "answered 503"),
    ],
)
def test_a_refusal_is_unknown_with_the_servers_own_words(code: int, message: str, says: str, there: There) -> None:
    found = refusing(there, code, message)
    assert found.status is UNKNOWN and says in found.message


def test_one_that_has_too_much_to_do_is_asked_once_more_after_the_time_it_says(there: There) -> None:
    found = refusing(there, 429, "", text="Too many requests, please try again later.\n")
    assert found.status is UNKNOWN and "(429): Too many requests" in found.message and "try again" in found.message
    asked = [path for method, path, _, _ in there.held.asked if path.endswith("/pods")]
    assert len(asked) == 2
    there.held.refusals.clear()
    assert there.only(kubernetes.pods).status is OK


def test_without_a_metrics_api_use_is_unknown_and_the_reason_told(there: There) -> None:
    there.held.metrics = False
    found = there.only(kubernetes.top)
    assert found.status is UNKNOWN and "no metrics API (metrics.k8s.io)" in found.message
    assert "metrics-server is not installed" in found.message
    there.held.metrics = True
    there.held.refuse("metrics.k8s.io", 503, "the server is currently unable to handle the request")
    assert "answered 503" in there.only(kubernetes.top).message


def test_a_deployment_that_is_not_there_is_critical_and_its_pods_are_unknown(there: There) -> None:
    del there.held.objects["deployments"][DEPLOYMENT]
    run = there.run()
    assert f"{DEPLOYMENT} does not exist" in text(run)
    (found,) = run.ask(kubernetes.deployment).findings
    assert found.status is CRITICAL and "no such deployment" in found.message
    (found,) = run.ask(kubernetes.pods).findings
    assert found.status is UNKNOWN and f"no deployment {DEPLOYMENT} in {NAMESPACE}" in found.message


# --- what is seen


def test_a_healthy_deployment_is_well_in_every_answer(there: There) -> None:
    there.held.autoscaled()
    run = there.run()
    found = [finding for question in kubernetes.questions for finding in run.ask(question).findings]
    assert {finding.status for finding in found} == {OK}, found
    assert any("2 of 2 pods serve" in finding.message for finding in found)
    assert any("310.0 MiB of 1.0 GiB (30%)" in finding.message for finding in found)
    assert any(f"--context stand-in --namespace {NAMESPACE} get deployment" in finding.source for finding in found)


def deployed(there: There, **status: Any) -> Finding:
    there.held.deployment()["status"].update(status)
    return there.only(kubernetes.deployment)


@pytest.mark.parametrize(
    ("status", "judged", "says"),
    [
        ({"availableReplicas": 0, "readyReplicas": 0}, CRITICAL, "0 of 2 pods serve"),
        ({"availableReplicas": 1}, WARNING, "1 of 2 pods serve"),
        ({"updatedReplicas": 1}, WARNING, "a rollout goes on"),
        ({"observedGeneration": 1}, WARNING, "no controller has looked"),
        (
            {"conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
                             "message": 'ReplicaSet "x" has timed out progressing.'}]},
            CRITICAL, "its rollout stands still",
        ),
        (
            {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: compute"}]},
            CRITICAL, "pods cannot be made: exceeded quota: compute",
        ),
    ],
)  # fmt: skip
def test_a_deployment_is_judged_by_what_its_status_says(
    status: dict[str, Any], judged: Status, says: str, there: There
) -> None:
    found = deployed(there, **status)
    assert found.status is judged and says in found.message


def test_a_deployment_of_no_pods_or_that_is_paused_is_told(there: There) -> None:
    there.held.deployment()["spec"]["paused"] = True
    assert "its rollout is paused" in there.only(kubernetes.deployment).message
    there.held.scaled(0)
    found = there.only(kubernetes.deployment)
    assert found.status is CRITICAL and "scaled to no pod at all" in found.message


NOW = datetime.now(UTC)


def at(minutes: float) -> str:
    return f"{NOW - timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"


def container(**more: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "api", "ready": False, "restartCount": 0, "state": {}, **more}]}


NOT_READY = {"conditions": [{"type": "Ready", "status": "False"}]}
KILLED = {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": at(60)}}
LOOP = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}}
PULL = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x:1"'}}
MISSING = {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "db" not found'}}


@pytest.mark.parametrize(
    ("status", "judged", "says"),
    [
        ({**container(state=LOOP, lastState=KILLED, restartCount=9), **NOT_READY}, CRITICAL,
         "in a crash loop on stand-in-node-1: 9 restarts; it was killed at its memory limit (exit 137)"),
        ({**container(state=PULL), **NOT_READY, "phase": "Pending"}, CRITICAL, "its image cannot be had"),
        ({**container(state=MISSING), **NOT_READY, "phase": "Pending"}, CRITICAL, 'secret "db" not found'),
        ({**container(state={"running": {"startedAt": at(60)}}), **NOT_READY}, CRITICAL, "running and not ready"),
        (container(ready=True, state={"running": {"startedAt": at(60)}}, lastState=KILLED, restartCount=1), WARNING,
         "was killed at its memory limit"),
        (container(ready=True, state={"running": {"startedAt": at(1)}}, restartCount=4), CRITICAL, "in a crash loop"),
        ({"phase": "Failed", "reason": "Evicted"}, WARNING, "failed (Evicted)"),
        ({"phase": "Unknown"}, CRITICAL, "nothing is known of it"),
    ],
)  # fmt: skip
def test_a_pod_that_is_not_well_is_told_with_what_ended_it(
    status: dict[str, Any], judged: Status, says: str, there: There
) -> None:
    pod = there.held.pods()[0]
    pod["status"] = {**pod["status"], **copy.deepcopy(status)}
    pod["metadata"]["creationTimestamp"] = at(90)
    whole, found = there.ask(kubernetes.pods)
    assert whole.object == "pods (stand-in)" and whole.status is OK
    assert found.status is judged and says in found.message, found.message


def test_of_hundreds_of_pods_that_fail_the_worst_are_told_and_the_others_counted(there: There) -> None:
    there.held.scaled(600)
    found = there.ask(kubernetes.pods)
    assert len(found) == 12 and "50 of 600 pods are ready" in found[0].message
    assert "no node takes it: 0/3 nodes are available: 3 Insufficient memory." in found[1].message
    assert found[-1].object == "other pods" and "540 more are CRITICAL" in found[-1].message
    assert len([1 for _, path, _, _ in there.held.asked if path.endswith("/pods")]) == 3, "page by page"


def test_warnings_of_the_cluster_are_told_by_their_reason_and_others_are_left_out(there: There) -> None:
    there.held.warn("BackOff", "Back-off restarting failed container", "Pod", f"{POD}a", count=40)
    there.held.warn("BackOff", "Back-off restarting failed container", "Pod", f"{POD}b", count=2)
    there.held.warn("FailedGetResourceMetric", "no metrics", "HorizontalPodAutoscaler", "shrimp-api-hpa")
    there.held.warn("BackOff", "of another", "Pod", "other-1")
    found = {finding.object: finding for finding in there.ask(kubernetes.events)}
    assert set(found) == {"BackOff (Pod, stand-in)", "FailedGetResourceMetric (HorizontalPodAutoscaler, stand-in)"}
    told = found["BackOff (Pod, stand-in)"].message
    assert "42 times" in told and "about 2 objects" in told
    assert {finding.status for finding in found.values()} == {WARNING}


def test_a_pod_near_its_memory_limit_is_critical_and_one_without_figures_unknown(there: There) -> None:
    there.held.usage = (180, 980)
    found = {finding.object: finding for finding in there.ask(kubernetes.top)}
    assert {f.status for name, f in found.items() if "memory" in name} == {CRITICAL}
    assert {f.status for name, f in found.items() if "processors" in name} == {OK}
    there.held.usage = (0, 0)
    there.held.refuse("GET /apis/metrics", 200, "")
    for one in there.held.pods():
        one["spec"]["containers"][0]["resources"] = {}
    there.held.refusals.clear()
    told = [finding.message for finding in there.ask(kubernetes.top)]
    assert all("without a limit" in message for message in told)


def test_an_autoscaler_that_sees_nothing_or_is_at_its_most_or_one_of_two_is_told(there: There) -> None:
    found = there.only(kubernetes.autoscaler)
    assert found.status is WARNING and "nobody adds a pod but you" in found.message
    there.held.metrics = False
    there.held.autoscaled()
    found = there.only(kubernetes.autoscaler)
    assert found.status is CRITICAL and "failed to get cpu utilization" in found.message
    assert "cpu not seen of 70%" in found.message
    there.held.metrics = True
    there.held.autoscaled(maxReplicas=2)
    found = there.only(kubernetes.autoscaler)
    assert found.status is WARNING and "is at its most" in found.message and found.threshold == 2
    there.held.autoscaled("another")
    assert there.ask(kubernetes.autoscaler)[0].status is CRITICAL


def test_what_pods_are_called_and_say_is_shown_as_text_only(there: There) -> None:
    there.held.warn("Bad\x1b[31m", "red \x1b[31m<script>", "Pod", f"{POD}a")
    shown = there.run().ask(kubernetes.events)._repr_mimebundle_()
    assert "\x1b" not in str(shown["text/plain"]) and "<script>" not in str(shown["text/html"])


@pytest.mark.parametrize(
    ("text", "is_"),
    [("500m", 0.5), ("2", 2), ("180000000n", 0.18), ("512Mi", 2**29), ("1G", 1e9), ("1e3", 1000), ("0.1", 0.1),
     ("1536Ki", 1536 * 1024), ("250u", 250e-6)],
)  # fmt: skip
def test_quantities_are_read_as_kubernetes_writes_them(text: str, is_: float) -> None:
    assert number(text) == pytest.approx(is_)


@pytest.mark.parametrize("text", [None, "", "abc", "1.2.3", "5Q", "m"])
def test_what_is_no_quantity_is_missing_and_not_0(text: Any) -> None:
    assert number(text) != number(text)


# --- more and fewer pods


def scaled(run: Any, replicas: int, confirm: str = "") -> Any:
    verify = [kubernetes.deployment.given(wanted=replicas)]
    return run.propose(kubernetes.scale, replicas=replicas, verify=verify, confirm=confirm)


def test_a_plan_scales_by_the_subresource_and_is_verified_by_pods_that_serve(there: There) -> None:
    run = there.run()
    verify = [kubernetes.deployment.given(wanted=5)]
    done = carried_out(run, kubernetes.scale, verify, replicas=5)
    assert done.state is PlanState.VERIFIED and done.helped is not None and done.helped.answer == "helped"
    assert len(there.held.pods()) == 5
    (put,) = [one for one in there.held.asked if one[0] == "PUT"]
    assert put[1].endswith(f"/deployments/{DEPLOYMENT}/scale") and put[3]["spec"] == {"replicas": 5}
    assert put[3]["metadata"]["resourceVersion"] and put[2]["fieldManager"] == ["runbook"]
    shown = done.plan.steps[0].shown
    assert shown.endswith(f"scale deployment {DEPLOYMENT} --current-replicas=2 --replicas=5")
    assert "1.5 GiB and 1.5 processors to spare" in done.plan.blast_radius[0]
    back = carried_out(run, kubernetes.scale, [kubernetes.deployment.given(wanted=2)], replicas=2)
    assert back.state is PlanState.VERIFIED and len(there.held.pods()) == 2


@pytest.mark.parametrize(
    ("replicas", "says"), [(0, "would leave nobody to answer"), (-3, "at least 1"), (5000, "at most 100")]
)
def test_a_number_that_cannot_be_is_not_planned(replicas: int, says: str, there: There) -> None:
    shown = scaled(there.run(), replicas)
    assert not shown.plans and says in text(shown) and shown.findings[0].status is WARNING


def test_what_an_autoscaler_governs_is_not_scaled_by_hand(there: There) -> None:
    there.held.autoscaled()
    shown = scaled(there.run(), 5)
    assert not shown.plans and not shown.findings
    assert "shrimp-api-hpa (2 to 10) governs shrimp-api and would set it back" in text(shown)


def test_a_target_without_a_cluster_or_that_is_read_only_gets_no_plan(
    there: There, profile: Callable[..., str]
) -> None:
    run = open_run("tests", target=profile("", "bare"), needs=[])
    assert "names no [kubernetes] cluster" in text(scaled(run, 3))
    run.close()
    target = there.target()
    file = Path(os.environ["RUNBOOK_TARGETS"].split(os.pathsep)[0], f"{target}.toml")
    file.write_text(f"read_only = true\n{file.read_text()}")
    run = open_run("tests", target=target, needs=["kubernetes"])
    assert "read" in text(scaled(run, 3)) and not scaled(run, 3).plans
    run.close()


def test_a_plan_is_stale_when_somebody_scaled_meanwhile(there: There) -> None:
    run = there.run()
    shown = scaled(run, 5)
    there.held.deployment()["metadata"]["generation"] += 1
    there.held.scaled(3)
    (found,) = run.apply(shown, token_of(shown.plans[0].plan)).findings
    assert found.status is CRITICAL and "the plan is stale: generation was 3 and is 4" in found.message
    assert len(there.held.pods()) == 3


@pytest.mark.parametrize(
    ("code", "message", "state", "says"),
    [
        (403, 'deployments.apps "shrimp-api" is forbidden: User "runbook" cannot update resource "deployments/scale"',
         PlanState.FAILED, "forbids it (403)"),
        (409, "the object has been modified; please apply your changes to the latest version", PlanState.FAILED,
         "sees a conflict (409)"),
        pytest.param(422, "Scale is invalid: spec.replicas", PlanState.FAILED, "finds it invalid (422)", marks=SLOW),
        pytest.param(401, "Unauthorized", PlanState.FAILED, "does not take the credentials (401)", marks=SLOW),
        pytest.param(404, 'deployments.apps "shrimp-api" not found', PlanState.FAILED, "answered 404", marks=SLOW),
        pytest.param(429, "Too many requests", PlanState.FAILED, "(429): Too many requests", marks=SLOW),
        (500, "etcdserver: request timed out", PlanState.UNKNOWN, "whether it happened is not known"),
    ],
)  # fmt: skip
def test_a_change_that_is_refused_has_not_happened_and_one_that_breaks_off_is_unknown(
    code: int, message: str, state: PlanState, says: str, there: There
) -> None:
    there.held.refuse("PUT .*/scale", code, message)
    run = there.run()
    done = carried_out(run, kubernetes.scale, [], replicas=3)
    assert done.state is state and says in " ".join(done.told), done.told
    assert len(there.held.pods()) == 2


def test_one_that_was_cut_short_is_found_out_by_what_the_deployment_wants(there: There) -> None:
    run = there.run()
    shown = scaled(run, 3)
    (step,) = shown.plans[0].plan.steps
    act = kubernetes.scale.acts[step.act]
    assert act.happened(run._dependencies, step.arguments, NOW) is False
    act.do(run._dependencies, step.arguments)
    assert act.happened(run._dependencies, step.arguments, NOW) is True
    with pytest.raises(ChangeFailed, match="wants 3 pods by now"):
        act.do(run._dependencies, step.arguments)


def test_pods_that_find_no_node_leave_the_plan_failed_and_what_undoes_it_planned(there: There) -> None:
    there.held.room = 2
    run = there.run()
    impatient = dataclasses.replace(kubernetes.scale, patience=0.0)
    verify = [kubernetes.deployment.given(wanted=4)]
    shown = run.propose(impatient, replicas=4, verify=verify)
    after = run.apply(shown, token_of(shown.plans[0].plan))
    done, inverse = after.plans
    assert done.state is PlanState.FAILED and inverse.plan.undoes == done.plan.id
    assert inverse.plan.steps[0].shown.endswith("--current-replicas=4 --replicas=2")
    back = run.apply(
        run.propose(kubernetes.scale, replicas=4, verify=verify, confirm=token_of(inverse.plan)), token_of(inverse.plan)
    )
    assert back.plans[0].state is PlanState.VERIFIED and len(there.held.pods()) == 2


# --- the autoscaler, by its manifest


BETWEEN = {"least": 2, "most": 10, "cpu": 70, "memory": 80}


def autoscaled(run: Any, confirm: str = "", **given: int) -> Any:
    verify = [kubernetes.autoscaler, kubernetes.manifest.given(**{**BETWEEN, **given})]
    return run.propose(kubernetes.autoscale, verify=verify, confirm=confirm, **{**BETWEEN, **given})


def manifest_of(run: Any, **given: int) -> str:
    return kubernetes.Manifest(run.ask(kubernetes.manifest, **{**BETWEEN, **given}).frame).text


def test_the_manifest_is_that_of_the_runbook_and_is_shown_as_a_file(there: There) -> None:
    run = there.run()
    manifest = YAML(typ="safe").load(manifest_of(run))
    assert (manifest["apiVersion"], manifest["kind"]) == ("autoscaling/v2", "HorizontalPodAutoscaler")
    assert manifest["metadata"] == {"name": "shrimp-api-hpa", "namespace": NAMESPACE}
    spec = manifest["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 10)
    shares = {m["resource"]["name"]: m["resource"]["target"]["averageUtilization"] for m in spec["metrics"]}
    assert shares == {"cpu": 70, "memory": 80}


def test_the_manifest_passes_the_schemas_of_the_versions_in_use(there: There, tools: str, tmp_path: Path) -> None:
    file = tmp_path / "hpa.yaml"
    file.write_text(manifest_of(there.run()))
    argv = [tools, "-m", "kubernetes_validate", "--strict", "-k", "1.28", "-k", "1.33", str(file)]
    ended = subprocess.run(argv, capture_output=True, text=True)
    assert ended.returncode == 0 and ended.stdout.count("passed for resource") == 2, ended.stdout + ended.stderr
    file.write_text(file.read_text().replace("maxReplicas", "mostReplicas"))
    assert subprocess.run(argv, capture_output=True).returncode == 1, "else nothing was looked at"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"least": 0}, "at least 0 pods: an autoscaler keeps 1 or more"),
        ({"least": 5, "most": 3}, "at most 3 pods are fewer than at least 5"),
        ({"cpu": 0}, "0% of what is requested of cpu"),
    ],
)
def test_a_manifest_that_is_not_valid_is_critical_and_never_planned(
    given: dict[str, int], says: str, there: There
) -> None:
    run = there.run()
    (found,) = run.ask(kubernetes.manifest, **{**BETWEEN, **given}).findings
    assert found.status is CRITICAL and says in found.message
    shown = autoscaled(run, **given)
    assert not shown.plans and says in text(shown)
    assert not [one for one in there.held.asked if one[0] != "GET"], "not even in a dry run"


def test_each_field_that_the_cluster_has_otherwise_is_told(there: There) -> None:
    held = there.held.autoscaled(minReplicas=1, maxReplicas=4)
    held["spec"]["metrics"] = [held["spec"]["metrics"][0], {"type": "Pods", "pods": {}}]
    held["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] = 95
    found = {finding.object.split(") ")[1]: finding for finding in there.ask(kubernetes.manifest, **BETWEEN)}
    assert {finding.status for finding in found.values()} == {WARNING}
    assert set(found) == {"minReplicas", "maxReplicas", "metrics cpu", "metrics memory", "metrics Pods"}
    assert found["metrics cpu"].message == "in the cluster 95%, in the manifest 70%"
    assert found["maxReplicas"].message == "in the cluster 4, in the manifest 10"


def test_a_plan_makes_the_autoscaler_after_a_dry_run_and_its_inverse_removes_it(there: There) -> None:
    run = there.run()
    shown = autoscaled(run)
    tried = [one for one in there.held.asked if one[0] == "POST"]
    assert [one[2]["dryRun"] for one in tried] == [["All"]] and not there.held.objects["horizontalpodautoscalers"]
    plan = shown.plans[0].plan
    assert "taken by the API server" in plan.blast_radius[0] and "minReplicas: 2" in plan.steps[0].shown
    done = run.apply(shown, token_of(plan)).plans[0]
    assert done.state is PlanState.VERIFIED and done.helped is not None and done.helped.answer == "helped"
    spec = there.held.objects["horizontalpodautoscalers"]["shrimp-api-hpa"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 10)
    assert not autoscaled(run).plans and "as the manifest says" in text(autoscaled(run))
    act = kubernetes.autoscale.acts[plan.inverse[0].act]
    act.do(run._dependencies, plan.inverse[0].arguments)
    assert not there.held.objects["horizontalpodautoscalers"]
    assert act.happened(run._dependencies, plan.inverse[0].arguments, NOW) is True


def test_a_plan_changes_what_the_manifest_decides_and_leaves_a_behaviour_alone(there: There) -> None:
    behaviour = {"scaleDown": {"stabilizationWindowSeconds": 600}}
    there.held.autoscaled(maxReplicas=4, behavior=behaviour)
    run = there.run()
    shown = autoscaled(run)
    plan = shown.plans[0].plan
    assert plan.summary == "change shrimp-api-hpa: maxReplicas 4 to 10"
    held = there.held.objects["horizontalpodautoscalers"]["shrimp-api-hpa"]
    held["metadata"]["resourceVersion"] = "4711"  # its status was told anew, as each 15 s
    done = run.apply(shown, token_of(plan)).plans[0]
    assert done.state is PlanState.VERIFIED, done.told
    assert held["spec"]["maxReplicas"] == 10 and held["spec"]["behavior"] == behaviour
    act = kubernetes.autoscale.acts["change"]
    act.do(run._dependencies, plan.inverse[0].arguments)
    assert held["spec"]["maxReplicas"] == 4


@pytest.mark.parametrize(
    ("code", "message", "says"),
    [
        (
            422,
            'HorizontalPodAutoscaler.autoscaling "shrimp-api-hpa" is invalid: spec.metrics',
            "finds it invalid (422)",
        ),
        (403, 'cannot create resource "horizontalpodautoscalers"', "forbids it (403): cannot create"),
        (409, 'horizontalpodautoscalers.autoscaling "shrimp-api-hpa" already exists', "sees a conflict (409)"),
    ],
)
def test_what_a_dry_run_is_refused_is_not_planned(code: int, message: str, says: str, there: There) -> None:
    there.held.refuse("POST .*/horizontalpodautoscalers", code, message)
    shown = autoscaled(there.run())
    assert not shown.plans and "in a dry run" in text(shown) and says in text(shown)
    assert not there.held.objects["horizontalpodautoscalers"]


def test_one_beside_another_or_for_pods_that_request_nothing_is_not_planned(there: There) -> None:
    there.held.autoscaled("another")
    assert "another governs shrimp-api too" in text(autoscaled(there.run()))
    there.held.objects["horizontalpodautoscalers"].clear()
    there.held.deployment()["spec"]["template"]["spec"]["containers"][0]["resources"] = {}
    assert "requests no cpu and memory" in text(autoscaled(there.run()))


def test_bounds_are_told_in_what_they_take_of_the_load(there: There) -> None:
    processors, memory = there.ask(kubernetes.bounds, **BETWEEN)
    assert processors.status is OK
    assert "2 pods use 0.36 processors (36% of their requests), its past is not told" in processors.message
    assert "2 pods take up to 0.70 processors before one is added, 10 up to 3.50 processors" in processors.message
    assert "the load takes 2 pods" in processors.message and processors.value == 20
    assert memory.status is OK and "(61% of their requests)" in memory.message
    there.held.usage = (1500, 310)
    processors, _ = there.ask(kubernetes.bounds, **BETWEEN)
    assert processors.status is WARNING and "the load takes 9 pods" in processors.message
    there.held.usage = (2000, 450)
    processors, memory = there.ask(kubernetes.bounds, **BETWEEN)
    assert processors.status is CRITICAL and "the load takes 12 pods" in processors.message
    assert memory.status is WARNING and "so pods are added up to 10, and it becomes no less" in memory.message


def test_bounds_without_requests_or_without_metrics_say_what_is_missing(there: There) -> None:
    for pod in there.held.pods():
        pod["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1"}}
    assert {f.status for f in there.ask(kubernetes.bounds, **BETWEEN)} == {CRITICAL}
    there.held.metrics = False
    found = there.only(kubernetes.bounds, **BETWEEN)
    assert found.status is UNKNOWN and "no metrics API" in found.message


def test_the_past_load_counts_where_prometheus_tells_it(there: There, tmp_path: Path) -> None:
    require("prometheus", "promtool")
    now = time.time()
    name = 'process_cpu_seconds_total{job="shrimp-api",instance="a"}'
    at_work = [f"{name} {2.0 * 60 * n} {now - 86400 + 60 * n:.0f}" for n in range(120)]
    past = "# TYPE process_cpu_seconds counter\n" + "\n".join(at_work) + "\n# EOF\n"
    with prometheus(tmp_path / "prometheus", past=past) as running:
        run = there.run(more=f'[prometheus]\nurl = "{running.url}"\n')
        processors, memory = run.ask(kubernetes.bounds, **BETWEEN).findings
    assert "at most in 7 days 2.00 processors" in processors.message and "takes 6 pods" in processors.message
    assert "its past is not told" in memory.message


# --- kubectl itself, on the stand-in (over TLS: else it sends no token): what plans show is what it does


def kubectl(shown: str, folder: Path, **more: Any) -> "subprocess.CompletedProcess[str]":
    """Call what a plan shows, as one would type it."""
    require("kubectl")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(["bash", "-c", shown], capture_output=True, text=True, timeout=60, env=environment, **more)


@pytest.fixture
def over_tls(tmp_path: Path, profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Iterator[There]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with secured(tmp_path, profile, Authority("the tests' cluster")) as made:
        yield made


def test_kubectl_finds_the_manifest_well_in_its_own_dry_run(over_tls: There, tmp_path: Path) -> None:
    there, run = over_tls, over_tls.run()
    file = tmp_path / "hpa.yaml"
    file.write_text(manifest_of(run))
    where = f"--kubeconfig {tmp_path}/kubeconfig --context stand-in"
    ended = kubectl(f"kubectl {where} apply --dry-run=client --validate=false --output json -f {file}", tmp_path)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["spec"] == YAML(typ="safe").load(file.read_text())["spec"]
    assert not there.held.objects["horizontalpodautoscalers"]


def test_what_a_plan_shows_is_what_kubectl_does(over_tls: There, tmp_path: Path) -> None:
    there, run = over_tls, over_tls.run()
    (step,) = scaled(run, 4).plans[0].plan.steps
    ended = kubectl(step.shown, tmp_path)
    assert ended.returncode == 0 and len(there.held.pods()) == 4, ended.stderr
    there.held.autoscaled(maxReplicas=4)
    (step,) = autoscaled(run).plans[0].plan.steps
    ended = kubectl(step.shown, tmp_path)
    held = there.held.objects["horizontalpodautoscalers"]
    assert ended.returncode == 0 and held["shrimp-api-hpa"]["spec"]["maxReplicas"] == 10, ended.stderr
    held.clear()
    plan = autoscaled(run).plans[0].plan
    # The stand-in has no schemas for kubectl to validate by.
    ended = kubectl(plan.steps[0].shown.replace(" create ", " create --validate=false ", 1), tmp_path)
    assert ended.returncode == 0 and "shrimp-api-hpa" in held, ended.stderr
    ended = kubectl(plan.inverse[0].shown, tmp_path)
    assert ended.returncode == 0 and not held, ended.stderr


# --- the notebook, on a practice stack of its own


@pytest.fixture
def clustered() -> Iterator[Place]:
    place = stack.up("clustered", recorded=True, watched=False)
    try:
        yield place
    finally:
        stack.down(place)


@pytest.mark.slow
def test_the_notebook_changes_the_autoscaler_by_its_token_and_tells_who_answered(
    clustered: Place, run_json: Any, archive: Path
) -> None:
    asked = ("autoscaling", "--target", clustered.name, "-p", "most=6")
    _, document = run_json(*asked)
    (plan,) = only(document).plans
    assert plan.plan.summary == "change shrimp-api-hpa: maxReplicas 10 to 6"
    (found,) = [f for f in only(document).findings if f.check == "kubernetes.manifest"]
    assert found.message == "in the cluster 10, in the manifest 6"
    _, document = run_json(*asked, "--confirm", token_of(plan.plan))
    (done,) = only(document).plans
    assert done.state is PlanState.VERIFIED and done.helped is not None and done.helped.answer == "helped", done
    token = (clustered.folder / "secrets" / "kubernetes").read_text()
    told = text_of(archive)
    assert "v1.33.4-stand-in" in told and token not in told and token_of(plan.plan) not in told
    (found,) = [f for f in only(document).findings if f.check == "kubernetes.manifest"]
    assert found.status is OK and "(stand-in)" in found.object

"""The certificate in a cluster's secret: compared with the disk, and replaced by a plan that shows no key.

What answers is a stand-in for the API server, over TLS.
"""

import base64
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from carrying import carried_out
from running import text_of
from test_kubernetes import There, kubectl, secured, text

from runbook import certificates
from runbook.model import ChangeFailed, Finding, Status
from runbook.model.plan import PlanState
from runbook.plans.token import token_of
from runbook_sandbox.api_server import StandIn, serving
from runbook_sandbox.authority import Authority, Issued

CRITICAL, OK, UNKNOWN, WARNING = Status.CRITICAL, Status.OK, Status.UNKNOWN, Status.WARNING
NAME = "api-tls-cert"
SERVED = ["api.example"]


class Cluster:
    """A stand-in with a secret, and the files that it is made of."""

    def __init__(self, there: There, authority: Authority, folder: Path) -> None:
        self.there, self.authority, self.held = there, authority, there.held
        self.file, self.key_file = folder / "fullchain.pem", folder / "privkey.pem"

    def write(self, issued: Issued, key: Issued | None = None) -> Issued:
        """Write what lies on the disk; ``key`` is another one's."""
        self.file.write_bytes(issued.pem(whole=True))
        self.key_file.write_bytes((key or issued).key_pem())
        return issued

    def keep(self, issued: Issued, key: Issued | None = None) -> Issued:
        """Put into the secret what the cluster has."""
        self.held.keep(NAME, issued.pem(whole=True), (key or issued).key_pem())
        return issued

    def issue(self, **more: Any) -> Issued:
        return self.authority.issue(SERVED, **more)

    def run(self) -> Any:
        named = f'[kubernetes.tls_secret]\nname = "{NAME}"\nfile = "{self.file}"\nkey_file = "{self.key_file}"\n'
        return self.there.run(more=named)

    def asked(self) -> Finding:
        (found,) = self.run().ask(certificates.secret).findings
        return found

    def proposed(self, confirm: str = "") -> Any:
        return self.run().propose(certificates.replace_secret, verify=[certificates.secret], confirm=confirm)

    def secret(self, name: str = NAME) -> dict[str, Any]:
        found: dict[str, Any] = self.held.objects["secrets"][name]
        return found


@pytest.fixture
def cluster(tmp_path: Path, profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    authority = Authority("the tests' cluster")
    with secured(tmp_path, profile, authority) as there:
        yield Cluster(there, authority, tmp_path)


def test_a_secret_that_holds_what_lies_on_the_disk_is_well(cluster: Cluster) -> None:
    cluster.keep(cluster.write(cluster.issue()))
    found = cluster.asked()
    assert found.status is OK and "its key belongs to it" in found.message and found.object == f"{NAME} (stand-in)"
    assert "kubectl" in found.source and "tls.key" not in found.source
    assert not cluster.proposed().plans and "has what lies in" in text(cluster.proposed())


def test_one_that_is_older_than_the_disk_or_another_or_has_ended_or_is_missing_is_told(cluster: Cluster) -> None:
    found = cluster.write(cluster.issue())
    assert cluster.asked().status is CRITICAL and "no such secret" in cluster.asked().message
    cluster.keep(cluster.issue(age=80, days=9))
    assert cluster.asked().status is CRITICAL and "a newer one lies in" in cluster.asked().message
    cluster.keep(cluster.issue(age=90, days=-1))
    assert cluster.asked().status is CRITICAL and "it has ended" in cluster.asked().message
    cluster.keep(found)
    cluster.secret()["type"] = "Opaque"
    assert cluster.asked().status is WARNING and "of type Opaque" in cluster.asked().message


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"tls.crt": "%%%", "tls.key": "%%%"}, "no base64"),
        ({"tls.crt": "", "tls.key": ""}, "lacks tls.crt"),
        ({"tls.crt": base64.b64encode(b"x").decode(), "tls.key": "eA=="}, "holds no certificate"),
        ({}, "lacks tls.crt"),
    ],
)
def test_a_secret_that_holds_anything_is_told_and_breaks_nothing(
    data: dict[str, str], says: str, cluster: Cluster
) -> None:
    cluster.write(cluster.issue())
    cluster.keep(cluster.issue())
    cluster.secret()["data"] = data
    found = cluster.asked()
    assert found.status is CRITICAL and says in found.message


def test_a_key_that_belongs_to_another_is_critical_in_the_cluster_and_never_put_there(cluster: Cluster) -> None:
    cluster.keep(cluster.write(cluster.issue()), key=cluster.issue())
    assert "does not belong to its certificate" in cluster.asked().message and cluster.asked().status is CRITICAL
    cluster.write(cluster.issue(), key=cluster.issue())
    shown = cluster.proposed()
    assert not shown.plans and "does not belong to its certificate" in text(shown)
    assert not [one for one in cluster.held.asked if one[0] != "GET"]


def test_a_file_or_a_secret_that_may_not_be_read_is_unknown(cluster: Cluster) -> None:
    cluster.keep(cluster.issue())
    found = cluster.asked()
    assert found.status is UNKNOWN and "cannot be read" in found.message
    cluster.held.refuse("GET .*/secrets", 403, f'secrets "{NAME}" is forbidden: User "runbook" cannot get')
    assert cluster.asked().status is UNKNOWN and "forbids it (403)" in cluster.asked().message


def keys_of(*issued: Issued) -> list[str]:
    """Return what would tell of keys: their lines, and what base64 makes of them."""
    pems = [one.key_pem() for one in issued]
    lines = [line.decode() for pem in pems for line in pem.splitlines() if not line.startswith(b"-----")]
    return [*lines, *(base64.b64encode(pem).decode()[40:80] for pem in pems)]


def test_a_plan_replaces_the_pair_keeps_the_former_one_in_the_cluster_and_shows_no_key(
    cluster: Cluster, tmp_path: Path
) -> None:
    former, new = cluster.keep(cluster.issue(age=80, days=9)), cluster.write(cluster.issue())
    shown = cluster.proposed()
    plan = shown.plans[0].plan
    tried = [one for one in cluster.held.asked if one[0] == "PATCH"]
    assert [one[2]["dryRun"] for one in tried] == [["All"]]
    differs = [line for line in plan.blast_radius if line.startswith("differs: ")]
    assert any("valid until" in line for line in differs) and "differs: the key is another one" in differs
    assert not any("issuer" in line or "names" in line for line in differs), "what is the same is not told"
    assert "(for api.example, until" in plan.summary and [step.act for step in plan.steps] == ["keep", "replace"]
    run = cluster.run()
    token = token_of(plan)
    given = {"verify": [certificates.secret], "confirm": token}
    done = run.apply(run.propose(certificates.replace_secret, **given), token)
    assert done.plans[0].state is PlanState.VERIFIED, done.plans[0].told
    assert base64.b64decode(cluster.secret()["data"]["tls.key"]) == new.key_pem()
    copy = plan.steps[0].arguments["copy"]
    assert base64.b64decode(cluster.secret(copy)["data"]["tls.key"]) == former.key_pem()
    told = text_of(tmp_path / "state") + text(shown) + text(done) + str(done._repr_mimebundle_())
    assert not [key for key in keys_of(former, new) if key in told]
    act = certificates.replace_secret.acts[plan.inverse[0].act]
    act.do(run._dependencies, plan.inverse[0].arguments)
    assert base64.b64decode(cluster.secret()["data"]["tls.key"]) == former.key_pem()
    with pytest.raises(ChangeFailed, match="another certificate by now"):
        act.do(run._dependencies, plan.inverse[0].arguments)


def test_a_secret_that_is_missing_is_made_and_its_inverse_removes_it(cluster: Cluster) -> None:
    cluster.write(cluster.issue())
    run = cluster.run()
    done = carried_out(run, certificates.replace_secret, [certificates.secret])
    assert done.state is PlanState.VERIFIED and cluster.secret()["type"] == "kubernetes.io/tls"
    act = certificates.replace_secret.acts[done.plan.inverse[0].act]
    act.do(run._dependencies, done.plan.inverse[0].arguments)
    assert not cluster.held.objects["secrets"]


@pytest.mark.parametrize("change", ["file", "secret"])
def test_what_is_another_by_now_is_not_replaced(change: str, cluster: Cluster) -> None:
    cluster.keep(cluster.issue(age=80, days=9))
    cluster.write(cluster.issue())
    run = cluster.run()
    shown = run.propose(certificates.replace_secret, verify=[certificates.secret])
    (cluster.write if change == "file" else cluster.keep)(cluster.issue())
    (found,) = run.apply(shown, token_of(shown.plans[0].plan)).findings
    assert found.status is CRITICAL and "the plan is stale" in found.message
    steps = shown.plans[0].plan.steps
    with pytest.raises(ChangeFailed, match="another"):
        certificates.replace_secret.acts["replace"].do(run._dependencies, steps[1].arguments)


@pytest.mark.parametrize(
    ("code", "message", "says"),
    [
        (403, f'secrets "{NAME}" is forbidden: User "runbook" cannot patch', "forbids it (403)"),
        (409, "the object has been modified", "sees a conflict (409)"),
        (422, "data[tls.key]: Required value", "finds it invalid (422)"),
    ],
)
def test_what_the_api_server_would_refuse_is_not_planned(code: int, message: str, says: str, cluster: Cluster) -> None:
    cluster.keep(cluster.issue(age=80, days=9))
    cluster.write(cluster.issue())
    cluster.held.refuse("PATCH .*/secrets", code, message)
    shown = cluster.proposed()
    assert not shown.plans and "in a dry run" in text(shown) and says in text(shown)


def test_what_somebody_else_makes_or_nobody_may_change_is_not_planned(cluster: Cluster) -> None:
    cluster.keep(cluster.issue(age=80, days=9))
    cluster.write(cluster.issue())
    cluster.secret()["metadata"]["annotations"] = {"cert-manager.io/certificate-name": "api"}
    assert "cert-manager (certificate api) makes api-tls-cert and would undo it" in text(cluster.proposed())
    cluster.secret()["metadata"]["annotations"] = {}
    cluster.secret()["immutable"] = True
    assert "is immutable" in text(cluster.proposed())


def test_a_key_is_not_sent_without_tls(tmp_path: Path, profile: Callable[..., str]) -> None:
    authority, held = Authority("another"), StandIn("tests-" + "k" * 24)
    with serving(held) as url:
        there = There(tmp_path, profile, url, held)
        cluster = Cluster(there, authority, tmp_path)
        cluster.keep(cluster.issue(age=80, days=9))
        cluster.write(cluster.issue())
        assert "without TLS: the key is not sent there" in text(cluster.proposed())
        assert not [one for one in held.asked if one[0] != "GET"]
        there.close()


def test_what_the_plan_shows_is_what_kubectl_does(cluster: Cluster, tmp_path: Path) -> None:
    former, new = cluster.keep(cluster.issue(age=80, days=9)), cluster.write(cluster.issue())
    plan = cluster.proposed().plans[0].plan
    for step, wanted in ((plan.steps[0], former), (plan.steps[1], new), (plan.inverse[0], former)):
        shown = step.shown  # the stand-in has no schemas to validate by
        for verb in ("apply", "create"):
            shown = shown.replace(f" {verb} --filename", f" {verb} --validate=false --filename")
        ended: subprocess.CompletedProcess[str] = kubectl(shown, tmp_path)
        name = step.arguments["copy"] if step.act == "keep" else NAME
        assert ended.returncode == 0, ended.stderr
        assert base64.b64decode(cluster.secret(name)["data"]["tls.key"]) == wanted.key_pem(), step

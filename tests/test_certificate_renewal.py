"""A certificate that is due is renewed by the real certbot from a real ACME server on loopback, and then served."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from cluster import free_port
from running import only, text_of, wait_for

from runbook import certificates
from runbook.certificates import taking_up
from runbook.certificates.lineages import Lineage, lineages
from runbook.model import ChangeFailed, CouldNotFindOut, DoesNotApply, NotPlanned, Status
from runbook.plans.token import token_of
from runbook.session import open_run
from runbook.target import Certbot, Target
from runbook_sandbox import tls_front
from runbook_sandbox.authority import Authority, Issued

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
NAME = "api.test"
AFTER = (certificates.on_disk, certificates.expiry, certificates.renewal)
needs_acme = pytest.mark.skipif(
    not (shutil.which("certbot") and shutil.which("pebble")), reason="certbot or pebble is not installed"
)


@dataclass
class Acme:
    """A real ACME server, what certbot made from it, and a server of TLS that serves it."""

    folder: Path
    server: str
    at: str

    @property
    def live(self) -> Path:
        return self.folder / "config" / "live" / NAME

    def profile(self, **certbot: str) -> str:
        named = {part: str(self.folder / part.removesuffix("_dir")) for part in ("config_dir", "work_dir", "logs_dir")}
        named |= {"server": self.server, "ca_file": str(self.folder / "acme-ca.pem"), **certbot}
        lines = "".join(f'{key} = "{value}"\n' for key, value in named.items())
        return f"""
[[certificates.endpoints]]
at = "{self.at}"
server_name = "{NAME}"
ca_file = "{self.folder}/trusted.pem"
file = "{self.live}/fullchain.pem"
key_file = "{self.live}/privkey.pem"

[certificates.certbot]
{lines}
[certificates.reload]
pid_file = "{self.folder}/tls.pid"
"""

    def secrets(self) -> list[str]:
        """Return what nobody may see: lines of the keys of the certificates, numbers of that of the account."""
        keys = [line for path in self.folder.rglob("privkey*.pem") for line in path.read_text().splitlines()[1:-1]]
        account = [json.loads(path.read_text()) for path in self.folder.rglob("private_key.json")]
        return [*keys, *(one[part] for one in account for part in ("d", "p", "q"))]


def certbot(folder: Path, *arguments: str) -> None:
    argv = ["certbot", *arguments, "--non-interactive"]
    argv += [word for part in ("config", "work", "logs") for word in (f"--{part}-dir", str(folder / part))]
    environment = {**os.environ, "REQUESTS_CA_BUNDLE": str(folder / "acme-ca.pem")}
    ended = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


@pytest.fixture
def acme(tmp_path: Path) -> Iterator[Acme]:
    """Pebble, whose certificate is by a CA of the test's own; certbot has a lineage from it, with ten days left."""
    authority = Authority("the ACME server's own CA")
    authority.write(tmp_path / "acme-ca.pem")
    authority.issue(["127.0.0.1"]).write(tmp_path / "acme.pem", tmp_path / "acme.key")
    port, management, challenge = free_port(), free_port(), free_port()
    settings = {
        "listenAddress": f"127.0.0.1:{port}", "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(tmp_path / "acme.pem"), "privateKey": str(tmp_path / "acme.key"),
        "httpPort": challenge, "tlsPort": challenge, "ocspResponderURL": "", "externalAccountBindingRequired": False,
    }  # fmt: skip
    (tmp_path / "pebble.json").write_text(json.dumps({"pebble": settings}))
    quick = {"PEBBLE_VA_ALWAYS_VALID": "1", "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
    started: list[subprocess.Popen[Any]] = []
    with (tmp_path / "pebble.log").open("w") as log, socket.create_server(("127.0.0.1", 0)) as listening:
        argv = ["pebble", "-config", str(tmp_path / "pebble.json"), "-dnsserver", "127.0.0.1:8053"]
        started.append(subprocess.Popen(argv, env={**os.environ, **quick}, stdout=log, stderr=log))
        try:
            wait_for(lambda: b"listening" in (tmp_path / "pebble.log").read_bytes().lower())
            server = f"https://127.0.0.1:{port}/dir"
            certbot(
                tmp_path, "certonly", "--agree-tos", "--register-unsafely-without-email", "--server", server,
                "--standalone", "--http-01-port", str(challenge), "--http-01-address", "127.0.0.1",
                "-d", NAME, "--key-type", "ecdsa",
            )  # fmt: skip
            made = Acme(tmp_path, server, f"127.0.0.1:{listening.getsockname()[1]}")
            _almost_run_out(made, authority)
            trusting = ssl.create_default_context(cafile=tmp_path / "acme-ca.pem")
            root = httpx.get(f"https://127.0.0.1:{management}/roots/0", verify=trusting, trust_env=False).text
            (tmp_path / "trusted.pem").write_text(root + (tmp_path / "acme-ca.pem").read_text())
            started.append(_serve(made, listening))
            yield made
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(10)


def _almost_run_out(acme: Acme, authority: Authority) -> None:
    """Put another certificate for the same key in the place of what certbot got: with ten days left, it is due."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key((acme.live / "privkey.pem").read_bytes(), None)
    issued: Issued = authority.issue([NAME], days=10.5, age=79, key=key)
    for name in ("cert.pem", "fullchain.pem"):
        (acme.live / name).resolve().write_bytes(issued.pem())


def _serve(acme: Acme, listening: socket.socket) -> subprocess.Popen[Any]:
    folder = acme.folder / tls_front.FOLDER
    folder.mkdir()
    (folder / tls_front.CERTIFICATE).symlink_to(acme.live / "fullchain.pem")
    (folder / tls_front.KEY).symlink_to(acme.live / "privkey.pem")
    (acme.folder / "state.json").write_text(json.dumps({"ports": {"api": 1}}))
    argv = [sys.executable, "-m", "runbook_sandbox.tls_front", str(acme.folder), str(listening.fileno())]
    process = subprocess.Popen(argv, pass_fds=[listening.fileno()])
    (acme.folder / "tls.pid").write_text(f"{process.pid}\n")
    return process


@needs_acme
def test_what_is_due_is_renewed_by_its_plan_and_then_the_served_one_is_the_new_one(
    acme: Acme,
    profile: Callable[..., str],
    run_json: Callable[..., Any],
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    target = profile(acme.profile())
    run = open_run("certificate-management", target=target, needs=["certificates"])
    told = {question.name: run.ask(question).findings[0] for question in certificates.questions}
    shown = run.propose(certificates.renew, lineage="", verify=AFTER)
    run.close()
    assert told["certificates.expiry"].status is Status.CRITICAL
    assert "10.5 of 90 days are left" in told["certificates.expiry"].message
    assert told["certificates.renewal"].status is Status.WARNING
    assert "due for 19.5 days and not renewed" in told["certificates.renewal"].message
    plan = shown.plans[0].plan
    renewal, reload = plan.steps
    assert "renew --cert-name api.test --non-interactive" in renewal.shown and "force" not in renewal.shown
    assert re.fullmatch(r"kill -HUP \d+", reload.shown)

    status, document = run_json("certificate-management", "--target", target, "--confirm", token_of(plan))
    after = only(document)
    told = {finding.check: finding for finding in after.findings if "file" not in finding.object}
    assert status == 0, [(one.check, one.message) for one in after.findings if one.status is not Status.OK]
    assert "days are left" in told["certificates.expiry"].message and told["certificates.expiry"].value > 1800
    assert told["certificates.on_disk"].status is Status.OK and told["certificates.trust"].status is Status.OK
    assert f"from {acme.server}" in told["certificates.renewal"].message
    assert NAME in text_of(archive) and "PRIVATE KEY" not in text_of(archive)
    written = text_of(archive) + text_of(tmp_path / "state") + repr(document)
    assert len(acme.secrets()) >= 6 and not [secret for secret in acme.secrets() if secret in written]


FACTS: Mapping[str, Any] = {
    "due": "api.test (serial 1)", "lineages": [{"name": NAME, "server": "https://a.test/dir", "serial": "1"}],
    "next": "", "wanted_server": "", "certbot": ["certbot", "--config-dir", "/c"], "reload": {},
}  # fmt: skip


def test_what_is_not_due_is_never_renewed() -> None:
    with pytest.raises(DoesNotApply, match=r"nothing is due: api\.test is next, on 2027-01-01"):
        certificates.renew.draft({**FACTS, "lineages": [], "next": "api.test is next, on 2027-01-01"})


def test_a_lineage_without_a_saved_server_or_with_another_than_the_profiles_is_not_renewed() -> None:
    with pytest.raises(NotPlanned, match="names no server: certbot would ask its own default"):
        certificates.renew.draft({**FACTS, "lineages": [{"name": NAME, "server": "", "serial": "1"}]})
    with pytest.raises(NotPlanned, match=r"made by https://a\.test/dir, while the profile says https://b\.test/dir"):
        certificates.renew.draft({**FACTS, "wanted_server": "https://b.test/dir"})
    assert certificates.renew.draft({**FACTS, "wanted_server": "https://a.test/dir"}).summary == "renew api.test"


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., Lineage]:
    """Write a lineage as certbot does, and read it."""

    def write(text: str = "", *, name: str = NAME, version: str = "2.1.0", **issue: float) -> Lineage:
        (tmp_path / "renewal").mkdir(exist_ok=True)
        Authority().issue([NAME], **issue).write(tmp_path / "cert.pem")
        own = f"version = {version}\ncert = {tmp_path}/cert.pem\n{text}\n[renewalparams]\nserver = https://a.test/dir\n"
        (tmp_path / "renewal" / f"{name}.conf").write_text(own)
        (found,) = lineages(Certbot(config_dir=tmp_path))
        return found

    return write


@pytest.mark.parametrize(
    ("text", "version", "days", "due_in"),
    [
        ("", "2.1.0", 40, 10),
        ("", "2.1.0", 20, -10),
        ("renew_before_expiry = 50 days", "2.1.0", 40, -10),
        ("renew_before_expiry = 2 weeks", "4.1.0", 40, 26),
        ("# renew_before_expiry = 50 days", "2.1.0", 40, 10),
        ("", "4.1.0", 90, 60),
        ("", "4.1.0", 6, 3),
    ],
)
def test_a_lineage_is_due_when_certbot_takes_it_for_due(
    configured: Any, text: str, version: str, days: float, due_in: float
) -> None:
    found = configured(text, version=version, days=days)
    assert found.due is not None and found.is_due is (due_in < 0)
    assert abs(found.due - datetime.now(UTC) - timedelta(days=due_in)) < timedelta(minutes=1)


def test_a_lineage_that_cannot_be_read_says_why(configured: Any) -> None:
    assert "is no length of time" in configured("renew_before_expiry = soon").problem


def test_a_lineage_whose_name_would_be_an_option_is_not_handed_to_certbot(configured: Any) -> None:
    assert "its name is none that certbot gives" in configured(name="-flag").problem


def test_without_certbot_whether_it_could_renew_is_not_known(tmp_path: Path, profile: Callable[..., str]) -> None:
    text = f'[certificates.certbot]\nconfig_dir = "{tmp_path}"\nprogram = "no-such-certbot"\n'
    run = open_run("certificate-management", target=profile(text), needs=[])
    told = run.ask(certificates.renewal).findings[0]
    run.close()
    assert told.status is Status.UNKNOWN and "no-such-certbot is not installed" in told.message


class Named:
    """A run whose profile names a way to reload."""

    def __init__(self, target: Any) -> None:
        self.target = target


def test_a_pid_file_that_names_another_program_is_not_signalled(tmp_path: Path, profile: Callable[..., str]) -> None:
    from runbook.target import load_target

    (tmp_path / "front.pid").write_text(f"{os.getpid()}\n")
    text = f'[certificates.reload]\npid_file = "{tmp_path}/front.pid"\nprogram = "nginx"\n'
    asking: Any = Named(load_target(profile(text)))
    with pytest.raises(CouldNotFindOut, match="not nginx: the pid file is an old one"):
        taking_up.way(asking)
    gone = {"pid": os.getpid(), "began": 1.0, "signal": "HUP", "program": "nginx"}
    with pytest.raises(ChangeFailed, match="is another one now; nothing was sent"):
        taking_up.reload_act.do(asking, gone)


def test_a_command_that_fails_to_reload_fails_the_step_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTS_OWN", "of-the-runbook")
    said = "import os, sys; sys.exit('no such unit' if 'TESTS_OWN' not in os.environ else 'it knows the secret')"
    asking: Any = SimpleNamespace(target=Target(name="it", redis={"url": "redis://h:1/0", "password": "env:TESTS_OWN"}))
    with pytest.raises(ChangeFailed, match="ended with 1: no such unit"):
        taking_up.reload_act.do(asking, {"argv": [sys.executable, "-c", said]})

"""Certificates: bad ones of every kind, served by a real TLS server, are named with what is wrong and their days."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tls_server import TlsServer, silent_server

from runbook import certificates
from runbook.certificates.lineages import settings
from runbook.certificates.on_disk import _exposed
from runbook.certificates.reading import is_for
from runbook.model import Finding, Status, UsageError
from runbook.session import open_run
from runbook.target import load_target
from runbook_sandbox import postgres_server
from runbook_sandbox.authority import Authority, Issued

CRITICAL, OK, UNKNOWN, WARNING = Status.CRITICAL, Status.OK, Status.UNKNOWN, Status.WARNING
DEADLINE = 1.0
# That the old versions of TLS are old is what is looked at here.
pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")


class There:
    """A server of good and bad certificates, and the profile that names them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.server = folder, TlsServer(folder)
        self.root = Authority("the tests' root")
        self.middle = Authority("the tests' intermediate", self.root)
        self.ca_file = folder / "ca.pem"
        self.root.write(self.ca_file)

    def serve(self, name: str, issued: Issued, **more: Any) -> None:
        self.server.add(name, issued, **more)

    def endpoint(self, name: str, at: str = "", **more: Any) -> str:
        """Return an endpoint's section of a profile."""
        facts = {"at": at or self.server.at, "server_name": name, "ca_file": str(self.ca_file), **more}
        lines = "".join(f'{key} = "{value}"\n' for key, value in facts.items() if value)
        return f"[[certificates.endpoints]]\n{lines}"


def signed_with_sha1(folder: Path, name: str) -> Issued:
    """Return a self-signed certificate with a digest that only OpenSSL's program still signs with."""
    key, certificate = folder / "sha1.key", folder / "sha1.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha1"]
    argv += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-days", "90"]
    subprocess.run([*argv, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    return Issued(x509.load_pem_x509_certificate(certificate.read_bytes()), private)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[There]:
    made = There(tmp_path_factory.mktemp("certificates"))
    root, middle = made.root, made.middle
    made.serve("good.test", middle.issue(["good.test"], age=30))
    made.serve("www.wild.test", root.issue(["*.wild.test"]))
    made.serve("a.b.wild.test", root.issue(["*.wild.test"]))
    made.serve("expired.test", root.issue(["expired.test"], days=-3.2, age=93))
    made.serve("soon.test", root.issue(["soon.test"], days=20.5, age=69))
    made.serve("sooner.test", root.issue(["sooner.test"], days=5.5, age=84))
    made.serve("short.test", root.issue(["short.test"], days=4, age=2))
    made.serve("not-yet.test", root.issue(["not-yet.test"], age=-2))
    made.serve("other.test", root.issue(["elsewhere.test"]))
    made.serve("nameless.test", root.issue([]))
    made.serve("self.test", root.issue(["self.test"], self_signed=True))
    made.serve("incomplete.test", middle.issue(["incomplete.test"]), whole=False)
    made.serve("stranger.test", Authority("nobody's CA").issue(["stranger.test"]))
    small = rsa.generate_private_key(65537, 1024)
    made.serve("weak-key.test", root.issue(["weak-key.test"], key=small))
    made.serve("sha1.test", signed_with_sha1(made.folder, "sha1.test"))
    made.serve("old-tls.test", root.issue(["old-tls.test"]), old=True)
    made.serve("mute.test", root.issue(["mute.test"]), mute=True)
    hostile = "<b>x</b>$(id)\u202e\x1b[31m" + "y" * 400
    made.serve("hostile.test", Authority(hostile).issue(["hostile.test", "<script>.test"]))
    many = root.issue(["long.test"])
    made.serve("long.test", many, pem=many.pem() + 60 * root.issue(["filler.test"]).pem())
    made.serve("endless.test", many, pem=many.pem() + 400 * root.issue(["filler.test"]).pem())
    yield made
    made.server.close()


@pytest.fixture
def ask(there: There, profile: Callable[..., str]) -> Iterator[Callable[..., list[Finding]]]:
    """Ask questions of the endpoints that a profile names, and return what was found."""
    runs = []

    def asked(*questions: Any, text: str, deadline: float = DEADLINE) -> list[Finding]:
        name = profile(f"{text}\n[deadlines]\nconnect = {deadline}\n")
        run = open_run("certificate-management", target=name, needs=["certificates"])
        runs.append(run)
        for question in questions:
            run.ask(question)
        return list(run.findings)

    yield asked
    for run in runs:
        run.close()


def found(findings: list[Finding], check: str) -> Finding:
    (one,) = [finding for finding in findings if finding.check == f"certificates.{check}"]
    return one


@pytest.mark.parametrize(
    ("name", "check", "status", "words"),
    [
        ("good.test", "expiry", OK, "90.0 of 120 days are left"),
        ("good.test", "trust", OK, "trusted by a chain of 2, and for good.test"),
        ("good.test", "strength", OK, "EC of 256 bits, signed with sha256; takes TLS 1.2, TLS 1.3"),
        ("www.wild.test", "trust", OK, "for www.wild.test"),
        ("a.b.wild.test", "trust", CRITICAL, "it is not for a.b.wild.test: it is for *.wild.test"),
        ("expired.test", "expiry", CRITICAL, "expired 3.2 days ago"),
        ("expired.test", "trust", OK, "trusted"),
        ("soon.test", "expiry", WARNING, "20.5 of 90 days are left, until"),
        ("sooner.test", "expiry", CRITICAL, "5.5 of 90 days are left"),
        ("short.test", "expiry", OK, "4.0 of 6 days are left"),
        ("not-yet.test", "expiry", CRITICAL, "in 2.0 days"),
        ("not-yet.test", "trust", OK, "trusted"),
        ("other.test", "trust", CRITICAL, "it is not for other.test: it is for elsewhere.test"),
        ("nameless.test", "trust", CRITICAL, "it names no host"),
        ("self.test", "trust", CRITICAL, "it is self-signed"),
        ("incomplete.test", "trust", CRITICAL, "the intermediate certificate is missing (serve fullchain.pem"),
        ("stranger.test", "trust", CRITICAL, "neither sent with it nor trusted here"),
        ("weak-key.test", "strength", CRITICAL, "its key is weak: RSA of 1024 bits, where 2048 is the least"),
        ("sha1.test", "strength", CRITICAL, "its signature is weak: SHA1 can be forged"),
        ("old-tls.test", "strength", WARNING, "it takes TLS 1.0 and TLS 1.1, which RFC 8996 deprecates"),
        ("mute.test", "strength", OK, "takes TLS 1.2, TLS 1.3"),
        ("long.test", "trust", OK, "trusted by a chain of 61"),
        ("endless.test", "trust", UNKNOWN, "excessive message size"),
        ("unknown.test", "trust", UNKNOWN, "it broke the connection off"),
    ],
)  # fmt: skip
def test_each_certificate_is_named_with_what_is_wrong_and_its_days(
    there: There, ask: Any, name: str, check: str, status: Status, words: str
) -> None:
    findings = ask(getattr(certificates, check), text=there.endpoint(name))
    told = [finding for finding in findings if finding.object == f"{there.server.at} ({name})"]
    assert told and told[0].status is status, findings
    assert words in told[0].message
    assert f"-servername {name}" in told[0].source


def test_a_name_that_would_be_markup_or_move_the_cursor_is_shown_as_text(there: There, ask: Any) -> None:
    findings = ask(certificates.trust, certificates.expiry, text=there.endpoint("hostile.test"))
    message = found(findings, "trust").message
    assert message.isprintable() and "neither sent with it nor trusted here" in message and "$(id)" in message


def test_what_hangs_in_the_handshake_costs_its_own_deadline_and_the_others_are_judged(there: There, ask: Any) -> None:
    with silent_server() as silent, silent_server() as mute:
        text = there.endpoint("", silent) + there.endpoint("good.test") + there.endpoint("", mute, protocol="postgres")
        began = time.monotonic()
        findings = ask(*certificates.questions[:3], text=text)
        assert time.monotonic() - began < DEADLINE + 0.7
    told = {finding.object: finding for finding in findings if finding.check == "certificates.expiry"}
    assert told[silent].status is UNKNOWN
    assert "took the connection and hung in the TLS handshake: no end of it within 1 s" in told[silent].message
    assert "hung in asking for TLS" in told[mute].message
    assert told[f"{there.server.at} (good.test)"].status is OK


def test_what_answers_without_tls_is_critical_and_what_does_not_answer_is_not_known(there: There, ask: Any) -> None:
    with silent_server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as plain, silent_server(b"N") as off:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            nobody = f"127.0.0.1:{closed.getsockname()[1]}"
        text = there.endpoint("", plain) + there.endpoint("", off, protocol="postgres") + there.endpoint("", nobody)
        told = {finding.object: finding for finding in ask(certificates.trust, text=text)}
    assert told[plain].status is CRITICAL and "what answers there is not TLS" in told[plain].message
    assert told[off].status is CRITICAL and "takes no TLS (ssl = off)" in told[off].message
    assert told[nobody].status is UNKNOWN and "nothing listens there" in told[nobody].message


def test_a_name_is_covered_exactly_or_by_one_wildcard() -> None:
    assert is_for(("api.test",), "API.test.") and is_for(("*.test",), "api.test")
    assert is_for(("::1",), "0:0:0:0:0:0:0:1")
    assert is_for(("xn--mnchen-3ya.test",), "münchen.test")
    assert not is_for(("*.test",), "test") and not is_for(("*",), "test") and not is_for(("a*.test",), "api.test")
    assert not is_for(("*.0.0.1",), "127.0.0.1") and not is_for((), "api.test")


def test_the_certificate_of_postgresql_is_seen_by_starttls_and_found_by_its_dsn(
    there: There, ask: Any, postgres_of_all: Cluster
) -> None:
    certificate, key = postgres_of_all.folder / "tls.pem", postgres_of_all.folder / "tls.key"
    there.root.issue(["localhost"], days=10.5, age=79).write(certificate, key)
    user = postgres_server.server_user()
    if user is not None:
        shutil.chown(key, user, user)
    set_on = [f"ALTER SYSTEM SET ssl_{name}_file = '{path}'" for name, path in (("cert", certificate), ("key", key))]
    postgres_of_all.execute(*set_on, "ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")
    try:
        place = f"host=localhost port={postgres_of_all.port} dbname=postgres user=postgres"
        text = f'[postgres]\ndsn = "{place} sslmode=verify-full sslrootcert={there.ca_file}"\n'
        end = time.monotonic() + 5
        while (findings := ask(*certificates.questions[:3], text=text))[0].status is UNKNOWN:
            assert time.monotonic() < end, findings
        assert found(findings, "expiry").object == f"localhost:{postgres_of_all.port}"
        assert found(findings, "expiry").status is CRITICAL and "10.5 of 90 days" in found(findings, "expiry").message
        assert found(findings, "trust").status is OK and "-starttls postgres" in found(findings, "trust").source
        assert found(findings, "strength").status is OK
        other = ask(certificates.trust, text=f'[postgres]\ndsn = "{place} sslmode=require"\n')
        assert found(other, "trust").status is WARNING and "its clients check nothing" in found(other, "trust").message
    finally:
        reset = [f"ALTER SYSTEM RESET {name}" for name in ("ssl", "ssl_cert_file", "ssl_key_file")]
        postgres_of_all.execute(*reset, "SELECT pg_reload_conf()")


@pytest.fixture
def pair(there: There, tmp_path: Path) -> tuple[Path, Path, Issued]:
    """A certificate as it is served, and the files where it lies."""
    issued = there.root.issue(["pair.test"])
    there.serve("pair.test", issued)
    issued.write(tmp_path / "pair.pem", tmp_path / "pair.key")
    return tmp_path / "pair.pem", tmp_path / "pair.key", issued


def of_pair(there: There, pair: tuple[Path, Path, Issued]) -> str:
    return there.endpoint("pair.test", file=pair[0], key_file=pair[1])


def test_what_is_served_is_compared_with_the_disk_and_the_key_with_the_certificate(
    there: There, ask: Any, pair: tuple[Path, Path, Issued]
) -> None:
    same, key = ask(certificates.on_disk, text=of_pair(there, pair))
    assert same.status is OK and key.status is OK and "-rw-------" in key.message
    there.root.issue(["pair.test"], age=-0.0001).write(pair[0])
    misfit, newer = ask(certificates.on_disk, text=of_pair(there, pair))
    if newer.object.startswith("key"):
        misfit, newer = newer, misfit
    assert newer.status is CRITICAL and "a newer one lies in" in newer.message
    assert misfit.status is CRITICAL and "does not belong to the certificate" in misfit.message


def test_a_key_that_every_user_may_read_is_critical(there: There, ask: Any, pair: tuple[Path, Path, Issued]) -> None:
    pair[1].chmod(0o644)
    told = [one for one in ask(certificates.on_disk, text=of_pair(there, pair)) if one.object.startswith("key")]
    assert told[0].status is CRITICAL and "-rw-r--r--: every user of this machine may read it" in told[0].message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file"),
        (b"", "holds no certificate"),
        (b"\x00\xff" * 5000, "holds no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no certificate"),
        (b"x" * (2 << 20), "larger than 1 MiB"),
    ],
    ids=["absent", "empty", "junk", "no certificate in PEM", "huge"],
)
def test_a_file_that_is_no_certificate_is_not_known_and_named(
    ask: Any, tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "some.pem"
    if content is not None:
        path.write_bytes(content)
    told = found(ask(certificates.expiry, text=f'[certificates]\nfiles = ["{path}"]\n'), "expiry")
    assert told.status is UNKNOWN and words in told.message and str(path) in told.message


def test_days_that_a_doubtful_clock_counts_are_told_as_such(
    there: There, ask: Any, profile: Callable[..., str]
) -> None:
    run = open_run("certificate-management", target=profile(there.endpoint("good.test")), needs=["certificates"])
    frame = run.ask(certificates.expiry).frame
    run.close()
    assert frame is not None
    told = certificates.expiry.check(frame.assign(offset=7200.0))[-1]
    assert told.status is UNKNOWN and told.message.startswith("this machine's clock is 7,200 s behind the API's")


def test_a_profile_without_certificates_is_told_what_it_lacks(ask: Any) -> None:
    told = ask(*certificates.questions, text='[host]\nwhere = "here"')
    cluster = found(told, "secret")
    assert cluster.status is Status.SKIPPED, "that of a cluster is asked only where the profile names one"
    assert {one.status for one in told if one is not cluster} == {UNKNOWN}
    assert "has no [certificates]" in told[0].message
    with_files = ask(certificates.renewal, text='[certificates]\nfiles = ["/etc/hostname"]\n')
    assert found(with_files, "renewal").status is Status.SKIPPED


def test_a_renewal_configuration_is_read_by_its_sections() -> None:
    text = "version = 2.1.0\ncert = /live/cert.pem\n# server = no\n[renewalparams]\nserver = https://a.test/dir\n"
    top, parameters = settings(text + "[[webroot_map]]\nserver = /var/www\n[other]\nserver = x\n")
    assert top["cert"] == "/live/cert.pem" and parameters == {"server": "https://a.test/dir"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[certificates.endpoints]]\nat = "api.test"', "HOST:PORT"),
        ('[[certificates.endpoints]]\nat = "::1:443"', "one of IPv6 stands in brackets"),
        ('[[certificates.endpoints]]\nat = "user@api.test:443"', "this is no host"),
        ('[certificates]\nfiles = ["relative.pem"]', "an absolute path"),
        ('[certificates.certbot]\nserver = "https://user:secret@acme.test/dir"', "certificates.certbot.server"),
        ('[certificates.reload]\nsignal = "HUP"', "give argv or pid_file"),
        ('[certificates.reload]\npid_file = "/run/x.pid"\nsignal = "KILL"', "certificates.reload.signal"),
    ],
)
def test_a_profile_that_names_certificates_wrongly_is_refused_with_the_place(
    profile: Callable[..., str], text: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        load_target(profile(text))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("mode", "group", "exposed"),
    [(0o100640, "users", True), (0o100640, "ssl-cert", False), (0o100600, "", False), (0o100644, "", True)],
)
def test_a_key_that_a_group_of_people_may_read_is_exposed_and_one_of_a_group_of_servers_is_not(
    mode: int, group: str, exposed: bool
) -> None:
    assert bool(_exposed(mode, group)) is exposed

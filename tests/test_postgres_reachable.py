"""A server that starts, recovers, shuts down, wants TLS, or takes no writes is told as just that."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from cluster import Cluster, cluster
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from running import wait_for

from runbook import open_run, postgres
from runbook.model import Finding, Status
from runbook.session import Run
from runbook_sandbox import postgres_server

WARNING, CRITICAL, UNKNOWN = Status.WARNING, Status.CRITICAL, Status.UNKNOWN
Asked = Callable[..., tuple[Finding, str]]
NEEDS = ["postgres", "application database"]


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster() as made:
        made.execute("CREATE ROLE app LOGIN; CREATE ROLE closed NOLOGIN; CREATE ROLE reader LOGIN")
        made.execute("ALTER ROLE reader SET default_transaction_read_only = on")
        yield made


@pytest.fixture
def asked(profile: Callable[..., str]) -> Iterator[Callable[[str], tuple[Finding, str]]]:
    """Ask whether a database can be worked with, and give the finding and how the run shows its target."""
    runs: list[Run] = []

    def ask(text: str) -> tuple[Finding, str]:
        runs.append(open_run("test", target=profile(f"{text}\n[deadlines]\nconnect = 2.0\n", name="mine"), needs=NEEDS))
        (found,) = runs[-1].ask(postgres.reachable).findings
        return found, str(runs[-1]._repr_mimebundle_()["text/plain"])

    yield ask
    for run in runs:
        run.close()


def over_tcp(server: Cluster, user: str = "app", more: str = "") -> str:
    dsn = f"host=127.0.0.1 port={server.port} user={user} dbname=postgres {more}"
    return f'[postgres]\ndsn = "{dsn}"\napplication_dsn = "{dsn}"\n'


@contextmanager
def recovering(server: Cluster) -> Iterator[None]:
    """Let the server begin a recovery and wait for WAL that does not come."""
    server.stop()
    (server.data / "recovery.signal").touch()
    auto = server.data / "postgresql.auto.conf"
    kept = auto.read_text()
    auto.write_text(f"{kept}\nrestore_command = 'sleep 10; false'\n")
    try:
        server._call("pg_ctl", "-D", server.data, "-W", "-l", server.folder / "log", "start")
        wait_for(lambda: "starting up" in refused(server))
        yield
    finally:
        server.stop("immediate")
        auto.write_text(kept)
        (server.data / "recovery.signal").unlink()
        server.start()


def refused(server: Cluster) -> str:
    """Return why the server takes no new connection, "" where it does."""
    try:
        server.connect().close()
    except psycopg.OperationalError as error:
        return str(error)
    return ""


def test_a_server_that_starts_is_told_so_and_to_be_waited_for(server: Cluster, asked: Asked) -> None:
    with recovering(server):
        found, shown = asked(over_tcp(server))
    assert (found.status, found.value) == (CRITICAL, "starting"), found
    assert "does not accept connections yet: the database system is starting up" in found.message
    assert "follow the server's log" in found.next
    assert "NOT OPEN" in shown and "starting up" in shown


def test_a_server_that_shuts_down_is_told_so(server: Cluster, asked: Asked) -> None:
    with server.connect():
        server._call("pg_ctl", "-D", server.data, "-W", "-m", "smart", "stop")
        wait_for(lambda: refused(server))
        found, shown = asked(over_tcp(server))
    wait_for(lambda: not (server.data / "postmaster.pid").exists())
    server.start()
    assert (found.status, found.value) == (CRITICAL, "shutting-down")
    assert "is shutting down, and takes no new connection" in found.message and "who stops it" in found.next
    assert "NOT OPEN" in shown and "is shutting down" in shown


def test_a_standby_answers_and_takes_no_writes(server: Cluster, asked: Asked) -> None:
    server.stop()
    (server.data / "standby.signal").touch()
    server.start()
    try:
        found, shown = asked(over_tcp(server))
        own, _ = asked(over_tcp(server).split("application_dsn")[0])
        run = open_run("test", target="mine", needs=NEEDS)
        state = {finding.object: finding for finding in run.ask(postgres.server_state).findings}
        run.close()
    finally:
        server.stop()
        (server.data / "standby.signal").unlink()
        server.start()
    assert (found.status, found.value) == (CRITICAL, "in-recovery")
    assert f"postgres at 127.0.0.1:{server.port} as app answers and takes no writes: it is in recovery" in found.message
    assert "(in recovery)" in shown
    assert own.status is WARNING and "the runbook's own role" in own.message, "the application may connect elsewhere"
    assert (state["server"].status, state["server"].value) == (WARNING, "in recovery")
    assert "see where the primary is" in state["server"].next and "version" not in state["server"].next


def test_a_server_that_is_read_only_is_told_so(server: Cluster, asked: Asked) -> None:
    server.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
    try:
        found, shown = asked(over_tcp(server))
        run = open_run("test", target="mine", needs=NEEDS)
        state = {finding.object: finding for finding in run.ask(postgres.server_state).findings}
        run.close()
    finally:
        with server.connect(options="-c default_transaction_read_only=off") as admin:
            admin.execute("ALTER DATABASE postgres RESET default_transaction_read_only")
    assert (found.status, found.value) == (CRITICAL, "read-only")
    assert "takes no writes: its default_transaction_read_only is on" in found.message and "(read-only)" in shown
    assert state["server"].status is WARNING and "on, by the database" in state["server"].message


def test_a_role_that_may_only_read_is_one_thing_for_the_application_and_another_for_the_runbook(
    server: Cluster, asked: Asked
) -> None:
    found, shown = asked(over_tcp(server, "reader"))
    assert (found.status, found.value) == (CRITICAL, "read-only") and "(read-only)" not in shown
    found, _ = asked(over_tcp(server, "reader").split("application_dsn")[0])
    assert found.status is Status.OK


@contextmanager
def rules(server: Cluster, *lines: str) -> Iterator[None]:
    """Let these be the rules for connections over TCP."""
    hba = server.data / "pg_hba.conf"
    kept = hba.read_text()
    hba.write_text("\n".join(["local all all trust", *lines, ""]))
    server.execute("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        hba.write_text(kept)
        server.execute("SELECT pg_reload_conf()")


@pytest.fixture
def with_tls(server: Cluster) -> Iterator[Cluster]:
    """The server with a certificate that it signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    texts = {
        "server.crt": certificate.public_bytes(pem),
        "server.key": key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain),
    }
    user = postgres_server.server_user()
    for file, text in texts.items():
        (server.data / file).write_bytes(text)
        (server.data / file).chmod(0o600)
        if user is not None:
            os.chown(server.data / file, user, user)
    if (
        subprocess.run([server.binaries / "pg_config", "--configure"], capture_output=True, text=True).stdout.find(
            "ssl"
        )
        < 0
    ):
        pytest.skip("this server was built without TLS")
    server.execute("ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")
    wait_for(lambda: server.execute("SHOW ssl") == [("on",)])
    yield server
    server.execute("ALTER SYSTEM RESET ssl", "SELECT pg_reload_conf()")


def test_a_server_that_wants_tls_is_told_so_and_let_in_with_it(with_tls: Cluster, asked: Asked) -> None:
    with rules(with_tls, "hostssl all all 127.0.0.1/32 trust"):
        found, shown = asked(over_tcp(with_tls, more="sslmode=disable"))
        well, _ = asked(over_tcp(with_tls, more="sslmode=require"))
        usual, _ = asked(over_tcp(with_tls))
    assert (found.status, found.value) == (UNKNOWN, "tls-required")
    assert "no entry in pg_hba.conf that lets role app into postgres without TLS" in found.message
    assert "sslmode=require" in found.next and "without TLS" in shown
    assert well.status is usual.status is Status.OK


def test_tls_that_the_server_does_not_have_is_told(server: Cluster, asked: Asked) -> None:
    found, _ = asked(over_tcp(server, more="sslmode=require"))
    assert (found.status, found.value) == (CRITICAL, "tls")
    assert "does not support SSL, but SSL was required" in found.message


def test_a_certificate_that_is_not_trusted_is_told(with_tls: Cluster, asked: Asked) -> None:
    found, _ = asked(over_tcp(with_tls, more=f"sslmode=verify-full sslrootcert={__file__}"))
    assert (found.status, found.value) == (CRITICAL, "tls")


@pytest.mark.parametrize(
    ("lines", "user"),
    [
        (("host all all 127.0.0.1/32 reject",), "app"),
        (("host all somebody 127.0.0.1/32 trust",), "app"),
        (("host all all 127.0.0.1/32 scram-sha-256",), "app"),
        (("host all all 127.0.0.1/32 trust",), "closed"),
        (("host all all 127.0.0.1/32 trust",), "of_nobody"),
    ],
)
def test_a_role_that_is_not_let_in_is_unknown_and_the_server_is_up(
    lines: tuple[str, ...], user: str, with_tls: Cluster, asked: Asked
) -> None:
    with rules(with_tls, *lines):
        found, _ = asked(over_tcp(with_tls, user))
    assert (found.status, found.value) == (UNKNOWN, "password"), found
    assert f"is up and refused the log-in of role {user}" in found.message

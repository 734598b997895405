"""What a real Docker engine tells of its containers' rights, of the age of their images, and of secrets in both."""

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import docker.types
import pandas as pd
import pytest
from engine import Engine

from runbook.docker import image_age, privileges, secrets_in_environment
from runbook.docker.image_age import check as check_age
from runbook.model import Finding, Status
from runbook.session import open_run

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
Ask = Callable[..., dict[str, Finding]]
SECRET = "Zx81kQmP0vR7tLw2"
BUILT = f"""FROM shrimp/api
ENV SIGNING_KEY={SECRET} PORT=8000
ARG PIP_TOKEN={SECRET}9
RUN echo built --token {SECRET}8 > /dev/null
"""


@pytest.fixture(scope="module")
def there(engine_of_all: Engine) -> Engine:
    """The shared engine with an image that can run busybox's programs, and one built from it with secrets in it."""
    engine_of_all.image("shrimp/api", version=b"1")
    client = engine_of_all.client
    client.images.build(fileobj=io.BytesIO(BUILT.encode()), tag="shrimp/leaky:1.2", network_mode="none", rm=True)
    return engine_of_all


@pytest.fixture
def ask(there: Engine, profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Ask a question about containers of these names (by part); return the findings by object."""
    monkeypatch.setenv("DOCKER_HOST", there.host)

    def asked(question: Any, **named: str) -> dict[str, Finding]:
        text = "[containers]\n" + "".join(f'{part} = "{name}"\n' for part, name in named.items())
        run = open_run("probe", target=profile(text, "engine"), needs=["containers"])
        try:
            return {finding.object: finding for finding in run.ask(question).findings}
        finally:
            run.close()

    yield asked
    for container in there.client.containers.list(all=True):
        container.remove(force=True)


def made(there: Engine, name: str, image: str = "shrimp/api", **more: Any) -> None:
    """Make a container, which need not run to be looked at."""
    there.client.containers.create(image, ["sh", "-c", "sleep 60"], name=name, **{"network_mode": "none", **more})


def words(findings: dict[str, Finding]) -> dict[str, Status]:
    """Return the status by what each finding is about, without the container's name."""
    return {name.partition(") ")[2] or name: finding.status for name, finding in findings.items()}


# --- rights


def test_a_container_with_a_user_and_all_limits_is_well(there: Engine, ask: Ask) -> None:
    limits = {"mem_limit": "64m", "nano_cpus": 500_000_000, "pids_limit": 50}
    made(there, "kept", user="1000:1000", security_opt=["no-new-privileges:true"], **limits)
    assert {one.status for one in ask(privileges, api="kept").values()} == {OK}


def test_every_way_out_of_a_container_is_told_by_what_it_is(there: Engine, ask: Ask) -> None:
    mounts = [
        docker.types.Mount("/host/etc", "/etc", type="bind", read_only=True),
        docker.types.Mount("/host/proc", "/proc", type="bind"),
        docker.types.Mount("/data", "/usr", type="bind", read_only=True),
    ]
    made(there, "out", privileged=True, cap_add=["SYS_ADMIN", "NET_BIND_SERVICE"], pid_mode="host", mounts=mounts)
    found = ask(privileges, api="out")
    told = words(found)
    for what in ("privileged", "mounts", "capabilities", "namespaces"):
        assert told[what] is CRITICAL, what
    assert (told["user"], told["limits"]) == (WARNING, WARNING)
    assert "/proc" in found["api (out) mounts"].message and "/usr" not in found["api (out) mounts"].message


def test_a_device_and_a_folder_above_the_engines_own_are_ways_out_as_well(there: Engine, ask: Ask) -> None:
    volumes = {"/var": {"bind": "/host/var", "mode": "rw"}}
    made(there, "above", user="1000", volumes=volumes)
    made(there, "device", user="1000", devices=["/dev/null:/dev/disk:rwm"])
    found = ask(privileges, api="above", postgres="device")
    assert found["api (above) mounts"].status is CRITICAL and "/var" in found["api (above) mounts"].message
    assert found["postgres (device) mounts"].status is CRITICAL


def test_the_engines_own_socket_in_a_container_is_critical(there: Engine, ask: Ask) -> None:
    socket = there.host.removeprefix("unix://")
    made(there, "engineer", user="1000", volumes=[f"{socket}:/var/run/docker.sock"])
    assert words(ask(privileges, api="engineer"))["engine's socket"] is CRITICAL


def test_a_database_published_on_all_addresses_is_worse_than_the_api(there: Engine, ask: Ask) -> None:
    made(there, "open-api", network_mode="bridge", ports={"8000/tcp": 8000})
    made(there, "open-db", network_mode="bridge", ports={"5432/tcp": 5432})
    made(there, "closed", network_mode="bridge", ports={"6379/tcp": ("127.0.0.1", 6379)})
    found = ask(privileges, api="open-api", postgres="open-db", redis="closed")
    assert found["api (open-api) published ports"].status is WARNING
    assert found["postgres (open-db) published ports"].status is CRITICAL
    assert "redis (closed) published ports" not in found


def test_a_container_that_is_not_there_cannot_be_judged(ask: Ask) -> None:
    for question in (privileges, secrets_in_environment):
        assert ask(question, api="nowhere")["api (nowhere)"].status is UNKNOWN


# --- images


def test_an_image_without_a_version_in_its_name_is_told_and_one_with_it_is_not(there: Engine, ask: Ask) -> None:
    made(there, "latest")
    made(there, "pinned", "shrimp/leaky:1.2")
    found = ask(image_age, api="latest", postgres="pinned")
    assert found["api (latest) name"].status is WARNING and "postgres (pinned) name" not in found
    assert found["postgres (pinned)"].status is OK


def test_the_age_of_an_image_is_judged_in_days_and_one_that_tells_none_is_unknown(there: Engine, ask: Ask) -> None:
    now = datetime.now(UTC)
    rows = [
        {"part": part, "container": part, "image": "a:1", "made": made, "days": days, "there": True, "pinned": True}
        for part, made, days in (
            ("api", now - timedelta(days=20), 20.0),
            ("postgres", now - timedelta(days=120), 120.0),
            ("redis", now - timedelta(days=500), 500.0),
            ("other", None, None),
        )
    ]
    assert [one.status for one in check_age(pd.DataFrame(rows))] == [OK, WARNING, CRITICAL, UNKNOWN]


# --- secrets


def test_secrets_are_told_by_kind_and_place_and_never_by_value(there: Engine, ask: Ask) -> None:
    environment = {
        "JWT_SECRET_KEY": "change-me",
        "OPENAI_API_KEY": SECRET,
        "DATABASE_URL": f"postgresql://shrimp_user:{SECRET}@postgres/shrimp_annotation",
        "REDIS_URL": "redis://:redis@redis:6379/0",
        "DB_PASSWORD_FILE": "/run/secrets/db",
        "REDIS_PASSWORD": "/run/secrets/redis",
        "LOG_LEVEL": "info",
        "DEBUG": "true",
    }
    made(there, "leaky", "shrimp/leaky:1.2", environment=environment)
    found = ask(secrets_in_environment, api="leaky")
    told = words(found)
    assert told["JWT_SECRET_KEY, environment"] is CRITICAL and told["REDIS_URL, environment"] is CRITICAL
    assert told["OPENAI_API_KEY, environment"] is WARNING and told["DATABASE_URL, environment"] is WARNING
    assert told["DEBUG, environment"] is WARNING
    assert told["SIGNING_KEY, image"] is CRITICAL
    assert any(name.endswith("history of the image") for name in told)
    assert not [name for name in told if "PASSWORD" in name or "LOG_LEVEL" in name or "PORT" in name]
    assert SECRET not in str(found) and "change-me" not in str(found)


def test_a_variable_named_for_a_secret_holds_one_whatever_it_looks_like_and_settings_are_none(
    there: Engine, ask: Ask
) -> None:
    environment = {
        "ADMIN_PASSWORD": "$ummer2026",
        "DB_PASSWORD": "{braces}",
        "SMTP_PW": "kept-by-nobody",
        "VAULT_PASSPHRASE": "correct horse battery staple is what they all say",
        "LLM_TOKEN": "YOUR_PASSWORD",
        "REDIS_PASSWORD": "1234",
        "DEBUG": "t",
        "GPG_KEY": "A035C8C19219BA821ECEA86B64E628F8D684696D",
        "REQUIRE_PASSWORD": "true",
        "LIFETIME_OF_TOKEN": "3600",
    }
    made(there, "odd", environment=environment)
    found = words(ask(secrets_in_environment, api="odd"))
    assert {name.removesuffix(", environment"): status for name, status in found.items()} == {
        "ADMIN_PASSWORD": WARNING, "DB_PASSWORD": WARNING, "SMTP_PW": WARNING, "VAULT_PASSPHRASE": WARNING,
        "LLM_TOKEN": CRITICAL, "REDIS_PASSWORD": CRITICAL, "DEBUG": WARNING,
    }  # fmt: skip


def test_an_environment_without_secrets_is_well(there: Engine, ask: Ask) -> None:
    made(there, "clean", environment={"LOG_LEVEL": "info", "PGPASSFILE": "/run/secrets/pgpass"})
    assert ask(secrets_in_environment, api="clean")["environments"].status is OK

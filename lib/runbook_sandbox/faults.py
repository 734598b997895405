"""Break a sandbox in one known way, and heal it."""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, LiteralString

import httpx
import psutil
import redis

from runbook_sandbox import (
    backups,
    containers,
    damage,
    deployed,
    monitoring,
    newer_dump,
    postgres_server,
    processes,
    queue,
    stack,
    target_file,
    tls_front,
)
from runbook_sandbox.packages import MENDED, VULNERABLE, set_version
from runbook_sandbox.past import append_attack
from runbook_sandbox.place import PARTS, Place, SandboxError
from runbook_sandbox.seeding import DATABASE

_CONVOY = "runbook_sandbox.convoy"
_FILLER = "fault-filler"
_OWN = DATABASE


@dataclass(frozen=True)
class Fault:
    """A way to break the sandbox: ``truth`` is what a notebook must then say. Some take ``contained`` parts."""

    name: str
    truth: str
    break_: Callable[[Place], object]
    heal: Callable[[Place], object]
    contained: bool = False


def break_sandbox(place: Place, name: str) -> Fault:
    """Break the sandbox; raises `SandboxError` for an unknown fault or one that is there already."""
    fault = FAULTS.get(name)
    if fault is None:
        raise SandboxError(f"unknown fault {name!r}; there are: {', '.join(FAULTS)}")
    state = place.read("state.json")
    if name in state["broken"]:
        raise SandboxError(f"{name} is broken already; `sandbox heal` mends it")
    if fault.contained and not state.get("docker"):
        raise SandboxError(f"{name} takes containers, which alone have a memory limit: `sandbox up --docker`")
    fault.break_(place)
    state = place.read("state.json")
    place.write("state.json", {**state, "broken": [*state["broken"], name]})
    return fault


def heal(place: Place) -> list[str]:
    """Mend every fault, the last one first, and return their names."""
    broken = list(reversed(place.read("state.json").get("broken", [])))
    for name in broken:
        FAULTS[name].heal(place)
    broken += _containers_healed(place) + _monitoring_healed(place)
    if broken and processes.of_part(place, "api"):
        stack.wait_for(place, "api")  # its connections find out one by one that what they lead to is back
    place.write("state.json", {**place.read("state.json"), "broken": []})
    return broken


def _containers_healed(place: Place) -> list[str]:
    """Start what runs in containers and was stopped, paused or removed by other hands; return what it was."""
    healed = []
    if place.read("state.json").get("docker"):
        for part in PARTS:
            if containers.unpause(place, part):
                healed.append(f"{part} was paused")
            elif not processes.of_part(place, part):
                stack.start_part(place, part)
                stack.wait_for(place, part)
                healed.append(f"{part} did not run")
    return healed


def _monitoring_healed(place: Place) -> list[str]:
    """Start what of the monitoring was ended by other hands; return what it was."""
    healed = []
    for part in place.read("state.json").get("monitoring", {}):
        if not processes.of_part(place, part):
            stack.start_part(place, part)
            stack.wait_for(place, part)
            healed.append(f"{part} did not run")
    return healed


def _stop_watching(part: str) -> Callable[[Place], None]:
    def stop(place: Place) -> None:
        if part not in place.read("state.json").get("monitoring", {}):
            raise SandboxError(
                f"this sandbox has no {part}: {monitoring.COMPONENTS[part]} was not installed or not wanted"
            )
        processes.end(processes.of_part(place, part))

    return stop


def _drop_database(place: Place) -> None:
    """Have the service's database be gone from under it."""
    damage.put_aside(place, copied=False)


def _stop(part: str) -> Callable[[Place], None]:
    return lambda place: processes.end(processes.of_part(place, part))


def _start(part: str) -> Callable[[Place], None]:
    def start(place: Place) -> None:
        stack.start_part(place, part)
        stack.wait_for(place, part)

    return start


def _signal(part: str, what: signal.Signals) -> Callable[[Place], None]:
    def tell(place: Place) -> None:
        for process in processes.of_part(place, part):
            try:
                process.send_signal(what)
            except psutil.NoSuchProcess:
                continue

    return tell


def _switch(key: str, value: Any) -> Callable[[Place], None]:
    def switch(place: Place) -> None:
        switched = place.read("faults.json")
        if value is None:
            switched.pop(key, None)
        else:
            switched[key] = value
        place.write("faults.json", switched)

    return switch


def _forget(key: str) -> Callable[[Place], None]:
    """Return what switches a fault off that keeps memory, and has the service give it back."""

    def forget(place: Place) -> None:
        _switch(key, None)(place)
        with suppress(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{place.read('state.json')['ports']['api']}/ready", timeout=5, trust_env=False)

    return forget


def _with_model(key: str, value: Any) -> Callable[[Place], None]:
    def switch(place: Place) -> None:
        if place.read("state.json").get("mode") != "documented":
            raise SandboxError("as built nobody runs a language model")
        _switch(key, value)(place)

    return switch


def _eat(place: Place) -> None:
    """Have the service take memory until the kernel kills its container."""
    _switch("eaten_bytes", 2 * containers.LIMIT_OF_SERVICE)(place)
    url = f"http://127.0.0.1:{place.read('state.json')['ports']['api']}/health"
    with suppress(httpx.HTTPError):
        httpx.get(url, timeout=20, trust_env=False)
    _switch("eaten_bytes", None)(place)
    if processes.of_part(place, "api"):
        raise SandboxError("the service took twice its limit and was not killed: this engine does not limit memory")


def _take_all_slots(place: Place) -> None:
    port = place.read("state.json")["ports"]["postgres"]
    count = str(postgres_server.MAX_CONNECTIONS)
    argv = [sys.executable, "-m", "runbook_sandbox.holder", str(place.folder), str(port), count]
    processes.start(place, argv, log="holder.log", cwd=place.folder)
    stack.wait_until_refused(place)


def _block_table(place: Place) -> None:
    argv = [sys.executable, "-m", _CONVOY, str(place.folder), str(place.read("state.json")["ports"]["postgres"]), "8"]
    processes.start(place, argv, log="convoy.log", cwd=place.folder)
    asking = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'waiting-worker' AND wait_event_type = 'Lock'"
    )
    with postgres_server.superuser(place) as connection:
        for _ in range(100):
            if connection.execute(asking.encode()).fetchone() == (8,):
                return
            time.sleep(0.1)
    raise SandboxError("the sessions did not come to wait for each other within 10 s")


def _end_convoy(place: Place) -> None:
    processes.end(processes.running(place, _CONVOY))
    ending = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name IN (%s, %s)"
    with postgres_server.superuser(place) as connection:
        connection.execute(ending.encode(), ("forgotten-migration", "waiting-worker"))


def _end_holders(place: Place) -> None:
    processes.end(processes.running(place, "runbook_sandbox.holder"))


def _fill_disk(place: Place) -> None:
    fd = os.open(place.folder / _FILLER, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        os.posix_fallocate(fd, 0, target_file.DISK_BYTES)
    finally:
        os.close(fd)


def _redis(place: Place) -> "redis.Redis":
    password = (place.folder / "secrets" / "redis").read_text()
    return redis.Redis(port=place.read("state.json")["ports"]["redis"], password=password, socket_timeout=5)


def _attack(place: Place) -> None:
    logs = sorted((place.folder / "logs").glob("api_*.log"))
    place.write("attack.json", {"log": str(logs[-1]), "size": logs[-1].stat().st_size})
    append_attack(logs[-1], documented=place.read("state.json").get("mode") == "documented")


def _forget_attack(place: Place) -> None:
    before = place.read("attack.json")
    os.truncate(before["log"], before["size"])


def _serve(name: str, *, taken_up: bool) -> Callable[[Place], None]:
    def serve(place: Place) -> None:
        folder = place.folder / tls_front.FOLDER
        new = folder / "new.pem"
        new.write_bytes((folder / name).read_bytes())
        new.replace(folder / tls_front.CERTIFICATE)
        if taken_up:
            _signal(tls_front.PART, signal.SIGHUP)(place)

    return serve


# What a request for a document waits for: half of them so long, 1 in 100 more than 3.28 s (lognormal).
DELAYED = {"method": "GET", "path": "/documents", "median_seconds": 2.6, "sigma": 0.1}
_COMPUTING = {"method": "GET", "path": "/documents", "seconds": 2.1}
# Others see all rows as before; the service waits once in each of its statements.
_SLOW_POLICIES = (
    "CREATE POLICY open_beside_a_fault ON documents USING (true)",
    "CREATE POLICY slow_by_a_fault ON documents AS RESTRICTIVE FOR SELECT TO shrimp_user "
    "USING ((SELECT pg_sleep(2.2)) IS NOT NULL)",
    "ALTER TABLE documents ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
)
_NO_POLICIES = (
    "SET LOCAL lock_timeout = '15s'",
    "ALTER TABLE documents NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY",
    "DROP POLICY slow_by_a_fault ON documents",
    "DROP POLICY open_beside_a_fault ON documents",
)


def _slow_down_database(place: Place) -> None:
    if place.read("state.json").get("mode") != "documented":
        raise SandboxError("as built the service keeps its documents in its memory: no query of it could be slow")
    _execute(place, _SLOW_POLICIES)


def _execute(place: Place, statements: Sequence[LiteralString]) -> None:
    with postgres_server.superuser(place) as connection, connection.transaction():
        for statement in statements:
            connection.execute(statement)


_ALERT = {
    "high_cpu_usage": {
        "name": "high_cpu_usage",
        "severity": "critical",
        "status": "active",
        "message": "CPU usage is above 95%",
        "triggered_at": "2026-01-01T00:00:00",
    }
}

FAULTS = {
    fault.name: fault
    for fault in (
        Fault("postgres-down", "PostgreSQL is stopped", _stop("postgres"), _start("postgres")),
        Fault("redis-down", "Redis is stopped", _stop("redis"), _start("redis")),
        Fault("api-down", "the service is stopped", _stop("api"), _start("api")),
        Fault(
            "postgres-hangs",
            "PostgreSQL accepts connections and never answers",
            _signal("postgres", signal.SIGSTOP),
            _signal("postgres", signal.SIGCONT),
        ),
        Fault(
            "redis-hangs",
            "Redis accepts connections and never answers",
            _signal("redis", signal.SIGSTOP),
            _signal("redis", signal.SIGCONT),
        ),
        Fault(
            "api-hangs",
            "the service accepts connections and never answers",
            _signal("api", signal.SIGSTOP),
            _signal("api", signal.SIGCONT),
        ),
        Fault("slots-full", "every connection slot is taken", _take_all_slots, _end_holders),
        Fault(
            "lock-convoy",
            "a session holds the table documents and does nothing; eight others wait for it, and so do requests",
            _block_table,
            _end_convoy,
        ),
        Fault(
            "llm-slow",
            "the language model (a stand-in) takes 6 s for each answer",
            _with_model("llm_slow_seconds", 6.0),
            _switch("llm_slow_seconds", None),
        ),
        Fault(
            "llm-quota",
            "the language model (a stand-in) answers 429: the quota of the key is used up",
            _with_model("llm_refuses", 429),
            _switch("llm_refuses", None),
        ),
        Fault(
            "breaker-open",
            "the breaker of ollama_api is open",
            _switch("breaker_open", True),
            _switch("breaker_open", None),
        ),
        Fault("alert-active", "the alert high_cpu_usage is active", _switch("alerts", _ALERT), _switch("alerts", None)),
        Fault(
            "rate-limited",
            "every request is refused with 429",
            _switch("rate_limited", True),
            _switch("rate_limited", None),
        ),
        Fault(
            "cors-open",
            "the service lets every web site read what its users may",
            _switch("cors_open", True),
            _switch("cors_open", None),
        ),
        Fault(
            "docs-open",
            "the documentation of the service's interface is open to everybody",
            _switch("docs_open", True),
            _switch("docs_open", None),
        ),
        Fault(
            "package-vulnerable",
            "the practice package has a version that a (made-up) advisory is about",
            lambda place: set_version(place, VULNERABLE),
            lambda place: set_version(place, MENDED),
        ),
        Fault(
            "headers-missing",
            "the service sends none of the headers that tell browsers what to keep from",
            _switch("headers_missing", True),
            _switch("headers_missing", None),
        ),
        Fault(
            "api-slow", "each request takes 2.2 s longer", _switch("slow_seconds", 2.2), _switch("slow_seconds", None)
        ),
        Fault(
            "memory-leak",
            "each request leaves 256 KiB behind; `sandbox load` brings some",
            _switch("leak_bytes", 256 << 10),
            _forget("leak_bytes"),
        ),
        Fault(
            "cache-grows",
            "each request leaves 512 KiB in a cache, which is full with 64 MiB; `sandbox load` brings some",
            _switch("cache_bytes", 64 << 20),
            _forget("cache_bytes"),
        ),
        Fault(
            "api-oom",
            "the service's container was killed for want of memory (takes `sandbox up --docker`)",
            _eat,
            _start("api"),
            contained=True,
        ),
        Fault(
            "slow-endpoint",
            "GET /documents waits 2.6 s longer (half of the requests; 1 in 100 more than 3.28 s), all others do not",
            _switch("delayed", DELAYED),
            _switch("delayed", None),
        ),
        Fault(
            "gil-bound",
            "GET /documents computes 2.1 s in pure Python, which holds the interpreter: all others wait with it",
            _switch("computing", _COMPUTING),
            _switch("computing", None),
        ),
        Fault(
            "database-slow",
            "each query of the service on the table documents takes 2.2 s longer",
            _slow_down_database,
            lambda place: _execute(place, _NO_POLICIES),
        ),
        Fault(
            "errors-30",
            "30% of the requests POST /candidates/generate fail with 500; `sandbox load` brings some",
            _switch("failing", {"method": "POST", "path": "/candidates/generate", "share": 0.3}),
            _switch("failing", None),
        ),
        Fault(
            "llm-key-revoked",
            "the language model (a stand-in) refuses the service's key with 401, and POST /candidates/generate fails "
            "with 503; `sandbox load` brings some",
            _with_model("llm_key_revoked", True),
            _switch("llm_key_revoked", None),
        ),
        Fault(
            "file-changed", "a file of the service was changed by somebody", deployed.change_file, deployed.restore_file
        ),
        Fault("file-added", "a file was put beside those of the service", deployed.add_file, deployed.remove_file),
        Fault("file-setuid", "a program of the service was made set-uid", deployed.give_rights, deployed.take_rights),
        Fault("database-dropped", "the service's database is gone", _drop_database, damage.bring_back),
        Fault("page-damaged", "a page of the candidates fails its checksum", damage.damage_page, damage.bring_back),
        Fault("index-damaged", "a document is not in its primary key's index", damage.hide_row, damage.bring_back),
        Fault("backup-cut", "the newest dump ends at 60% of its length", backups.cut, backups.bring_back),
        Fault("backup-flipped", "one bit of the newest dump is another one", backups.flip, backups.bring_back),
        Fault("backup-newer", "the newest dump is of a newer PostgreSQL", newer_dump.make, backups.bring_back),
        Fault("backup-missing", "no dump of the last three days is there", backups.take_away, backups.bring_back),
        Fault("job-added", "a job was put among those of the machine", deployed.add_job, deployed.remove_job),
        Fault(
            "queue-stuck",
            "16 items are stuck in review, 12 of them with a user who was deactivated, and what is pending waits for "
            "five days",
            queue.stick,
            queue.put_back("queue-stuck"),
        ),
        Fault(
            "nobody-annotating",
            "nobody has annotated for 30 hours, and items wait",
            queue.send_home,
            queue.put_back("nobody-annotating"),
        ),
        Fault(
            "disk-full", "the sandbox's share of the disk is full", _fill_disk, lambda p: (p.folder / _FILLER).unlink()
        ),
        Fault(
            "log-attack",
            "the log tells of guessed passwords, injections, scanners and a burst of errors",
            _attack,
            _forget_attack,
        ),
        Fault(
            "redis-full",
            "Redis has used more than 90% of its memory",
            lambda place: _redis(place).setrange(_FILLER, 29_800_000, "x"),
            lambda place: _redis(place).delete(_FILLER),
        ),
        Fault(
            "certificate-expires-soon",
            f"the certificate that is served over TLS has {tls_front.SOON_DAYS:g} days left",
            _serve(tls_front.SOON, taken_up=True),
            _serve(tls_front.GOOD, taken_up=True),
        ),
        Fault(
            "served-certificate-old",
            "the certificate was renewed on the disk, and the former one is still served",
            _serve(tls_front.NEXT, taken_up=False),
            _serve(tls_front.GOOD, taken_up=True),
        ),
        *(
            Fault(f"{part}-down", f"{what} is stopped", _stop_watching(part), _start(part))
            for part, what in (
                ("prometheus", "Prometheus"),
                ("alertmanager", "Alertmanager"),
                ("node-exporter", "the exporter of the host's metrics"),
                ("postgres-exporter", "PostgreSQL's exporter"),
            )
        ),
    )
}

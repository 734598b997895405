"""Bring a sandbox up and down: PostgreSQL, Redis, the stand-in for the service, and the target file that names them."""

import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import redis

from runbook_sandbox import (
    api_server,
    backups,
    compose,
    containers,
    deployed,
    monitoring,
    postgres_server,
    processes,
    target_file,
    tls_front,
)
from runbook_sandbox.api_server import PART as CLUSTER
from runbook_sandbox.as_built.memory import DOCUMENT
from runbook_sandbox.language_model import MODEL
from runbook_sandbox.language_model import PART as LLM
from runbook_sandbox.packages import write_packages
from runbook_sandbox.passwords import hash_password
from runbook_sandbox.past import write_past
from runbook_sandbox.place import PARTS, Place, SandboxError
from runbook_sandbox.seeding import DATABASE, ROLES, USERS, seed
from runbook_sandbox.servers import find_postgres, find_redis
from runbook_sandbox.tls_front import PART as TLS

_BESIDE = {
    LLM: "runbook_sandbox.language_model",
    TLS: "runbook_sandbox.tls_front",
    CLUSTER: "runbook_sandbox.api_server",
}
MODES = ("documented", "as-built")  # how the service behaves
REDIS_MEMORY = 32 << 20
START_SECONDS = 20.0


def up(
    name: str,
    mode: str = "documented",
    *,
    ports: dict[str, int] | None = None,
    targets: Path | None = None,
    docker: bool = False,
    compose: bool = False,
    watched: bool = True,
    recorded: bool = False,
) -> Place:
    """Bring a sandbox up and return its place.

    ``mode`` is one of `MODES`; ``ports`` fixes ports by part, others are free ones; ``targets`` is the folder for
    the target file; with ``docker`` each part is a container of a real engine, and with ``compose`` the service is a
    Compose project as well. Prometheus and what belongs to it run where they are installed, unless it is not to be
    ``watched``. Where it is to be ``recorded``, a month of backups lies beside it, a stand-in for the API server of a
    cluster answers, and a baseline of its files is sealed in the archive, by which the notebook file-integrity tells
    what was changed since. Raises `SandboxError` or `NoServerError`, having taken everything down again.
    """
    if mode not in MODES:
        raise SandboxError(f"unknown mode {mode!r}; there are: {', '.join(MODES)}")
    place = Place(name)
    place.create()
    try:
        if docker or compose:
            with containers.engine():
                pass  # asked before anything is made
        kind = "compose" if compose else "docker" if docker else ""
        folder = targets if targets is not None else target_file.targets_folder()
        _up(place, mode, ports or {}, folder, kind=kind, watched=watched, backed_up=recorded)
        if recorded:
            deployed.record(place.name, containers.images_of(place, PARTS) if kind else {})
    except (OSError, subprocess.CalledProcessError) as error:
        down(place)
        raise SandboxError(f"the sandbox did not come up: {_why(error)}") from error
    except BaseException:
        down(place)
        raise
    return place


def _up(
    place: Place, mode: str, wanted: dict[str, int], targets: Path, *, kind: str, watched: bool, backed_up: bool
) -> None:
    closed = [folder for folder in place.folder.parents if not folder.stat().st_mode & 0o001]
    if postgres_server.server_user() is not None and closed:
        raise SandboxError(
            f"root starts PostgreSQL as another user, who may not pass through {closed[0]}; "
            "set TMPDIR to a folder that everyone may, or start the sandbox as an ordinary user"
        )
    if kind == "compose":
        wanted = {"api": compose.free_ports(), **wanted}
    listening = {part: _bind(wanted.get(part, 0), part) for part in PARTS}
    programs = monitoring.installed() if watched else {}
    unwatched = "" if programs else monitoring.missing() if watched else "it was not wanted"
    listening |= {part: _bind(0, part) for part in (*programs, *_BESIDE) if backed_up or part != CLUSTER}
    ports = {part: held.getsockname()[1] for part, held in listening.items()}
    # PostgreSQL and Redis take no open socket: theirs is given up just before they start.
    folder = postgres_server.readable_by(find_postgres(), place)
    state: dict[str, Any] = {
        "name": place.name, "mode": mode, "ports": ports, "pids": {}, "broken": [], "postgres_bin": str(folder),
        "docker": kind != "", "compose": kind == "compose", "monitoring": programs,
        "unwatched": unwatched,
    }  # fmt: skip
    target = targets / f"{place.name}.toml"
    target_file.claim(target)
    monitored = [monitoring.ROLE] if programs else []
    passwords = {role: secrets.token_urlsafe(18) for role in (*ROLES, *USERS, "redis", LLM, CLUSTER, *monitored)}
    references = {role: place.secret(role, password) for role, password in passwords.items()}
    state["target"] = str(target)
    place.write("state.json", state)
    redis_url = f"redis://127.0.0.1:{ports['redis']}/0"
    dsn = f"postgresql://shrimp_user@127.0.0.1:{ports['postgres']}/shrimp_annotation"
    place.write(
        "service.json",
        {
            **_as_the_service_connects(place, dsn, redis_url, passwords),
            "signing_key": secrets.token_urlsafe(32),
            "mode": mode,
            **_model(place, ports, passwords),
            "users": {username: hash_password(passwords[username]) for username in ("admin", "annotator1")},
        },
    )
    _write_redis_conf(place, ports["redis"], passwords["redis"])
    if mode == "as-built":
        (place.folder / "documents").mkdir(mode=0o700)
        (place.folder / "documents" / "report1.txt").write_text(DOCUMENT)
    write_packages(place)
    deployed.deploy(place)
    write_past(place.folder / "logs", documented=mode == "documented")
    with ThreadPoolExecutor(2) as beside:
        past = beside.submit(monitoring.remember, place) if programs else None
        certificates = beside.submit(tls_front.write_certificates, place.folder / tls_front.FOLDER)
        postgres_server.initdb(place)
    certificates.result()
    if past is not None:
        monitoring.write(place, ports)
        place.write("state.json", {**place.read("state.json"), "no_past": past.result()})
    _start(place, mode, kind, listening)
    _until("postgres", place, lambda: postgres_server.superuser(place, "postgres").close())
    seed(lambda database: postgres_server.superuser(place, database), passwords, documented=mode == "documented")
    if mode == "as-built":
        with postgres_server.superuser(place) as connection:
            connection.execute("TRUNCATE triage_items")  # this service keeps its queue in its memory
    _until("redis", place, lambda: redis.Redis.from_url(redis_url, password=passwords["redis"]).ping())
    # As soon as the database can be reached, as the service would be started.
    _until("api", place, lambda: _answers(ports["api"]))
    _start_watching(place, programs, listening)
    if backed_up:
        backups.make(place, DATABASE)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(target_file.text(place, ports, dsn, redis_url, references))


def _start_watching(place: Place, programs: Iterable[str], listening: dict[str, socket.socket]) -> None:
    """Start what watches, when all that it looks at is there: the first scrape is to find nothing missing."""
    for part in programs:
        listening[part].close()
        start_part(place, part)
    for part in programs:
        wait_for(place, part)


def _start(place: Place, mode: str, kind: str, listening: dict[str, socket.socket]) -> None:
    """Start the parts that the service is made of, on the ports that were held for them."""
    if mode == "documented":
        start_part(place, LLM, listening[LLM])  # as built nobody runs one: nothing listens there
    listening[LLM].close()
    start_part(place, TLS, listening[TLS])
    listening[TLS].close()
    if CLUSTER in listening:
        api_server.write_kubeconfig(place, place.read("state.json")["ports"][CLUSTER])
        start_part(place, CLUSTER, listening[CLUSTER])
        listening[CLUSTER].close()
    for part in PARTS:
        handed_over = part == "api" and not kind
        if not handed_over:
            listening[part].close()
        start_part(place, part, listening[part] if handed_over else None)
    listening["api"].close()


def start_part(place: Place, part: str, listening: socket.socket | None = None) -> None:
    """Start one part, and remember its pid; it answers a little later (`wait_for`)."""
    state = place.read("state.json")
    port = state["ports"][part]
    if part in state.get("monitoring", {}):
        argv = monitoring.command(place, part, state["monitoring"][part], port)
        more = monitoring.environment(place, part, state["ports"])
        state["pids"][part] = processes.start(place, argv, log=f"{part}.log", cwd=place.folder, more=more)
        place.write("state.json", state)
        return
    if part in _BESIDE:
        held = listening or _bind(port, part)
        argv = [sys.executable, "-m", _BESIDE[part], place.folder, str(held.fileno())]
        state["pids"][part] = processes.start(
            place, argv, log=f"{part}.log", cwd=place.folder, pass_fds=[held.fileno()]
        )
        if listening is None:
            held.close()
        if part == TLS:
            (place.folder / tls_front.PID_FILE).write_text(f"{state['pids'][part]}\n")
        place.write("state.json", state)
        return
    service: list[str | Path] = [sys.executable, "-m", "runbook_sandbox.service", place.folder]
    commands: dict[str, tuple[list[str | Path], Path, int | None]] = {
        "postgres": (
            [Path(state["postgres_bin"]) / "postgres", "-D", place.folder / "postgres" / "data"],
            place.folder / "postgres",
            postgres_server.server_user(),
        ),
        "redis": ([find_redis(), place.folder / "redis.conf"], place.folder / "redis", None),
        "api": ([*service, f"127.0.0.1:{port}"], place.folder, None),
    }
    argv, cwd, user = commands[part]
    if part == "api" and state.get("compose"):
        if not (place.folder / compose.FILE).exists():
            compose.write(place, [*service, f"0.0.0.0:{compose.PORT}"], port)
        pid = compose.up(place)
    elif state.get("docker"):
        pid = containers.start(place, part, argv, cwd=cwd, user=user)
    elif part == "api":
        held = listening or _bind(port, part)
        argv = [*service, str(held.fileno())]
        pid = processes.start(place, argv, log="api.log", cwd=cwd, pass_fds=[held.fileno()])
        if listening is None:
            held.close()
    else:
        pid = processes.start(place, argv, log=f"{part}.log", cwd=cwd, user=user)
    state["pids"][part] = pid
    place.write("state.json", state)


def wait_for(place: Place, part: str) -> None:
    """Wait until a part that was started answers; raises `SandboxError` with the end of its log."""
    checks: dict[str, Callable[[], object]] = {
        "postgres": lambda: postgres_server.superuser(place, "postgres").close(),
        "redis": lambda: redis.Redis(
            port=place.read("state.json")["ports"]["redis"], password=(place.folder / "secrets" / "redis").read_text()
        ).ping(),
        "api": lambda: _answers(place.read("state.json")["ports"]["api"]),
    }
    if part in monitoring.COMPONENTS:
        checks[part] = lambda: monitoring.answers(part, place.read("state.json")["ports"][part])
    _until(part, place, checks[part])


def wait_until_refused(place: Place) -> None:
    """Wait until PostgreSQL has no slot left for an ordinary role; raises `SandboxError` when that never happens."""
    state = place.read("state.json")
    password = (place.folder / "secrets" / "shrimp_user").read_text()
    where = {"host": "127.0.0.1", "port": state["ports"]["postgres"], "user": "shrimp_user", "password": password}
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            psycopg.connect(**where, dbname="shrimp_annotation", connect_timeout=5).close()
        except psycopg.OperationalError:
            return
        time.sleep(0.1)
    raise SandboxError("the connection slots did not fill")


def down(place: Place) -> None:
    """End every process of a sandbox and remove every file of it, whatever state it is in."""
    state = place.read("state.json")
    if state.get("docker"):
        compose.down(place)
        containers.remove(place)
    for _ in range(5):
        left = processes.find(place)
        if not left:
            break
        processes.end(left)
    target = Path(state["target"]) if "target" in state else None
    if target is not None and target_file.is_ours(target, place):
        target.unlink(missing_ok=True)
    for _ in range(5):
        shutil.rmtree(place.folder, ignore_errors=True)
        if not place.folder.exists():
            return
        # What a launcher was starting when it was killed may write once more.
        processes.end(processes.find(place))
        time.sleep(0.1)
    raise SandboxError(f"{place.folder} could not be removed whole; what is left belongs to another user")


def status(place: Place) -> dict[str, Any]:
    """Return where everything of a sandbox is and whether it runs."""
    state = place.read("state.json")
    ports = state.get("ports", {})
    return {
        "name": place.name,
        "mode": state.get("mode"),
        "folder": str(place.folder),
        "target": state.get("target"),
        "logs": str(place.folder / "logs"),
        "postgres_server": state.get("postgres_bin"),
        "broken": state.get("broken", []),
        "unwatched": state.get("unwatched", ""),
        "no_past": state.get("no_past", ""),
        "parts": {
            part: {
                "port": ports.get(part),
                "pid": state.get("pids", {}).get(part),
                "runs": bool(processes.of_part(place, part)),
            }
            for part in (*PARTS, *(p for p in _BESIDE if p in state.get("pids", {})), *state.get("monitoring", {}))
        },
    }


def _as_the_service_connects(place: Place, dsn: str, redis_url: str, passwords: dict[str, str]) -> dict[str, str]:
    """Return where the service finds database and Redis: by their sockets where it has a network of its own."""
    if place.read("state.json").get("compose"):
        port = place.read("state.json")["ports"]["postgres"]
        query = f"host={place.folder / 'postgres'}&port={port}"
        return {
            "dsn": f"postgresql://shrimp_user:{passwords['shrimp_user']}@/shrimp_annotation?{query}",
            "redis_url": f"unix://:{passwords['redis']}@{place.folder / 'redis' / 'redis.sock'}",
        }
    return {
        "dsn": dsn.replace("shrimp_user@", f"shrimp_user:{passwords['shrimp_user']}@"),
        "redis_url": redis_url.replace("redis://", f"redis://:{passwords['redis']}@"),
    }


def _model(place: Place, ports: dict[str, int], passwords: dict[str, str]) -> dict[str, Any]:
    """Return where the documented service finds its language model; none where it has a network of its own."""
    state = place.read("state.json")
    if state["mode"] != "documented" or state["compose"]:
        return {}
    return {"llm": {"url": f"http://127.0.0.1:{ports[LLM]}", "key": passwords[LLM], "model": MODEL}}


def _answers(port: int) -> None:
    httpx.get(f"http://127.0.0.1:{port}/documents?limit=1", timeout=3, trust_env=False).raise_for_status()


def _bind(port: int, part: str) -> socket.socket:
    if not 0 <= port < 65536:
        raise SandboxError(f"{port} is no port: 1 to 65535, or 0 for a free one")
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind(("127.0.0.1", port))
    except OSError as error:
        held.close()
        raise SandboxError(f"port {port} for {part} is taken; choose another, or none to get a free one") from error
    held.listen(128) if part in ("api", TLS, CLUSTER) else None
    held.set_inheritable(part in ("api", *_BESIDE))
    return held


def _until(part: str, place: Place, works: Callable[[], object]) -> None:
    what = {"postgres": "PostgreSQL", "redis": "Redis", "api": "the service"}.get(part, f"the part {part}")
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            works()
            return
        except (psycopg.Error, redis.RedisError, httpx.HTTPError) as error:
            if time.monotonic() > end:
                raise SandboxError(f"{what} did not answer within {START_SECONDS:.0f} s: {error}") from error
            if not processes.of_part(place, part):
                log = _log_of(place, part).strip().splitlines()
                raise SandboxError(f"{what} ended at once: {log[-1] if log else 'it logged nothing'}") from error
            time.sleep(0.03)


def _log_of(place: Place, part: str) -> str:
    if place.read("state.json").get("docker") and part in PARTS:
        return containers.tail(place, part)
    return (place.folder / "logs" / f"{part}.log").read_text(errors="replace")


def _write_redis_conf(place: Place, port: int, password: str) -> None:
    # In a file, not as arguments: the process list is open to everyone.
    path = place.folder / "redis.conf"
    path.touch(mode=0o600)
    settings = {
        "bind": "127.0.0.1", "port": port, "unixsocket": place.folder / "redis" / "redis.sock",
        "dir": place.folder / "redis", "requirepass": password, "maxmemory": REDIS_MEMORY,
        "maxmemory-policy": "noeviction", "save": "3600 1", "daemonize": "no",
    }  # fmt: skip
    path.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))


def _why(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return (str(error.stderr or error).strip().splitlines() or [str(error)])[-1]
    return str(error)

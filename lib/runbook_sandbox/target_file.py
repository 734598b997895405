"""The target file that a sandbox writes for itself."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import platformdirs

from runbook_sandbox import api_server, backups, compose, containers, deployed, monitoring, recovering, tls_front
from runbook_sandbox.language_model import MODEL
from runbook_sandbox.language_model import PART as LLM
from runbook_sandbox.packages import packages_section
from runbook_sandbox.place import PARTS, Place, SandboxError
from runbook_sandbox.servers import has_library
from runbook_sandbox.tls_front import PART as TLS

MARK = "# Written by the sandbox in "
# What the sandbox may use, whatever else the machine holds: its own limits for the disk and memory checks.
DISK_BYTES, FILES, MEMORY_BYTES, CPUS = 512 << 20, 20_000, 2 << 30, 2
# What is so on purpose, where everything listens on loopback and lives for an hour.
_ACCEPTED = {
    ("postgres.hba", "*"): "a practice stack on loopback lets its roles in without a password",
    ("redis.access", "commands"): "a practice stack has one user in Redis, who may do everything",
    ("redis.access", "user default"): "a practice stack has one user in Redis, who may do everything",
    ("reports.growth", "tables"): "a practice stack has no month of runs behind it, which would tell how tables grew",
}
# What a stack that lives for an hour does not have.
_NOT_HAD = {
    "advisories.outdated": "the package of this practice stack is made up: no index knows it",
    "earlier.last_runs": "no month lies behind a practice stack",
}


def targets_folder() -> Path:
    """Return the folder for target files: the first of RUNBOOK_TARGETS, else the user's configuration folder."""
    named = [part for part in os.environ.get("RUNBOOK_TARGETS", "").split(os.pathsep) if part]
    return Path(named[0]) if named else platformdirs.user_config_path("runbook") / "targets"


def claim(target: Path) -> None:
    """Raise `SandboxError` where a target file is a profile of the user's, or of another sandbox that is up."""
    if target.exists() and not target.read_text(errors="replace").startswith(MARK):
        raise SandboxError(f"{target} is a profile of yours; choose another name for the sandbox (--name)")
    if target.exists() and Path(target.read_text().splitlines()[0].removeprefix(MARK)).exists():
        raise SandboxError(f"{target} belongs to another sandbox that is up")


def is_ours(target: Path, place: Place) -> bool:
    """Return whether a target file is the one that this sandbox wrote."""
    return target.exists() and target.read_text(errors="replace").splitlines()[:1] == [f"{MARK}{place.folder}"]


def text(place: Place, ports: dict[str, int], dsn: str, redis_url: str, references: dict[str, str]) -> str:
    """Return the target file: every part of the sandbox, what it does not have, and what is so on purpose there."""
    sections = "".join(
        [
            packages_section(place),
            _certificates(place, ports),
            _without_contrib(place),
            _not_had(),
            deployed.profile(place),
            backups.profile(place),
            recovering.profile(place) if not place.read("state.json").get("docker") else "",
            _containers(place),
            api_server.profile(place),
            _monitoring(place),
        ]
    )
    return f"""{MARK}{place.folder}
description = "a practice stack on this machine"

[api]
url = "http://127.0.0.1:{ports["api"]}"
admin_password = "{references["admin"]}"

[postgres]
dsn = "{dsn.replace("shrimp_user@", "runbook@")}"
password = "{references["runbook"]}"
application_dsn = "{dsn}"
application_password = "{references["shrimp_user"]}"
operator_dsn = "{dsn.replace("shrimp_user@", "operator@")}"
operator_password = "{references["operator"]}"

[service]
workers = 1
pool_size = 5
max_overflow = 0
replicas = 1

[redis]
url = "{redis_url}"
password = "{references["redis"]}"

{_model_section(place, ports, references)}[host]
where = "here"
name = "sandbox"
listening = [{_listening(place, ports)}]

[host.share]
folder = "{place.folder}"
disk_bytes = {DISK_BYTES}
files = {FILES}
memory_bytes = {MEMORY_BYTES}
cpus = {CPUS}

{sections}[logs]
api = ["{place.folder}/logs/api_*.log*"]
postgres = ["{_server_log(place, "postgres")}"]
redis = ["{_server_log(place, "redis")}"]
records_429 = {"true" if place.read("state.json")["mode"] == "documented" else "false"}

[load]
without_plan = true
most_rate = 500

{_accepted()}[[contacts]]
name = "yourself"
how = "`sandbox heal`"
when = "this is a practice stack"
"""


def _model_section(place: Place, ports: dict[str, int], references: dict[str, str]) -> str:
    if place.read("state.json")["mode"] != "documented":
        # As the service's log says: "Initialized ollama generator with model llama3.2:3b".
        return f'[llm]\nurl = "http://127.0.0.1:{ports[LLM]}"\nkind = "ollama"\nmodel = "llama3.2:3b"\n\n'
    told = f'url = "http://127.0.0.1:{ports[LLM]}"\nmodel = "{MODEL}"\ntoken = "{references[LLM]}"'
    return f"# A stand-in of the sandbox's own.\n[llm]\n{told}\n\n"


def _certificates(place: Place, ports: dict[str, int]) -> str:
    folder = place.folder / tls_front.FOLDER
    return f"""[[certificates.endpoints]]
at = "127.0.0.1:{ports[TLS]}"
server_name = "{tls_front.NAME}"
ca_file = "{folder / tls_front.CA}"
file = "{folder / tls_front.CERTIFICATE}"
key_file = "{folder / tls_front.KEY}"

[certificates.reload]
pid_file = "{place.folder / tls_front.PID_FILE}"
signal = "HUP"

"""


def _listening(place: Place, ports: dict[str, int]) -> str:
    """Return the sockets that the sandbox's own processes listen on; that of a Compose project is the engine's."""
    state = place.read("state.json")
    outside = {"api"} if state.get("compose") else set()
    outside |= {LLM} if state["mode"] != "documented" else set()
    return ", ".join(f'"127.0.0.1:{port}"' for part, port in ports.items() if part not in outside)


def _accepted() -> str:
    until = datetime.now(UTC).date() + timedelta(days=365)
    return "".join(
        f'[[acknowledge]]\ncheck = "{check}"\nobject = "{subject}"\nreason = "{reason}"\nuntil = {until}\n\n'
        for (check, subject), reason in _ACCEPTED.items()
    )


def _not_had() -> str:
    return "".join(f'[[not_applicable]]\ncheck = "{name}"\nreason = "{why}"\n\n' for name, why in _NOT_HAD.items())


def _without_contrib(place: Place) -> str:
    if has_library(Path(place.read("state.json")["postgres_bin"]), "amcheck"):
        return ""
    why = "the server of this practice stack comes without amcheck"
    return f'[[not_applicable]]\ncheck = "postgres.index_integrity"\nreason = "{why}"\n\n'


def _containers(place: Place) -> str:
    if not place.read("state.json").get("docker"):
        checks = "reachable containers resources events images output replicas compose_file sizing socket_exposure"
        checks += " privileges image_age secrets_in_environment"
        why = "this practice stack has no containers; `sandbox up --docker` has"
        others = ["integrity.containers", "upkeep.unused_images", "memory.containers"]
        lacking = [*(f"docker.{name}" for name in checks.split()), *others]
        return "".join(f'[[not_applicable]]\ncheck = "{name}"\nreason = "{why}"\n\n' for name in lacking)
    names = {part: containers.container_name(place, part) for part in PARTS}
    project = ""
    if place.read("state.json").get("compose"):
        project = f'[compose]\nfiles = ["{place.folder / compose.FILE}"]\nproject = "{place.name}"\n\n'
    return "[containers]\n" + "".join(f'{part} = "{name}"\n' for part, name in names.items()) + f"\n{project}"


def _monitoring(place: Place) -> str:
    state = place.read("state.json")
    return monitoring.profile(state["ports"] if state.get("monitoring") else {}, state.get("unwatched", ""))


def _server_log(place: Place, part: str) -> str:
    if place.read("state.json").get("docker"):
        return f"container:{containers.container_name(place, part)}"
    return f"{place.folder}/logs/{part}.log"

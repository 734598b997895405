"""The programs of the monitoring: where they are, how each is configured, started and asked whether it is there."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from datetime import date, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import httpx

from runbook_sandbox.place import MARK, Place

# The part's name in the sandbox, and the program as Debian names it.
COMPONENTS = {
    "prometheus": "prometheus",
    "alertmanager": "prometheus-alertmanager",
    "node-exporter": "prometheus-node-exporter",
    "postgres-exporter": "prometheus-postgres-exporter",
}
_NEEDED = ("prometheus", "alertmanager")
ROLE = "exporter"  # of PostgreSQL's exporter: its sessions are told apart from the runbook's own
# Fit for practice: what is broken shows after one scrape, and a rule without `for` fires after one more. A deployment
# scrapes each 15 s or each minute; four targets on loopback each 5 s cost this machine about a hundredth of a core.
SCRAPE_SECONDS, EVALUATE_SECONDS = 5, 5
RETENTION = "40d"  # more than the five weeks of the past that is made for it
# The job as Prometheus names it, the part that is asked, and the instance: a fixed name, so that the past, which was
# made before the ports were known, and the present are one series.
JOBS = {
    "shrimp-api": ("api", "shrimp-api:8000"),
    "postgres": ("postgres-exporter", "shrimp-db:9187"),
    "node": ("node-exporter", "sandbox:9100"),
    "prometheus": ("prometheus", "sandbox:9090"),
    "alertmanager": ("alertmanager", "sandbox:9093"),
}
# The job that makes a backup tells of it by a file that the host's exporter reads; here `up` stands for that job.
BACKUP_METRIC = "shrimp_backup_last_success_timestamp_seconds"
SERVER, DATABASE, DATABASE_NUMBER = "127.0.0.1:5432", "shrimp_annotation", "16389"  # as the exporter names them
# Without Prometheus these are told by nobody, and of these the history is missing: the figure is had elsewhere.
_ONLY_THERE = (
    "scraping", "processors", "memory", "disks", "network", "database_time",
    "alert_states", "alerts_arrive", "silences", "rules_loaded", "rule_metrics", "alert_history", "endpoint_times",
    "panel_request_rate", "panel_error_rate", "panel_response_time", "panel_logins", "panel_queue_growth",
)  # fmt: skip
_ELSEWHERE_TOO = {
    **dict.fromkeys(
        ("request_rate", "response_time", "error_share", "login_success", "queue", "model_time"), "history"
    ),
    **dict.fromkeys(("errors_by_path", "errors_since"), "Prometheus"),
}
METRICS_PATH = "/metrics/prometheus"  # of the service; /metrics is JSON
_NODE = (
    "--collector.disable-defaults", "--collector.cpu", "--collector.meminfo", "--collector.loadavg",
    "--collector.filesystem", "--collector.netdev", "--collector.diskstats", "--collector.uname",
    # What a machine has besides the disk and the network that are of interest, engines of containers above all.
    "--collector.filesystem.mount-points-exclude=^/.+", "--collector.netdev.device-exclude=^(lo|ifb|veth|br-|docker).*",
    "--collector.diskstats.device-exclude=^(z?ram|loop|fd|sr|dm-|md|(h|s|v|xv)d[a-z]|nvme\\d+n\\d+p)\\d+$",
)  # fmt: skip


def remember(place: Place) -> str:
    """Give Prometheus, before it starts, the past that `truth` tells of; return why it has none, "" where it has."""
    promtool = shutil.which("promtool")
    if promtool is None:
        return "promtool is not installed"
    # Only where they are wanted: they compute with numpy.
    from runbook_sandbox.monitoring.blocks import Blocks
    from runbook_sandbox.monitoring.history import Past
    from runbook_sandbox.monitoring.truth import truth

    folder = place.folder / "prometheus" / "data"
    for made in (folder.parent, folder):
        made.mkdir(mode=0o700, exist_ok=True)
    state = place.read("state.json")
    jobs = frozenset(job for job, (part, _) in JOBS.items() if part in state["ports"])
    past = Past(truth(), documented=state["mode"] == "documented", jobs=jobs)
    try:
        Blocks(promtool, past, {**os.environ, MARK: str(place.folder)}).put(folder)
    except subprocess.CalledProcessError as error:
        return f"promtool made no blocks: {(error.stderr or str(error)).strip().splitlines()[-1][:200]}"
    except subprocess.TimeoutExpired:
        return "promtool took too long"
    return ""


def installed() -> dict[str, str]:
    """Return the programs that are on the PATH, by part: none where Prometheus or Alertmanager is missing."""
    found = {part: path for part, program in COMPONENTS.items() if (path := shutil.which(program))}
    return found if all(part in found for part in _NEEDED) else {}


def missing() -> str:
    """Return in words which programs there is no monitoring without are not installed; "" where all are."""
    names = [COMPONENTS[part] for part in _NEEDED if not shutil.which(COMPONENTS[part])]
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} not installed" if names else ""


def write(place: Place, ports: Mapping[str, int]) -> None:
    """Write the configuration of Prometheus and Alertmanager, and copy the product's rules where it has some."""
    folder = place.folder / "prometheus"
    for made in (folder, folder / "rules", place.folder / "alertmanager"):
        made.mkdir(mode=0o700, exist_ok=True)
    for rules in _rules():
        (folder / "rules" / rules.name).write_text(rules.read_text())
    told = place.folder / "node-exporter"
    told.mkdir(mode=0o700)
    (told / "backup.prom").write_text(f"{BACKUP_METRIC} {int(time.time())}\n")
    tell_targets(place, ports)
    nowhere = {"route": {"receiver": "nobody", "group_wait": "1s"}, "receivers": [{"name": "nobody"}]}
    _write(place.folder / "alertmanager" / "alertmanager.yml", nowhere)


def tell_targets(place: Place, ports: Mapping[str, int]) -> None:
    """Write which targets Prometheus scrapes: those parts that have a port."""
    # The exporter names the server by its port and the database by its number, which are others in each sandbox.
    same = [
        {"source_labels": ["server"], "regex": ".+", "target_label": "server", "replacement": SERVER},
        {
            "source_labels": ["datid", "datname"],
            "regex": f"[0-9]+;{DATABASE}",
            "target_label": "datid",
            "replacement": DATABASE_NUMBER,
        },
    ]
    jobs = [
        {
            "job_name": job,
            "metrics_path": METRICS_PATH if part == "api" else "/metrics",
            "static_configs": [{"targets": [f"127.0.0.1:{ports[part]}"], "labels": {"instance": instance}}],
            "metric_relabel_configs": same if part == "postgres-exporter" else [],
        }
        for job, (part, instance) in JOBS.items()
        if part in ports
    ]
    _write(
        place.folder / "prometheus" / "prometheus.yml",
        {
            "global": {
                "scrape_interval": f"{SCRAPE_SECONDS}s",
                "scrape_timeout": f"{SCRAPE_SECONDS - 1}s",
                "evaluation_interval": f"{EVALUATE_SECONDS}s",
            },
            "rule_files": [f"{place.folder}/prometheus/rules/*.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{ports['alertmanager']}"]}]}]},
            "scrape_configs": jobs,
        },
    )


def command(place: Place, part: str, program: str, port: int) -> list[str | Path]:
    """Return the command that starts a part; no secret is in it, since the process list is open to everyone."""
    listen = f"--web.listen-address=127.0.0.1:{port}"
    folder = place.folder / part
    options: dict[str, tuple[str, ...]] = {
        "prometheus": (
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--storage.tsdb.retention.time={RETENTION}",
            # The past comes in blocks of its own lengths: they are never put together while a sandbox lives.
            "--storage.tsdb.min-block-duration=2h",
            "--storage.tsdb.max-block-duration=2h",
            "--storage.tsdb.wal-segment-size=10MB",
            # An alert that fires within 5 s of a start or a reload finds no Alertmanager yet: it is told again soon.
            f"--rules.alert.resend-delay={EVALUATE_SECONDS}s",
            "--web.enable-lifecycle",
            "--log.level=warn",
        ),
        "alertmanager": (
            f"--config.file={folder}/alertmanager.yml",
            f"--storage.path={folder}/data",
            "--cluster.listen-address=",  # it has no peers
            "--log.level=warn",
        ),
        "node-exporter": (
            *_NODE,
            "--collector.textfile",
            f"--collector.textfile.directory={folder}",
            "--log.level=warn",
        ),
        "postgres-exporter": ("--log.level=warn",),
    }
    return [program, listen, *options[part]]


def environment(place: Place, part: str, ports: Mapping[str, int]) -> dict[str, str]:
    """Return what a part finds in its environment; a password is named there by its file."""
    if part != "postgres-exporter":
        return {"GOMAXPROCS": "2"}  # a practice stack is one of many on its machine
    # It looks at the whole server from the database `postgres`: what it asks is none of the service's own statements.
    return {
        "GOMAXPROCS": "2",
        "DATA_SOURCE_URI": f"127.0.0.1:{ports['postgres']}/postgres?sslmode=disable&application_name=postgres_exporter",
        "DATA_SOURCE_USER": ROLE,
        "DATA_SOURCE_PASS_FILE": str(place.folder / "secrets" / ROLE),
    }


def answers(part: str, port: int) -> None:
    """Ask a part whether it is there; raises `httpx.HTTPError`."""
    # An exporter is asked as Prometheus asks it: PostgreSQL's then has its connections, as it always will.
    path = "/-/ready" if part in _NEEDED else "/metrics"
    httpx.get(f"http://127.0.0.1:{port}{path}", timeout=3, trust_env=False).raise_for_status()


# The figures are those of the whole machine, whatever else runs on it: the sandbox's share of it is judged by host.*.
# And nobody uses a practice stack: that its requests end when its past does is well.
_OWN_LIMITS = """\
[thresholds."prometheus.processors"]
warning = 100

[thresholds."prometheus.memory"]
warning = 98
critical = 99

[thresholds."prometheus.disks"]
warning = 98
critical = 99

[thresholds."prometheus.network"]
times = inf

[thresholds."prometheus.request_rate"]
gone = 0

[thresholds."reports.growth"]
warning_days = 0
critical_days = 0

"""


def profile(ports: Mapping[str, int], unwatched: str = "") -> str:
    """Return the profile's sections; without monitoring, what does not apply then, and why there is no history."""
    if "prometheus" not in ports:
        why = f"this practice stack has no Prometheus ({unwatched or 'it was not wanted'})"
        until = date.today() + timedelta(days=30)
        skipped = "".join(
            f'[[not_applicable]]\ncheck = "{name}"\nreason = "{why}"\n\n'
            for name in (*(f"prometheus.{name}" for name in _ONLY_THERE), "memory.growth")
        )
        return skipped + "".join(
            f'[[acknowledge]]\ncheck = "prometheus.{name}"\nobject = "{of}"\nreason = "{why}"\nuntil = {until}\n\n'
            for name, of in _ELSEWHERE_TOO.items()
        )
    more = {"prometheus": "backups = true\n"}
    sections = (f'[{part}]\nurl = "http://127.0.0.1:{ports[part]}"\n{more.get(part, "")}\n' for part in _NEEDED)
    return "".join(sections) + _OWN_LIMITS


def _rules() -> list[Any]:
    """Return the rule files that ship with the product, which the sandbox uses as a deployment would."""
    folder = resources.files("runbook") / "prometheus" / "rules"
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.name.endswith(".rules.yml")), key=lambda path: path.name)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1))  # JSON is YAML

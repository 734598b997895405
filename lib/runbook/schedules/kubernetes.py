"""The schedule as CronJobs of Kubernetes, and the file of the image that they run."""

import hashlib
import io
import re
from collections.abc import Iterable
from importlib import resources
from typing import Any

from ruamel.yaml import YAML

from runbook.schedules.cron import times
from runbook.schedules.planned import Planned

PYTHON = "/opt/runbook/.venv/bin/python"
STATE, TARGETS = "/var/lib/runbook", "/etc/runbook/targets"
USER = 65532
# A CronJob adds eleven signs to its name for each job.
_MOST = 52


def dockerfile() -> str:
    """Return the file that makes the image."""
    return resources.files(__package__).joinpath("Dockerfile").read_text(encoding="utf-8")


def cron_job(planned: Planned, *, image: str, zone: str, jitter: int, seconds: int) -> dict[str, Any]:
    """Return a notebook's CronJob; ``zone`` is that of the schedule's times, ``seconds`` after how long a run is ended.

    It takes the profiles from a ConfigMap, keeps archive and key in a claim, and may be given secrets by a Secret.
    """
    labels = {"app.kubernetes.io/name": "runbook", "app.kubernetes.io/component": planned.notebook}
    container = {
        "name": "run",
        "image": image,
        "command": [PYTHON, "-P", "-m", "runbook"],
        "args": ["run", planned.notebook, "--target", planned.target],
        "env": [
            {"name": "RUNBOOK_TARGETS", "value": TARGETS},
            {"name": "RUNBOOK_EVIDENCE", "value": f"{STATE}/evidence"},
            {"name": "XDG_STATE_HOME", "value": STATE.rpartition("/")[0]},
            {"name": "HOME", "value": "/tmp"},  # noqa: S108  the container's own, on an empty volume
        ],
        "envFrom": [{"secretRef": {"name": dns_name(f"runbook-{planned.target}"), "optional": True}}],
        "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "targets", "mountPath": TARGETS, "readOnly": True},
            {"name": "state", "mountPath": STATE},
            {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108
        ],
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "targets", "configMap": {"name": "runbook-targets"}},
            {"name": "state", "persistentVolumeClaim": {"claimName": "runbook-state"}},
            {"name": "scratch", "emptyDir": {}},
        ],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": dns_name(f"runbook-{planned.target}-{planned.notebook}"), "labels": labels},
        "spec": {
            "schedule": times(planned, jitter),
            "timeZone": zone,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "spec": {
                    # The exit status is the verdict: to try again would not make it another one.
                    "backoffLimit": 0,
                    "activeDeadlineSeconds": seconds,
                    "template": {"metadata": {"labels": labels}, "spec": pod},
                }
            },
        },
    }


def manifests(jobs: Iterable[dict[str, Any]]) -> str:
    """Return CronJobs as one YAML text."""
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.explicit_start = True
    yaml.representer.ignore_aliases = lambda *_: True  # what stands in it twice is written twice
    text = io.StringIO()
    text.write(
        "# Made by `runbook schedule kubernetes`. A job fails where the verdict is not OK: see its exit status.\n"
    )
    yaml.dump_all(list(jobs), text)
    return text.getvalue()


def dns_name(name: str) -> str:
    """Return a name that Kubernetes takes: what had to be changed or cut ends with a digest, so that no two are one."""
    plain = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
    if plain == name and len(plain) <= _MOST:
        return plain
    return f"{plain[: _MOST - 9].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"

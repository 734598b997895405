"""Questions to a Kubernetes cluster about the target's deployment, and changes of it."""

from runbook.kubernetes.autoscale import autoscale
from runbook.kubernetes.autoscaler import autoscaler
from runbook.kubernetes.bounds import bounds
from runbook.kubernetes.deployment import deployment
from runbook.kubernetes.events import events
from runbook.kubernetes.manifest import Manifest, manifest
from runbook.kubernetes.pods import pods
from runbook.kubernetes.reachable import reachable
from runbook.kubernetes.scale import scale
from runbook.kubernetes.top import top

questions = (reachable, deployment, pods, events, top, autoscaler, manifest, bounds)
changes = (scale, autoscale)

__all__ = [
    "Manifest",
    "autoscale",
    "autoscaler",
    "bounds",
    "changes",
    "deployment",
    "events",
    "manifest",
    "pods",
    "questions",
    "reachable",
    "scale",
    "top",
]

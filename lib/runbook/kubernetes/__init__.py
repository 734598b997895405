"""Questions to a Kubernetes cluster about the target's deployment, and changes of it."""

from runbook.kubernetes.autoscaler import autoscaler
from runbook.kubernetes.deployment import deployment
from runbook.kubernetes.events import events
from runbook.kubernetes.pods import pods
from runbook.kubernetes.reachable import reachable
from runbook.kubernetes.scale import scale
from runbook.kubernetes.top import top

questions = (reachable, deployment, pods, events, top, autoscaler)
changes = (scale,)

__all__ = [
    "autoscaler",
    "changes",
    "deployment",
    "events",
    "pods",
    "questions",
    "reachable",
    "scale",
    "top",
]

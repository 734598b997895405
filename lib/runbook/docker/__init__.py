"""Questions to the Docker engine about the target's containers, and changes of them."""

from runbook.docker.compose_file import compose_file
from runbook.docker.containers import containers
from runbook.docker.events import events
from runbook.docker.images import images
from runbook.docker.limits import limits
from runbook.docker.output import output
from runbook.docker.previous_image import previous_image
from runbook.docker.reachable import reachable
from runbook.docker.redeploy import redeploy
from runbook.docker.replicas import replicas
from runbook.docker.resources import resources
from runbook.docker.restart import restart
from runbook.docker.scale import scale
from runbook.docker.sizing import sizing

questions = (reachable, containers, resources, events, images, output, replicas, compose_file, sizing)
changes = (restart, previous_image, scale, limits, redeploy)

__all__ = [
    "changes",
    "compose_file",
    "containers",
    "events",
    "images",
    "limits",
    "output",
    "previous_image",
    "questions",
    "reachable",
    "redeploy",
    "replicas",
    "resources",
    "restart",
    "scale",
    "sizing",
]

"""Questions to the Docker engine about the target's containers."""

from runbook.docker.containers import containers
from runbook.docker.events import events
from runbook.docker.images import images
from runbook.docker.output import output
from runbook.docker.previous_image import previous_image
from runbook.docker.reachable import reachable
from runbook.docker.resources import resources
from runbook.docker.restart import restart

questions = (reachable, containers, resources, events, images, output)
changes = (restart, previous_image)

__all__ = [
    "changes",
    "containers",
    "events",
    "images",
    "output",
    "previous_image",
    "questions",
    "reachable",
    "resources",
    "restart",
]

"""Questions to the Docker engine about the target's containers."""

from runbook.docker.containers import containers
from runbook.docker.events import events
from runbook.docker.images import images
from runbook.docker.output import output
from runbook.docker.reachable import reachable
from runbook.docker.resources import resources

questions = (reachable, containers, resources, events, images, output)

__all__ = ["containers", "events", "images", "output", "questions", "reachable", "resources"]

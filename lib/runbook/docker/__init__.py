"""Questions to the Docker engine about the target's containers, and changes of them."""

from runbook.docker.compose_file import compose_file
from runbook.docker.containers import containers
from runbook.docker.events import events
from runbook.docker.image_age import image_age
from runbook.docker.images import images
from runbook.docker.limits import limits
from runbook.docker.output import output
from runbook.docker.previous_image import previous_image
from runbook.docker.privileges import privileges
from runbook.docker.reachable import reachable
from runbook.docker.redeploy import redeploy
from runbook.docker.replicas import replicas
from runbook.docker.resources import resources
from runbook.docker.restart import restart
from runbook.docker.restart_in_turn import restart_in_turn
from runbook.docker.scale import scale
from runbook.docker.secrets_in_environment import secrets_in_environment
from runbook.docker.sizing import sizing
from runbook.docker.socket_exposure import socket_exposure
from runbook.docker.workers import workers

questions = (
    reachable,
    containers,
    resources,
    events,
    images,
    output,
    replicas,
    compose_file,
    sizing,
    socket_exposure,
    privileges,
    image_age,
    secrets_in_environment,
)
changes = (restart, restart_in_turn, previous_image, scale, limits, redeploy, workers)

__all__ = [
    "changes",
    "compose_file",
    "containers",
    "events",
    "image_age",
    "images",
    "limits",
    "output",
    "previous_image",
    "privileges",
    "questions",
    "reachable",
    "redeploy",
    "replicas",
    "resources",
    "restart",
    "restart_in_turn",
    "scale",
    "secrets_in_environment",
    "sizing",
    "socket_exposure",
    "workers",
]

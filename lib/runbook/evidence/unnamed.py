"""What is to be said where no incident is named: that is no good news while one is open."""

from collections.abc import Iterable
from pathlib import Path

from runbook.evidence.incidents import all_incidents
from runbook.model import Finding, Status, first_of


def open_ones(archive: Path | None = None) -> dict[str, str]:
    """Return the title of each incident that is open, by its id, the newest first; raises OSError."""
    return {incident.id: incident.title for incident in all_incidents(archive) if incident.is_open}


def unnamed(open_now: Iterable[tuple[str, str]]) -> list[Finding]:
    """Return a WARNING for each incident, id and title, that is open and was not named."""
    return first_of(
        [
            Finding(
                object=incident,
                status=Status.WARNING,
                message=f"it is open, and no incident is named: {title}",
                next=f"name it: --incident {incident}, or --incident open where it is the only one",
            )
            for incident, title in open_now
        ],
        "incidents",
    )

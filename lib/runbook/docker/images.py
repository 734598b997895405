"""Which image does each container run, and which one did it replace?"""

from datetime import UTC, datetime
from typing import Any

import pandas as pd

from runbook.connections import ContainersConnection
from runbook.docker.explanations import EXPLAINED_BY
from runbook.model import Asking, Finding, Question, Status

COLUMNS = ["part", "container", "image", "runs", "made", "tagged", "previous", "previous_made"]


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each container that is there: part, container, image (as it was named), runs (id of the image
    it runs; "" where that is gone), made (UTC), tagged (id that the name stands for now), previous (id or name of the
    newest older image of the same repository), previous_made (UTC).
    """
    connection = asking.connection(ContainersConnection)
    all_images = connection.images()
    rows = []
    for part, name in connection.named.items():
        told = connection.inspect(name)
        if told is not None:
            facts = images_of(told, all_images)
            rows.append({"part": part, "container": name, **{column: facts[column] for column in COLUMNS[2:]}})
    return pd.DataFrame(rows, columns=COLUMNS)


def images_of(told: dict[str, Any], known: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what is known of a container's image: the columns of `probe`, and previous_id (in full; "" for none)."""
    named, runs = str(told.get("Config", {}).get("Image", "")), str(told.get("Image", ""))
    own = next((image for image in known if image["Id"] == runs), None)
    full = named if ":" in named.rpartition("/")[2] else f"{named}:latest"
    tagged = next((image["Id"] for image in known if full in (image.get("RepoTags") or [])), "")
    repository = full.rpartition(":")[0]
    made = own["Created"] if own else None
    older = [
        image
        for image in known
        if image["Id"] != runs and _of(image, repository) and made is not None and image["Created"] <= made
    ]
    previous = max(older, key=lambda image: image["Created"], default=None)
    return {
        "image": named,
        "runs": _short(runs) if own else "",
        "made": _moment(made),
        "tagged": _short(tagged),
        "previous": _name(previous) if previous else "",
        "previous_id": str(previous["Id"]) if previous else "",
        "previous_made": _moment(previous["Created"]) if previous else None,
    }


def _of(image: dict[str, Any], repository: str) -> bool:
    names = [*(image.get("RepoTags") or []), *(image.get("RepoDigests") or [])]
    return any(name.partition("@")[0] == repository or name.rpartition(":")[0] == repository for name in names)


def _name(image: dict[str, Any]) -> str:
    return next((tag for tag in image.get("RepoTags") or [] if "<none>" not in tag), _short(image["Id"]))


def _short(identity: str) -> str:
    return identity.removeprefix("sha256:")[:12]


def _moment(seconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None else None


def check(frame: pd.DataFrame) -> list[Finding]:
    """Tell which image each container runs; one whose name stands for another image by now is a WARNING.

    That container was made before the image was replaced: the next time that it is made anew it changes.
    """
    findings = []
    for row in frame.to_dict("records"):
        status, message = Status.OK, f"{row['image']} ({row['runs']})"
        if not row["runs"]:
            status, message = Status.WARNING, f"{row['image']}: the image that it runs is not there any more"
        elif row["tagged"] and row["tagged"] != row["runs"]:
            status = Status.WARNING
            message += f"; the name stands for {row['tagged']} by now: made anew, the container would run that"
        if pd.notna(row["made"]):
            message += f", made {row['made']:%Y-%m-%d %H:%M} UTC"
        message += f"; before it: {row['previous']}" if row["previous"] else "; no older one is here to go back to"
        subject = f"{row['part']} ({row['container']})"
        findings.append(Finding(object=subject, status=status, message=message, value=row["runs"]))
    return findings or [Finding(object="containers", status=Status.UNKNOWN, message="none of the containers is there")]


images = Question(
    name="docker.images",
    title="Which image does each container run, and which one did it replace?",
    probe=probe,
    check=check,
    source="docker inspect --format '{{.Config.Image}} {{.Image}}' NAME; docker images",
    needs=(ContainersConnection,),
    explained_by=EXPLAINED_BY,
    next="if trouble began when the image changed, go back to the one before it",
)

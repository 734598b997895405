"""How old are the images that the containers run, and are they named for certain?"""

from datetime import UTC, datetime
from typing import Any

import pandas as pd

from runbook.connections import ContainersConnection
from runbook.docker.explanations import EXPLAINED_BY
from runbook.model import Asking, Finding, Question, Status, at_most

_NO_TIME = 1990  # builds that are to come out the same each time write 1970 or 1980


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each container that is there: part, container, image (as it was named), made (UTC; None where
    the image is gone, or tells no time), days (since then), pinned (whether the name says a version or a digest).
    """
    connection = asking.connection(ContainersConnection)
    now = datetime.now(UTC)
    rows = []
    for part, name in connection.named.items():
        told = connection.inspect(name)
        if told is None:
            continue
        named = str(told.get("Config", {}).get("Image", ""))
        found = connection.image(str(told.get("Image", "")))
        made = _moment(str(found[0].get("Created", ""))) if found is not None else None
        days = (now - made).total_seconds() / 86_400 if made is not None else None
        row = {"part": part, "container": name, "image": named, "made": made, "days": days}
        rows.append({**row, "there": found is not None, "pinned": _is_pinned(named)})
    return pd.DataFrame(rows, columns=["part", "container", "image", "made", "days", "there", "pinned"])


def _moment(text: str) -> datetime | None:
    try:
        made = datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)
    except ValueError:
        return None
    return made if made.year >= _NO_TIME else None


def _is_pinned(named: str) -> bool:
    tag = named.rpartition("/")[2].partition(":")[2]
    return "@sha256:" in named or named.startswith("sha256:") or tag not in ("", "latest")


def check(frame: pd.DataFrame, *, warning: float = 90, critical: float = 365) -> list[Finding]:
    """Judge the age of each image in days, and a name that stands for another image tomorrow.

    An image keeps the packages of the day that it was built: Debian brings a point release some four times a year, and
    after a year one has missed them all.
    """
    if frame.empty:
        return [Finding(object="containers", status=Status.UNKNOWN, message="none of the containers is there")]
    findings = []
    for row in frame.to_dict("records"):
        name = f"{row['part']} ({row['container']})"
        findings.append(_aged(name, row, warning, critical))
        if not row["pinned"]:
            message = f"{row['image']} names no version: made anew, the container may run another program"
            findings.append(Finding(object=f"{name} name", status=Status.WARNING, message=message))
    return findings


def _aged(name: str, row: dict[Any, Any], warning: float, critical: float) -> Finding:
    if not row["there"]:
        message = f"{row['image']}: the image that it runs is not there any more, nor is its age"
        return Finding(object=name, status=Status.UNKNOWN, message=message)
    if pd.isna(row["days"]):
        message = f"{row['image']} does not tell when it was built (builds that can be repeated write 1970)"
        return Finding(object=name, status=Status.UNKNOWN, message=message)
    message = f"{row['image']} was built {row['days']:,.0f} days ago ({row['made']:%Y-%m-%d})"
    return at_most(name, round(row["days"], 1), warning, critical, unit="days", message=message)


image_age = Question(
    name="docker.image_age",
    title="How old are the images that the containers run?",
    probe=probe,
    check=check,
    source="docker image inspect --format '{{.Created}} {{.RepoTags}}' $(docker inspect --format '{{.Image}}' NAME)",
    needs=(ContainersConnection,),
    deadline=10.0,
    explained_by=EXPLAINED_BY,
    next="build it anew from a fresh base image (docker build --pull), test it, and have the container made anew",
)

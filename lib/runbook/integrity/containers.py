"""Are the files of the containers those of their images, and these the right ones?"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from runbook.connections import ContainersConnection
from runbook.integrity.kept import kept_of
from runbook.integrity.names import fits, shown
from runbook.model import Asking, Finding, Question, Status, first_of
from runbook.model.units import counted

COLUMNS = ["part", "container", "path", "kind", "below"]
SECONDS = 60.0
DEADLINE = SECONDS + 10
ROWS_KEPT = 500
# What any container writes, and what its engine does.
_WRITTEN = (
    "/tmp", "/var/tmp", "/run", "/var/run", "/var/log", "/var/cache", "/var/lock", "/proc", "/sys", "/dev",  # noqa: S108
    "/home/*/.cache", "/.dockerenv", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab",
    "*/__pycache__",
)  # fmt: skip
_KINDS = {0: "changed", 1: "added", 2: "removed"}


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each file that differs from the container's image, outside of what it may write: part,
    container, path, kind (changed, added, removed), below (how many more are below it); at most 500.

    ``attrs["containers"]`` says of each container its image (name and id), the id that the baseline recorded ("":
    none), how many files differ, and how many more in places that it may write; None for one that is not there.
    """
    connection = asking.connection(ContainersConnection)
    written = asking.target.integrity.written if asking.target.integrity is not None else ()
    kept = kept_of(asking)
    images = kept.baseline.images if kept is not None and kept.baseline is not None else {}
    rows: list[dict[str, Any]] = []
    told: dict[str, dict[str, Any] | None] = {}
    for part, name in connection.named.items():
        inspected = connection.inspect(name)
        if inspected is None:
            told[name] = None
            continue
        mounts = [str(mount["Destination"]) for mount in inspected.get("Mounts", [])]
        changed = connection.changed_files(name, SECONDS)
        found = _outside(changed, (*_WRITTEN, *written), mounts)
        rows += [{"part": part, "container": name, **row} for row in found[:ROWS_KEPT]]
        told[name] = {
            "part": part,
            "image": str(inspected["Config"]["Image"]),
            "id": str(inspected["Image"]),
            "then": images.get(name, ""),
            "differ": len(found),
            "elsewhere": len(changed),
        }
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame.attrs = {"containers": told}
    return frame


def _outside(
    changed: Sequence[Mapping[str, Any]], written: Sequence[str], mounts: Sequence[str]
) -> list[dict[str, Any]]:
    """Return what differs outside of the places that are written to, without the folders that it lies in.

    A folder counts as changed as soon as anything in it is, also what is left out; and what is mounted makes folders.
    """
    paths = {str(one["Path"]): _KINDS.get(one["Kind"], "changed") for one in changed}
    above = {folder for path in paths for folder in _folders(path)}
    made = {folder for mount in mounts for folder in _folders(mount)}
    is_written, mounted = fits(written), set(mounts)
    below: dict[str, int] = {}
    for path in sorted(paths):
        kind = paths[path]
        if any(is_written(one) or one in mounted for one in (path, *_folders(path))):
            continue
        if path in made or (path in above and kind == "changed"):
            continue
        top = next((folder for folder in _folders(path) if folder in below and paths[folder] != "changed"), None)
        if top is None:
            below[path] = 0
        else:
            below[top] += 1
    return [{"path": shown(path), "kind": paths[path], "below": count} for path, count in below.items()]


def _folders(path: str) -> list[str]:
    """Return the folders that a path lies in, the topmost first, without the root."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(2, len(parts))]


def check(frame: pd.DataFrame, *, most: float = 10) -> list[Finding]:
    """Judge each container: what was added or changed in one that runs is CRITICAL, as is another image than the
    baseline recorded; what is gone is a WARNING. The ``most`` first are told by name.
    """
    rows = frame.to_dict("records")
    found = sorted(map(_finding, rows), key=lambda finding: finding.status.severity)
    findings = first_of(found, "files", int(most))
    for name, told in frame.attrs["containers"].items():
        findings += _of_container(name, told)
    return findings


def _finding(row: Mapping[Any, Any]) -> Finding:
    name = row["container"]
    more = f", with {counted(row['below'], 'more', 'more')} below it" if row["below"] else ""
    return Finding(
        object=f"{name}: {row['path']}",
        status=Status.WARNING if row["kind"] == "removed" else Status.CRITICAL,
        message=f"it was {row['kind']} since the container was made of its image{more}",
        value=row["kind"],
        source=f"docker diff {name}",
        next=(
            f"if nobody of you did that: P0, keep it (docker commit {name} evidence), then make the container anew; "
            "what it may write belongs to integrity.written of the profile"
        ),
    )


def _of_container(name: str, told: Mapping[str, Any] | None) -> list[Finding]:
    if told is None:
        return [Finding(object=name, status=Status.UNKNOWN, message="there is no such container to look at")]
    image = f"{told['image']} ({_short(told['id'])})"
    if told["then"] and told["then"] != told["id"]:
        message = f"it runs {image}; the baseline recorded another image of it, {_short(told['then'])}"
        then = "if it was deployed since, record a new baseline; if nobody did, go back to that image and find out who"
        return [Finding(object=f"{name}: image", status=Status.CRITICAL, message=message, value=told["id"], next=then)]
    same = ", the one that the baseline recorded" if told["then"] else "; no baseline recorded which one it should be"
    if told["differ"]:
        return []
    elsewhere = f" ({counted(told['elsewhere'], 'path')} where it may write)" if told["elsewhere"] else ""
    message = f"its files are those of {image}{same}; nothing else was changed{elsewhere}"
    return [Finding(object=name, status=Status.OK, message=message, value=told["id"], source=f"docker diff {name}")]


def _short(image: str) -> str:
    return image.removeprefix("sha256:")[:12]


containers = Question(
    name="integrity.containers",
    title="Are the files of the containers those of their images?",
    probe=probe,
    check=check,
    source="docker diff NAME; docker inspect --format '{{.Image}}' NAME",
    needs=(ContainersConnection,),
    deadline=DEADLINE,
    next="find out who changed it; where nobody did, it is a breach (P0): keep the container as it is, call security",
)

"""One plan for what the week left: images that nobody needs, log files that are old, tables that are due."""

import os
import shlex
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg import sql

from runbook.connections import ContainersConnection, LogsConnection, OperatorDatabase, PostgresConnection
from runbook.connections.images import KEEP
from runbook.connections.statements import composed
from runbook.model import (
    Act,
    Asking,
    Change,
    ChangeFailed,
    CouldNotFindOut,
    DoesNotApply,
    Draft,
    NotPlanned,
    Step,
    Unreachable,
)
from runbook.model.units import as_bytes, counted
from runbook.upkeep.due_tables import due
from runbook.upkeep.due_tables import probe as tables
from runbook.upkeep.old_logs import DAYS, files_of

_SECONDS = 60.0
_VACUUM_MINUTES = 5.0
# Of each kind a plan takes no more: somebody is to read it.
MOST = 40


def observe(asking: Asking, keep: int = KEEP, days: float = DAYS) -> dict[str, Any]:
    """Return what may go: images (id, names, bytes), files (path, identity, bytes), tables (oid, schema, name, dead),
    ``not_seen`` (why a kind could not be looked at, by kind), and ``more`` (how many more there are of a kind than a
    plan takes, by kind).
    """
    facts: dict[str, Any] = {"images": [], "files": [], "tables": [], "not_seen": {}, "more": {}}
    for kind, look in (("images", _images), ("files", _files), ("tables", _tables)):
        try:
            all_ = look(asking, keep, days)
            facts[kind] = all_[:MOST]
            if len(all_) > MOST:
                facts["more"][kind] = len(all_) - MOST
        except (Unreachable, CouldNotFindOut) as why:
            facts["not_seen"][kind] = str(why)
    return facts


def _images(asking: Asking, keep: int, days: float) -> list[dict[str, Any]]:
    unused = [one for one in asking.connection(ContainersConnection).images_and_their_use(keep) if not one.kept]
    return [{"id": one.id, "names": list(one.names), "bytes": one.bytes} for one in unused]


def _files(asking: Asking, keep: int, days: float) -> list[dict[str, Any]]:
    gone = [one for one in files_of(asking, days) if not one.kept]
    return [{"path": one.path, "identity": list(one.identity), "bytes": one.bytes} for one in gone]


def _tables(asking: Asking, keep: int, days: float) -> list[dict[str, Any]]:
    lacking = OperatorDatabase.lacking(asking.target)
    if lacking:
        raise CouldNotFindOut(lacking)
    late: Any = due(tables(asking))
    return [
        {"oid": int(row["oid"]), "schema": row["schema"], "name": row["name"], "dead": int(row["dead"])}
        for row in late.to_dict("records")
    ]


def draft(facts: Mapping[str, Any], keep: int = KEEP, days: float = DAYS) -> Draft:
    """Write out each removal, each deletion and each vacuum as a step of its own."""
    if days < 1 or keep < 0:
        raise NotPlanned("what is younger than a day, or what a rollback needs, is not cleaned: days >= 1, keep >= 0")
    images, files, late = facts["images"], facts["files"], facts["tables"]
    if not (images or files or late):
        raise DoesNotApply("there is nothing to clean")
    steps = [_removing(one) for one in images] + [_deleting(one) for one in files] + [_vacuuming(one) for one in late]
    parts = [
        f"remove {counted(len(images), 'image')}" if images else "",
        f"delete {counted(len(files), 'old log file')}" if files else "",
        f"vacuum {counted(len(late), 'table')}" if late else "",
    ]
    size = sum(one["bytes"] for one in (*images, *files))
    told = {
        f"up to {as_bytes(size)} come free": size,
        f"the newest {keep} of each repository stay, what a container runs, and what it would go back to": images,
        "what stood in these files can be read nowhere else: keep them while an incident is open": files,
        "reads and writes of the tables go on; the disk has more to do for some minutes": late,
    }
    reaches = [reach for reach, of in told.items() if of]
    reaches += [f"{kind} could not be looked at, and none is touched: {why}" for kind, why in facts["not_seen"].items()]
    reaches += [f"{more} more {kind} are left for the next plan" for kind, more in facts["more"].items()]
    return Draft(
        summary=", ".join(filter(None, parts)),
        steps=tuple(steps),
        blast_radius=tuple(reaches),
        expected={kind: [] for kind in ("images", "files") if kind not in facts["more"]},
        irreversible="an image can be pulled or built again; what is deleted of the logs is gone",
    )


def _removing(one: Mapping[str, Any]) -> Step:
    names = one["names"] or [one["id"].removeprefix("sha256:")[:12]]
    return Step(
        act="image",
        shown=f"docker image rm --no-prune {shlex.join(names)}   # {as_bytes(one['bytes'])}",
        arguments={"id": one["id"], "names": one["names"]},
    )


def _deleting(one: Mapping[str, Any]) -> Step:
    shown = f"rm {shlex.quote(one['path'])}   # {as_bytes(one['bytes'])}"
    return Step(act="file", shown=shown, arguments={"path": one["path"], "identity": one["identity"]})


def _vacuuming(one: Mapping[str, Any]) -> Step:
    arguments = {"oid": one["oid"], "schema": one["schema"], "name": one["name"], "seconds": 60 * _VACUUM_MINUTES}
    return Step(act="vacuum", shown=_statement(arguments).as_string(), arguments=arguments)


def _statement(arguments: Mapping[str, Any]) -> sql.Composed:
    return sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(arguments["schema"], arguments["name"]))


# --- the acts


def _removes(asking: Asking, arguments: Mapping[str, Any]) -> str:
    """Remove one image; the engine refuses where a container was made from it meanwhile: nothing is forced. A name that
    has gone to another image is that one's.
    """
    containers, moved = asking.connection(ContainersConnection), []
    with containers.changing(_SECONDS) as engine:
        for name in arguments["names"] or [arguments["id"]]:
            now = containers.image(name)
            if now is None or now[0]["Id"] != arguments["id"]:
                moved.append(name)
            else:
                engine.remove_image(name, force=False, noprune=True)
    return f"kept: {', '.join(moved)}, which it is not called any more" if moved else ""


def _is_removed(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return asking.connection(ContainersConnection).image(arguments["id"]) is None


def _deletes(asking: Asking, arguments: Mapping[str, Any]) -> str:
    """Delete one file, in whose place no other one has come and that nobody has written since."""
    path = Path(arguments["path"])
    try:
        about = path.lstat()
        if [about.st_dev, about.st_ino, about.st_mtime_ns] != list(arguments["identity"]):
            return "kept: it was written since, or is another file by now"
        os.unlink(path)  # noqa: PTH108 - a link is removed itself
    except FileNotFoundError:
        return "it was gone already"
    except OSError as error:
        raise ChangeFailed(f"{path} could not be deleted: {error.strerror}") from error
    return ""


def _is_deleted(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return not Path(arguments["path"]).exists()


clean = Change(
    name="upkeep.clean",
    title="Remove images that nobody needs, delete old logs, vacuum what is due",
    observe=observe,
    draft=draft,
    acts={
        "image": Act(_removes, _is_removed),
        "file": Act(_deletes, _is_deleted),
        "vacuum": composed(_statement, package="runbook.postgres", happened="vacuumed_since"),
    },
    needs=(PostgresConnection, LogsConnection, ContainersConnection, OperatorDatabase),
    watched=("images", "files"),
    patience=10.0,
    deadline=30.0,
    partial=True,
)

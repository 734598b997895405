"""Keep a physical copy of the whole cluster, page by page, the damaged ones too, before anything is mended."""

import os
import shlex
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook.connections import RestoringDatabase, programs, read_sql
from runbook.connections.programs import Owner
from runbook.connections.restoring import restoring_conninfo, restoring_secrets
from runbook.connections.server_programs import major, program
from runbook.model import Act, Asking, Change, ChangeFailed, CouldNotFindOut, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.units import as_bytes

_ROOM, _DONE, _NAME = 1.1, "complete", "cluster"


def observe(asking: Asking, wanted: bool = True) -> dict[str, Any]:
    """Return into (the folder of today's copy), done (whether it is there, whole), free (bytes of its disk), and of the
    cluster bytes, version, senders, may_copy, role; program (pg_basebackup's path) and its version (of), conninfo.
    """
    if not wanted:
        raise DoesNotApply("no recovery is asked for")
    named = asking.target.recovery
    if named is None or named.preserve is None or asking.target.backups is None:
        raise DoesNotApply("the profile names no preserve in [recovery]: copy the data folder by hand, as it is")
    into = named.preserve / f"{datetime.now(UTC):%Y-%m-%d}" / _NAME
    facts = {"into": str(into), "done": (into / _DONE).exists()}
    told = asking.connection(RestoringDatabase).rows(read_sql(__package__, "cluster")).iloc[0]
    path = program(asking.target.backups, "pg_basebackup")
    nearest = next(place for place in (into, *into.parents) if place.is_dir())
    return {
        **facts,
        "free": shutil.disk_usage(nearest).free,
        **{name: int(told[name]) for name in ("bytes", "version", "senders")},
        "may_copy": bool(told["may_copy"]),
        "role": str(told["role"]),
        "program": str(path),
        "of": major(path),
        "conninfo": restoring_conninfo(asking.target, "postgres"),
    }


def draft(facts: Mapping[str, Any], wanted: bool = True) -> Draft:
    """Write out the copy; raises `NotPlanned` where the disk, the role or the server's settings do not allow it."""
    if facts["done"]:
        raise DoesNotApply(f"it was copied today already: {facts['into']}; rename that to copy once more")
    needed, against = int(facts["bytes"] * _ROOM), []
    if facts["free"] < needed:
        free, room = as_bytes(facts["free"]), as_bytes(needed)
        against.append(
            f"the disk of {facts['into']} has {free} left, and {room} are needed: name a larger one (preserve)"
        )
    if not facts["may_copy"]:
        against.append(
            f"role {facts['role']} may not copy a cluster; as a superuser: ALTER ROLE {facts['role']} REPLICATION"
        )
    if facts["senders"] < 2:
        against.append("max_wal_senders is below 2: stop the server, and copy its data folder by hand (cp -a)")
    if facts["of"] < facts["version"]:
        against.append(
            f"pg_basebackup here is of {facts['of']}, the server of {facts['version']}: name newer ones (binaries)"
        )
    if against:
        raise NotPlanned("; ".join(against))
    arguments = {name: facts[name] for name in ("into", "program", "conninfo")}
    return Draft(
        summary=f"copy the whole cluster, damaged pages too, to {facts['into']}",
        steps=(Step(act="copy", shown=shlex.join(_argv(arguments, arguments["into"])), arguments=arguments),),
        blast_radius=(
            f"up to {as_bytes(needed)} of {as_bytes(facts['free'])} are taken from the disk of {facts['into']}",
            "the server reads all of its files and makes a checkpoint: on a failing disk that may be what ends it, and "
            "then a copy of the disk itself comes first",
            "pg_dump would stop at the first damaged page; this copies pages as they are",
        ),
        expected={"done": True},
        irreversible="a copy harms nothing; rm -r takes it away again",
    )


def _argv(arguments: Mapping[str, Any], aim: str) -> list[str]:
    return [
        arguments["program"], "--no-password", "--no-verify-checksums", "--checkpoint=fast", "--wal-method=stream",
        "--format=tar", "-D", aim, "-d", arguments["conninfo"],
    ]  # fmt: skip


def _copies(asking: Asking, arguments: Mapping[str, Any]) -> str:
    """Copy all of it beside its place, then put it there: one that was cut short is begun anew."""
    into, named = Path(arguments["into"]), asking.target.recovery
    if (into / _DONE).exists():
        return "it was there already"
    try:
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir(mode=0o700, parents=True)
        argv = _argv(arguments, str(into / "copy"))
        us = Owner(os.geteuid(), os.getegid())
        programs.required(argv, us, named.seconds if named else 120.0, secrets=restoring_secrets(asking.target))
        (into / _DONE).touch()
    except (OSError, CouldNotFindOut) as error:
        raise ChangeFailed(f"the cluster could not be copied whole: {str(error)[:300]}") from error
    return f"{as_bytes(sum(path.stat().st_size for path in (into / 'copy').iterdir()))} in {into}/copy"


copy_cluster = Change(
    name="recovery.copy_cluster",
    title="Keep a physical copy of the whole cluster",
    observe=observe,
    draft=draft,
    acts={"copy": Act(_copies, lambda asking, arguments, begun: (Path(arguments["into"]) / _DONE).exists())},
    needs=(RestoringDatabase,),
    acts_on=(RestoringDatabase,),
    watched=("into", "conninfo"),
    patience=2.0,
    deadline=30.0,
    partial=True,
)

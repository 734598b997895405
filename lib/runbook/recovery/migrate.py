"""Bring a restored database up to what the service needs, by the service's own command."""

import shlex
from collections.abc import Mapping
from typing import Any

from runbook.connections import RestoringDatabase
from runbook.model import Act, Asking, Change, DoesNotApply, Draft, Step
from runbook.recovery.cluster import NOT_ASKED, standing
from runbook.recovery.service import called


def observe(asking: Asking, wanted: bool = True) -> dict[str, Any]:
    """Return the newest restored database ("" for none) and the command, with its name in it."""
    if not wanted:
        raise DoesNotApply(NOT_ASKED)
    named, found = asking.target.recovery, standing(asking)
    argv = list(named.migrate or ()) if named is not None else []
    database = found.restored[0].name if found.restored else ""
    return {"database": database, "argv": [part.replace("{database}", database) for part in argv]}


def draft(facts: Mapping[str, Any], wanted: bool = True) -> Draft:
    """Write out the command on the restored database, before anything is swapped."""
    if not facts["database"]:
        raise DoesNotApply("no restored database waits: restore one first")
    if not facts["argv"]:
        raise DoesNotApply(
            "the profile names no migrate in [recovery]: where the service is newer than the backup, do it by hand"
        )
    return Draft(
        summary=f"migrate {facts['database']}",
        steps=(Step(act="command", shown=shlex.join(facts["argv"]), arguments={"argv": facts["argv"]}),),
        blast_radius=(
            f"only {facts['database']} is changed; where it fails, the service's own is untouched",
            "the command runs with the environment of who runs this",
        ),
        irreversible="restore once more to have it as it was",
    )


migrate = Change(
    name="recovery.migrate",
    title="Migrate the restored database",
    observe=observe,
    draft=draft,
    # A migration that was cut short is done again: the service's own command finds out where it stands.
    acts={"command": Act(lambda asking, arguments: called(asking, list(arguments["argv"])), lambda *_: False)},
    needs=(RestoringDatabase,),
    watched=("database", "argv"),
    patience=2.0,
    deadline=20.0,
    partial=True,
)

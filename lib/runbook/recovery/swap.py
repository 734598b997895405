"""Put a restored database in the place of the service's own, by two renames in one transaction; bring the former back,
or drop it.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from runbook.connections import ApiConnection, RestoringDatabase
from runbook.connections.restoring import restoring_connection
from runbook.model import Act, Asking, Change, ChangeFailed, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.units import as_bytes
from runbook.recovery.cluster import NOT_ASKED, standing
from runbook.recovery.position import may_write
from runbook.recovery.written_down import is_salvaged

_WRITES = (
    "the service still answers, or keeps a request waiting: stop it first, or it writes into the one that is put aside"
)
_SECONDS, _PAUSE, _TRIES = 30.0, 0.1, 4


def observe(asking: Asking, wanted: bool = True, salvage: bool = False) -> dict[str, Any]:
    """Return database (the service's own name), there, restored (the one to come into its place), backup, sessions (in
    the two), aside (the name that the former gets), writes (whether the service still may), in_place (the backup that
    the service's database is of), salvaged (whether what could be read of a damaged one was saved into it).
    """
    if not wanted:
        raise DoesNotApply(NOT_ASKED)
    found = standing(asking)
    restored = found.restored[0] if found.restored else None
    return {
        "database": found.name,
        "there": found.own is not None,
        "restored": restored.name if restored else "",
        "backup": restored.backup if restored else "",
        "in_place": found.own.backup if found.own else "",
        "salvaged": is_salvaged(asking.target, restored.name) if restored else False,
        "sessions": (found.own.sessions if found.own else 0) + (restored.sessions if restored else 0),
        "aside": found.aside,
        "writes": may_write(asking),
    }


def draft(facts: Mapping[str, Any], wanted: bool = True, salvage: bool = False) -> Draft:
    """Write out the renames; raises `NotPlanned` while the service may write: it would write into the wrong one."""
    if not facts["restored"]:
        told = f"; the service's database is of {facts['in_place']} already" if facts["in_place"] else ""
        raise DoesNotApply(f"no restored database waits{told}")
    if facts["writes"]:
        raise NotPlanned(_WRITES)
    if salvage and not facts["salvaged"]:
        raise NotPlanned(
            "what can be read of the damaged database is not saved yet (recovery.salvage): it would be lost"
        )
    arguments = {name: facts[name] for name in ("database", "restored", "aside", "there", "backup")}
    shown = _renaming(arguments)
    reaches = [f"the service gets the data of {facts['backup']}: what came since is not in it"]
    if facts["salvaged"]:
        reaches = [f"the service gets what could be read of its damaged database, and the rest of {facts['backup']}"]
    if facts["there"]:
        reaches.append(f"its former database stays as {facts['aside']}, and takes its room until a plan drops it")
        reaches.append("rights and settings given to the former as a database (GRANT CONNECT, ALTER DATABASE SET) stay "
                       "with it: give them again")  # fmt: skip
    if facts["sessions"]:
        reaches.append(f"{facts['sessions']} sessions in the two are ended")
    back = {"database": facts["database"], "restored": facts["aside"], "aside": facts["restored"], "there": True,
            "backup": ""}  # fmt: skip
    return Draft(
        summary=f"put {facts['restored']} in the place of {facts['database']}",
        steps=(Step(act="swap", shown=shown, arguments=arguments),),
        blast_radius=tuple(reaches),
        expected={"there": True, "in_place": facts["backup"]},
        inverse=(Step(act="swap", shown=_renaming(back), arguments=back),) if facts["there"] else (),
        irreversible="" if facts["there"] else "there was no database in its place",
    )


def _renaming(arguments: Mapping[str, Any]) -> str:
    renames = [f"ALTER DATABASE {arguments['restored']} RENAME TO {arguments['database']}"]
    if arguments["there"]:
        renames.insert(0, f"ALTER DATABASE {arguments['database']} RENAME TO {arguments['aside']}")
    return f"SELECT pg_terminate_backend(…) of their sessions; BEGIN; {'; '.join(renames)}; COMMIT"


def _swaps(asking: Asking, arguments: Mapping[str, Any]) -> str:
    """Rename both in one transaction while another connection ends their sessions: nobody ever sees none of them, or
    two, and wherever this is cut short nothing is left behind.
    """
    cluster = asking.connection(RestoringDatabase)
    own, new, aside = (sql.Identifier(arguments[name]) for name in ("database", "restored", "aside"))
    renames = [sql.SQL("ALTER DATABASE {} RENAME TO {}").format(own, aside)] if arguments["there"] else []
    renames.append(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(new, own))
    both = [arguments["restored"], *([arguments["database"]] if arguments["there"] else [])]
    with _ending(asking, both) as ended:
        for left in reversed(range(_TRIES)):
            try:
                cluster.change_together(renames, seconds=_SECONDS)
                break
            except ChangeFailed as refusal:
                if not left or "being accessed by other users" not in str(refusal):
                    raise
    return f"{ended[0]} sessions were ended" if ended[0] else ""


@contextmanager
def _ending(asking: Asking, databases: list[str]) -> Iterator[list[int]]:
    """End the sessions in some databases again and again, as pools come back; the list holds how many it were."""
    over, ended = threading.Event(), [0]
    with restoring_connection(asking.target, "postgres") as connection:

        def end() -> None:
            with suppress(psycopg.Error):
                while True:
                    ended[0] += len(connection.execute(_ENDING.encode(), {"databases": databases}).fetchall())
                    if over.wait(_PAUSE):
                        return

        thread = threading.Thread(target=end, daemon=True)
        thread.start()
        try:
            yield ended
        finally:
            over.set()
            thread.join(_SECONDS)


_ENDING = """-- End every session in some databases.
SELECT pg_terminate_backend(pid) AS ended FROM pg_stat_activity
WHERE datname = ANY (%(databases)s) AND pid <> pg_backend_pid()"""


def _names(asking: Asking) -> set[str]:
    found = standing(asking)
    own = {found.own.name} if found.own else set()
    return own | {one.name for one in (*found.restored, *found.kept)}


def _is_swapped(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return arguments["restored"] not in _names(asking)


swap = Change(
    name="recovery.swap",
    title="Put the restored database in the place of the service's own",
    observe=observe,
    draft=draft,
    acts={"swap": Act(_swaps, _is_swapped)},
    needs=(RestoringDatabase, ApiConnection),
    acts_on=(RestoringDatabase,),
    watched=("database", "there", "restored", "backup", "writes", "salvaged"),
    restored=("in_place",),
    patience=5.0,
    deadline=20.0,
    partial=True,
)


def observe_kept(asking: Asking, drop: str = "") -> dict[str, Any]:
    """Return the former database that is named: database, there, bytes, sessions; and kept, the names of all."""
    if not drop:
        raise DoesNotApply("no former database is named that is to be dropped")
    found = standing(asking)
    one = next((kept for kept in found.kept if kept.name == drop), None)
    return {
        "database": drop,
        "there": one is not None,
        "bytes": one.bytes if one else 0,
        "sessions": one.sessions if one else 0,
        "kept": [kept.name for kept in found.kept],
    }


def draft_drop(facts: Mapping[str, Any], drop: str = "") -> Draft:
    """Write out the drop of a former database; nothing else can be named."""
    if not facts["there"]:
        names = ", ".join(facts["kept"]) or "none"
        raise NotPlanned(f"there is no former database {drop[:80]}; there are: {names}")
    dropping = sql.SQL("DROP DATABASE {}").format(sql.Identifier(drop))
    return Draft(
        summary=f"drop the former database {drop}",
        steps=(Step(act="drop", shown=dropping.as_string(), arguments={"database": drop}),),
        blast_radius=(f"{as_bytes(facts['bytes'])} come free; what only this one held is gone for good",),
        expected={"there": False},
        irreversible="a dropped database comes back from a backup only",
    )


def _drops(asking: Asking, arguments: Mapping[str, Any]) -> str:
    dropping = sql.SQL("DROP DATABASE {}").format(sql.Identifier(arguments["database"]))
    asking.connection(RestoringDatabase).change(dropping, seconds=_SECONDS)
    return ""


drop_kept = Change(
    name="recovery.drop_kept",
    title="Drop the former database",
    observe=observe_kept,
    draft=draft_drop,
    acts={"drop": Act(_drops, lambda asking, arguments, begun: arguments["database"] not in _names(asking))},
    needs=(RestoringDatabase,),
    acts_on=(RestoringDatabase,),
    watched=("database", "there"),
    patience=5.0,
    deadline=20.0,
)


def observe_back(asking: Asking, back: str = "") -> dict[str, Any]:
    """Return what `observe` does, for a former database that is to be the service's own again: here it is ``restored``;
    and found (whether it is there), kept (the names of all former ones).
    """
    if not back:
        raise DoesNotApply("no former database is named that is to come back")
    found = standing(asking)
    one = next((kept for kept in found.kept if kept.name == back), None)
    return {
        "database": found.name,
        "there": found.own is not None,
        "restored": back,
        "found": one is not None,
        "kept": [kept.name for kept in found.kept],
        "aside": found.aside,
        "writes": may_write(asking),
        "backup": "",
    }


def draft_back(facts: Mapping[str, Any], back: str = "") -> Draft:
    """Write out the renames that bring a former database back; the one in its place is put aside as that was."""
    if not facts["found"]:
        names = ", ".join(facts["kept"]) or "none"
        raise NotPlanned(f"there is no former database {back[:80]}; there are: {names}")
    if facts["writes"]:
        raise NotPlanned(_WRITES)
    arguments = {name: facts[name] for name in ("database", "restored", "aside", "there", "backup")}
    other = {**arguments, "restored": facts["aside"], "aside": back}
    if not facts["there"]:  # nothing was put aside: it only gets the name again that it had
        other = {**arguments, "restored": facts["database"], "database": back, "aside": ""}
    return Draft(
        summary=f"bring {back} back as {facts['database']}",
        steps=(Step(act="swap", shown=_renaming(arguments), arguments=arguments),),
        blast_radius=(
            f"the service has its former data again; what it has now stays as {facts['aside']} until a plan drops it",
        ),
        expected={"there": True, "found": False},
        inverse=(Step(act="swap", shown=_renaming(other), arguments=other),),
    )


bring_back = Change(
    name="recovery.bring_back",
    title="Bring the former database back",
    observe=observe_back,
    draft=draft_back,
    acts={"swap": Act(_swaps, _is_swapped)},
    needs=(RestoringDatabase, ApiConnection),
    acts_on=(RestoringDatabase,),
    watched=("database", "there", "restored", "found", "writes"),
    restored=("found",),
    patience=5.0,
    deadline=20.0,
    partial=True,
)

"""Put a restored database in the place of the service's own, by two renames in one transaction; and drop the former."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from psycopg import sql

from runbook.connections import ApiConnection, RestoringDatabase
from runbook.model import Act, Asking, Change, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.units import as_bytes
from runbook.recovery.cluster import standing
from runbook.recovery.position import answers

_SECONDS = 30.0


def observe(asking: Asking, wanted: bool = True) -> dict[str, Any]:
    """Return database (the service's own name), there, restored (the one to come into its place), backup, sessions (in
    the two), aside (the name that the former gets), answers (whether the service still does), in_place (the backup that
    the service's database is of).
    """
    if not wanted:
        raise DoesNotApply("no recovery is asked for")
    found = standing(asking)
    restored = found.restored[0] if found.restored else None
    return {
        "database": found.name,
        "there": found.own is not None,
        "restored": restored.name if restored else "",
        "backup": restored.backup if restored else "",
        "in_place": found.own.backup if found.own else "",
        "sessions": (found.own.sessions if found.own else 0) + (restored.sessions if restored else 0),
        "aside": f"{found.name}_before_{datetime.now(UTC):%Y%m%d_%H%M%S}"[:63],
        "answers": not answers(asking),
    }


def draft(facts: Mapping[str, Any], wanted: bool = True) -> Draft:
    """Write out the renames; raises `NotPlanned` while the service answers: it would write into the wrong one."""
    if not facts["restored"]:
        told = f"; the service's database is of {facts['in_place']} already" if facts["in_place"] else ""
        raise DoesNotApply(f"no restored database waits{told}")
    if facts["answers"]:
        raise NotPlanned("the service still answers: stop it first, or it writes into the one that is put aside")
    arguments = {name: facts[name] for name in ("database", "restored", "aside", "there", "backup")}
    renames = [facts["restored"], facts["database"]]
    shown = f"ALTER DATABASE {renames[0]} RENAME TO {renames[1]}"
    if facts["there"]:
        shown = f"BEGIN; ALTER DATABASE {facts['database']} RENAME TO {facts['aside']}; {shown}; COMMIT"
    reaches = [f"the service gets the data of {facts['backup']}: what came since is not in it"]
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
        inverse=(Step(act="swap", shown="the same two renames the other way round", arguments=back),)
        if facts["there"]
        else (),
        irreversible="" if facts["there"] else "there was no database in its place",
    )


def _swaps(asking: Asking, arguments: Mapping[str, Any]) -> str:
    """End the sessions in both, then rename both in one transaction: nobody ever sees none of them, or two."""
    cluster = asking.connection(RestoringDatabase)
    own, new, aside = (sql.Identifier(arguments[name]) for name in ("database", "restored", "aside"))
    both = [arguments["restored"], *([arguments["database"]] if arguments["there"] else [])]
    for name in both:
        cluster.change(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)), seconds=_SECONDS
        )
    try:
        ended = cluster.change(_ENDING, {"databases": both}, seconds=_SECONDS)
        renames = [sql.SQL("ALTER DATABASE {} RENAME TO {}").format(own, aside)] if arguments["there"] else []
        renames.append(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(new, own))
        cluster.change_together(renames, seconds=_SECONDS)
    finally:
        for name in {arguments["database"], arguments["restored"], arguments["aside"]} & _names(asking):
            allowing = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name))
            cluster.change(allowing, seconds=_SECONDS)
    return f"{len(ended)} sessions were ended" if ended else ""


_ENDING = """-- End every session in some databases, and wait for each.
SELECT pg_terminate_backend(pid, 5000) AS ended FROM pg_stat_activity
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
    watched=("database", "there", "restored", "backup"),
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

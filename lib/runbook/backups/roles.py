"""Make the roles that the dump names and the cluster lacks, as the newest backup of roles has them."""

import re
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg import sql

from runbook.backups.content import Content
from runbook.backups.restore import READ_SECONDS
from runbook.backups.sound import Readings, newest_sound
from runbook.connections import RestoringDatabase, read_sql
from runbook.model import Act, Asking, Change, ChangeFailed, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.text import printable

_NAME = r'("(?:[^"]|"")+"|[\w$\x80-\U0010ffff]+)'
_MAKES = re.compile(rf"(?:CREATE ROLE {_NAME};|ALTER ROLE {_NAME} (?:WITH|SET) )")
_GRANTS = re.compile(rf"GRANT {_NAME} TO {_NAME}(?: WITH [A-Z ,]+?)?(?: GRANTED BY {_NAME})?;\Z")
_BY = re.compile(rf" GRANTED BY {_NAME};\Z")
_MOST_BYTES = 16 << 20


def observe(asking: Asking, wanted: bool = True) -> dict[str, Any]:
    """Return dump (the newest that verifies), backup, path and sha256 (of the newest backup of roles that does),
    lacking (the roles that the dump names and the cluster does not have), made (those of them that the backup of roles
    has), and after (those that will be lacking all the same).
    """
    if not wanted:
        raise DoesNotApply("it is not asked for")
    kept = Readings()
    dump, _ = newest_sound(asking, "database", READ_SECONDS, kept)
    about = asking.connection(RestoringDatabase).rows(read_sql(__package__, "cluster")).iloc[0]
    needs = {name for name in dump.text.needs - {"PUBLIC", "CURRENT_USER"} if not name.startswith("pg_")}
    lacking = sorted(needs - set(about["roles"]))
    roles, _ = newest_sound(asking, "roles", READ_SECONDS, kept)
    made = sorted(set(lacking) & roles.text.makes)
    return {
        "dump": dump.of.name,
        "backup": roles.of.name,
        "path": roles.of.path,
        "sha256": roles.sha256,
        "lacking": lacking,
        "made": made,
        "after": sorted(set(lacking) - set(made)),
    }


def draft(facts: Mapping[str, Any], wanted: bool = True) -> Draft:
    """Write out which roles are made; raises `NotPlanned` where the backup has none of them."""
    if not facts["lacking"]:
        raise DoesNotApply(f"the cluster has every role that {facts['dump']} names")
    if not facts["made"]:
        names = ", ".join(map(printable, facts["lacking"][:5]))
        raise NotPlanned(f"{facts['backup']} makes none of the roles that are lacking ({names}): make them by hand")
    arguments = {name: facts[name] for name in ("path", "sha256", "made")}
    names = ", ".join(map(printable, facts["made"]))
    reaches = [
        f"{names} may log in with the password that each had when {facts['backup']} was made; no password is shown",
        "what each may (memberships, settings) is as it was then; rights in databases come with the dump",
    ]
    if facts["after"]:
        reaches.append(f"it makes none of these: {', '.join(map(printable, facts['after'][:5]))}; make them by hand")
    back = [
        Step(
            act="drop", shown=sql.SQL("DROP ROLE {}").format(sql.Identifier(name)).as_string(), arguments={"role": name}
        )
        for name in reversed(facts["made"])
    ]
    return Draft(
        summary=f"make the roles {names} as {facts['backup']} has them",
        steps=(
            Step(act="make", shown=f"CREATE ROLE {names}; ALTER ROLE … PASSWORD (of the backup)", arguments=arguments),
        ),
        blast_radius=tuple(reaches),
        expected={"lacking": facts["after"]},
        inverse=tuple(back),
    )


def statements(text: str, made: list[str]) -> list[str]:
    """Return the statements of a dump of roles that make some of them, and give them what they were given."""
    chosen = []
    for line in text.splitlines():
        makes, grants = _MAKES.match(line), _GRANTS.match(line)
        if makes is not None and _plain(makes[1] or makes[2]) in made and line.endswith(";"):
            chosen.append(line)
        elif grants is not None and _plain(grants[2]) in made:
            chosen.append(_BY.sub(";", line))  # whoever gave it may not be here
    return chosen


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _makes(asking: Asking, arguments: Mapping[str, Any]) -> str:
    """Make them in one transaction, with what the backup holds now if that is still the same."""
    content = Content(arguments["path"], time.monotonic() + READ_SECONDS)
    text = b"".join(content.text())[:_MOST_BYTES].decode("utf-8", errors="replace")
    if content.sha256 != arguments["sha256"]:
        raise ChangeFailed("the backup of roles is another one than was planned with; nothing was made")
    chosen = [sql.Composed([sql.SQL(line)]) for line in statements(text, arguments["made"])]
    asking.connection(RestoringDatabase).change_together(chosen)
    return f"{len(chosen)} statements"


def _are_made(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return set(arguments["made"]) <= _there(asking)


def _there(asking: Asking) -> set[str]:
    return set(asking.connection(RestoringDatabase).rows(read_sql(__package__, "cluster")).iloc[0]["roles"])


def _drops(asking: Asking, arguments: Mapping[str, Any]) -> str:
    dropping = sql.SQL("DROP ROLE {}").format(sql.Identifier(arguments["role"]))
    asking.connection(RestoringDatabase).change(dropping)
    return ""


roles = Change(
    name="backups.roles",
    title="Make the roles that the dump names and the cluster lacks",
    observe=observe,
    draft=draft,
    acts={
        "make": Act(_makes, _are_made),
        "drop": Act(_drops, lambda asking, arguments, begun: arguments["role"] not in _there(asking)),
    },
    needs=(RestoringDatabase,),
    acts_on=(RestoringDatabase,),
    watched=("path", "sha256", "lacking", "made"),
    restored=("lacking",),
    patience=5.0,
    deadline=240.0,
)

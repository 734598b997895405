"""Make a standby of the database on this machine, and remove it."""

import re
import secrets
import shlex
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from runbook.connections import OperatorDatabase, PostgresConnection, StandbyDatabase, programs, read_sql
from runbook.connections.programs import Owner
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
from runbook.model.units import as_bytes
from runbook.postgres import acts
from runbook.postgres.standby_facts import START_SECONDS, control, is_running, observe, starting, typed
from runbook.target import resolve
from runbook.target.profile import Standby

ROW_SECONDS = 30.0
# What is copied grows while it is copied, and the standby keeps WAL of its own.
ROOM = 1.2
# One sends the copy, one the WAL that is written meanwhile.
_SENDERS = 2
# The path of a socket may have 107 bytes; with a longer one the server does not start.
_LONGEST = 85
_AUTO = "postgresql.auto.conf"
# The last line of the settings that the plan adds to those of the primary, which tells that they are there.
_END = "# end of the standby's own settings"
_Facts = Mapping[str, Any]


def draft(facts: _Facts) -> Draft:
    """Write out how a standby is made; raises `NotPlanned` with what stands against it, `DoesNotApply` where it is
    there and runs: whether it is well is for `postgres.standby_state` to say.
    """
    ours = facts["folder"] == "standby" and facts["folder_system"] == facts["system"] and facts["state"] == "running"
    if ours or facts["answers"]:
        where = f"in {facts['data']}, which runs" if ours else f"on port {facts['port']}, which answers"
        raise DoesNotApply(f"there is one already: a standby of this cluster {where}")
    plan, size = facts["plan"], as_bytes(facts["bytes"])
    against = _against(facts)
    if against:
        raise NotPlanned("; ".join(against))
    return Draft(
        summary=f"make a standby of PostgreSQL {facts['version']} in {facts['data']}, on port {facts['port']}",
        steps=(
            _slot_step("slot", facts),
            Step(act="copy", shown=_typed(facts, plan["copy"]), arguments={**_where(facts), "argv": plan["copy"]}),
            Step(
                act="settings",
                shown=f"printf '%s\\n' {' '.join(map(_in_quotes, plan['settings']))} | "
                + _typed(facts, ["tee", "-a", f"{facts['data']}/{_AUTO}"]),
                arguments={**_where(facts), "settings": plan["settings"]},
            ),
            Step(act="start", shown=_typed(facts, plan["start"]), arguments={**_where(facts), "argv": plan["start"]}),
            Step(
                act="row",
                shown="SELECT lo_from_bytea(0, 'TEXT')  -- on the primary; it gives NUMBER. On the standby, "
                "until it is there: SELECT convert_from(lo_get(NUMBER), 'UTF8'). At last on the primary: "
                "SELECT lo_unlink(NUMBER)",
                arguments=_where(facts),
                previewed=False,
            ),
        ),
        blast_radius=(
            f"the primary takes a checkpoint at once and sends {size}: its disk and network feel it",
            "from now on the primary keeps all WAL that the standby has not received, while that is away until the "
            "disk is full, unless max_slot_wal_keep_size says otherwise",
            f"{size} of {as_bytes(facts['free'])} are taken from the disk that {facts['data']} is on",
            "the password of the replication role, where it has one, stands in the standby's postgresql.auto.conf, "
            f"which only {facts['owner']} may read",
            "nothing starts it again after a restart of this machine: that is for the system's own services",
            "a run ends at its deadline: give --deadline and --cell-deadline where the copying takes longer",
        ),
        expected={"state": "running", "receiver": "streaming", "slot_active": True},
        inverse=_removing(facts),
    )


def draft_removal(facts: _Facts, wanted: bool) -> Draft:
    """Write out how the standby is removed, its slot included; raises `DoesNotApply` where there is nothing of it, or
    it is not ``wanted``: a standby that is well is not to be removed by the next token at hand.
    """
    _require_wanted(wanted)
    if facts["folder"] == "empty" and not facts["has_slot"]:
        raise DoesNotApply(f"there is no standby to remove: nothing is in {facts['data']}, and the primary has no slot")
    against = []
    if facts["folder"] in ("primary", "other", "closed"):
        against.append(_WRONG_FOLDER[facts["folder"]].format(**facts))
    elif facts["folder"] == "standby" and facts["folder_system"] != facts["system"]:
        against.append(f"{facts['data']} is a standby of another cluster ({facts['folder_system']})")
    if facts["receiver"] == "promoted":
        against.append("the server was promoted: it holds what no other has")
    if facts["slot_active"] and facts["state"] != "running":
        against.append("another server than this machine's uses the slot")
    against += _unable(facts)
    if against:
        raise NotPlanned("; ".join(against))
    return Draft(
        summary=f"remove the standby in {facts['data']} and its slot",
        steps=_removing(facts),
        blast_radius=(
            "whoever reads from it is cut off",
            f"its folder is moved aside and keeps its room; rm -r {shlex.quote(_aside(facts))} gives it back",
        ),
        expected={"state": "absent", "folder": "empty", "has_slot": False},
        irreversible="a standby whose slot is gone is made anew: plan it with postgres.standby",
    )


def _require_wanted(wanted: bool) -> None:
    if not wanted:
        raise DoesNotApply("its removal is not asked for")


_WRONG_FOLDER = {
    "primary": "{data} holds a cluster that is no standby, or was promoted: it is not touched",
    "other": "{data} is not empty, and holds no standby: it is not touched",
    "closed": "{data} cannot be read: it belongs to {owner}",
}


def _against(facts: _Facts) -> list[str]:
    """Return what stands against making a standby, each in words."""
    return [*_against_primary(facts), *_against_place(facts), *_unable(facts)]


def _against_primary(facts: _Facts) -> list[str]:
    left = max(0, facts["senders_left"])
    other = facts["system"].isdigit() and facts["streams"] != facts["system"]
    names = ", ".join(facts["tablespaces"])
    stands = [
        (facts["in_recovery"], "the profile's [postgres] dsn leads to a standby: name the primary"),
        (facts["refused"], f"the standby could not connect to its primary: {facts['refused']}"),
        (
            other and not facts["refused"],
            f"primary_dsn leads to another cluster ({facts['streams']}) than dsn ({facts['system']})",
        ),
        (
            facts["wal_level"] == "minimal",
            "wal_level of the primary is minimal: it must be replica, which takes a restart",
        ),
        (left < _SENDERS, f"max_wal_senders of the primary leaves {left}, and copying takes {_SENDERS}"),
        (facts["has_slot"], "the primary has a slot of this name already: another standby's, or one left behind"),
        (not facts["has_slot"] and facts["slots_left"] < 1, "max_replication_slots of the primary leaves none"),
        (names, f"the primary has tablespaces ({names}), whose folders only a person can map"),
    ]
    return [why for stood, why in stands if stood]


def _against_place(facts: _Facts) -> list[str]:
    found = []
    if facts["programs"] != facts["version"]:
        what = f"those of its binaries are of {facts['programs']}" if facts["programs"] else "its binaries has none"
        found.append(
            f"a standby has its primary's version, which is PostgreSQL {facts['version']}, and {what}: "
            "an older or newer one cannot follow it"
        )
    if facts["folder"] == "standby":
        found.append(f"there is a standby in {facts['data']} already")
    elif facts["folder"] != "empty":
        found.append(_WRONG_FOLDER[facts["folder"]].format(**facts))
    if not facts["port_free"]:
        found.append(f"port {facts['port']} is taken")
    need = ROOM * facts["bytes"] + facts["wal_bytes"]
    if facts["free"] < need:
        found.append(
            f"the disk of {facts['data']} has {as_bytes(facts['free'])} left, and {as_bytes(need)} are needed: the "
            f"databases' {as_bytes(facts['bytes'])}, a fifth more, and max_wal_size"
        )
    return found


def _unable(facts: _Facts) -> list[str]:
    found = []
    if facts["uid"] == 0:
        found.append(f"{facts['data']} would belong to root, as whom PostgreSQL does not run: give its folder an owner")
    elif not facts["us"]:
        found.append(f"{facts['data']} belongs to {facts['owner']}: run this as that user, or as root")
    return found


def _where(facts: _Facts) -> dict[str, Any]:
    return {"data": facts["data"], "uid": facts["uid"], "gid": facts["gid"]}


def _slot_step(act: str, facts: _Facts) -> Step:
    slot = facts["plan"]["slot"]
    statement = {
        "slot": "SELECT pg_create_physical_replication_slot({}, true)",
        "drop": "SELECT pg_drop_replication_slot({})",
    }
    shown = sql.SQL(statement[act]).format(sql.Literal(slot)).as_string()
    return Step(act=act, shown=shown, arguments={"slot": slot})


def _typed(facts: _Facts, argv: list[str]) -> str:
    return typed(Owner(facts["uid"], facts["gid"]), argv)


def _in_quotes(line: str) -> str:
    return f'"{line}"' if "'" in line and not set(line) & set('$"`!\\') else shlex.quote(line)


def _aside(facts: _Facts) -> str:
    return f"{facts['data']}.removed-{facts['at']}"


def _removing(facts: _Facts) -> tuple[Step, ...]:
    stop, aside = facts["plan"]["stop"], _aside(facts)
    return (
        Step(act="stop", shown=_typed(facts, stop), arguments={**_where(facts), "argv": stop}),
        _slot_step("drop", facts),
        Step(
            act="aside", shown=_typed(facts, ["mv", facts["data"], aside]), arguments={**_where(facts), "aside": aside}
        ),
    )


def _observed(asking: Asking) -> dict[str, Any]:
    """Return the facts of `runbook.postgres.standby_facts.observe` and, as ``plan``, the commands of the steps."""
    facts = observe(asking)
    settings: Standby = asking.target.standby
    data, binaries = str(settings.data), settings.binaries
    address = psycopg.conninfo.make_conninfo(settings.primary_dsn, application_name=settings.name)
    facts["plan"] = {
        "slot": settings.slot,
        "copy": [
            str(binaries / "pg_basebackup"), "-d", address, "-D", data, "-R", "-X", "stream", "-S", settings.slot,
            "-c", "fast", "--no-password",
        ],
        "settings": _settings(settings, facts["at_least"]),
        "start": starting(settings),
        "stop": [*control(settings), "-m", "fast", "stop"],
    }  # fmt: skip
    return facts


def _observed_for_removal(asking: Asking, wanted: bool) -> dict[str, Any]:
    """Return the same facts; raises `DoesNotApply`, before it looks, where the removal is not ``wanted``."""
    _require_wanted(wanted)
    return _observed(asking)


def _settings(settings: Standby, at_least: Mapping[str, str]) -> list[str]:
    """Return the lines of what the standby's postgresql.auto.conf says of its own: what is read last counts."""
    own = {
        "port": str(settings.port),
        "listen_addresses": settings.listen,
        "unix_socket_directories": str(settings.data) if len(str(settings.data)) < _LONGEST else "",
        "hot_standby": "on",
        # Two servers would write into one file where the primary's is named by its path.
        "logging_collector": "off",
        "external_pid_file": "",
        **{name: at_least[name] for name in sorted(at_least)},
    }
    return ["# The standby's own settings", *(f"{name} = {_quoted(value)}" for name, value in own.items()), _END]


def _quoted(value: str) -> str:
    if re.fullmatch(r"[a-z0-9]+", value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


# --- the acts


def _owner(arguments: Mapping[str, Any]) -> Owner:
    return Owner(arguments["uid"], arguments["gid"])


def _copies(asking: Asking, arguments: Mapping[str, Any]) -> str:
    settings: Standby = asking.target.standby
    try:
        password = resolve(settings.primary_password) if settings.primary_password else None
    except CouldNotFindOut as missing:
        raise ChangeFailed(str(missing)) from missing
    given = {"PGPASSWORD": password} if password else {}
    programs.required(arguments["argv"], _owner(arguments), settings.copy_seconds, secrets=given)
    return f"copied into {arguments['data']}"


def _is_copied(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    # It is named so when everything else is there and on the disk.
    return Path(arguments["data"], "backup_manifest").exists()


def _configures(asking: Asking, arguments: Mapping[str, Any]) -> str:
    owner, data = _owner(arguments), Path(arguments["data"])
    # Debian keeps these apart from the data: then they are not copied, and the server does not start without them.
    files = {
        "postgresql.conf": "",
        "pg_ident.conf": "",
        "pg_hba.conf": "local all all peer\n"
        + "".join(f"host all all {place} scram-sha-256\n" for place in ("127.0.0.1/32", "::1/128")),
    }
    made = [name for name in files if not (data / name).exists()]
    for name in made:
        programs.required(["tee", "-a", str(data / name)], owner, programs.LOOK_SECONDS, given=files[name])
    lines = "".join(f"{line}\n" for line in arguments["settings"])
    programs.required(["tee", "-a", str(data / _AUTO)], owner, programs.LOOK_SECONDS, given=lines)
    return f"made as well, since the primary keeps them elsewhere: {', '.join(made)}" if made else ""


def _is_configured(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    auto = Path(arguments["data"], _AUTO)
    return auto.exists() and auto.read_text(errors="replace").rstrip().endswith(_END)


def _starts(asking: Asking, arguments: Mapping[str, Any]) -> str:
    data = Path(arguments["data"])
    ended = programs.call(arguments["argv"], _owner(arguments), START_SECONDS + 10, stays=True)
    if ended.returncode != 0:
        log = data / "standby.log"
        said = programs.last_words(log.read_text(errors="replace") if log.exists() else "", ended.stderr)
        raise ChangeFailed(f"the standby did not start: {said}")
    return ""


def _is_started(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return is_running(Path(arguments["data"]))


def _row_arrives(asking: Asking, arguments: Mapping[str, Any]) -> str:
    """Write a row on the primary by the operator's role, read it on the standby by the runbook's, remove it."""
    primary, text = asking.connection(OperatorDatabase), f"runbook {secrets.token_hex(8)}"
    role = asking.connection(PostgresConnection).rows(read_sql(__package__, "own_role"))["role"].iloc[0]
    began = time.monotonic()
    number = primary.change(read_sql(__package__, "row_write"), {"text": text})[0]["number"]
    try:
        grant = sql.SQL("GRANT SELECT ON LARGE OBJECT {} TO {}").format(sql.Literal(number), sql.Identifier(role))
        primary.change(grant)
        why = ""
        while time.monotonic() - began < ROW_SECONDS:
            why = _not_read(asking, number, text)
            if not why:
                return f"large object {number}, written on the primary, was read on the standby {_since(began)}"
            time.sleep(0.1)
    finally:
        primary.change(read_sql(__package__, "row_remove"), {"number": number})
    raise ChangeFailed(f"a row that was written on the primary was not read on the standby {_since(began)}: {why}")


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s later"


def _not_read(asking: Asking, number: int, text: str) -> str:
    """Return why the row cannot be read on the standby yet; "" where it was."""
    try:
        # Opened anew: the run remembers that nothing answered there before it was made.
        standby = StandbyDatabase.open(asking.target, "runbook standby")
    except Unreachable as error:
        return str(error)
    try:
        read = standby.rows(read_sql(__package__, "row_read"), {"number": number}).iloc[0, 0]
        return "" if read == text else "another text is there"
    except CouldNotFindOut as error:
        return str(error)
    finally:
        standby.close()


def _stops(asking: Asking, arguments: Mapping[str, Any]) -> str:
    if not is_running(Path(arguments["data"])):
        return "it did not run"
    programs.required(arguments["argv"], _owner(arguments), START_SECONDS + 10)
    return ""


def _is_stopped(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return not is_running(Path(arguments["data"]))


def _drops(asking: Asking, arguments: Mapping[str, Any]) -> str:
    primary = asking.connection(OperatorDatabase)
    end = time.monotonic() + programs.LOOK_SECONDS
    while True:
        there = primary.rows(read_sql(__package__, "slot_there"), {"slot": arguments["slot"]}).iloc[0, 0]
        if not there:
            return "it was not there"
        # The primary may need a moment to see that the standby has gone.
        if primary.change(read_sql(__package__, "slot_drop"), {"slot": arguments["slot"]}):
            return "dropped"
        if time.monotonic() > end:
            raise ChangeFailed(f"slot {arguments['slot']} is in use, or no standby's: it was not dropped")
        time.sleep(0.2)


def _moves_aside(asking: Asking, arguments: Mapping[str, Any]) -> str:
    data, aside = Path(arguments["data"]), Path(arguments["aside"])
    if is_running(data):
        raise ChangeFailed(f"a server runs in {data}: it was not moved")
    if not data.exists():
        return "it was not there"
    if aside.exists():
        raise ChangeFailed(f"{aside} is there already")
    try:
        data.rename(aside)
    except OSError as error:
        raise ChangeFailed(
            f"{data} could not be moved: {error.strerror}; its slot is gone, so remove it by hand"
        ) from error
    return f"kept as {aside}"


def _is_moved(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return not Path(arguments["data"]).exists()


_ACTS = {
    "slot": acts.packaged("slot_create", none="no slot was made", happened="slot_there"),
    "copy": Act(_copies, _is_copied),
    "settings": Act(_configures, _is_configured),
    "start": Act(_starts, _is_started),
    # Done again it does no harm.
    "row": Act(_row_arrives, lambda asking, arguments, begun: False),
    "stop": Act(_stops, _is_stopped),
    "drop": Act(_drops, acts.packaged("slot_drop", none="", happened="slot_gone").happened),
    "aside": Act(_moves_aside, _is_moved),
}
_WATCHED = ("system", "version", "has_slot", "slot_active", "data", "folder", "uid", "gid", "programs", "state", "port")

standby = Change(
    name="postgres.standby",
    title="Make a standby on this machine",
    observe=_observed,
    draft=draft,
    acts=_ACTS,
    needs=(PostgresConnection, StandbyDatabase),
    acts_on=(OperatorDatabase,),
    partial=True,
    watched=(*_WATCHED, "streams", "port_free"),
    restored=("folder", "state", "has_slot"),
    patience=20.0,
    deadline=20.0,
)

standby_removal = Change(
    name="postgres.standby_removal",
    title="Remove the standby on this machine",
    observe=_observed_for_removal,
    draft=draft_removal,
    acts=_ACTS,
    needs=(PostgresConnection, StandbyDatabase),
    acts_on=(OperatorDatabase,),
    partial=True,
    watched=_WATCHED,
    patience=20.0,
    deadline=20.0,
)

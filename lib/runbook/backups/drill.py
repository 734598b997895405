"""Restore the newest backup of the database that verifies, for practice, and see whether all of it is there."""

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
from psycopg import sql

from runbook.backups.listing import backups_of
from runbook.backups.packed import at_hand
from runbook.backups.reading import CUSTOM, FOLDER, PLAIN, Reading
from runbook.backups.sound import Readings, newest_sound
from runbook.connections import PostgresConnection, programs, read_sql
from runbook.connections.programs import Owner
from runbook.connections.scratch import DATABASE, Scratch, require_room, require_version, scratch_cluster
from runbook.connections.server_programs import major_of, program
from runbook.model import Asking, ChangeFailed, CouldNotFindOut, Finding, Question, Status, Unreachable
from runbook.model.text import printable
from runbook.model.units import counted, length
from runbook.target import Backups

DEADLINE = 240.0
# What a restored database takes, as a share of its dump's text: rows have heads, and indexes come to it.
_ROOM, _LEAST = 2.5, 200 << 20
_COLUMNS = ["table", "in_dump", "restored", "in_source"]


def probe(asking: Asking, *, readings: Readings | None = None) -> pd.DataFrame:
    """Restore the newest database dump that verifies into a scratch cluster, look at all of it, and take it away.

    Returns a row for each table: table, in_dump (its rows there; NaN: not counted), restored, in_source (about how many
    the source has now; NaN: not known). attrs hold ``backup, taken, format, server``; ``skipped`` (newer ones that do
    not verify, and why); ``problem`` ("": it was restored); ``seconds`` of making, restoring, checking and all;
    ``keys`` (by kind: in the dump, made, valid, unproved there); ``amcheck`` ("": well, else what it says) and
    ``not_checked`` (why it was not); ``lacking`` (roles that the dump names and the newest backup of roles does not
    make; None: there is none); ``source`` (why it is not known, or ""), ``now``.
    """
    named, kept = backups_of(asking.target), readings or Readings()
    bound = asking.target.deadlines.question or named.drill_seconds
    began = time.monotonic()
    reading, broken = newest_sound(asking, "database", bound / 2, kept)
    require_version(named, reading.text.server, major_of(reading.text.server))
    room = int(reading.text.bytes * _ROOM + reading.of.bytes + _LEAST)
    inside = require_room(named, room)
    attrs: dict[Any, Any] = {
        "backup": reading.of.name, "taken": reading.of.taken.isoformat(), "format": reading.format,
        "server": reading.text.server, "problem": "", "now": datetime.now(UTC).isoformat(),
        "skipped": {one.of.name: one.problem or one.unknown for one in broken},
        "lacking": _lacking(asking, reading, kept, bound / 4), "amcheck": "", "not_checked": "", "keys": {},
        "source": "",
    }  # fmt: skip
    seconds: dict[str, float] = {"reading": reading.seconds}
    with scratch_cluster(named, inside, bound) as cluster:
        seconds["making"] = time.monotonic() - began
        rows = dict[str, int]()
        try:
            restore(reading, named, cluster, began + bound - time.monotonic())
        except ChangeFailed as failed:
            attrs["problem"] = str(failed)
        seconds["restoring"] = time.monotonic() - began - seconds["making"]
        if not attrs["problem"]:
            with cluster.connect() as connection:
                rows, attrs["keys"] = counted_rows(connection), _keys(connection, reading)
            attrs["amcheck"], attrs["not_checked"] = _amcheck(named, cluster, began + bound - time.monotonic())
        seconds["all"] = time.monotonic() - began
        seconds["checking"] = seconds["all"] - seconds["restoring"] - seconds["making"]
    source = _source(asking, attrs)
    tables = sorted({*rows, *reading.text.rows, *reading.text.tables, *source})
    frame = pd.DataFrame(
        [(name, _in_dump(reading, name), rows.get(name), source.get(name)) for name in tables], columns=_COLUMNS,
    )  # fmt: skip
    for column in _COLUMNS[1:]:
        frame[column] = pd.to_numeric(frame[column]).astype("float64")
    attrs["seconds"] = {name: round(value, 3) for name, value in seconds.items()}
    frame.attrs = dict(attrs)
    return frame


def _in_dump(reading: Reading, table: str) -> int | None:
    return reading.text.rows.get(table, 0 if table in reading.text.tables else None)


def restore(reading: Reading, named: Backups, cluster: Scratch, seconds: float) -> None:
    """Restore a dump into the cluster; raises `ChangeFailed` with what was wrong, `CouldNotFindOut` out of time."""
    with cluster.connect("postgres") as connection:
        for role in sorted(reading.text.needs - {"PUBLIC", "CURRENT_USER", "drill"}):
            if not role.startswith("pg_"):
                connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        encoding = reading.text.encoding or "UTF8"
        try:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} LOCALE 'C'").format(
                    sql.Identifier(DATABASE), sql.Literal(encoding)
                )
            )
        except psycopg.Error as error:
            raise ChangeFailed(f"no database of the encoding {printable(encoding)} can be made: {error}") from error
    us = Owner(os.geteuid(), os.getegid())
    with at_hand(reading, named, seconds) as path:
        if reading.format == PLAIN:
            argv = [
                str(program(named, "psql")), "-X", "-q", "-v", "ON_ERROR_STOP=1", *cluster.options, "-d", DATABASE,
                "-f", "-",
            ]  # fmt: skip
            # A text may have psql call a shell: as whoever the cluster belongs to, who need not be able to read it.
            with Path(path).open("rb") as text:
                programs.required(argv, cluster.owner, max(1.0, seconds), read=text)
            return
        workers = ["-j", "2"] if reading.format in (CUSTOM, FOLDER) else []
        argv = [
            str(program(named, "pg_restore")), *cluster.options, "-d", DATABASE, "--exit-on-error", *workers, path,
        ]  # fmt: skip
        programs.required(argv, us, max(1.0, seconds))


def counted_rows(connection: "psycopg.Connection[tuple[Any, ...]]") -> dict[str, int]:
    """Return the rows of each table itself, without its partitions and heirs, by its name as a dump writes it."""
    rows = {}
    for schema, name, written in connection.execute(read_sql(__package__, "tables")).fetchall():
        counting = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(schema, name))
        told = connection.execute(counting).fetchone()
        rows[written] = int(told[0]) if told else 0
    return rows


def _keys(connection: "psycopg.Connection[tuple[Any, ...]]", reading: Reading) -> dict[str, list[int]]:
    there = {kind: (made, valid) for kind, made, valid in connection.execute(read_sql(__package__, "keys")).fetchall()}
    kinds = sorted({*there, *reading.text.keys})
    unproved = {"FOREIGN KEY": reading.text.unproved}
    return {kind: [reading.text.keys.get(kind, 0), *there.get(kind, (0, 0)), unproved.get(kind, 0)] for kind in kinds}


def _amcheck(named: Backups, cluster: Scratch, seconds: float) -> tuple[str, str]:
    """Return what pg_amcheck says of tables and indexes ("": nothing), and why it was not asked ("": it was)."""
    try:
        path = program(named, "pg_amcheck")
        with cluster.connect() as connection:
            if connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'").fetchone() is None:
                return "", "the server's contrib package, with amcheck in it, is not installed here"
        us = Owner(os.geteuid(), os.getegid())
        argv = [str(path), *cluster.options, "-d", DATABASE, "-j", "2", "--install-missing", "--heapallindexed"]
        ended = programs.call(argv, us, max(1.0, seconds))
    except (CouldNotFindOut, ChangeFailed) as why:
        return "", str(why)
    return ("", "") if ended.returncode == 0 else (programs.last_words(ended.stdout, ended.stderr), "")


def _lacking(asking: Asking, reading: Reading, kept: Readings, seconds: float) -> list[str] | None:
    try:
        roles, _ = newest_sound(asking, "roles", seconds, kept)
    except CouldNotFindOut:
        return None
    builtin = {"PUBLIC", "postgres", "CURRENT_USER"}
    return sorted(name for name in reading.text.needs - roles.text.makes - builtin if not name.startswith("pg_"))


def _source(asking: Asking, attrs: dict[Any, Any]) -> dict[str, float]:
    try:
        rows = asking.connection(PostgresConnection).rows(read_sql(__package__, "source_rows"))
    except (Unreachable, CouldNotFindOut) as why:
        attrs["source"] = str(why)
        return {}
    return {str(row["written"]): float(row["rows"]) for row in rows.to_dict("records")}


def check(frame: pd.DataFrame, *, fewer: float = 0.5, rows: float = 1000, late_hours: float = 26) -> list[Finding]:
    """Judge what was restored: every row, key and index that the dump tells of must be there, else it is CRITICAL.

    Beside the source, as its statistics count it: a table that is there and was not restored is CRITICAL; one that has
    less than ``fewer`` of the source's rows, and at least ``rows`` less, is a WARNING: a day writes less.
    What would be lost is a WARNING beyond ``late_hours``, a day and what a dump takes, or where a newer one is broken.
    Roles that the dump names and no backup makes are a WARNING: its owners would be lost.
    """
    attrs: dict[Any, Any] = frame.attrs
    backup, seconds = attrs["backup"], attrs["seconds"]
    if attrs["problem"]:
        message = f"{backup} reads well and cannot be restored: {attrs['problem']}"
        return [Finding(object="restore", status=Status.CRITICAL, message=message)]
    other = frame[frame["in_dump"].notna() & (frame["restored"].fillna(-1) < frame["in_dump"])]
    total = int(frame["restored"].sum())
    told = (
        f"{backup} was restored in {length(seconds['all'])} ({seconds['restoring']:.1f} s of it restoring, "
        f"{seconds['checking']:.1f} s checking): {counted(int(frame['restored'].notna().sum()), 'table')}, "
        f"{counted(total, 'row')}"
    )
    findings = [Finding(object="restore", status=Status.OK, message=told, value=seconds["all"], unit="s")]
    if not other.empty:
        row = other.iloc[0]
        message = f"{row['table']} has {row['restored']:,.0f} rows, the dump {row['in_dump']:,.0f}"
        message += f"; {len(other) - 1} more tables differ" if len(other) > 1 else ""
        findings.append(Finding(object="rows", status=Status.CRITICAL, message=message, value=len(other)))
    findings += [*_judged_keys(attrs["keys"]), *_judged_amcheck(attrs), *_judged_roles(attrs)]
    findings += _beside_source(frame, fewer, rows)
    age = (pd.Timestamp(attrs["now"]) - pd.Timestamp(attrs["taken"])).total_seconds()
    what = f"what came since {pd.Timestamp(attrs['taken']):%Y-%m-%d %H:%M} UTC would be lost: {length(max(age, 0))}"
    if attrs["skipped"]:
        name, why = next(iter(attrs["skipped"].items()))
        what += f"; {counted(len(attrs['skipped']), 'newer one')} does not verify ({name}: {why})"
    late = bool(attrs["skipped"]) or age > 3600 * late_hours
    worst, then = (Status.WARNING, "make a new one now, and verify it") if late else (Status.OK, "")
    return [
        *findings,
        Finding(object="loss", status=worst, message=what, value=round(age / 3600, 2), unit="h", next=then),
    ]


def _judged_keys(keys: Mapping[str, list[int]]) -> list[Finding]:
    bad = {kind: four for kind, four in keys.items() if four[1] < four[0] or four[2] < four[1] - four[3]}
    if bad:
        kind, (wanted, made, valid, _) = next(iter(bad.items()))
        message = f"of {wanted} of the kind {kind} {made} were made, and {valid} hold"
        return [Finding(object="keys", status=Status.CRITICAL, message=message, value=len(bad))]
    told = ", ".join(f"{made} {kind}" for kind, (_, made, _, _) in keys.items()) or "it makes none"
    open_ = [f"{counted(four[3], f'{kind} is', f'{kind} are')}" for kind, four in keys.items() if four[3]]
    more = f"; {', '.join(open_)} not proved, as in the source (NOT VALID)" if open_ else ""
    return [Finding(object="keys", status=Status.OK, message=f"all were made and hold: {told}{more}")]


def _judged_amcheck(attrs: Mapping[Any, Any]) -> list[Finding]:
    if attrs["not_checked"]:
        message = f"tables and indexes were not looked into: {attrs['not_checked']}"
        then = "install it (Debian: postgresql-contrib, in the server's package), or acknowledge this in the profile"
        return [Finding(object="amcheck", status=Status.UNKNOWN, message=message, next=then)]
    if attrs["amcheck"]:
        message = f"what was restored is damaged: {attrs['amcheck']}"
        return [Finding(object="amcheck", status=Status.CRITICAL, message=message)]
    return [Finding(object="amcheck", status=Status.OK, message="every table and index is as it should be inside")]


def _judged_roles(attrs: Mapping[Any, Any]) -> list[Finding]:
    lacking = attrs["lacking"]
    if lacking is None:
        message = "there is no sound backup of the roles: on another machine owners and rights could not be restored"
        then = "have one made: pg_dumpall --globals-only, named in the profile as a set of kind roles"
        return [Finding(object="roles", status=Status.WARNING, message=message, next=then)]
    if lacking:
        message = f"the dump names roles that the backup of roles does not make: {', '.join(lacking[:5])}"
        return [Finding(object="roles", status=Status.WARNING, message=message, value=len(lacking))]
    message = "the newest backup of roles makes each role that the dump names"
    return [Finding(object="roles", status=Status.OK, message=message)]


def _beside_source(frame: pd.DataFrame, fewer: float, rows: float) -> list[Finding]:
    why = frame.attrs["source"]
    if why:
        message = f"it was not compared with the source: {why}"
        return [Finding(object="source", status=Status.UNKNOWN, message=message)]
    absent = frame[frame["in_source"].notna() & frame["restored"].isna()]
    if not absent.empty:
        names = ", ".join(absent["table"].iloc[:5])
        message = f"the source has tables that were not restored: {names}: were they made since, or are they left out?"
        return [Finding(object="source", status=Status.CRITICAL, message=message, value=len(absent))]
    short = frame[(frame["restored"] < fewer * frame["in_source"]) & (frame["in_source"] - frame["restored"] >= rows)]
    if not short.empty:
        row = short.iloc[0]
        message = f"{row['table']} has {row['restored']:,.0f} rows, the source about {row['in_source']:,.0f}"
        return [Finding(object="source", status=Status.WARNING, message=message, value=len(short))]
    message = "it has every table of the source, and about as many rows"
    return [Finding(object="source", status=Status.OK, message=message)]


drill = Question(
    name="backups.drill",
    title="Can the newest backup be restored, how long does it take, and is all of it there?",
    probe=probe,
    check=check,
    source="initdb -D SCRATCH; pg_ctl -D SCRATCH start; createdb drill; pg_restore -j2 --exit-on-error -d drill FILE; "
    "pg_amcheck --install-missing --heapallindexed -d drill; select count(*) of each table; rm -r SCRATCH",
    needs=(PostgresConnection,),
    deadline=DEADLINE,
    next="restore the one before by hand into a scratch database and see whether it has the same fault; make a new one",
)

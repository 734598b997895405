"""Lay the rows that can be read of a damaged table over those that a backup has of it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from psycopg import sql

from runbook.connections import read_sql
from runbook.recovery.pages import Damage, Looked, Part, Table

_Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Saved:
    """What was saved of one table, in rows: in the backup; readable, of these the same as in the backup, changed and
    added since; that the backup alone has; doubtful (of pages whose checksum fails, and in no backup); refused of all
    these (by a unique index, or doubtful ones by any rule). ``pages`` and ``lines`` could not be read by any means;
    ``why`` not all was read, "" where it was.
    """

    table_name: str
    in_backup: int
    readable: int
    same: int
    changed: int
    added: int
    from_backup: int
    doubtful: int
    refused: int
    pages: int
    lines: int
    why: str


class Overlay:
    """The rows of a table in the restored database, and those of the damaged one that go over them."""

    def __init__(self, into: _Connection, theirs: Table, own: Table) -> None:
        self._into, self._own = into, own
        columns = list(map(sql.Identifier, own.columns))
        self._names = {
            "table": sql.Identifier(theirs.schema, theirs.name),
            "columns": sql.SQL(", ").join(columns),
            **{f"{of}_is_there": self._match(of) for of in "rdb"},
            **{f"{of}_whole": sql.SQL("ROW({})::text").format(_of(of, own.columns)) for of in "trdb"},
        }

    def _match(self, of: str) -> sql.Composable:
        """Return when a row is the one of the table: by the primary key, else by all that it holds."""
        key = self._own.key
        ours, theirs = _of(of, key or self._own.columns), _of("t", key or self._own.columns)
        if key:
            return sql.SQL("({}) = ({})").format(ours, theirs)
        return sql.SQL("ROW({})::text = ROW({})::text").format(ours, theirs)

    def save(self, looked: Looked, again: Looked, strict: Damage, lenient: Damage) -> Saved:
        """Save what was ``looked`` at, and of what is damaged ``again`` without heed of checksums: in one transaction,
        with what is told of it.
        """
        self._into.execute("SET session_replication_role = replica")  # no trigger and no key: parents come in any order
        with self._into.transaction():
            refusing = self._stage("readable_rows", strict, looked.good)
            whole = not looked.bad and not refusing
            in_backup = self._number("SELECT count(*) FROM ONLY {table}")
            readable = self._number("SELECT count(*) FROM readable_rows")
            same = self._number(
                "SELECT count(*) FROM readable_rows AS r WHERE EXISTS "
                "(SELECT FROM ONLY {table} AS t WHERE {r_is_there} AND {r_whole} = {t_whole})"
            )
            changed = self._number(
                "SELECT count(*) FROM readable_rows AS r WHERE EXISTS "
                "(SELECT FROM ONLY {table} AS t WHERE {r_is_there} AND {r_whole} <> {t_whole})"
            )
            # What can be read to its end is the truth: what is not in it was deleted since. Else what the backup alone
            # has comes behind it, or an old row of it would keep a newer one out by a unique value of both.
            if not whole:
                self._done(
                    "CREATE TEMPORARY TABLE backup_rows ON COMMIT DROP AS SELECT {columns} FROM ONLY {table} AS t "
                    "WHERE NOT EXISTS (SELECT FROM readable_rows AS r WHERE {r_is_there})"
                )
            self._done("DELETE FROM ONLY {table}")
            unproved = self._without_unproved()
            refused = readable - self._take("readable_rows")
            if refused:
                self._list_refused("readable_rows", "r")
            from_backup = doubtful = kept_out = 0
            if not whole:
                from_backup = self._number("SELECT count(*) FROM backup_rows")
                kept_out = from_backup - self._take("backup_rows")
                if kept_out:
                    self._list_refused("backup_rows", "b")
            for made_again in unproved:
                self._into.execute(made_again)
            if not whole:
                self._list("from backup", "FROM ONLY {table} AS t WHERE NOT EXISTS "
                           "(SELECT FROM readable_rows AS r WHERE {r_is_there})", "{t_whole}")  # fmt: skip
                refusing += self._stage("doubtful_rows", lenient, again.good)
                taken, more = self._take_doubtful()
                doubtful, refused = taken + more, refused + kept_out + more
            saved = Saved(
                table_name=self._own.written, in_backup=in_backup, readable=readable, same=same, changed=changed,
                added=max(0, readable - same - changed), from_backup=from_backup, doubtful=doubtful, refused=refused,
                pages=again.pages, lines=again.lines + len(refusing),
                why="" if whole else [*looked.bad, *refusing][0][1],
            )  # fmt: skip
            told = asdict(saved)
            names = sql.SQL(", ").join(map(sql.Identifier, told))
            values = sql.SQL(", ").join(map(sql.Placeholder, told))
            telling = sql.SQL("INSERT INTO runbook_salvage.tables ({}) VALUES ({})").format(names, values)
            self._into.execute(telling, told)
        return saved

    def _without_unproved(self) -> list[sql.Composed]:
        """Take away the rules that rows of the table may break since nobody proved them, and return the statements that
        make them again, as unproved as they were.
        """
        table, again = self._names["table"], list[sql.Composed]()
        asking = read_sql(__package__, "unproved_rules")
        for name, rule in self._into.execute(asking, {"table": self._own.written}).fetchall():
            given = {"table": table, "name": sql.Identifier(name)}
            self._into.execute(sql.SQL("ALTER TABLE {table} DROP CONSTRAINT {name}").format(**given))
            making = sql.SQL("ALTER TABLE {table} ADD CONSTRAINT {name} {rule}")
            again.append(making.format(**given, rule=sql.SQL(rule)))  # the server's own words
        return again

    def _stage(self, name: str, damage: Damage, parts: Iterable[Part]) -> list[tuple[Part, str]]:
        """Copy parts of the damaged table into one of this transaction, that has no rules; return what even that does
        not take, since it is no text of its encoding or no value of its type, row by row.
        """
        staging = sql.Identifier(name)
        self._into.execute(
            sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM ONLY {} WITH NO DATA").format(
                staging, self._names["columns"], self._names["table"]
            )
        )
        filling = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(staging)
        todo, refused = list(reversed(list(parts))), list[tuple[Part, str]]()
        while todo:
            part = todo.pop()
            try:
                with self._into.transaction(), self._into.cursor() as cursor, cursor.copy(filling) as rows:
                    for block in damage.blocks(self._own, [part]):
                        rows.write(block)
            except psycopg.DataError as error:
                halves = part.halves()
                if halves is None:
                    refused.append((part, str(error).strip().splitlines()[0]))
                else:
                    todo += reversed(halves)
        self._into.execute(sql.SQL("ANALYZE {}").format(staging))
        return refused

    def _take_doubtful(self) -> tuple[int, int]:
        """Take the doubtful rows that nothing else has, one by one: any of them may break a rule of the table's."""
        taken = refused = 0
        asking = self._formed("SELECT d.ctid::text FROM doubtful_rows AS d WHERE NOT EXISTS "
                              "(SELECT FROM ONLY {table} AS t WHERE {d_is_there})")  # fmt: skip
        taking = self._formed("INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} "
                              "FROM doubtful_rows WHERE ctid = %(place)s::tid")  # fmt: skip
        listing = self._formed("INSERT INTO runbook_salvage.rows SELECT %(table)s, %(what)s, {d_whole} "
                               "FROM doubtful_rows AS d WHERE d.ctid = %(place)s::tid")  # fmt: skip
        for (place,) in self._into.execute(asking).fetchall():
            what = "doubtful"
            try:
                with self._into.transaction():
                    self._into.execute(taking, {"place": place})
                taken += 1
            except (psycopg.IntegrityError, psycopg.DataError):
                what = "refused"
                refused += 1
            self._into.execute(listing, {"place": place, "what": what, "table": self._own.written})
        return taken, refused

    def _take(self, rows: str) -> int:
        """Insert staged rows, but for those that a unique index refuses, and return how many were taken."""
        return self._done("INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} "
                          "FROM " + rows + " ON CONFLICT DO NOTHING")  # fmt: skip

    def _list_refused(self, rows: str, of: str) -> None:
        there = "SELECT FROM ONLY {table} AS t WHERE {" + of + "_is_there} AND {" + of + "_whole} = {t_whole}"
        self._list("refused", f"FROM {rows} AS {of} WHERE NOT EXISTS ({there})", "{" + of + "_whole}")

    def _list(self, what: str, rows: str, whole: str) -> int:
        """Write down which rows these are, and return how many."""
        return self._done("INSERT INTO runbook_salvage.rows SELECT %(table)s, %(what)s, " + whole + " " + rows,
                          {"table": self._own.written, "what": what})  # fmt: skip

    def _number(self, text: str) -> int:
        row = self._into.execute(self._formed(text)).fetchone()
        return int(row[0]) if row else 0

    def _done(self, text: str, values: dict[str, Any] | None = None) -> int:
        return self._into.execute(self._formed(text), values).rowcount

    def _formed(self, text: str) -> sql.Composed:
        # The texts are those above; every name in them is quoted.
        return sql.SQL(text).format(**self._names)


def _of(alias: str, columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(alias, column) for column in columns)

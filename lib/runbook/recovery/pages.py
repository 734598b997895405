"""Read a table past what is damaged of it: all that can be read, and exactly where nothing can."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg import sql

from runbook.connections.damage import page_of
from runbook.model import CouldNotFindOut

if TYPE_CHECKING:
    from psycopg.abc import Buffer

# What is read at once where all is well: 8 MiB.
_BLOCKS = 1024
# No page of 8 KiB holds more rows, and one of 32 KiB no more than four times as many.
_ROWS = 2048
_RESTART_SECONDS = 30.0
# Corrupted data, an error of the disk or of a missing file, a text that no encoding knows.
DAMAGE = ("XX", "58", "22")

Place = tuple[int, int]


@dataclass(frozen=True)
class Part:
    """The rows of a table from one place (block, line) up to, and without, another."""

    first: Place
    end: Place

    def halves(self) -> "tuple[Part, Part] | None":
        """Return it in two: by blocks, and within one block by lines; None where it is a single line."""
        block = self.first[0]
        if self.is_page:
            middle, end = (block, _ROWS // 2), (block, _ROWS)
        elif self.end[0] > block:
            middle, end = (block + (self.end[0] - block) // 2, 0), self.end
        elif self.end[1] - self.first[1] > 1:
            middle, end = (block, (self.first[1] + self.end[1]) // 2), self.end
        else:
            return None
        return Part(self.first, middle), Part(middle, end)

    @property
    def pages(self) -> int:
        """Return how many whole blocks it is; 0 where it is lines of one."""
        return self.end[0] - self.first[0] if self.first[1] == self.end[1] == 0 else 0

    @property
    def is_page(self) -> bool:
        """Tell whether it is one whole block."""
        return self.pages == 1


@dataclass(frozen=True)
class Table:
    """A table of a database: its schema and name, how SQL writes both, the blocks that its file has and those that it
    had when PostgreSQL last ``counted`` them (VACUUM, ANALYZE), its file and columns.
    """

    schema: str
    name: str
    written: str
    blocks: int
    counted: int
    bytes: int
    path: str
    columns: tuple[str, ...]
    typed: tuple[str, ...]
    key: tuple[str, ...]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Return the table of a row of ``sql/tables.sql``."""
        lists = {name: tuple(row[name]) for name in ("columns", "typed", "key")}
        return cls(row["schema"], row["name"], row["written"], int(row["blocks"]), int(row["counted"]),
                   int(row["bytes"]), row["path"], **lists)  # fmt: skip

    @property
    def whole(self) -> Part:
        """Return all of it, and what is lost behind its file's end; of one without a block the first: where its file
        is gone, only reading it tells.
        """
        return Part((0, 0), (max(self.blocks, self.counted, 1), 0))

    @property
    def ends(self) -> int:
        """Return the block that nothing can be read from."""
        return self.blocks if self.blocks or self.counted else 1


@dataclass
class Looked:
    """What came of reading a table: the parts that can be read and their rows, and those that cannot, with why."""

    rows: int = 0
    good: list[Part] = field(default_factory=list)
    bad: list[tuple[Part, str]] = field(default_factory=list)

    @property
    def pages(self) -> int:
        """Return how many whole pages cannot be read."""
        return sum(part.pages for part, _ in self.bad)

    @property
    def lines(self) -> int:
        """Return how many single rows cannot be read, of pages whose others can."""
        return sum(not part.pages for part, _ in self.bad)

    def add(self, part: Part, rows: int) -> None:
        """Take a part that could be read; what follows at once on the one before is one with it."""
        self.rows += rows
        if self.good and self.good[-1].end == part.first:
            part = Part(self.good.pop().first, part.end)
        self.good.append(part)


class Damaged(Exception):
    """Raised where a part of a table cannot be read; ``block`` is the page that is damaged as a whole, if one is."""

    def __init__(self, why: str, block: int | None = None) -> None:
        super().__init__(why)
        self.block = block


class Damage:
    """Reads tables of a database that may be damaged, as a superuser; a context manager.

    With ``ignoring``, pages whose checksum fails are read all the same: what they hold may be wrong. The server then
    keeps such a page, takes it for a good one, and writes it with a checksum of its own: never do that to a cluster
    that is to be looked at again.
    """

    def __init__(self, connect: Callable[[], "psycopg.Connection[tuple[Any, ...]]"], *, ignoring: bool = False) -> None:
        self._connect, self._ignoring = connect, ignoring
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def look(self, table: Table, parts: Sequence[Part], seconds: float) -> Looked:
        """Read parts of a table, halving where that fails, down to the page or row; raises `CouldNotFindOut` where
        that takes longer than ``seconds``.
        """
        end, looked, ends = time.monotonic() + seconds, Looked(), (table.ends, 0)
        within = [Part(part.first, min(part.end, ends)) for part in parts if part.first < ends]
        todo = list(reversed([piece for part in within for piece in _pieces(part)]))
        while todo:
            if time.monotonic() > end:
                raise CouldNotFindOut(f"there was no time left to read {table.written} ({seconds:.0f} s)")
            part = todo.pop()
            try:
                looked.add(part, self._rows(table, part, end))
            except Damaged as why:
                halves = None if part.is_page and why.block == part.first[0] else part.halves()
                if halves is None:
                    looked.bad.append((part, str(why)))
                else:
                    todo += reversed(halves)
        for part in parts:
            if part.end > ends:  # no scan goes there, and none misses it
                lost = f"its file ends before block {table.ends}, and it had {table.counted:,} when they were counted"
                looked.bad.append((Part(max(part.first, ends), part.end), lost))
        return looked

    def _rows(self, table: Table, part: Part, end: float) -> int:
        connection = self._open(end)
        try:
            with connection.cursor() as cursor:
                with cursor.copy(copying(table, part)) as rows:
                    for _ in rows:
                        pass
                return cursor.rowcount
        except psycopg.Error as error:
            raise self._told(error, connection, table, part) from error

    def _told(
        self, error: psycopg.Error, connection: "psycopg.Connection[tuple[Any, ...]]", table: Table, part: Part
    ) -> Exception:
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if (error.sqlstate or "").startswith("57P"):  # somebody ended the session or the server, which harms no page
            self._close()
            return CouldNotFindOut(f"PostgreSQL: {words}")
        if connection.closed:
            self._close()
            # Each further try would end all sessions of the cluster once more: the page is given up as a whole.
            return Damaged(f"the server's process ended while it read this: {words}", part.first[0])
        if not (error.sqlstate or "").startswith(DAMAGE):
            return CouldNotFindOut(f"PostgreSQL: {words}")
        return Damaged(words, page_of(words, table.path))

    def blocks(self, table: Table, parts: Iterable[Part]) -> "Iterator[Buffer]":
        """Give the rows of parts that can be read, as COPY writes them in binary: one whole stream for each part."""
        for part in parts:
            with self._open(time.monotonic() + _RESTART_SECONDS).cursor().copy(copying(table, part)) as rows:
                yield from rows

    def _open(self, end: float) -> "psycopg.Connection[tuple[Any, ...]]":
        """Return the connection; where a process of the server has died, all have, and it comes back in a while."""
        until = min(end, time.monotonic() + _RESTART_SECONDS)
        while self._connection is None:
            try:
                connection = self._connect()
                # No scan of more than what is asked for, nothing that reads ahead into it, and nothing that ends it.
                for name, value in {
                    "enable_seqscan": "off", "max_parallel_workers_per_gather": "0", "synchronize_seqscans": "off",
                    "default_transaction_read_only": "on", "statement_timeout": "0", "row_security": "off",
                    "lock_timeout": "2s", "ignore_checksum_failure": "on" if self._ignoring else "off",
                }.items():  # fmt: skip
                    connection.execute("SELECT set_config(%s, %s, false)", (name, value))
                self._connection = connection
            except (CouldNotFindOut, psycopg.Error) as error:
                if time.monotonic() > until:
                    raise CouldNotFindOut(str(error)) from error
                time.sleep(0.2)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _pieces(part: Part) -> Iterator[Part]:
    first, end = part.first, part.end
    while end[0] - first[0] > _BLOCKS:
        yield Part(first, (first[0] + _BLOCKS, 0))
        first = (first[0] + _BLOCKS, 0)
    if first != end:
        yield Part(first, end)


def copying(table: Table, part: Part) -> sql.Composed:
    """Return the statement that reads a part of a table whole, with what lies in its TOAST table."""
    return sql.SQL(
        "COPY (SELECT {columns} FROM ONLY {table} WHERE ctid >= {first}::tid AND ctid < {end}::tid) "
        "TO STDOUT (FORMAT binary)"
    ).format(
        columns=sql.SQL(", ").join(map(sql.Identifier, table.columns)),
        table=sql.Identifier(table.schema, table.name),
        first=sql.Literal(_tid(part.first)),
        end=sql.Literal(_tid(part.end)),
    )


def _tid(place: Place) -> str:
    return "({},{})".format(*place)

"""What a dump says of itself, read as the text that it is restored from: rows, owners, versions, its end."""

import re

# A name as SQL writes it, with its schema: in quotes it may hold anything.
_PART = rb'(?:"(?:[^"\n]|""){1,130}"|[\w$\x80-\xff]{1,130})'
_NAME = rb"(" + _PART + rb"(?:\." + _PART + rb")?)"
_COPY = re.compile(rb"^COPY " + _NAME + rb" \([^\n]*\) FROM stdin;\n", re.MULTILINE)
_END_OF_COPY = b"\n\\.\n"
_INSERT = re.compile(rb"^INSERT INTO " + _NAME + rb" (?:\([^\n]*?\) )?VALUES", re.MULTILINE)
_OWNER = re.compile(rb"^ALTER (?!DATABASE )[^\n]{1,300} OWNER TO ([^;\n]{1,130});", re.MULTILINE)
_GRANTED = re.compile(
    rb"^(?:GRANT|REVOKE|ALTER DEFAULT PRIVILEGES) (?![^\n]{1,300} ON DATABASE )[^\n]{1,2000} (?:TO|FROM) (" + _PART
    + rb")(?: WITH [A-Z ,]{1,80})?(?: GRANTED BY [^;\n]{1,130})?;", re.MULTILINE,
)  # fmt: skip
_GRANTS = re.compile(
    rb"^(?:ALTER DEFAULT PRIVILEGES FOR ROLE|SET SESSION AUTHORIZATION) (" + _PART + rb")[ ;]", re.MULTILINE
)
_POLICY = re.compile(
    rb"^CREATE POLICY [^\n]{1,300}? TO (" + _PART + rb"(?:, " + _PART + rb")*)(?: USING | WITH CHECK |;)", re.MULTILINE
)
_ROLE = re.compile(rb"^CREATE ROLE ([^;\n ]{1,130});", re.MULTILINE)
_TABLE = re.compile(rb"^CREATE (?:UNLOGGED )?TABLE " + _NAME + rb" ", re.MULTILINE)
_FROM = re.compile(rb"^-- Dumped from database version ([^\n]{1,80})", re.MULTILINE)
_ENCODING = re.compile(rb"^SET client_encoding = '([\w-]{1,40})';", re.MULTILINE)
_KEY = re.compile(rb"^    ADD CONSTRAINT [^\n]{1,200}? (PRIMARY KEY|FOREIGN KEY|UNIQUE) ", re.MULTILINE)
_UNPROVED = re.compile(rb"^    ADD CONSTRAINT [^\n]{1,200}? FOREIGN KEY [^\n]{1,2000} NOT VALID;", re.MULTILINE)
_CONNECT = re.compile(rb"^\\connect ", re.MULTILINE)
_DATABASE = re.compile(rb"^CREATE DATABASE " + _PART + rb" WITH ([^\n]{1,1000});", re.MULTILINE)
_LOCALE = re.compile(r"\b((?:ICU_|BUILTIN_)?LOCALE|LOCALE_PROVIDER|LC_COLLATE|LC_CTYPE) = (?:'((?:[^']|'')*)'|(\w+))")
# No statement that is looked for begins in a line that is longer: of one that is, the beginning is looked at.
_LONGEST = 1 << 20
_COMPLETE = re.compile(rb"^-- PostgreSQL database (?:cluster )?dump complete", re.MULTILINE)


class SqlText:
    """Reads a dump's text block by block, whatever its size, and keeps what it says.

    ``rows`` are counted by table as it names them (None: as INSERT, which nobody counts here), ``tables`` are all that
    it makes, ``needs`` the roles that it names, ``owners`` how many things each of them is to own, ``makes`` those that
    it makes. ``server`` is the version that it is from, ``encoding`` that of its text, ``keys`` how many keys of each
    kind it makes, ``unproved`` how many foreign ones without proof (NOT VALID). ``locale`` is how its database was
    made, by CREATE DATABASE's own words; ``connects`` says that it leaves the database that it is restored into for
    one of its own. ``complete`` says that its last line was there.
    """

    def __init__(self) -> None:
        self.rows: dict[str, int | None] = {}
        self.tables: set[str] = set()
        self.needs: set[str] = set()
        self.owners: dict[str, int] = {}
        self.makes: set[str] = set()
        self.keys: dict[str, int] = {}
        self.unproved = 0
        self.locale: dict[str, str] = {}
        self.connects = False
        self.server = self.encoding = ""
        self.complete = False
        self.bytes = 0
        self._rest = b""
        self._table = ""

    @property
    def inside(self) -> str:
        """Return the table whose rows have begun and not ended; "" for none."""
        return self._table

    def feed(self, block: bytes) -> None:
        """Take the next block."""
        self.bytes += len(block)
        text, self._rest = self._rest + block, b""
        while text:
            text = self._in_rows(text) if self._table else self._between(text)

    def _in_rows(self, text: bytes) -> bytes:
        """Count the rows in a text that begins behind a line's end; return what is left behind their end."""
        # The line's end before it belongs to the mark of the end: where there are no rows, that comes at once.
        end = -1 if not text.startswith(b"\\.\n") else 0
        if end < 0:
            at = text.find(_END_OF_COPY)
            end = at + 1 if at >= 0 else -1
        table = self._table
        counted = self.rows[table] or 0
        if end >= 0:
            self.rows[table] = counted + text.count(b"\n", 0, end)
            self._table = ""
            return text[end + 3 :]
        keep = text.rfind(b"\n") + 1
        self.rows[table] = counted + text.count(b"\n", 0, keep)
        # Of a row that is longer than a block only its beginning is kept: it cannot be the mark of the end.
        self._rest = text[keep:] if len(text) - keep < 3 else b"x"
        return b""

    def _between(self, text: bytes) -> bytes:
        begins = _COPY.search(text)
        if begins is None:
            keep = text.rfind(b"\n") + 1
            self._statements(text[:keep])
            self._rest = text[keep:]
            if len(self._rest) > _LONGEST:
                self._statements(self._rest)
                self._rest = b"x"
            return b""
        self._statements(text[: begins.start()])
        self._table = _shown(begins[1])
        self.rows[self._table] = 0
        self.complete = False
        return text[begins.end() :]

    def _statements(self, text: bytes) -> None:
        self.tables.update(map(_shown, _TABLE.findall(text)))
        for name in _INSERT.findall(text):
            self.rows[_shown(name)] = None
        for name in map(_plain, _OWNER.findall(text)):
            self.owners[name] = self.owners.get(name, 0) + 1
        self.needs.update(self.owners)
        self.needs.update(_plain(name) for name in _GRANTED.findall(text))
        self.needs.update(_plain(name) for name in _GRANTS.findall(text))
        self.needs.update(_plain(name) for names in _POLICY.findall(text) for name in re.findall(_PART, names))
        self.makes.update(_plain(name) for name in _ROLE.findall(text))
        server = _FROM.search(text)
        if server is not None:
            self.server = _shown(server[1])
        encoding = _ENCODING.search(text)
        if encoding is not None:
            self.encoding = _shown(encoding[1])
        for kind in map(_shown, _KEY.findall(text)):
            self.keys[kind] = self.keys.get(kind, 0) + 1
        self.unproved += len(_UNPROVED.findall(text))
        self.connects = self.connects or _CONNECT.search(text) is not None
        database = _DATABASE.search(text)
        if database is not None:
            told = _LOCALE.findall(_shown(database[1]))
            self.locale = {name: word or quoted.replace("''", "'") for name, quoted, word in told}
        self.complete = self.complete or _COMPLETE.search(text) is not None


def _shown(name: bytes) -> str:
    return name.decode("utf-8", errors="replace")


def _plain(name: bytes) -> str:
    text = _shown(name)
    return text[1:-1].replace('""', '"') if text.startswith('"') and text.endswith('"') else text

"""Backups of a real cluster: listed, read to their end, restored for practice and by plan; cut, flipped, of others."""

import gzip
import hashlib
import http.server
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest
from carrying import carried_out, opening
from cluster import Cluster, cluster, needs_contrib
from object_store import object_store
from running import wait_for

from runbook import backups
from runbook.backups.listing import found
from runbook.backups.sql_text import SqlText
from runbook.backups.wal_archive import segments
from runbook.connections.scratch import PREFIX, forget_left
from runbook.model import Finding, Status
from runbook.model.plan import PlanState
from runbook.plans.place import journal
from runbook.plans.token import token_of
from runbook.session import open_run
from runbook.target.backups import BackupSet
from runbook_sandbox import faults, stack
from runbook_sandbox.place import Place
from runbook_sandbox.servers import all_postgres, find_redis, version

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
ROWS = 2000
Ask = Callable[..., dict[str, Finding]]


@pytest.fixture(scope="module")
def source(postgres_of_all: Cluster) -> Iterator[Cluster]:
    """A database with two tables, a key between them and a role of its own."""
    postgres_of_all.execute("DROP DATABASE IF EXISTS kept", "DROP ROLE IF EXISTS keeper")
    postgres_of_all.execute("CREATE ROLE keeper LOGIN", "CREATE DATABASE kept OWNER keeper")
    postgres_of_all.execute(
        "CREATE TABLE documents (id integer PRIMARY KEY, text text NOT NULL)",
        'CREATE TABLE "odd ""name"" (x)" (id integer PRIMARY KEY, document integer REFERENCES documents)',
        "CREATE TABLE empty (id integer PRIMARY KEY)",
        # What is not packed well is most of the dump; and a line that looks like the mark of the end.
        f"INSERT INTO documents SELECT n, E'\\n\\\\.\\na tab\\t' || md5(n::text) FROM generate_series(1, {ROWS}) n",
        'INSERT INTO "odd ""name"" (x)" SELECT n, n FROM generate_series(1, 7) n',
        "ANALYZE",
        database="kept",
        user="keeper",
    )
    yield postgres_of_all
    postgres_of_all.execute("DROP DATABASE kept", "DROP ROLE keeper")


def call(cluster: Cluster, program: str, *arguments: object) -> bytes:
    argv = [cluster.binaries / program, "-h", cluster.folder, "-p", str(cluster.port), "-U", "postgres"]
    return subprocess.run([*argv, *map(str, arguments)], check=True, capture_output=True, timeout=60).stdout


def written(path: Path, content: bytes, *, digest: bool = True) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    if digest:
        path.with_name(f"{path.name}.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  {path.name}\n")
    return path


def dump_of(cluster: Cluster, path: Path, *options: str, digest: bool = True) -> Path:
    return written(path, call(cluster, "pg_dump", "-d", "kept", *options), digest=digest)


def stamped(hours: float) -> str:
    return f"{datetime.now(UTC) - timedelta(hours=hours):%Y-%m-%dT%H%M%S}"


@pytest.fixture
def ask(source: Cluster, profile: Callable[..., str], tmp_path: Path) -> Iterator[Ask]:
    """Ask about the backups in a folder of the test; return the findings by object."""
    runs = []

    def asked(question: Any, kind: str = "database", files: str = "*.dump", more: str = "", **arguments: Any) -> Any:
        folder = tmp_path / "kept" if not files.startswith(("/", "s3:")) else ""
        text = source.profile(database="kept") + f'[backups]\nbinaries = "{source.binaries}"\n{more}\n'
        text += f'restore_dsn = "{source.dsn()}"\n' if "restore_dsn" not in more else ""
        pattern = f"{folder}/{files}" if folder else files
        text += f'[[backups.sets]]\nname = "it"\nkind = "{kind}"\nfiles = "{pattern}"\n'
        if kind == "database":
            text += f'[[backups.sets]]\nname = "roles"\nkind = "roles"\nfiles = "{tmp_path}/kept/*.roles"\n'
        runs.append(open_run("verify-backups", target=profile(text, "kept"), needs=["postgres", "restoring database"]))
        if question is None:
            return runs[-1]
        return {finding.object: finding for finding in runs[-1].ask(question, **arguments).findings}

    (tmp_path / "kept").mkdir()
    yield asked
    for run in runs:
        run.close()
    for name in [row[0] for row in source.execute("SELECT datname FROM pg_database WHERE datname LIKE 'kept_re%'")]:
        source.execute(f'DROP DATABASE "{name}"')


# --- read to their end


@pytest.mark.parametrize(
    ("name", "options", "format_"),
    [
        ("a.dump", ["-Fc"], "custom"), ("a.dump", ["-Fc", "-Z0"], "custom"), ("a.dump", ["-Ft"], "tar"),
        ("a.dump", [], "plain"), ("a.dump", ["--inserts"], "plain"),
    ],
)  # fmt: skip
def test_a_dump_of_each_format_is_read_to_its_end_and_one_that_is_cut_is_found(
    source: Cluster, ask: Ask, tmp_path: Path, name: str, options: list[str], format_: str
) -> None:
    path = dump_of(source, tmp_path / "kept" / name, *options)
    run: Any = ask(None)
    answer = run.ask(backups.sound)
    (row,) = answer.frame[answer.frame["set"] == "it"].to_dict("records")
    assert (row["format"], row["digest"], row["problem"], row["unknown"]) == (format_, "same", "", "")
    rows = "0" if "--inserts" in options else f"{ROWS + 7:,}"
    assert f"3 tables, {rows} rows" in row["told"]
    assert {one.object: one.status for one in answer.findings}["it"] is OK
    whole = path.read_bytes()
    for share in (0.6, 0.95):
        written(path, whole[: int(len(whole) * share)])  # a digest of what is cut already: only the reading tells
        cut = ask(backups.sound)["it"]
        assert cut.status is CRITICAL, (share, cut.message)


def test_the_list_of_a_cut_dump_is_read_by_pg_restore_and_it_is_critical_here(
    source: Cluster, ask: Ask, tmp_path: Path
) -> None:
    whole = dump_of(source, tmp_path / "kept" / f"of-{stamped(30)}.dump", "-Fc").read_bytes()
    cut = written(tmp_path / "kept" / f"of-{stamped(1)}.dump", whole[: len(whole) * 6 // 10])
    assert subprocess.run([source.binaries / "pg_restore", "--list", cut], capture_output=True).returncode == 0
    found = ask(backups.sound)["it"]
    assert found.status is CRITICAL and "cannot read it to its end" in found.message
    assert "the newest that verifies is of-" in found.message and "30 h" in found.message.replace("1 d 6 h", "30 h")


def test_packed_dumps_are_read_and_a_packed_file_that_is_cut_or_damaged_is_told_so(
    source: Cluster, ask: Ask, tmp_path: Path
) -> None:
    text = call(source, "pg_dump", "-d", "kept")
    for content in (text, call(source, "pg_dump", "-Fc", "-d", "kept")):
        path = written(tmp_path / "kept" / "a.dump", gzip.compress(content))
        assert ask(backups.sound)["it"].status is OK
        written(path, gzip.compress(content)[:-20])
        assert "the gzip file is cut" in ask(backups.sound)["it"].message
    damaged = bytearray(gzip.compress(text))
    damaged[len(damaged) // 2] ^= 0xFF
    written(path, bytes(damaged))
    assert ask(backups.sound)["it"].status is CRITICAL


def test_a_flipped_byte_that_no_reading_finds_is_found_by_the_digest_of_when_it_was_made(
    source: Cluster, ask: Ask, tmp_path: Path
) -> None:
    path = dump_of(source, tmp_path / "kept" / "a.dump", "-Fc", "-Z0")
    content = bytearray(path.read_bytes())
    content[content.index(b"tab") + 1] ^= 0x01
    path.write_bytes(bytes(content))
    assert subprocess.run([source.binaries / "pg_restore", "-f", "/dev/null", path]).returncode == 0
    found = ask(backups.sound)["it"]
    assert found.status is CRITICAL and "it was changed since" in found.message
    path.with_name("a.dump.sha256").unlink()
    without = ask(backups.sound)["it"]
    assert without.status is WARNING and "a flipped byte may not show" in without.message


def test_what_is_no_dump_is_told_as_such(ask: Ask, tmp_path: Path) -> None:
    for content, told in (
        (b"", "it is empty"), (b"<html>404</html>\n" * 50, "no dump of PostgreSQL"), (b"PGDMP\x01\x0e", "cannot read"),
    ):  # fmt: skip
        written(tmp_path / "kept" / "a.dump", content)
        found = ask(backups.sound)["it"]
        assert found.status is CRITICAL and told in found.message, found.message


def test_what_has_no_end_of_a_line_takes_no_more_memory_than_a_dump_does() -> None:
    text = SqlText()
    text.feed(b"-- PostgreSQL database dump\nINSERT INTO t VALUES ('")
    for _ in range(40):
        text.feed(b"x" * (1 << 20))
        assert len(text._rest) < 3 << 20
    text.feed(b"');\nINSERT INTO other VALUES (1);\n--\n-- PostgreSQL database dump complete\n")
    assert text.complete and set(text.rows) == {"t", "other"}


def test_a_dump_that_makes_a_database_of_its_own_is_never_restored_over_what_is_there(
    source: Cluster, ask: Ask, tmp_path: Path
) -> None:
    dump_of(source, tmp_path / "kept" / f"of-{stamped(1)}.dump", "--create", "--clean", "--if-exists")
    found = ask(backups.sound)["it"]
    assert found.status is UNKNOWN and "have it made without --create" in found.message, found.message
    run: Any = ask(None)
    shown = run.propose(backups.restore, verify=[])
    assert "have it made without --create" in shown.reason


def test_rows_are_counted_wherever_a_block_of_the_text_ends() -> None:
    text = (
        b"-- PostgreSQL database dump\n\n-- Dumped from database version 15.4\n\n"
        b"CREATE TABLE public.a (\n    x text\n);\n"
        b"ALTER TABLE public.a OWNER TO keeper;\nCOPY public.a (x) FROM stdin;\none\n\\N\nth\\\\.ree\n\\.\n\n"
        b"COPY public.b (x) FROM stdin;\n\\.\n\n-- PostgreSQL database dump complete\n\n"
    )
    for size in (1, 2, 3, 7, 50, 10_000):
        read = SqlText()
        for at in range(0, len(text), size):
            read.feed(text[at : at + size])
        assert read.rows == {"public.a": 3, "public.b": 0} and read.complete and not read.inside, size
        assert (read.server, read.needs, read.tables) == ("15.4", {"keeper"}, {"public.a"})


# --- other kinds


def test_a_base_backup_is_verified_by_its_manifest_and_a_byte_changed_in_it_is_found(
    source: Cluster, ask: Ask, tmp_path: Path
) -> None:
    folder = tmp_path / "kept" / "base-1"
    call(source, "pg_basebackup", "-D", folder, "-c", "fast", "-X", "stream")
    assert ask(backups.sound, "base", "base-*")["it"].status is OK
    with (folder / "PG_VERSION").open("a") as file:
        file.write("x")
    assert "PG_VERSION" in ask(backups.sound, "base", "base-*")["it"].message
    (folder / "backup_manifest").unlink()
    assert "the copying did not end" in ask(backups.sound, "base", "base-*")["it"].message


def test_a_segment_that_is_missing_in_the_archive_of_wal_is_named(ask: Ask, tmp_path: Path) -> None:
    folder = tmp_path / "kept" / "wal"
    folder.mkdir()
    names = [f"00000001000000{high:02X}000000{low:02X}" for high, low in ((0, 254), (0, 255), (1, 0), (1, 1))]
    for name in names:
        (folder / name).write_bytes(b"\0" * (1 << 20) * 16)
    assert segments(folder).gap == "" and ask(backups.sound, "wal", "wal")["it"].status is OK
    (folder / names[2]).unlink()
    found = ask(backups.sound, "wal", "wal")["it"]
    assert found.status is CRITICAL and names[2] in found.message


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(16 << 20)


def test_a_segment_of_a_former_timeline_is_missed_and_a_history_file_is_no_segment(tmp_path: Path) -> None:
    for name in ("0000000100000000000000FE", "000000020000000100000000", "000000020000000100000001"):
        sparse(tmp_path / name)
    (tmp_path / "000000020000000100000001.00000028.backup").write_text("START WAL LOCATION")
    told = segments(tmp_path)
    assert (told.gap, told.suffix) == ("0000000100000000000000FF", "")
    sparse(tmp_path / "0000000100000000000000FF")
    sparse(tmp_path / "000000010000000100000000")  # the former one went on for a while
    assert segments(tmp_path).gap == "" and len(segments(tmp_path).names) == 2


def test_redis_and_data_files_are_read_whole(ask: Ask, tmp_path: Path, sandbox: Place) -> None:
    state = sandbox.folder / "backups"
    (rdb,) = list(state.glob("redis-*.rdb.gz"))[:1]
    content = gzip.decompress(rdb.read_bytes())
    written(tmp_path / "kept" / "a.dump", content)
    assert find_redis() is not None and ask(backups.sound, "redis")["it"].status is OK
    written(tmp_path / "kept" / "a.dump", content[:-3] + b"abc")
    assert ask(backups.sound, "redis")["it"].status is CRITICAL
    (tmp_path / "kept" / "a.dump.sha256").unlink()
    with tarfile.open(tmp_path / "kept" / "a.dump", "w:gz") as archive:
        archive.add(sandbox.folder / "deployed", arcname="data")
    assert ask(backups.sound, "data")["it"].status is WARNING  # no digest lies beside it
    whole = (tmp_path / "kept" / "a.dump").read_bytes()
    written(tmp_path / "kept" / "a.dump", whole[: len(whole) // 2])
    assert ask(backups.sound, "data")["it"].status is CRITICAL


# --- age, size, gaps, retention


def test_age_gaps_size_and_reach_are_judged(ask: Ask, tmp_path: Path) -> None:
    assert ask(backups.age)["it"].status is CRITICAL and "there is no backup" in ask(backups.age)["it"].message
    for hours in (27, 51, 75, 171, 195):
        written(tmp_path / "kept" / f"of-{stamped(hours)}.dump", b"x" * 1000, digest=False)
    told = ask(backups.age)
    assert told["it"].status is WARNING and told["it gaps"].status is WARNING
    assert "96 h before" in told["it gaps"].message
    assert ask(backups.retention)["it"].status is WARNING and ask(backups.sizes)["it"].status is OK
    written(tmp_path / "kept" / f"of-{stamped(1)}.dump", b"x" * 200, digest=False)
    assert ask(backups.age)["it"].status is OK and ask(backups.sizes)["it"].status is CRITICAL
    written(tmp_path / "kept" / f"of-{stamped(-10)}.dump", b"x", digest=False)
    assert ask(backups.age)["it"].status is UNKNOWN
    for path in (tmp_path / "kept").iterdir():
        path.unlink()
    written(tmp_path / "kept" / f"of-{stamped(60)}.dump", b"x", digest=False)
    assert ask(backups.age)["it"].status is CRITICAL


def test_what_is_no_date_is_no_time_and_of_very_many_the_newest_count(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "kept" / "of-2026-02-30.dump", b"x", digest=False)
    assert ask(backups.age)["it"].status is OK  # by when it was written
    for day in range(1, 9):
        written(tmp_path / "kept" / f"of-2026-01-0{day}.dump", b"x", digest=False)
    monkeypatch.setattr("runbook.backups.listing.MOST", 3)
    frame = ask(None).ask(backups.age).frame
    assert list(frame["backup"]) == ["of-2026-02-30.dump", "of-2026-01-08.dump", "of-2026-01-07.dump"]


def test_an_archive_that_is_cleaned_while_it_is_looked_at_is_still_there(ask: Ask, tmp_path: Path) -> None:
    folder = tmp_path / "kept" / "wal"
    folder.mkdir()
    (folder / "000000010000000000000001").write_bytes(b"x")
    over = threading.Event()

    def cleaned() -> None:
        while not over.is_set():
            for number in range(40):
                (folder / f"{number:024X}").write_bytes(b"")
            for number in range(40):
                (folder / f"{number:024X}").unlink()

    cleaning = threading.Thread(target=cleaned)
    cleaning.start()
    try:
        of = BackupSet(name="it", kind="wal", files=str(tmp_path / "kept" / "w*"))
        assert all(len(found(of)) == 1 for _ in range(300))
    finally:
        over.set()
        cleaning.join()


def test_a_folder_that_cannot_be_read_is_unknown_and_not_without_backups(ask: Ask) -> None:
    found = ask(backups.age, files="/nowhere-at-all/*.dump")["it"]
    assert found.status is UNKNOWN and "cannot be read" in found.message


# --- an object store


def test_backups_in_an_object_store_are_listed_read_and_restored(
    source: Cluster, ask: Ask, tools: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with object_store(tools, tmp_path, monkeypatch, "kept"):
        import s3fs

        store = s3fs.S3FileSystem(skip_instance_cache=True)
        path = dump_of(source, tmp_path / "made" / f"of-{stamped(2)}.dump", "-Fc")
        for name in (path.name, f"{path.name}.sha256"):
            store.put(str(path.with_name(name)), f"kept/daily/{name}")
        pattern = "s3://kept/daily/*.dump"
        assert ask(backups.age, files=pattern)["it"].status is OK
        found = ask(backups.sound, files=pattern)["it"]
        assert found.status is OK and "its digest is the one of when it was made" in found.message
        assert ask(backups.drill, files=pattern)["restore"].status is OK
        assert "s3://kept/none" in ask(backups.age, files="s3://kept/none/*")["it"].message
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        s3fs.S3FileSystem.clear_instance_cache()
        gone = ask(backups.age, files=pattern)["it"]
        assert gone.status is UNKNOWN and "cannot be listed" in gone.message


class Answering(http.server.BaseHTTPRequestHandler):
    """A store that lists one dump, and gives it as it is told to: refused, cut in the middle, or never."""

    how, size = "", 200_000

    def do_GET(self) -> None:
        if self.how == "refuses":
            self._answer(403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
        elif "list-type" in self.path:
            stamp = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.000Z}"
            one = f"<Key>daily/of.sql</Key><LastModified>{stamp}</LastModified><Size>{self.size}</Size>"
            listed = f"<ListBucketResult><Name>kept</Name><Contents>{one}</Contents></ListBucketResult>"
            self._answer(200, listed.encode())
        elif self.how == "hangs":
            time.sleep(30)
        else:
            self.send_response(206)
            self.send_header("Content-Length", str(self.size))
            self.end_headers()
            self.wfile.write(b"-- PostgreSQL database dump\n" + b"x" * 1000)
            self.close_connection = True

    def do_HEAD(self) -> None:
        self._answer(403 if self.how == "refuses" else 200, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) or self.size))
        self.send_header("Last-Modified", "Sun, 29 Nov 2026 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.mark.parametrize(
    ("how", "question", "told"),
    [
        ("refuses", backups.age, "cannot be listed: PermissionError"),
        ("cuts", backups.sound, "reading it broke off"),
        pytest.param("hangs", backups.sound, "reading it broke off|it cannot be read", marks=pytest.mark.slow),
    ],
)
def test_an_object_store_that_refuses_cuts_or_hangs_is_unknown_and_costs_no_more_than_its_bound(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, how: str, question: Any, told: str
) -> None:
    import s3fs

    monkeypatch.setattr(Answering, "how", how)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        named = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}", "AWS_ACCESS_KEY_ID": "runbook",
                 "AWS_SECRET_ACCESS_KEY": "not-a-secret", "AWS_DEFAULT_REGION": "us-east-1"}  # fmt: skip
        for name, value in named.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        began = time.monotonic()
        found = ask(question, files="s3://kept/daily/*.sql")["it"]
        server.shutdown()
    assert found.status is UNKNOWN and re.search(told, found.message), found.message
    assert time.monotonic() - began < 120 and "not-a-secret" not in found.message


# --- the drill


@needs_contrib
def test_a_drill_counts_every_row_key_and_index_and_leaves_nothing(source: Cluster, ask: Ask, tmp_path: Path) -> None:
    dump_of(source, tmp_path / "kept" / f"of-{stamped(5)}.dump", "-Fc")
    written(tmp_path / "kept" / "all.roles", call(source, "pg_dumpall", "--globals-only"))
    (tmp_path / "scratch").mkdir(mode=0o711)
    told = ask(backups.drill, more=f'scratch = "{tmp_path}/scratch"' if len(str(tmp_path)) < 60 else "")
    assert {finding.status for finding in told.values()} == {OK}, told
    assert f"3 tables, {ROWS + 7:,} rows" in told["restore"].message
    assert "1 FOREIGN KEY, 3 PRIMARY KEY" in told["keys"].message and told["loss"].value == pytest.approx(5, abs=0.1)
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.slow
def test_a_plain_packed_dump_and_one_of_another_encoding_are_restored_as_well(
    source: Cluster, ask: Ask, tmp_path: Path
) -> None:
    path = written(tmp_path / "kept" / "a.dump", gzip.compress(call(source, "pg_dump", "-d", "kept")))
    told = ask(backups.drill)
    assert told["restore"].status is OK and f"{ROWS + 7:,} rows" in told["restore"].message
    assert told["roles"].status is WARNING and "no sound backup of the roles" in told["roles"].message
    written(path, call(source, "pg_dump", "-d", "kept", "-E", "LATIN1"))
    assert ask(backups.drill)["restore"].status is OK
    text = call(source, "pg_dump", "-d", "kept").replace(b"client_encoding = 'UTF8'", b"client_encoding = 'KLINGON'")
    written(path, text)
    wrong = ask(backups.drill)["restore"]
    assert wrong.status is CRITICAL and "no database of the encoding KLINGON" in wrong.message


def test_a_dump_whose_rows_break_a_key_reads_well_and_fails_the_drill(
    source: Cluster, ask: Ask, tmp_path: Path
) -> None:
    text = call(source, "pg_dump", "-d", "kept").replace(b"\n2\t2\n", b"\n2\t99999\n")
    written(tmp_path / "kept" / "a.dump", text)
    assert ask(backups.sound)["it"].status is OK
    found = ask(backups.drill)["restore"]
    assert found.status is CRITICAL and "reads well and cannot be restored" in found.message


def test_roles_that_no_backup_makes_are_named_and_a_table_that_the_dump_lacks_is_critical(
    source: Cluster, ask: Ask, tmp_path: Path
) -> None:
    dump_of(source, tmp_path / "kept" / "a.dump", "-Fc", "-T", "empty")
    roles = call(source, "pg_dumpall", "--globals-only").replace(b"keeper", b"sweeper")
    written(tmp_path / "kept" / "all.roles", roles)
    told = ask(backups.drill)
    assert told["roles"].status is WARNING and "keeper" in told["roles"].message
    assert told["source"].status is CRITICAL and "public.empty" in told["source"].message


def test_partitions_views_and_rights_of_any_form_are_restored_and_nothing_of_them_is_told_as_lost(
    source: Cluster, ask: Ask, tmp_path: Path
) -> None:
    roles = ("granted", "by_default", "of_policy")
    source.execute(*(f"CREATE ROLE {role}" for role in roles))
    try:
        source.execute(
            "CREATE TABLE parts (id int, n int, PRIMARY KEY (id, n)) PARTITION BY RANGE (n)",
            "CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (10)",
            "CREATE TABLE part_2 PARTITION OF parts FOR VALUES FROM (10) TO (20)",
            "INSERT INTO parts SELECT n, n FROM generate_series(0, 19) AS n",
            "CREATE TABLE parent (n int)", "CREATE TABLE child () INHERITS (parent)", "INSERT INTO child VALUES (1)",
            "CREATE MATERIALIZED VIEW view AS SELECT * FROM documents",
            'ALTER TABLE "odd ""name"" (x)" ADD FOREIGN KEY (id) REFERENCES empty NOT VALID',
            "GRANT SELECT ON documents TO granted WITH GRANT OPTION",
            "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO by_default",
            "CREATE POLICY sees ON documents TO of_policy USING (true)", "ANALYZE", database="kept", user="keeper",
        )  # fmt: skip
        dump_of(source, tmp_path / "kept" / f"of-{stamped(1)}.dump", "-Fc")
        written(tmp_path / "kept" / "r.roles", call(source, "pg_dumpall", "--globals-only"))
        found = ask(backups.drill)
        assert {subject for subject, one in found.items() if one.status in (CRITICAL, WARNING)} == set(), found
        assert "1 FOREIGN KEY is not proved" in found["keys"].message, found["keys"].message
        run: Any = ask(None)
        plan = run.propose(backups.restore, verify=[backups.restored]).plans[0].plan
        token = token_of(plan)
        done = run.apply(run.propose(backups.restore, verify=[backups.restored], confirm=token), token).plans[0]
        assert done.state is PlanState.VERIFIED, done.told
    finally:
        source.execute(
            "DROP TABLE parts, parent CASCADE", "DROP MATERIALIZED VIEW view", "DROP POLICY sees ON documents",
            'ALTER TABLE "odd ""name"" (x)" DROP CONSTRAINT "odd ""name"" (x)_id_fkey"',
            *(f"DROP OWNED BY {role}" for role in roles), database="kept",
        )  # fmt: skip
        names = source.execute("SELECT datname FROM pg_database WHERE datname LIKE 'kept_re%'")
        source.execute(*(f'DROP DATABASE "{name}"' for (name,) in names), *(f"DROP ROLE {role}" for role in roles))


def test_a_database_gets_the_locale_again_that_it_had(source: Cluster, ask: Ask, tmp_path: Path) -> None:
    source.execute(
        "ALTER DATABASE kept RENAME TO aside",
        "CREATE DATABASE kept OWNER keeper TEMPLATE template0 LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'",
    )
    try:
        source.execute("CREATE TABLE t (word text)", "INSERT INTO t VALUES ('ÄRGER')", database="kept", user="keeper")
        dump_of(source, tmp_path / "kept" / f"of-{stamped(1)}.dump", "-Fc")
        run: Any = ask(None)
        plan = run.propose(backups.restore, verify=[backups.restored]).plans[0].plan
        token = token_of(plan)
        done = run.apply(run.propose(backups.restore, verify=[backups.restored], confirm=token), token).plans[0]
        assert done.state is PlanState.VERIFIED, done.told
        asking = "SELECT lower(word) FROM t"
        of_new = source.execute(asking, database=plan.steps[0].arguments["database"])
        assert of_new == source.execute(asking, database="kept") == [("ärger",)]
    finally:
        source.execute("DROP DATABASE kept WITH (FORCE)", "ALTER DATABASE aside RENAME TO kept")


def test_what_a_dump_has_psql_do_is_done_as_an_ordinary_user(source: Cluster, ask: Ask, tmp_path: Path) -> None:
    trace = Path(tempfile.mkdtemp(prefix="rbt-", dir="/tmp"))
    trace.chmod(0o777)
    path = dump_of(source, tmp_path / "kept" / f"of-{stamped(1)}.sql")
    end = b"-- PostgreSQL database dump complete"
    # A newer pg_dump has psql refuse such commands; who writes one of his own leaves that out.
    written(
        path,
        re.sub(rb"(?m)^\\(un)?restrict .*\n", b"", path.read_bytes()).replace(
            end, f"\\! id -u > {trace}/who\n".encode() + end
        ),
    )
    try:
        found = ask(backups.drill, files="*.sql")
        assert found["restore"].status is OK, found["restore"].message
        assert (trace / "who").read_text().strip() != "0" or os.geteuid() != 0
    finally:
        shutil.rmtree(trace)


def test_a_disk_that_is_too_small_is_told_before_anything_is_made(
    source: Cluster, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump_of(source, tmp_path / "kept" / "a.dump", "-Fc")
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1 << 20))
    (found,) = ask(backups.drill).values()
    assert found.status is UNKNOWN and "has 1.0 MiB left" in found.message


def test_a_dump_of_a_newer_server_is_not_taken_for_broken(source: Cluster, ask: Ask, tmp_path: Path) -> None:
    newer = [folder for folder in all_postgres() if version(folder) > version(source.binaries)]
    if not newer:
        pytest.skip("no newer PostgreSQL is here")
    text = call(source, "pg_dump", "-d", "kept").replace(b"database version 15", b"database version 99")
    written(tmp_path / "kept" / "a.dump", text)
    (found,) = ask(backups.drill).values()
    assert found.status is UNKNOWN and "from PostgreSQL 99" in found.message and "binaries" in found.message


HOLDS = """
import sys, time
from pathlib import Path
from runbook.connections.scratch import scratch_cluster
from runbook.target import Backups
named = Backups(sets=[{"name": "it", "kind": "wal", "files": "/x"}], binaries=sys.argv[1])
with scratch_cluster(named, Path(sys.argv[2]), 60):
    print("up", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_drill_has_left_is_taken_away_by_the_next(source: Cluster, tmp_path: Path) -> None:
    inside = Path("/tmp") / f"rbd-{os.getpid()}"  # the path of a socket is short
    inside.mkdir(mode=0o711)
    try:
        argv = [sys.executable, "-c", HOLDS, str(source.binaries), str(inside)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stdout.readline() == "up\n"
            assert forget_left(inside) == 0, "it is in use"
            process.send_signal(signal.SIGKILL)
        (left,) = inside.glob(f"{PREFIX}*")
        server = int((left / "data" / "postmaster.pid").read_text().splitlines()[0])
        assert forget_left(inside) == 1 and not left.exists()
        wait_for(lambda: not Path(f"/proc/{server}").exists() or "Z" in Path(f"/proc/{server}/stat").read_text())
    finally:
        shutil.rmtree(inside, ignore_errors=True)


def test_a_folder_that_another_drill_is_making_just_now_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}new").mkdir()
    (tmp_path / f"{PREFIX}old").mkdir()
    os.utime(tmp_path / f"{PREFIX}old", (time.time() - 60,) * 2)
    assert forget_left(tmp_path) == 1 and [path.name for path in tmp_path.iterdir()] == [f"{PREFIX}new"]


# --- restored by plan


def test_the_newest_that_verifies_is_restored_by_plan_into_a_database_beside_the_service_s_own(
    source: Cluster, ask: Ask, tmp_path: Path
) -> None:
    dump_of(source, tmp_path / "kept" / f"of-{stamped(30)}.dump", "-Fc")
    whole = dump_of(source, tmp_path / "kept" / f"of-{stamped(2)}.dump", "-Fc").read_bytes()
    written(tmp_path / "kept" / f"of-{stamped(2)}.dump", whole[: len(whole) // 2])
    run: Any = ask(None)
    shown = run.propose(backups.restore, verify=[backups.restored])
    plan = shown.plans[0].plan
    assert any("does not verify" in reach for reach in plan.blast_radius) and "DROP DATABASE" in plan.inverse[0].shown
    token = token_of(plan)
    done = run.apply(run.propose(backups.restore, verify=[backups.restored], confirm=token), token).plans[0]
    assert done.state is PlanState.VERIFIED, done.told
    (finding,) = done.after
    assert f"{ROWS + 7:,} rows" in finding.message and finding.object.startswith("kept_restored_")
    assert source.execute("SELECT count(*) FROM documents", database=finding.object) == [(ROWS,)]
    assert source.execute("SELECT count(*) FROM documents", database="kept") == [(ROWS,)]
    assert "was restored already" in run.propose(backups.restore, verify=[backups.restored]).reason


DIES = """
import os, sys
from runbook import backups
from runbook.backups import restore as module
from runbook.connections import programs
from runbook.session import open_run
from runbook.target.backups import BackupSet
asked = programs.required
def dies(*arguments, **more):
    asked(*arguments, **more) if sys.argv[2] == "after" else None
    os.kill(os.getpid(), 9)
programs.required = dies
run = open_run("verify-backups", target="kept", needs=["postgres", "restoring database"])
shown = run.propose(backups.restore, verify=[backups.restored], confirm=sys.argv[1])
run.apply(shown, sys.argv[1])
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_restore_that_was_killed_is_gone_on_with_by_the_same_token(
    source: Cluster, ask: Ask, tmp_path: Path, when: str
) -> None:
    dump_of(source, tmp_path / "kept" / f"of-{stamped(2)}.dump", "-Fc")
    run: Any = ask(None)
    plan = run.propose(backups.restore, verify=[backups.restored]).plans[0].plan
    died = subprocess.run([sys.executable, "-c", DIES, token_of(plan), when], capture_output=True, text=True)
    assert died.returncode == -9, died.stderr
    assert journal(plan)[-1].event == "intent" and journal(plan)[-1].step == 2
    token = token_of(plan)
    done = run.apply(run.propose(backups.restore, verify=[backups.restored], confirm=token), token).plans[0]
    assert done.state is PlanState.VERIFIED, done.told


def test_roles_that_the_cluster_lacks_stand_against_the_restore(source: Cluster, ask: Ask, tmp_path: Path) -> None:
    text = call(source, "pg_dump", "-d", "kept").replace(b"keeper", b"sweeper")
    written(tmp_path / "kept" / "a.dump", text)
    run: Any = ask(None)
    assert "lacks roles that the dump names (sweeper)" in run.propose(backups.restore, verify=[backups.restored]).reason


# --- on the practice stack


@pytest.mark.parametrize(
    ("fault", "check"),
    [("backup-cut", "backups.sound"), ("backup-flipped", "backups.sound"), ("backup-missing", "backups.age")],
)
def test_a_fault_of_the_practice_stack_is_named_by_the_notebook(
    recorded: Place, run_json: Any, archive: Path, fault: str, check: str
) -> None:
    faults.break_sandbox(recorded, fault)
    try:
        status, document = run_json("verify-backups", "--target", recorded.name)
    finally:
        faults.heal(recorded)
    bad = [finding for finding in document.runs[0].findings if finding.status == "CRITICAL"]
    assert status == 2 and [finding.check for finding in bad] == [check], document.runs[0].findings


@pytest.fixture(scope="module")
def recorded() -> Iterator[Place]:
    """A practice stack with backups, to be broken."""
    place = stack.up("recorded", watched=False, recorded=True)
    yield place
    stack.down(place)


def test_the_time_in_a_name_counts_before_that_of_writing(ask: Ask, tmp_path: Path) -> None:
    path = written(tmp_path / "kept" / f"of-{stamped(100)}.dump", b"x", digest=False)
    assert time.time() - path.stat().st_mtime < 60
    run: Any = ask(None)
    frame: pd.DataFrame = run.ask(backups.age).frame
    assert (pd.Timestamp.now(UTC) - frame["taken"].iloc[0]) / pd.Timedelta(hours=1) == pytest.approx(100, abs=0.1)


def test_a_password_of_the_role_that_restores_is_one_of_the_profiles_secrets(
    profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from runbook.target import load_target

    monkeypatch.setenv("TESTS_RESTORE", "of-the-superuser-551")
    name = profile(
        '[backups]\nrestore_dsn = "host=h user=postgres dbname=postgres"\nrestore_password = "env:TESTS_RESTORE"\n'
        '[[backups.sets]]\nname = "it"\nkind = "wal"\nfiles = "/x"\n'
    )
    assert "of-the-superuser-551" in load_target(name).secret_values()
    assert psycopg.conninfo.conninfo_to_dict(load_target(name).backups.restore_dsn)["user"] == "postgres"  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.skipif(len({version(folder)[0] for folder in all_postgres()}) < 2, reason="there is one PostgreSQL only")
def test_a_dump_that_a_newer_server_made_is_not_restored_and_the_one_before_is_named(
    recorded: Place, run_json: Any, archive: Path
) -> None:
    faults.break_sandbox(recorded, "backup-newer")
    try:
        _, document = run_json("verify-backups", "--target", recorded.name)
        found = [one for one in document.runs[0].findings if one.check == "backups.sound" and one.object == "database"]
        assert found[0].status is UNKNOWN and "newer" in found[0].message, found
        assert "the newest that verifies is database-" in found[0].message
    finally:
        faults.heal(recorded)


# --- to a moment


@pytest.fixture(scope="module")
def archiving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Path]]:
    """A cluster that archives its WAL, with a base backup and what came after it; and the folder of both."""
    folder = Path(tempfile.mkdtemp(prefix="rbw-", dir="/tmp"))
    folder.chmod(0o777)
    (folder / "wal").mkdir(mode=0o777)
    (folder / "wal").chmod(0o777)
    command = f"cp %p {folder}/wal/%f"
    with cluster(archive_mode="on", archive_command=command, wal_level="replica", max_wal_senders=4) as running:
        running.execute("CREATE DATABASE kept")
        running.execute("CREATE TABLE t (n int PRIMARY KEY)", "INSERT INTO t VALUES (1)", database="kept")
        call(running, "pg_basebackup", "-D", folder / "base-1", "-c", "fast", "-X", "stream")
        yield running, folder
    shutil.rmtree(folder)


@pytest.fixture
def lost_at(archiving: tuple[Cluster, Path]) -> tuple[str, str]:
    """The moment after which somebody lost all rows of the database, and the segment of WAL that it lies in."""
    running, _ = archiving
    running.execute("TRUNCATE t", "INSERT INTO t SELECT n FROM generate_series(1, 500) AS n", database="kept")
    time.sleep(0.05)
    ((moment, segment),) = running.execute("SELECT now(), pg_walfile_name(pg_current_wal_lsn())")
    time.sleep(0.05)
    running.execute("DELETE FROM t", "SELECT pg_switch_wal()", "CREATE TABLE IF NOT EXISTS later ()", database="kept")
    ((last,),) = running.execute("SELECT pg_walfile_name(pg_switch_wal())")
    wait_for(lambda: running.execute("SELECT last_archived_wal FROM pg_stat_archiver")[0][0] >= last)
    return str(moment.isoformat()), str(segment)


def test_a_base_backup_and_its_wal_bring_back_what_was_there_at_a_moment(
    archiving: tuple[Cluster, Path], lost_at: tuple[str, str], profile: Callable[..., str]
) -> None:
    (running, folder), (moment, segment) = archiving, lost_at
    text = running.profile(database="kept")
    text += f'[backups]\nbinaries = "{running.binaries}"\nrestore_dsn = "{running.dsn()}"\nscratch = "{folder}"\n'
    text += f'[[backups.sets]]\nname = "base"\nkind = "base"\nfiles = "{folder}/base-*"\n'
    text += f'[[backups.sets]]\nname = "wal"\nkind = "wal"\nfiles = "{folder}/wal"\n'
    run = open_run("system-recovery", target=profile(text, "moment"), needs=["restoring database"])
    try:

        def reason(until: str) -> str:
            return str(run.propose(backups.replay, until=until, verify=[]).reason)

        assert "no moment is asked for" in reason("") and "is no moment" in reason("yesterday")
        assert "there is no backup of kind base before" in reason("2001-01-01T00:00Z")
        assert "the WAL archive ends at" in reason("2999-01-01")
        plan = run.propose(backups.replay, until=moment, verify=[]).plans[0].plan
        token = token_of(plan)
        again = run.propose(backups.replay, until=moment, verify=[], confirm=token)
        done = run.apply(again, token).plans[0]
        assert done.state is PlanState.VERIFIED, done.told
        database = plan.steps[0].arguments["database"]
        assert running.execute("SELECT count(*) FROM t", database=database) == [(500,)]
        assert running.execute("SELECT count(*) FROM t", database="kept") == [(0,)]
        assert not list(folder.glob(f"{PREFIX}*"))  # what it was replayed in is gone
        (folder / "wal" / segment).rename(folder / "aside")
        running.execute(f'DROP DATABASE "{database}"')
        plan = run.propose(backups.replay, until=moment, verify=[]).plans[0].plan
        token = token_of(plan)
        cut = run.apply(run.propose(backups.replay, until=moment, verify=[], confirm=token), token).plans[0]
        assert cut.state is PlanState.FAILED and "recovery" in str(cut.told), cut.told
    finally:
        run.close()


def test_a_replay_writes_into_no_folder_that_the_base_backup_leads_to(
    archiving: tuple[Cluster, Path], profile: Callable[..., str], request: pytest.FixtureRequest
) -> None:
    running, folder = archiving
    call(running, "pg_basebackup", "-D", folder / "linked-1", "-c", "fast", f"--waldir={folder}/wal-of-it")
    moment, _ = request.getfixturevalue("lost_at")
    subprocess.run(["chmod", "-R", "a+rwX", folder / "wal-of-it", folder / "linked-1"], check=True)
    text = running.profile(database="kept")
    text += f'[backups]\nbinaries = "{running.binaries}"\nrestore_dsn = "{running.dsn()}"\nscratch = "{folder}"\n'
    text += f'[[backups.sets]]\nname = "base"\nkind = "base"\nfiles = "{folder}/linked-*"\n'
    text += f'[[backups.sets]]\nname = "wal"\nkind = "wal"\nfiles = "{folder}/wal"\n'
    with opening("system-recovery", profile(text, "linked"), ["restoring database"]) as opened:
        before = {path.name: path.stat().st_mtime_ns for path in (folder / "wal-of-it").rglob("*")}
        done = carried_out(opened(), backups.replay, [], until=moment)
        assert done.state is PlanState.VERIFIED, done.told
        assert {path.name: path.stat().st_mtime_ns for path in (folder / "wal-of-it").rglob("*")} == before
        running.execute(f'DROP DATABASE "{done.plan.steps[0].arguments["database"]}"')
        (folder / "space").mkdir(mode=0o777)
        shutil.chown(folder / "space", running.data.stat().st_uid, running.data.stat().st_gid)
        running.execute(f"CREATE TABLESPACE space LOCATION '{folder}/space'")
        try:
            reason = opened().propose(backups.replay, until=moment, verify=[]).reason
            assert "there are tablespaces (space)" in reason, reason
        finally:
            running.execute("DROP TABLESPACE space")


def test_roles_that_the_cluster_lacks_are_made_as_their_backup_has_them_and_no_password_is_shown(
    source: Cluster, archiving: tuple[Cluster, Path], profile: Callable[..., str], tmp_path: Path
) -> None:
    running, _ = archiving
    source.execute("ALTER ROLE keeper PASSWORD 'kept-in-no-plan' CONNECTION LIMIT 7", "GRANT pg_monitor TO keeper")
    dump_of(source, tmp_path / "kept.dump", "-Fc")
    globals_ = call(source, "pg_dumpall", "--globals-only")
    written(tmp_path / "roles.sql.gz", gzip.compress(globals_))
    text = running.profile(database="kept") + f'[backups]\nbinaries = "{running.binaries}"\n'
    text += f'restore_dsn = "{running.dsn()}"\n'
    for kind, files in (("database", "kept.dump"), ("roles", "roles.sql.gz")):
        text += f'[[backups.sets]]\nname = "{kind}"\nkind = "{kind}"\nfiles = "{tmp_path}/{files}"\n'
    run = open_run("system-recovery", target=profile(text, "roles"), needs=["restoring database"])
    try:
        assert "lacks roles that the dump names (keeper)" in run.propose(backups.restore, verify=[]).reason
        shown = run.propose(backups.roles, verify=[])
        plan = shown.plans[0].plan
        verifier = re.search(rb"PASSWORD '([^']+)'", globals_)
        assert verifier is not None and verifier[1].decode() not in str(plan)
        token = token_of(plan)
        done = run.apply(run.propose(backups.roles, verify=[], confirm=token), token).plans[0]
        assert done.state is PlanState.VERIFIED and verifier[1].decode() not in str(done), done.told
        about = running.execute(
            "SELECT rolconnlimit, rolpassword, pg_has_role('keeper', 'pg_monitor', 'MEMBER') FROM pg_authid "
            "WHERE rolname = 'keeper'"
        )
        assert about == [(7, verifier[1].decode(), True)]
        assert "has every role" in run.propose(backups.roles, verify=[]).reason
        assert run.propose(backups.restore, verify=[]).plans
    finally:
        run.close()
        running.execute("DROP ROLE IF EXISTS keeper")

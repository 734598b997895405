"""Verifying a dump beside pg_restore -f /dev/null, a drill beside a plain restore; nothing is judged by time here.

Run: ``.venv/bin/python -m pytest -c tests/pytest.ini -s tests/benchmarks/backups.py``. ``RUNBOOK_BENCHMARK_MIB`` says
how large the dumped tables are (1,800 MiB of text: a dump of 1 GiB).
"""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, cluster

from runbook import backups
from runbook.session import open_run

MIB = int(os.environ.get("RUNBOOK_BENCHMARK_MIB", "1800"))
ROWS = MIB * 6000


@pytest.fixture(scope="module")
def source() -> Iterator[Cluster]:
    """A database with some hundred MiB in four tables, each with a key and an index."""
    with cluster(max_wal_size="8GB", shared_buffers="256MB") as running:
        running.execute("CREATE DATABASE large")
        for number in range(4):
            running.execute(
                f"CREATE TABLE t{number} AS SELECT n AS id, md5(n::text) || md5('a' || n) || md5('b' || n) || "
                f"md5('c' || n) || md5('d' || n) AS text FROM generate_series(1, {ROWS // 4}) n",
                f"ALTER TABLE t{number} ADD PRIMARY KEY (id)",
                f"CREATE INDEX ON t{number} (left(text, 12))",
                database="large",
            )
        yield running


@pytest.fixture(scope="module")
def dump(source: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("dumps") / "large-2026-01-01T0000.dump"
    argv = ["pg_dump", "-Fc", "-f", str(path), "-h", str(source.folder), "-p", str(source.port), "-U", "postgres"]
    subprocess.run([source.binaries / argv[0], *argv[1:], "large"], check=True)
    return path


def seconds_of(argv: list[Any]) -> float:
    began = time.perf_counter()
    subprocess.run(list(map(str, argv)), check=True, capture_output=True)
    return time.perf_counter() - began


def show(what: str, seconds: float, plain: float, by: str) -> None:
    print(f"\n  {what}: {seconds:.1f} s; {by}: {plain:.1f} s; {seconds / plain:.2f}x")


def test_verifying_and_restoring(source: Cluster, dump: Path, profile: Any) -> None:
    text = source.profile(database="large") + f'[backups]\nbinaries = "{source.binaries}"\ndrill_seconds = 1800\n'
    text += f'[[backups.sets]]\nname = "it"\nkind = "database"\nfiles = "{dump}"\n[deadlines]\nquestion = 1800\n'
    run = open_run("verify-backups", target=profile(text, "large"), needs=["postgres"])
    print(f"\n  a custom dump of {dump.stat().st_size / 2**20:,.0f} MiB")
    plain = [seconds_of([source.binaries / "pg_restore", "-f", "/dev/null", dump]) for _ in range(2)][-1]
    show("backups.sound", run.ask(backups.sound).seconds, plain, "pg_restore -f /dev/null")
    restored = seconds_of_restore(source, dump)
    read = backups.readings()
    run.ask(backups.sound, readings=read)
    answer = run.ask(backups.drill, readings=read)
    run.close()
    assert answer.frame is not None and answer.frame["restored"].sum() == ROWS // 4 * 4
    seconds = answer.frame.attrs["seconds"]
    show(
        "backups.drill, restored",
        seconds["making"] + seconds["restoring"],
        restored,
        "initdb, createdb, pg_restore -j2",
    )
    show("backups.drill, checked as well", seconds["all"], restored, "initdb, createdb, pg_restore -j2")


def seconds_of_restore(source: Cluster, dump: Path) -> float:
    """Return how long a restore takes into a new cluster of the settings that a drill's has."""
    began = time.perf_counter()
    more = {"shared_buffers": "128MB", "maintenance_work_mem": "128MB", "max_wal_size": "4GB", "autovacuum": "off",
            "wal_level": "minimal", "max_wal_senders": "0", "synchronous_commit": "off"}  # fmt: skip
    with cluster(source.binaries, **more) as other:
        other.execute("CREATE DATABASE large")
        argv = ["-j2", "-h", other.folder, "-p", other.port, "-U", "postgres", "-d", "large", dump]
        subprocess.run([str(part) for part in (source.binaries / "pg_restore", *argv)], check=True, capture_output=True)
        return time.perf_counter() - began

"""Every question on every server version found here, as every kind of role, and through pgbouncer: answered, or said.

On each it must neither fail by a mistake of its own, nor lock more than it reads, nor judge what it cannot see.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest
from cluster import Cluster
from pooler import pgbouncer

from runbook import open_run, postgres
from runbook.connections import PostgresConnection
from runbook.model import Finding, Status
from runbook.session import Run

# Arguments that make the slow ones quick.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "postgres.connection_growth": {"samples": 2, "every": 0.05},
    "postgres.slow_queries_now": {"seconds": 0.1},
}
NEEDS = ["postgres", "application database"]
# What anybody may see of a server: these need no grant.
FOR_EVERYBODY = {"postgres.reachable", "postgres.own_role", "postgres.privileged_roles", "postgres.roles"}
NOT_JUDGED = (Status.OK, Status.UNKNOWN, Status.SKIPPED)


@pytest.fixture(scope="module")
def served(each_postgres: Cluster) -> Cluster:
    """A server with a small table of each awkward kind, and three roles: with nothing, to monitor, to own."""
    each_postgres.execute(
        "CREATE ROLE nothing LOGIN",
        "CREATE ROLE monitor LOGIN IN ROLE pg_monitor",
        "CREATE DATABASE shop",
    )
    each_postgres.execute(
        'CREATE SCHEMA "we""ird \u202e\n schema"',
        'CREATE TABLE "we""ird \u202e\n schema"."ta\'ble; -- 50%" (id serial PRIMARY KEY, "co""l %(x)s" int)',
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE child (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, parent int REFERENCES parent)",
        "CREATE TABLE parts (at date) PARTITION BY RANGE (at)",
        "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
        "CREATE MATERIALIZED VIEW seen AS SELECT 1 AS one",
        "CREATE UNLOGGED TABLE fleeting (id int)",
        "INSERT INTO parent SELECT generate_series(1, 100)",
        "INSERT INTO child (parent) SELECT id FROM parent",
        "ANALYZE",
        database="shop",
    )
    return each_postgres


@pytest.fixture
def asking(served: Cluster, profile: Callable[..., str]) -> Iterator[Callable[..., Run]]:
    """Open runs on the server as a role."""
    runs: list[Run] = []

    def open_(role: str, text: str = "") -> Run:
        runs.append(open_run("t", target=profile(text or served.profile(role, "shop")), needs=NEEDS))
        return runs[-1]

    yield open_
    for run in runs:
        run.close()


def asked(run: Run) -> dict[str, list[Finding]]:
    """Ask every question and return its findings by its name."""
    return {q.name: list(run.ask(q, **ARGUMENTS.get(q.name, {})).findings) for q in postgres.questions}


def mistakes(found: dict[str, list[Finding]]) -> list[str]:
    told = {name: "; ".join(finding.message for finding in findings) for name, findings in found.items()}
    return [f"{name}: {words}" for name, words in told.items() if not words or "a mistake in the runbook" in words]


@pytest.mark.parametrize("role", ["postgres", "monitor", "nothing"])
def test_each_question_is_answered_or_says_why_not(role: str, asking: Callable[..., Run]) -> None:
    assert not mistakes(asked(asking(role)))


def test_what_a_role_with_nothing_cannot_see_is_not_judged(asking: Callable[..., Run]) -> None:
    judged = {
        name: [f"{finding.status} {finding.message}" for finding in findings if finding.status not in NOT_JUDGED]
        for name, findings in asked(asking("nothing")).items()
        if name not in FOR_EVERYBODY
    }
    assert not {name: words for name, words in judged.items() if words}


def test_through_pgbouncer_in_transaction_mode_it_is_all_the_same(served: Cluster, asking: Callable[..., Run]) -> None:
    with pgbouncer(served, "monitor") as port:
        dsn = f"host=127.0.0.1 port={port} user=monitor dbname=shop"
        through = asked(asking("monitor", f'[postgres]\ndsn = "{dsn}"\napplication_dsn = "{dsn}"\n'))
    assert not mistakes(through)
    direct = asked(asking("monitor"))
    assert {n: {f.status for f in found} for n, found in through.items()} == {
        n: {f.status for f in found} for n, found in direct.items()
    }


def test_no_question_takes_a_lock_above_the_one_that_reading_takes(
    asking: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: set[tuple[str, str]] = set()
    rows = PostgresConnection.rows

    def watched(self: PostgresConnection, *arguments: Any) -> pd.DataFrame:
        with self._connection.transaction(force_rollback=True):
            frame = rows(self, *arguments)  # a savepoint by now: what it locked is locked still
            held = self._connection.execute(
                "SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype IN ('relation', 'tuple', 'object')"
            )
            modes.update((mode, str(arguments[0])[:80]) for (mode,) in held)
        return frame

    monkeypatch.setattr(PostgresConnection, "rows", watched)
    asked(asking("postgres"))
    assert {mode for mode in modes if mode[0] != "AccessShareLock"} == set() and modes

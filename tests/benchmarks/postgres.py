"""What the whole of database-issues costs the patient: server time, connections, time to answer; beside its limits.

Run: ``.venv/bin/python -m pytest -c tests/pytest.ini -s tests/benchmarks/postgres.py``.
"""

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cluster import Cluster, cluster
from running import wait_for

from runbook import open_run
from runbook.kernels.questions import all_questions

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "3-incident-response" / "database-issues.ipynb"
SPENT = (
    "SELECT sum(total_exec_time + total_plan_time)::float8 FROM pg_stat_statements WHERE userid = 'runbook'::regrole"
)
CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'runbook'"


def show(what: str, measured: float, limit: float, unit: str) -> None:
    """Print one row: what was measured, its limit, and their ratio."""
    sys.stdout.write(f"\n  {what:<58} {measured:9.1f} {unit} of {limit:g} {unit}: {measured / limit:5.2f}\n")


@pytest.fixture
def patient() -> Iterator[Cluster]:
    """A server that keeps statistics of what each role asks."""
    settings = {
        "max_connections": 510,
        "shared_preload_libraries": "pg_stat_statements",
        "pg_stat_statements.track_planning": "on",
        "pg_stat_statements.track": "all",
        "max_locks_per_transaction": 1000,
    }
    with cluster(**settings) as running:
        running.execute(
            "CREATE EXTENSION pg_stat_statements",
            "CREATE ROLE runbook LOGIN IN ROLE pg_monitor",
            "CREATE ROLE app LOGIN",
            "CREATE TABLE things (id int PRIMARY KEY, v int)",
            "INSERT INTO things VALUES (1, 0)",
            "GRANT ALL ON things TO app",
        )
        yield running


def examine(server: Cluster, profile: Callable[..., str]) -> tuple[float, float, int]:
    """Ask what the notebook asks; return the server's time (ms), the time to answer (s), the most connections held."""
    dsn = server.dsn("runbook")
    name = profile(f'[postgres]\ndsn = "{dsn}"\napplication_dsn = "{dsn}"\n')
    code = "\n".join(
        "".join(c["source"]) for c in json.loads(NOTEBOOK.read_text())["cells"] if c["cell_type"] == "code"
    )
    questions = {question.name: question for question in all_questions()}
    asked = [questions[f"postgres.{name}"] for name in re.findall(r"run\.ask\(postgres\.(\w+)", code)]
    server.execute("SELECT pg_stat_statements_reset()")
    began = time.perf_counter()
    run = open_run("database-issues", target=name, needs=["postgres", "application database"])
    waited = 0.0
    for question in asked:
        arguments = {"seconds": 0.5} if question.name == "postgres.slow_queries_now" else {}
        waited += arguments.get("seconds", 0.0)
        run.ask(question, **arguments)
    seconds = time.perf_counter() - began - waited
    ((connections,),) = server.execute(CONNECTED)
    run.close()
    ((spent,),) = server.execute(SPENT)
    return spent, seconds, connections


def report(what: str, told: tuple[float, float, int], *, ms: float, seconds: float) -> None:
    show(f"{what}: server time", told[0], ms, "ms")
    show(f"{what}: until everything is answered", told[1], seconds, "s")
    show(f"{what}: connections", told[2], 3, "")


def test_on_an_idle_database(patient: Cluster, profile: Callable[..., str]) -> None:
    examine(patient, profile)  # what is imported and cached once is not the patient's
    report("idle", examine(patient, profile), ms=150, seconds=5)


def test_with_ten_thousand_tables_and_five_hundred_connections(patient: Cluster, profile: Callable[..., str]) -> None:
    with patient.connect() as session:
        for number in range(10_000):
            session.execute(f"CREATE TABLE t{number} (id int PRIMARY KEY, v text)")
        session.execute("ANALYZE")
    with ExitStack() as held:
        for _ in range(490):
            held.enter_context(patient.connect(user="app", application_name="web"))
        examine(patient, profile)
        report("10 000 tables, 500 connections", examine(patient, profile), ms=1000, seconds=5)


def test_at_the_limit_of_connections(patient: Cluster, profile: Callable[..., str]) -> None:
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(patient.connect(user="app", application_name="web"))
            except psycopg.OperationalError:
                break
        began = time.perf_counter()
        name = profile(f'[postgres]\ndsn = "{patient.dsn("runbook")}"\napplication_dsn = "{patient.dsn("app")}"\n')
        run = open_run("database-issues", target=name, needs=["postgres", "application database"])
        for question in all_questions():
            if question.name.startswith("postgres."):
                run.ask(question)
        show("no slot left: until everything is answered", time.perf_counter() - began, 5, "s")
        run.close()


def test_with_two_hundred_sessions_that_wait(patient: Cluster, profile: Callable[..., str]) -> None:
    with ExitStack() as held:
        root: Any = held.enter_context(patient.connect(user="app", application_name="etl"))
        root.execute("BEGIN")
        root.execute("UPDATE things SET v = 1")
        victims = [held.enter_context(patient.connect(user="app", application_name="web")) for _ in range(200)]
        threads = [threading.Thread(target=_wait_in_vain, args=(victim,)) for victim in victims]
        for thread in threads:
            thread.start()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        wait_for(lambda: patient.execute(waiting) == [(200,)])
        report("200 sessions wait", examine(patient, profile), ms=1000, seconds=5)
        for victim in victims:
            victim.cancel()
        for thread in threads:
            thread.join()


def _wait_in_vain(session: Any) -> None:
    with suppress(psycopg.Error):
        session.execute("UPDATE things SET v = 2")

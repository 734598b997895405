"""What `schedule airflow` writes, loaded and run by Airflow itself."""

import json
import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from running import OPEN

from runbook.model.collection import all_notebooks
from runbook_sandbox import deployed
from runbook_sandbox.place import Place

pytestmark = pytest.mark.slow
Call = Callable[..., subprocess.CompletedProcess[str]]
Write = Callable[..., str]
DAILY = {one.name for one in all_notebooks() if one.metadata.schedule == "daily"}
LOAD = """
import json
import sys
from datetime import datetime
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import DagRunInfo, TimeRestriction
import pendulum

last = pendulum.parse(sys.argv[2])
bag = DagBag(sys.argv[1])
loaded = {}
for name, dag in bag.dags.items():
    known = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    runs = []
    before = DagRunInfo(run_after=last, data_interval=None, partition_date=None, partition_key=None)
    for _ in range(2):
        before = known.timetable.next_dagrun_info_v2(
            last_dagrun_info=before, restriction=TimeRestriction(dag.start_date, None, known.catchup)
        )
        runs.append(before.run_after.isoformat())
    loaded[name] = {
        "catchup": known.catchup,
        "zone": known.timetable._timezone.name,
        "next": runs,
        "at_once": known.max_active_runs,
        "tasks": {
            task.task_id: {
                "retries": task.retries,
                "seconds": task.execution_timeout and task.execution_timeout.total_seconds(),
                "after": sorted(task.upstream_task_ids),
            }
            for task in known.tasks
        },
    }
print(json.dumps({"errors": bag.import_errors, "dags": loaded}))
"""


@dataclass
class Airflow:
    """An Airflow with a home of its own, for the tests of this module: nothing but the DAGs that they put there."""

    python: str
    home: Path

    def __post_init__(self) -> None:
        (self.home / "dags").mkdir()
        migrated = self("-m", "airflow", "db", "migrate")
        assert migrated.returncode == 0, migrated.stderr

    def file(self, target: str) -> Path:
        """Return the place for the DAGs of a target."""
        return self.home / "dags" / f"runbook-{target}.py"

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        own = {"AIRFLOW_HOME": str(self.home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        own["AIRFLOW__USAGE_DATA_COLLECTION__ENABLED"] = "False"
        whole = {**os.environ, **own, "PYTEST_CURRENT_TEST": ""}
        return subprocess.run([self.python, *arguments], capture_output=True, text=True, timeout=300, env=whole)

    def test(self, dag: str) -> subprocess.CompletedProcess[str]:
        """Run a DAG once, as Airflow does for whoever has written one."""
        return self("-m", "airflow", "dags", "test", dag)

    def tasks(self, dag: str) -> dict[str, tuple[str, int]]:
        """Return how each task of a DAG has ended, and at which try."""
        rows = self._read("select task_id, state, try_number from task_instance where dag_id = ?", dag)
        return {name: (state, tried) for name, state, tried in rows}

    def told(self, dag: str) -> dict[str, dict[str, Any]]:
        """Return the XComs of each task of a DAG."""
        found: dict[str, dict[str, Any]] = {}
        for task, key, value in self._read("select task_id, key, value from xcom where dag_id = ?", dag):
            found.setdefault(task, {})[key] = json.loads(value)
        return found

    def _read(self, sql: str, dag: str) -> list[Any]:
        with closing(sqlite3.connect(self.home / "airflow.db")) as database:
            return database.execute(sql, [dag]).fetchall()


@pytest.fixture(scope="module")
def running(airflow: str, tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    return Airflow(airflow, tmp_path_factory.mktemp("airflow"))


def test_airflow_really_runs_the_daily_dag_and_its_evidence_verifies(
    running: Airflow, runbook: Call, sandbox: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the shell, Jinja, and Python's own texts would each take otherwise is left as it is.
    archive = tmp_path / 'all\'s "evidence" {{ ds }} {# 100% $HOME \\'
    monkeypatch.setenv("RUNBOOK_EVIDENCE", str(archive))
    deployed.record(sandbox.name, {})
    file, dag = running.file(sandbox.name), f"runbook-{sandbox.name}-daily"
    written = runbook("schedule", "airflow", "--target", sandbox.name, "--output", str(file))
    assert written.returncode == 0, written.stderr
    ended = running.test(dag)
    tasks, told = running.tasks(dag), running.told(dag)
    assert set(tasks) == {*DAILY, "verdicts"}
    assert {tasks[name] for name in DAILY} == {("success", 1)}, ended.stdout + ended.stderr
    for name in DAILY:
        page = Path(unquote(urlsplit(told[name]["evidence"]).path))
        assert page.is_relative_to(archive) and "<html" in page.read_text()
        record = json.loads((page.parent / "run.json").read_text())
        assert (record["notebook"], record["target"], record["status"]) == (name, sandbox.name, told[name]["verdict"])
        assert record["run_id"] == told[name]["run_id"]
    bad = any(told[name]["verdict"] in ("CRITICAL", "UNKNOWN") for name in DAILY)
    assert tasks["verdicts"] == ("failed" if bad else "success", 1) and ended.returncode == int(bad)
    verified = runbook("evidence", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    # It tells the same schedule as the file's: all that was run is on time.
    shown = json.loads(runbook("schedule", "show", "--target", sandbox.name, "--json").stdout)["schedule"]
    assert {one["notebook"] for one in shown if not one["overdue"]} == DAILY


def test_a_bad_verdict_is_not_asked_for_again_what_failed_is_and_a_wrong_call_is_not(
    running: Airflow, runbook: Call, profile: Write, collection: Write, archive: Path
) -> None:
    well = collection(OPEN, "run.ask(host.memory, warning=0, critical=101)", name="warns")
    critical = collection(OPEN, "run.ask(host.memory, warning=0, critical=0)", name="critical")
    breaks = collection(OPEN, "1 / 0", name="breaks")
    gone = collection(OPEN, name="gone")
    lines = "".join(f'{name} = "daily 07:30"\n' for name in (well, critical, breaks, gone))
    target = profile(f'host.where = "here"\n[schedule]\n{lines}')
    text = runbook("schedule", "airflow", "--target", target).stdout
    running.file(target).write_text(text.replace("timedelta(minutes=5)", "timedelta(seconds=1)"))
    (Path(os.environ["RUNBOOK_NOTEBOOKS"]) / "1-tests" / f"{gone}.ipynb").unlink()
    dag = f"runbook-{target}-daily-0730"
    ended = running.test(dag)
    assert running.tasks(dag) == {
        well: ("success", 1), critical: ("success", 1), breaks: ("failed", 3), gone: ("failed", 1),
        "verdicts": ("failed", 1),
    }, ended.stdout + ended.stderr  # fmt: skip
    told = running.told(dag)
    assert (told[well]["verdict"], told[critical]["verdict"]) == ("WARNING", "CRITICAL")
    # Of one that failed there is evidence as well: that of its last try.
    tries = sorted((archive / "runs").glob("*/*_breaks_*"), key=lambda folder: folder.name)
    assert len(tries) == 3 and told[breaks]["verdict"] == "FAILED"
    assert told[breaks]["evidence"] in {(folder / "report.html").as_uri() for folder in tries}
    assert told[breaks]["run_id"][:20] == tries[-1].name[:20]
    assert ended.returncode == 1 and "nothing was run: unknown notebook 'gone'" in ended.stdout + ended.stderr
    assert "the run failed: a cell raised ZeroDivisionError" in ended.stdout + ended.stderr
    assert "breaks is FAILED; critical is CRITICAL; gone is FAILED" in ended.stdout + ended.stderr


def test_airflow_loads_three_dags_with_deadlines_and_makes_up_for_no_more_than_one_run(
    running: Airflow, runbook: Call, profile: Write
) -> None:
    target = profile("deadlines.run = 250\n", "loaded")
    how = ["--timezone", "Europe/Vienna", "--output", str(running.file(target))]
    assert runbook("schedule", "airflow", "--target", target, *how).returncode == 0
    now = datetime.now(UTC)
    asleep_since = now - timedelta(days=400)
    ended = running("-c", LOAD, str(running.file(target)), asleep_since.isoformat())
    assert ended.returncode == 0, ended.stderr
    loaded = json.loads(ended.stdout.splitlines()[-1])
    assert loaded["errors"] == {}
    assert set(loaded["dags"]) == {f"runbook-{target}-{period}" for period in ("daily", "weekly", "monthly")}
    for name, dag in loaded["dags"].items():
        assert (dag["catchup"], dag["zone"], dag["at_once"]) == (False, "Europe/Vienna", 1), name
        missed, following = (datetime.fromisoformat(one) for one in dag["next"])
        assert missed <= now < following
        tasks = dag["tasks"]
        assert tasks.pop("verdicts") == {"retries": 0, "seconds": None, "after": sorted(tasks)}
        assert all(task == {"retries": 2, "seconds": 370.0, "after": []} for task in tasks.values())
    assert set(loaded["dags"][f"runbook-{target}-daily"]["tasks"]) == DAILY

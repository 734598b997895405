"""The collection's own rules, held: anatomy of notebooks, links, metadata, stored outputs, types, lint, imports."""

import json
import re
import signal
import statistics
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import papermill
import pytest

from runbook.connections import KINDS
from runbook.kernels.questions import all_questions
from runbook.model.collection import Notebook, all_notebooks
from runbook.model.protocol import FINDINGS_MIME
from runbook.runner.parameters import declared

ROOT = Path(__file__).parent.parent
NOTEBOOKS = all_notebooks()
each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=[notebook.name for notebook in NOTEBOOKS])


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def code_cells(notebook: Notebook) -> list[dict[str, Any]]:
    return [cell for cell in notebook.document["cells"] if cell["cell_type"] == "code"]


def code_lines(cell: dict[str, Any]) -> int:
    return len([line for line in source(cell).splitlines() if line.strip() and not line.lstrip().startswith("#")])


def tagged_parameters(cell: dict[str, Any]) -> bool:
    return "parameters" in cell["metadata"].get("tags", [])


def test_the_top_level_holds_just_what_it_should() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    top = {path.split("/")[0] for path in tracked if not path.startswith(".")}
    if not tracked:
        pytest.skip("not a git checkout")
    assert top == {"notebooks", "lib", "tests", "environment.yml", "README.md"}


@each_notebook
def test_a_notebook_has_the_anatomy(notebook: Notebook) -> None:
    cells = notebook.document["cells"]
    title, parameters, _, opening = cells[:4]
    assert source(title).startswith("# ")
    for word in ("**Impact**", "**Safe to run**", "**Typical duration**", "**Alerts that lead here**"):
        assert word in source(title)
    assert tagged_parameters(parameters) and sum(map(tagged_parameters, code_cells(notebook))) == 1
    assert "open_run(" in source(opening) and source(opening).splitlines()[-1] == "run"
    assert source(code_cells(notebook)[-1]) == "run.summary()"
    texts = [source(cell) for cell in cells if cell["cell_type"] == "markdown"]
    assert any("## What to do" in text for text in texts) and "## Related" in texts[-1]


@each_notebook
def test_each_answer_stands_below_its_question_and_pass_criterion(notebook: Notebook) -> None:
    cells = notebook.document["cells"]
    asked = [index for index, cell in enumerate(cells) if "run.ask(" in source(cell) and cell["cell_type"] == "code"]
    assert asked
    for index in asked:
        before = cells[index - 1]
        assert before["cell_type"] == "markdown" and "?" in source(before) and "Healthy:" in source(before)


@each_notebook
def test_code_cells_are_small_and_plain(notebook: Notebook) -> None:
    lengths = [code_lines(cell) for cell in code_cells(notebook) if not tagged_parameters(cell)]
    assert max(lengths) <= 8 and statistics.median(lengths) <= 2
    for cell in code_cells(notebook):
        assert not re.search(r"^\s*(def|class|try|with|for|while|import os|import sys)\b", source(cell), re.MULTILINE)


@each_notebook
def test_parameters_are_explained_and_hold_no_secret(notebook: Notebook) -> None:
    parameters = declared(notebook)
    assert parameters["target"].default == "sandbox" and parameters["incident"].default == ""
    assert all(parameter.says for parameter in parameters.values())
    assert not [name for name in parameters if re.search("password|secret|token|key", name)]


@each_notebook
def test_papermill_reads_every_parameter_as_well(notebook: Notebook) -> None:
    assert set(papermill.inspect_notebook(str(notebook.path))) == set(declared(notebook))


@each_notebook
def test_metadata_agree_with_the_notebook(notebook: Notebook) -> None:
    told = notebook.metadata
    assert told.title.endswith("?") and told.symptoms
    read_only = "read-only" in source(notebook.document["cells"][0])
    assert read_only is (told.changes == "none")
    assert ("confirm" in declared(notebook)) is (told.changes == "plans")


@each_notebook
def test_links_resolve(notebook: Notebook) -> None:
    texts = [source(cell) for cell in notebook.document["cells"] if cell["cell_type"] == "markdown"]
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", "".join(texts))
    assert links and all((notebook.path.parent / link).exists() for link in links)


@each_notebook
def test_a_notebook_declares_what_its_questions_need(notebook: Notebook) -> None:
    code = "\n".join(map(source, code_cells(notebook)))
    questions = {question.name: question for question in all_questions()}
    asked = re.findall(r"run\.ask\((\w+)\.(\w+)", code)
    needed = {kind.name for package, name in asked for kind in questions[f"{package}.{name}"].needs}
    listed = re.search(r"needs = (\[.*?\])", code, re.DOTALL)
    assert listed and set(json.loads(listed[1])) == needed
    assert needed <= set(KINDS)


@each_notebook
def test_a_notebook_changes_something_by_a_plan_and_its_token_only(notebook: Notebook) -> None:
    cells = [source(cell) for cell in code_cells(notebook)]
    planned = [name for cell in cells for name in re.findall(r"^(\w+) = run\.propose\(", cell, re.MULTILINE)]
    applied = [cell for cell in cells if "run.apply(" in cell]
    assert applied == [f"run.apply({name}, confirm)" for name in planned]
    assert bool(planned) == (notebook.metadata.changes == "plans") == ("confirm" in declared(notebook))
    assert not planned or declared(notebook)["confirm"].default == ""


@each_notebook
def test_stored_outputs_are_those_of_a_healthy_run_in_order(notebook: Notebook) -> None:
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] in ("error", "stream")]
    told = [finding for output in outputs for finding in output["data"].get(FINDINGS_MIME, {}).get("findings", [])]
    statuses = {finding["status"] for finding in told if not finding.get("acknowledged")}
    assert statuses <= {"OK", "SKIPPED"} and statuses
    assert any("verdict: OK" in "".join(o["data"]["text/plain"]) for o in outputs)


@each_notebook
def test_a_notebook_holds_no_machines_path_and_no_secret(notebook: Notebook) -> None:
    # The letters of a picture are any letters, also those that a token begins with.
    text = re.sub(r'"image/png": "[^"]*"', "", notebook.path.read_text())
    assert not re.search(r"/(work|root|home|tmp|Users|var/folders)/", text)
    assert not re.search(r"eyJ[A-Za-z0-9_-]{20,}|SCRAM-SHA-256\$|BEGIN [A-Z ]*PRIVATE KEY|password=\S", text)
    assert not re.search(r"[A-Za-z]+://[^/\s\"]*:[^/\s\"@]+@", text)


@each_notebook
def test_numbers_in_prose_are_the_thresholds(notebook: Notebook) -> None:
    prose = " ".join(source(cell) for cell in notebook.document["cells"] if cell["cell_type"] == "markdown")
    prose = re.sub(r"\s+", " ", prose)
    questions = {question.name: question.thresholds for question in all_questions()}
    code = "\n".join(map(source, code_cells(notebook)))
    told = {
        "api.user_request": ("within {:g} s", lambda t: t["warning_ms"] / 1000),
        "postgres.connection_slots": ("at most {:g}% of the usable ones", lambda t: t["warning"]),
        "postgres.replication": ("no more than {:g} s and", lambda t: t["warning"]),
        "postgres.standby_state": ("no more than {:g} s behind", lambda t: t["warning"]),
        "postgres.replication_slots": ("holds no more than {:g} MiB", lambda t: t["warning_mib"]),
        "postgres.wal": ("at most {:g} times `max_wal_size`", lambda t: t["warning"]),
        "postgres.archiving": ("no failure within {:g} h", lambda t: t["hours"]),
        "postgres.server_state": ("supported for {:g} days", lambda t: t["days"]),
        "postgres.longest_transaction": ("older than {:g} minutes", lambda t: t["warning"] / 60),
        "postgres.blocking": ("for more than {:g} s", lambda t: t["warning"]),
        "postgres.connections": ("more than {:g}% of the usable slots", lambda t: t["share_warning"]),
        "postgres.connection_growth": ("run out within {:g} min", lambda t: t["minutes"]),
        "postgres.pool": ("is at most {:g}% of the", lambda t: t["warning"]),
        "postgres.xmin_horizon": ("more than {:,.0f} transactions back", lambda t: t["warning"]),
        "postgres.autovacuum": ("more than {:,.0f} dead rows", lambda t: t["rows"]),
        "postgres.wraparound": ("older than {:,.0f} transaction ids", lambda t: t["warning"]),
        "postgres.bloat": ("at most {:g}% of any index above", lambda t: t["percent"]),
        "postgres.sequences": ("at most {:g}% of what the *column* holds", lambda t: t["warning"]),
        "redis.reachable": ("within {:g} ms", lambda t: t["warning_ms"]),
        "redis.memory": ("at most {:g}% of `maxmemory`", lambda t: t["warning"]),
        "queue.size": ("no more than {:g}", lambda t: t["warning"]),
        "queue.oldest_item": ("no more than {:g} h", lambda t: t["warning_hours"]),
        "queue.composition": ("no more than {:g} items of priority CRITICAL", lambda t: t["warning"]),
        "queue.compared": ("but for {:g} that came or went", lambda t: t["apart"]),
        "queue.flow": ("drained within {:g} h at the pace", lambda t: t["warning_hours"]),
        "queue.annotators": ("somebody did within {:g} h while items wait", lambda t: t["warning_hours"]),
        "api.rate_limits": ("at most {:g}% of the requests", lambda t: t["warning"]),
        "host.disk": ("at most {:g}% of the space", lambda t: t["warning"]),
        "host.memory": ("at most {:g}% is in use", lambda t: t["warning"]),
        "host.load": ("at most {:g} for each processor", lambda t: t["warning"]),
        "logs.coverage": ("at most {:g}% of the lines are malformed", lambda t: t["warning"]),
        "logs.errors": ("no more than {:g} an hour", lambda t: t["warning"]),
        "logs.unusual_messages": ("less than {:g} times its present rate", lambda t: t["times"]),
        "logs.timeline": ("no more than {:g} errors in any minute", lambda t: t["warning"]),
        "logs.server_errors": ("at most {:g}% of all", lambda t: t["warning"]),
        "logs.authentication": ("no more than {:g} an hour", lambda t: t["warning"]),
        "logs.rate_limited": ("at most {:g}% were answered 429", lambda t: t["warning"]),
        "logs.durations": ("at most {:g} ms", lambda t: t["warning_ms"]),
        "logs.failed_logins": ("no more than {:g} failed logins of one user", lambda t: t["warning"]),
        "logs.postgres_log": ("no more than {:g} FATAL", lambda t: t["warning"]),
        "logs.redis_log": ("no more than {:g} warnings", lambda t: t["warning"]),
        "logs.compared": ("is {:g} times what it was", lambda t: t["times"]),
        "logs.recent": ("no more than {:g} errors a minute", lambda t: t["warning"]),
        "postgres.administrators": ("within {:g} days", lambda t: t["days"]),
        "api.error_rate": ("more than {:g}% is a P1", lambda t: t["critical"]),
        "clock.offsets": ("within {:g} s", lambda t: t["warning"]),
        "docker.containers": ("{:g} restarts, the last within 10 min", lambda t: t["restarts"]),
        "docker.events": ("more than {:g} times a day", lambda t: t["deaths"]),
        "docker.sizing": ("its peak fits into it {:g} times", lambda t: t["least"]),
        "postgres.slow_queries_now": ("takes {:g} ms on average", lambda t: t["mean_ms"]),
        "postgres.slow_queries": ("after {:g} calls or more", lambda t: t["calls"]),
        "postgres.regressions": ("is {:g} times as slow", lambda t: t["times"]),
        "postgres.explain": ("no table of {:.0f} rows", lambda t: t["rows"]),
        "postgres.missing_indexes": ("at least {:g}% of its scans", lambda t: t["index_share"]),
        "postgres.unused_indexes": ("in less than {:g} days", lambda t: t["days"]),
        "communication.incident": ("within {:g} minutes for a P1", lambda t: t["p1"]),
        "communication.updates": ("every {:g} minutes for a P1", lambda t: t["p1"]),
        "prometheus.scraping": ("for more than {:g} min", lambda t: t["gap_minutes"]),
        "prometheus.request_rate": ("less than {:g}% of the requests", lambda t: t["gone"]),
        "prometheus.response_time": ("at most {:g} s for 95 of 100", lambda t: t["warning_ms"] / 1000),
        "prometheus.error_share": ("at most {:g}% are 5xx", lambda t: t["warning"]),
        "prometheus.login_success": ("at least {:g}% of the log-ins", lambda t: t["least"]),
        "prometheus.processors": ("at most {:g}% busy", lambda t: t["warning"]),
        "prometheus.memory": ("at most {:g}% of it is in use", lambda t: t["warning"]),
        "prometheus.disks": ("at most {:g}% of each file system", lambda t: t["warning"]),
        "prometheus.network": ("less than {:g} times what went", lambda t: t["times"]),
        "prometheus.queue": ("no more than {:g} items", lambda t: t["warning"]),
        "prometheus.model_time": ("less than {:g} times as long", lambda t: t["times"]),
        "prometheus.database_time": ("less than {:g} times as much", lambda t: t["times"]),
        "queue.processing_time": ("less than {:g} times that of the seven days", lambda t: t["times"]),
        "prometheus.errors_by_path": ("with more than {:g}% of its requests", lambda t: t["warning"]),
        "prometheus.errors_since": ("more than {:g}% fail since then", lambda t: t["critical"]),
        "happened.around": ("nothing within {:g} min before", lambda t: t["minutes"]),
        "llm.reachable": ("lists its models within {:g} s", lambda t: t["warning_ms"] / 1000),
        "prometheus.alert_history": ("({:g} times or more it came back", lambda t: t["flaps"]),
        "prometheus.alerts_arrive": ("is there after {:g} minutes", lambda t: t["minutes"]),
        "prometheus.silences": ("ends within {:g} days", lambda t: t["days"]),
        "api.security_headers": ("for at least {:g} days", lambda t: t["hsts_days"]),
        "docker.image_age": ("at most {:g} days old", lambda t: t["warning"]),
        "advisories.database": ("was changed within {:g} days", lambda t: t["warning"]),
        "integrity.baseline": ("no more than {:g} days old", lambda t: t["days"]),
        "certificates.expiry": ("at least {:g} days are left", lambda t: t["warning"]),
        "certificates.strength": ("RSA of {:g} bits", lambda t: t["rsa_bits"]),
        "certificates.renewal": ("for more than {:g} day", lambda t: t["patience"]),
        "users.accounts": ("has stayed away for {:g} days", lambda t: t["days"]),
        "docker.resources": ("at most {:g}% of each one's own limit", lambda t: t["warning"]),
        "memory.waiting": ("at most {:g}% of the last minute", lambda t: t["warning"]),
        "memory.kills": ("nothing within the last {:g} h", lambda t: t["hours"]),
        "memory.containers": ("uses at most {:g}% of it, without what the kernel", lambda t: t["warning"]),
        "memory.processes": ("at most {:g}% of the open files that it may have", lambda t: t["warning"]),
        "memory.growth_now": ("reach its limit within {:g} h", lambda t: t["hours"]),
        "memory.growth": ("by less than {:g} MiB in this time", lambda t: t["least_mib"]),
        "memory.python": ("at most {:g}% of its open files", lambda t: t["warning"]),
        "reports.course": ("of less than {:g} days", lambda t: t["least_days"]),
        "reports.regressions": ("nothing by {:g}% or more", lambda t: t["percent"]),
        "reports.objectives": ("Healthy: {:g}% of the requests", lambda t: t["availability"]),
        "reports.archived": ("was bad on {:g} days or more", lambda t: t["least_days"]),
        "reports.measured": ("rose for good by {:g}% or more", lambda t: t["percent"]),
        "prometheus.endpoint_times": ("at most {:g} ms for 95 of 100", lambda t: t["warning_ms"]),
        "performance.load": ("p99 within {:g} ms at the lowest rate", lambda t: t["warning_ms"]),
        "performance.views": ("within {:g} times", lambda t: t["times"]),
        "performance.profile": ("less than {:g}% of the time", lambda t: t["busy"]),
        "performance.time_spent": ("at most {:g} ms", lambda t: t["slow_ms"]),
        "performance.compared": ("less than {:g} times what it was", lambda t: t["times"]),
        "kubernetes.pods": ("{:g} restarts, the last within 10 min", lambda t: t["restarts"]),
        "kubernetes.top": ("at most {:g}% of each pod's limit", lambda t: t["warning"]),
        "kubernetes.bounds": ("takes at most {:g}% of the upper bound", lambda t: t["warning"]),
        "reports.growth": ("is full within {:g} days", lambda t: t["warning_days"]),
    }
    asked = [f"{package}.{name}" for package, name in re.findall(r"run\.ask\((\w+)\.(\w+)", code)]
    for name in asked:
        if name in told:
            phrase, value = told[name]
            assert phrase.format(value(questions[name])) in prose, name


def test_the_readmes_table_is_made_from_the_metadata() -> None:
    rows = []
    for notebook in NOTEBOOKS:
        told = notebook.metadata
        link = f"[{notebook.name}](notebooks/{notebook.section}/{notebook.name}.ipynb)"
        when = told.schedule or "on demand"
        rows.append(f"| {notebook.section} | {link} | {told.title} | {told.severity} | {when} | {told.changes} |")
    table = (ROOT / "README.md").read_text().split("<!-- notebooks:")[1].split("<!-- /notebooks -->")[0]
    assert table.strip().splitlines()[3:] == rows


def test_the_readme_opens_with_the_two_commands() -> None:
    code = (ROOT / "README.md").read_text().split("```")[1]
    assert re.findall(r"^python3 lib \w+", code, re.MULTILINE) == ["python3 lib demo", "python3 lib test"]


def test_every_command_is_in_the_readme() -> None:
    ended = subprocess.run([sys.executable, "-m", "runbook", "--help"], capture_output=True, text=True)
    commands = re.findall(r"^ {4}(\w+) ", ended.stdout, re.MULTILINE)
    readme = (ROOT / "README.md").read_text()
    assert len(commands) >= 6 and not [command for command in commands if f"`{command}" not in readme]


def test_links_of_the_readme_resolve() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", (ROOT / "README.md").read_text())
    assert links and all((ROOT / link).exists() for link in links)


def test_sql_stands_in_files_and_says_what_it_answers() -> None:
    files = list((ROOT / "lib" / "runbook").rglob("*.sql"))
    assert len(files) >= 6
    for path in files:
        first = path.read_text().splitlines()[0]
        assert first.startswith("-- ") and "?" in first, path


@pytest.mark.parametrize(
    "argv",
    [
        ["ruff", "check", "--config", "lib/pyproject.toml", "lib", "tests"],
        ["ruff", "format", "--check", "--config", "lib/pyproject.toml", "lib", "tests"],
    ],
    ids=["lint", "format"],
)
def test_ruff_is_clean(argv: list[str]) -> None:
    ended = subprocess.run([sys.executable, "-m", *argv], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.slow
def test_types_are_checked_strictly() -> None:
    argv = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--cache-dir", "/dev/null"]
    ended = subprocess.run(argv, cwd=ROOT / "lib", capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout


def test_imports_go_one_way() -> None:
    argv = [str(Path(sys.executable).parent / "lint-imports"), "--config", "pyproject.toml", "--no-cache"]
    ended = subprocess.run(argv, cwd=ROOT / "lib", capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout


def test_no_file_names_a_machines_path_or_a_package_registrys_host() -> None:
    hosts = "|".join(["pypi" + r"\.org", "pythonhosted" + r"\.org", "registry" + r"\.npmjs"])
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    for path in (ROOT / name for name in tracked):
        text = path.read_text(errors="replace") if path.exists() else ""
        assert not re.search(rf"{hosts}|/(work|root)/", text.replace("(work|root", "")), path


def test_tests_and_benchmarks_that_are_told_to_end_take_their_sandboxes_down_as_after_ctrl_c() -> None:
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("only the main thread may handle signals")
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)

"""Runs of notebooks from the command line: verdicts, honest failures, what is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import nbformat
import pytest
from running import OPEN, by_check, decoded, only, processes_of, text_of, wait_for

from runbook.model import Status
from runbook.model.protocol import RunRecord
from runbook_sandbox import faults
from runbook_sandbox.place import Place

NOTEBOOK = "morning-health-check"


@pytest.fixture
def broken(breakable: Place) -> Iterator[Callable[[str], Place]]:
    """Break the module's own sandbox in one way, and heal it after the test."""

    def apply(name: str) -> Place:
        faults.break_sandbox(breakable, name)
        return breakable

    yield apply
    faults.heal(breakable)


# --- verdicts


def test_a_healthy_sandbox_is_ok_and_nothing_but_ok_or_skipped(run_json: Callable[..., Any], archive: Path) -> None:
    status, document = run_json(NOTEBOOK)
    record = only(document)
    assert (status, record.exit, record.status, record.error) == (0, 0, "OK", None)
    assert {finding.status for finding in record.findings} <= {Status.OK, Status.SKIPPED}
    assert len(record.findings) > 20
    assert all(finding.source for finding in record.findings)


@pytest.mark.parametrize(
    ("fault", "check", "word"),
    [
        ("postgres-down", "postgres.reachable", "PostgreSQL"),
        ("redis-down", "redis.reachable", "Redis"),
        ("api-down", "api.liveness", "refuses connections"),
        ("slots-full", "postgres.reachable", "no connection slot left"),
        ("breaker-open", "api.circuit_breakers", "open"),
        ("alert-active", "api.active_alerts", "CPU usage"),
        ("queue-stuck", "queue.oldest_item", "waits for"),
        ("disk-full", "host.disk", "used"),
        ("redis-full", "redis.memory", "MiB"),
    ],
)
def test_a_fault_is_named_and_critical(
    fault: str, check: str, word: str, broken: Callable[[str], Place], run_json: Callable[..., Any], archive: Path
) -> None:
    broken(fault)
    status, document = run_json(NOTEBOOK, "--target", "breakable")
    record = only(document)
    assert (status, record.status) == (2, "CRITICAL")
    named = [finding for finding in record.findings if finding.check == check and finding.status is Status.CRITICAL]
    assert named and word in named[0].message
    assert not named[0].explained_by, "the cause itself is not explained away"


def test_with_postgres_stopped_health_still_says_healthy_and_is_not_believed(
    broken: Callable[[str], Place], run_json: Callable[..., Any], archive: Path
) -> None:
    broken("postgres-down")
    status, document = run_json(NOTEBOOK, "--target", "breakable")
    found = by_check(only(document))
    assert status == 2
    assert found["api.liveness"].status is Status.OK
    assert found["api.user_request"].explained_by == "postgres.reachable"


def test_with_redis_stopped_the_500s_are_explained_by_it(
    broken: Callable[[str], Place], run_json: Callable[..., Any], archive: Path
) -> None:
    broken("redis-down")
    found = by_check(only(run_json(NOTEBOOK, "--target", "breakable")[1]))
    assert "500" in found["api.liveness"].message
    assert found["api.liveness"].explained_by == "redis.reachable"
    assert "Redis" in found["api.user_request"].next


def test_a_full_redis_explains_the_500s(
    broken: Callable[[str], Place], run_json: Callable[..., Any], archive: Path
) -> None:
    broken("redis-full")
    found = by_check(only(run_json(NOTEBOOK, "--target", "breakable")[1]))
    assert "500" in found["api.user_request"].message
    assert found["api.user_request"].explained_by == found["api.liveness"].explained_by == "redis.memory"


def test_a_measured_fault_is_not_hidden_behind_an_outage_that_has_nothing_to_do_with_it(
    breakable: Place, runbook: Callable[..., Any], archive: Path
) -> None:
    for fault in ("breaker-open", "alert-active", "postgres-down"):
        faults.break_sandbox(breakable, fault)
    try:
        shown = runbook("run", NOTEBOOK, "--target", "breakable").stdout.split("evidence:")[0].split("┘")[1]
    finally:
        faults.heal(breakable)
    (record,) = archive.rglob("run.json")
    found = by_check(msgspec.json.decode(record.read_bytes(), type=RunRecord))
    assert not found["api.circuit_breakers"].explained_by and not found["api.active_alerts"].explained_by
    assert found["postgres.connection_slots"].explained_by == "postgres.reachable"
    assert "ollama_api: open" in shown and "CPU usage" in shown


def test_an_api_that_is_slow_is_a_warning(
    broken: Callable[[str], Place], collection: Callable[..., str], run_json: Callable[..., Any], archive: Path
) -> None:
    broken("api-slow")
    opened = 'from runbook import api, open_run\nrun = open_run("probe", target=target, needs=["api"])\nrun'
    status, document = run_json(collection(opened, "run.ask(api.user_request)"), "--target", "breakable")
    assert by_check(only(document))["api.user_request"].status is Status.WARNING
    assert status == 1


def test_three_hanging_dependencies_cost_one_deadline_and_are_all_named(
    breakable: Place, run_json: Callable[..., Any], archive: Path
) -> None:
    for fault in ("postgres-hangs", "redis-hangs", "api-hangs"):
        faults.break_sandbox(breakable, fault)
    try:
        began = time.monotonic()
        status, document = run_json(NOTEBOOK, "--target", "breakable")
        seconds = time.monotonic() - began
    finally:
        faults.heal(breakable)
    record = only(document)
    assert status == 2
    for check in ("postgres.reachable", "redis.reachable", "api.liveness"):
        assert by_check(record)[check].status is Status.CRITICAL
        assert "no answer within 3 s" in by_check(record)[check].message
    # The longest single deadline is that of the user's request.
    assert seconds < 10 + 2


def test_an_acknowledged_finding_is_shown_and_not_counted(
    breakable: Place,
    collection: Callable[..., str],
    profile: Callable[..., str],
    run_json: Callable[..., Any],
    archive: Path,
) -> None:
    text = Path(json.loads((breakable.folder / "state.json").read_text())["target"]).read_text()
    entry = '\n[[acknowledge]]\ncheck = "queue.size"\nreason = "OPS-1"\nuntil = {}\n'
    entry += '[thresholds."queue.size"]\nwarning = 1\n'
    profile(text + entry.format("2999-01-01"), "accepted")
    profile(text + entry.format("2020-01-01"), "expired")
    opened = (
        'from runbook import open_run, queue\nrun = open_run("probe", target=target, needs=["api", "postgres"])\nrun'
    )
    notebook = collection(opened, "run.ask(queue.size)", "run.ask(queue.oldest_item)")
    status, document = run_json(notebook, "--target", "accepted", "--target", "expired")
    accepted, expired = document.runs
    assert (accepted.status, expired.status, status) == ("OK", "WARNING", 1)
    assert by_check(accepted)["queue.size"].acknowledged.reason == "OPS-1"


# --- usage


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["morning-helth-check"], "did you mean morning-health-check"),
        ([NOTEBOOK, "-p", "tarhet=x"], "no parameter 'tarhet'"),
        ([NOTEBOOK, "-p", "incident"], "NAME=VALUE"),
        ([NOTEBOOK, "-p", "target=x"], "--target"),
        ([NOTEBOOK, "--target", "sandbux"], "Did you mean sandbox?"),
        ([NOTEBOOK, "--deadline", "soon"], "--deadline"),
        ([], "name the notebooks"),
    ],
)
def test_a_wrong_call_ends_with_64_and_starts_nothing(
    arguments: list[str], says: str, runbook: Callable[..., Any], archive: Path
) -> None:
    ended = runbook("run", *arguments)
    assert ended.returncode == 64
    assert says in ended.stderr and len(ended.stderr.splitlines()) == 1
    assert not ended.stdout and not archive.exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[api]\nurl = "http://h"\nurll = "x"\n', "line 3: api.urll: unknown key"),
        ('[postgres]\ndsn = "postgresql://h:port/d"\n', "line 2: postgres.dsn"),
        ('[redis]\nurl = "redis://h"\npassword = "hunter2-secret"\n', "line 3: redis.password"),
        ('[thresholds."queue.siz"]\nwarning = 1\n', "did you mean queue.size?"),
    ],
)
def test_a_profile_with_a_mistake_ends_with_64(
    text: str, says: str, profile: Callable[..., str], runbook: Callable[..., Any], archive: Path
) -> None:
    ended = runbook("run", NOTEBOOK, "--target", profile(text))
    assert ended.returncode == 64
    assert says in ended.stderr
    assert "hunter2" not in ended.stderr and not archive.exists()


def test_a_wrongly_typed_parameter_ends_with_64(
    collection: Callable[..., str], runbook: Callable[..., Any], archive: Path
) -> None:
    name = collection("hours", parameters="hours: int = 24  # how far back")
    ended = runbook("run", name, "-p", "hours=soon")
    assert ended.returncode == 64 and "takes a whole number, not 'soon'" in ended.stderr


def test_text_parameters_are_not_turned_into_numbers(
    collection: Callable[..., str], run_json: Callable[..., Any], archive: Path
) -> None:
    name = collection("print([ticket])", parameters='ticket: str = ""  # any text')
    record = only(run_json(name, "-p", "ticket=0123")[1])
    assert "['0123']" in Path(record.evidence, "notebook.ipynb").read_text()


# --- honest failures


def test_a_killed_kernel_is_70_and_what_was_found_until_then_is_kept(
    collection: Callable[..., str], run_json: Callable[..., Any], archive: Path
) -> None:
    kill = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    name = collection(OPEN, "run.ask(host.memory)", kill, "run.summary()")
    status, document = run_json(name)
    record = only(document)
    assert (status, record.exit, record.status) == (70, 70, "FAILED")
    assert "the kernel died by SIGKILL; it was in code cell 5" in str(record.error)
    assert [finding.check for finding in record.findings] == ["host.memory"]
    states = [cell["metadata"]["papermill"]["status"] for cell in _notebook(record)["cells"]]
    assert states[-1] == "not run"
    assert json.loads(Path(record.evidence, "run.json").read_text())["error"] == record.error


def test_a_finding_survives_a_kernel_that_dies_in_the_same_cell(
    collection: Callable[..., str], run_json: Callable[..., Any], archive: Path
) -> None:
    show_and_die = "import os, signal, time\ndisplay(run.ask(host.memory))\ntime.sleep(0.5)\nos.kill(os.getpid(), 9)"
    record = only(run_json(collection(OPEN, show_and_die))[1])
    assert [finding.check for finding in record.findings] == ["host.memory"]


def test_a_cell_that_raises_is_70_and_says_where(
    collection: Callable[..., str], run_json: Callable[..., Any], archive: Path
) -> None:
    status, document = run_json(collection(OPEN, "run.ask(host.memory)", "1 / 0", "run.summary()"))
    record = only(document)
    assert status == 70
    assert "a cell raised ZeroDivisionError: division by zero; it was in code cell 5" in str(record.error)
    assert len(record.findings) == 1


def test_a_run_without_findings_is_unknown(
    collection: Callable[..., str], run_json: Callable[..., Any], archive: Path
) -> None:
    assert run_json(collection("1 + 1"))[0] == 3


def test_a_collection_in_a_folder_with_any_name_is_run(
    collection: Callable[..., str], run_json: Callable[..., Any], archive: Path, tmp_path: Path
) -> None:
    name = collection(OPEN, "run.ask(host.memory, warning=0, critical=101)")
    strange = tmp_path / 'all\'s 100% "fine" {target} {{ ds }} {0} $HOME'
    (tmp_path / "notebooks").rename(strange)
    status, document = run_json(name, RUNBOOK_NOTEBOOKS=str(strange))
    assert (status, only(document).error) == (1, None)


def test_a_run_beyond_its_deadline_is_70_and_leaves_no_process(
    collection: Callable[..., str], run_json: Callable[..., Any], archive: Path
) -> None:
    child = "import subprocess, time\nsubprocess.Popen(['sleep', '61'], start_new_session=True)\ntime.sleep(60)"
    name = collection(OPEN, "run.ask(host.memory)", child)
    began = time.monotonic()
    status, document = run_json(name, "--deadline", "4")
    assert status == 70 and time.monotonic() - began < 12
    assert "took longer than its deadline of 4 s" in str(only(document).error)
    assert len(only(document).findings) == 1
    assert not processes_of(archive)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_its_evidence_and_leaves_no_process(
    how: signal.Signals, collection: Callable[..., str], archive: Path
) -> None:
    name = collection(OPEN, "run.ask(host.memory)", "import time\ntime.sleep(60)", "run.summary()")
    process = subprocess.Popen(
        [sys.executable, "-m", "runbook", "run", name, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: '"check": "host.memory"' in text_of(archive))
    process.send_signal(how)
    out, _ = process.communicate(timeout=20)
    record = only(decoded(out))
    assert process.returncode == 70
    assert f"interrupted by {how.name}; it was in code cell 5" in str(record.error)
    assert [finding.check for finding in record.findings] == ["host.memory"]
    assert "host.memory" in Path(record.evidence, "notebook.ipynb").read_text()
    assert not processes_of(archive)


def test_a_target_whose_turn_did_not_come_is_in_the_document(
    collection: Callable[..., str], profile: Callable[..., str], archive: Path
) -> None:
    name = collection(OPEN, "run.ask(host.memory)", "import time\ntime.sleep(60)")
    later = profile('[host]\nwhere = "here"\n', "later")
    argv = [
        sys.executable,
        "-m",
        "runbook",
        "run",
        name,
        "--json",
        "--jobs",
        "1",
        "--target",
        "sandbox",
        "--target",
        later,
    ]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: '"check": "host.memory"' in text_of(archive))
    process.send_signal(signal.SIGINT)
    first, second = decoded(process.communicate(timeout=20)[0]).runs
    assert (first.target, second.target) == ("sandbox", "later")
    assert second.error == "not run: interrupted by SIGINT" and process.returncode == 70


def test_a_killed_runner_leaves_a_record_that_says_so_and_no_kernel(
    collection: Callable[..., str], archive: Path
) -> None:
    name = collection(OPEN, "run.ask(host.memory)", "import time\ntime.sleep(60)")
    process = subprocess.Popen([sys.executable, "-m", "runbook", "run", name], stdout=subprocess.DEVNULL)
    wait_for(lambda: '"check": "host.memory"' in text_of(archive))
    process.kill()
    process.wait()
    record = json.loads(next(archive.rglob("run.json")).read_text())
    assert record["status"] == "FAILED" and "did not end" in record["error"]
    wait_for(lambda: not processes_of(archive))


# --- the archive


def test_an_archive_that_cannot_be_written_stops_the_run_before_it_starts(
    run_json: Callable[..., Any], tmp_path: Path
) -> None:
    # A file where the folder should be: root, too, cannot write below it.
    (tmp_path / "file").touch()
    status, document = run_json(NOTEBOOK, RUNBOOK_EVIDENCE=str(tmp_path / "file"))
    record = only(document)
    assert status == 70 and not record.findings
    assert "nothing was run" in str(record.error) and "RUNBOOK_EVIDENCE" in str(record.error)


def test_a_read_only_archive_stops_the_run_before_it_starts(read_only: Path, run_json: Callable[..., Any]) -> None:
    status, document = run_json(NOTEBOOK, RUNBOOK_EVIDENCE=str(read_only))
    record = only(document)
    assert status == 70 and not record.findings
    assert "nothing was run" in str(record.error)


def test_a_cell_that_prints_200_megabytes_is_cut_and_the_run_goes_on(
    collection: Callable[..., str], archive: Path, run_json: Callable[..., Any]
) -> None:
    big = "for _ in range(200): print('a line of ordinary text without any end ' * 25_000)"
    status, document = run_json(collection(big, "print('and further')", OPEN, "run.summary()"))
    assert status != 70, only(document).error
    written = json.loads((Path(only(document).evidence) / "notebook.ipynb").read_text())
    printed = "".join("".join(output["text"]) for output in written["cells"][2]["outputs"])
    assert len(printed) < 6_000_000
    assert "[cut: the cell printed 200.0 MB, of which the first 5 MB are kept]" in printed
    assert "and further" in json.dumps(written["cells"][3]["outputs"])


def test_what_was_written_over_in_a_line_is_shown_as_a_terminal_shows_it(
    collection: Callable[..., str], archive: Path, run_json: Callable[..., Any]
) -> None:
    cell = "import sys, time\nfor n in range(3): sys.stdout.write(f'\\r{n} of 2'); sys.stdout.flush(); time.sleep(0.3)"
    _, document = run_json(collection(cell))
    written = json.loads((Path(only(document).evidence) / "notebook.ipynb").read_text())
    assert "".join(written["cells"][2]["outputs"][0]["text"]) == "2 of 2"


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that cannot be written to: by its mode, and for root, whom no mode stops, by its mount."""
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o500)
    if os.getuid() != 0:
        yield folder
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_archive_fails_the_run_and_the_findings_are_still_told(
    small_disk: Path, run_json: Callable[..., Any]
) -> None:
    (small_disk / "ballast").write_bytes(b"x" * (small_disk.stat().st_blksize * 8))
    status, document = run_json(NOTEBOOK, RUNBOOK_EVIDENCE=str(small_disk))
    record = only(document)
    assert status == 70
    assert "No space left on device" in str(record.error)
    kept = list(small_disk.rglob("notebook.ipynb"))
    assert all(nbformat.read(path, as_version=4) for path in kept), "what is there is whole"
    assert not list(small_disk.rglob(".*.new")), "no half-written file is left"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting a small file system needs root: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_the_archive_holds_notebook_record_and_data(run_json: Callable[..., Any], archive: Path) -> None:
    import pandas as pd

    record = only(run_json(NOTEBOOK)[1])
    folder = Path(record.evidence)
    assert folder.parent.parent == archive / "runs" and folder.name == record.run_id
    assert nbformat.read(folder / "notebook.ipynb", as_version=4).cells
    frames = {path.stem.partition("-")[2]: pd.read_parquet(path) for path in (folder / "data").glob("*.parquet")}
    assert {"postgres.connection_slots", "host.disk", "queue.oldest_item"} <= set(frames)
    assert frames["postgres.connection_slots"]["usable"].iloc[0] > 0
    assert folder.stat().st_mode & 0o077 == 0


# --- secrets


def secret_of(place: Place, name: str) -> str:
    return (place.folder / "secrets" / name).read_text()


ECHOES = {
    "an exception": "raise RuntimeError(f'cannot log in with {word}')",
    "two chunks of a stream": "import sys, time\nfor part in (word[:9], word[9:]):\n"
    "    sys.stdout.write(part)\n    sys.stdout.flush()\n    time.sleep(0.3)\n"
    "    sys.stderr.write('-')\n    sys.stderr.flush()",
    "an HTML table": "from IPython.display import HTML\nHTML(f'<table><td>{word}</td></table>')",
    "JSON in a bundle": "display({'application/json': {'a': [word]}, 'text/plain': ''}, raw=True)",
    "base64": "import base64\nprint(base64.b64encode(b'user:' + word.encode()).decode())",
    "the metadata of an output": "display({'text/plain': ''}, metadata={'note': word}, raw=True)",
}


@pytest.mark.parametrize("where", ECHOES)
def test_a_password_reaches_neither_disk_nor_terminal(
    where: str, sandbox: Place, collection: Callable[..., str], runbook: Callable[..., Any], archive: Path
) -> None:
    word = secret_of(sandbox, "runbook")
    read = f"from pathlib import Path\nword = Path({str(sandbox.folder / 'secrets' / 'runbook')!r}).read_text()"
    ended = runbook("run", collection(read, ECHOES[where]))
    written = text_of(archive)
    assert word not in ended.stdout + ended.stderr + written
    assert word[:12] not in written and word[-12:] not in written
    assert "[redacted" in written


def test_a_password_given_as_a_parameter_is_scrubbed_from_the_injected_cell(
    sandbox: Place, collection: Callable[..., str], runbook: Callable[..., Any], archive: Path
) -> None:
    word = secret_of(sandbox, "redis")
    name = collection("len(note)", parameters='note: str = ""  # any text')
    assert runbook("run", name, "-p", f"note={word}").returncode == 3
    assert word not in text_of(archive) and "[redacted" in text_of(archive)


def test_no_secret_of_the_target_is_in_an_ordinary_run(
    sandbox: Place, runbook: Callable[..., Any], archive: Path
) -> None:
    ended = runbook("run", NOTEBOOK)
    assert ended.returncode == 0
    written = ended.stdout + ended.stderr + text_of(archive)
    assert not [path.name for path in (sandbox.folder / "secrets").iterdir() if path.read_text() in written]


# --- what a person sees


def test_the_terminal_shows_findings_the_verdict_and_where_the_evidence_is(
    runbook: Callable[..., Any], archive: Path
) -> None:
    ended = runbook("run", NOTEBOOK)
    assert ended.returncode == 0
    assert "postgres.reachable: PostgreSQL: SELECT 1" in ended.stdout
    assert str(archive) in ended.stdout and "verdict" in ended.stdout
    assert not ended.stderr


def test_hostile_names_cannot_command_the_terminal(
    collection: Callable[..., str], runbook: Callable[..., Any], archive: Path
) -> None:
    name = collection(OPEN, "raise RuntimeError('\\x1b[2J\\x1b]0;owned\\x07[bold]gone')")
    ended = runbook("run", name)
    assert "\x1b[2J" not in ended.stdout and "\x07" not in ended.stdout
    assert "[bold]gone" in ended.stdout


def test_plain_papermill_runs_the_notebook_from_any_folder(tmp_path: Path) -> None:
    notebook = Path(__file__).parent.parent / "notebooks" / "1-daily-operations" / f"{NOTEBOOK}.ipynb"
    argv = [sys.executable, "-m", "papermill", str(notebook), "out.ipynb", "-p", "target", "sandbox"]
    ended = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "verdict: OK" in (tmp_path / "out.ipynb").read_text()


def test_list_finds_a_notebook_by_symptom(runbook: Callable[..., Any]) -> None:
    assert NOTEBOOK in runbook("list", "slow").stdout
    nothing = runbook("list", "volcano")
    assert nothing.returncode == 1 and "no notebook is found" in nothing.stderr


def _notebook(record: RunRecord) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path(record.evidence, "notebook.ipynb").read_text())
    return document


def test_test_and_lab_hand_every_option_on(runbook: Callable[..., Any]) -> None:
    assert "pytest" in runbook("test", "--version").stdout
    assert runbook("lab", "--version").returncode == 70, "JupyterLab is not in the runner's environment"


def test_a_reader_that_goes_away_ends_neither_the_run_nor_its_verdict(archive: Path) -> None:
    for more in ("", " --json"):
        line = f"{sys.executable} -m runbook run {NOTEBOOK}{more} | head -c 10 >/dev/null; echo ${{PIPESTATUS[0]}}"
        ended = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
        assert ended.stdout == "0\n" and not ended.stderr
    records = [json.loads(path.read_text()) for path in archive.rglob("run.json")]
    assert [record["status"] for record in records] == ["OK", "OK"]


def test_a_full_output_is_70_and_never_taken_for_a_warning(archive: Path) -> None:
    line = f"{sys.executable} -m runbook run {NOTEBOOK} --json >/dev/full"
    ended = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert ended.returncode == 70 and "No space left" in ended.stderr and "Traceback" not in ended.stderr

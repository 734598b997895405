"""The archive by command: what real runs leave, what a person adds, what is told of each."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from running import wait_for

from runbook.model import Finding, Status, UsageError
from runbook.model.protocol import FINDINGS_MIME, Message, RunsDocument, encode
from runbook.runner.adding import add_notebook, read_notebook
from runbook.target import Target
from runbook_sandbox.place import Place

Call = Callable[..., subprocess.CompletedProcess[str]]
NOTEBOOK = "daily-security-checks"


@pytest.fixture(scope="module")
def first(runbook: Call, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the archive of one real run, and the state of who ran it."""
    place = tmp_path_factory.mktemp("first")
    own = {"RUNBOOK_EVIDENCE": str(place / "evidence"), "XDG_STATE_HOME": str(place / "state")}
    runbook("run", NOTEBOOK, "-p", "hours=1", **own)
    return place


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive and keys of this test's own."""
    monkeypatch.setenv("RUNBOOK_EVIDENCE", str(tmp_path / "evidence"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "evidence"


@pytest.fixture
def left(first: Path, own: Path, sandbox: Place) -> Path:
    """The folder of a run that was carried out, in this test's own copy of its archive."""
    for part in ("evidence", "state"):
        shutil.copytree(first / part, own.parent / part)
    (run,) = (own / "runs").glob("*/*")
    return run


def test_a_fresh_archive_verifies_and_one_byte_changed_anywhere_does_not(left: Path, own: Path, runbook: Call) -> None:
    ended = runbook("evidence", "verify")
    assert ended.returncode == 0 and "1 run is what was sealed, in 1 unbroken chain" in ended.stdout, ended.stderr
    rng = random.Random(3)
    files = [path for path in own.rglob("*") if path.is_file() and path.stat().st_size]
    assert {path.name for path in files} >= {
        "notebook.ipynb",
        "run.json",
        "report.html",
        "seal.json",
        "archive.json",
        "index.html",
    }
    for path in files:
        content = path.read_bytes()
        place = rng.randrange(len(content))
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :])
        ended = runbook("evidence", "verify")
        assert ended.returncode == 1 and path.name in ended.stderr + ended.stdout, (path, ended.stdout, ended.stderr)
        path.write_bytes(content)
    assert runbook("evidence", "verify").returncode == 0


def test_the_seal_says_what_the_run_was(left: Path, runbook: Call) -> None:
    import base64

    told = json.loads(base64.b64decode(json.loads((left / "seal.json").read_text())["payload"]))["predicate"]
    assert told["run_id"] == left.name and told["parameters"] == {"target": "sandbox", "hours": 1.0}
    assert told["identity"]["postgres"]["system"].isdigit() and told["identity"]["logs"]["where"]
    assert told["clock_offsets"]["postgres"] == 0.0
    assert told["notebook"]["name"] == f"{NOTEBOOK}.ipynb" and told["versions"]["papermill"]
    shown = runbook("evidence", "show", left.name[-6:])
    assert shown.returncode == 0 and "and is what was sealed" in shown.stdout and "suspicious" in shown.stdout


def test_runs_are_listed_compared_and_headed(
    left: Path, run_json: Callable[..., tuple[int, RunsDocument]], runbook: Call
) -> None:
    _, document = run_json(NOTEBOOK, "-p", "hours=2")
    other = document.runs[0].run_id
    listed = runbook("evidence", "list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [other, left.name]
    assert runbook("evidence", "list", "--status", "critical", "--notebook", "log-review").stdout == "no such run\n"
    compared = runbook("evidence", "diff", left.name, other)
    assert "parameter hours: 1.0 -> 2.0" in compared.stdout, compared
    head = runbook("evidence", "head").stdout
    assert runbook("evidence", "verify", "--head", head).returncode == 0
    assert runbook("evidence", "verify", other).returncode == 0
    unknown = runbook("evidence", "show", "run_x")
    assert unknown.returncode == 64 and "holds no run 'run_x'" in unknown.stderr


def test_who_has_only_the_public_key_verifies_an_archive_that_was_sent(
    left: Path, own: Path, tmp_path: Path, runbook: Call
) -> None:
    (tmp_path / "their.pub").write_text(runbook("evidence", "key").stdout)
    elsewhere = {"XDG_STATE_HOME": str(tmp_path / "elsewhere"), "RUNBOOK_EVIDENCE": str(tmp_path / "none")}
    ended = runbook("evidence", "verify", str(own), "--key", str(tmp_path / "their.pub"), **elsewhere)
    assert ended.returncode == 0, ended.stderr
    ended = runbook("evidence", "verify", str(own), **elsewhere)
    assert ended.returncode == 64 and "no public key" in ended.stderr
    runbook("evidence", "key", **elsewhere)
    ended = runbook("evidence", "verify", str(own), **elsewhere)
    assert ended.returncode == 1 and "a key that is not trusted here" in ended.stderr


def test_a_runner_that_was_killed_leaves_an_archive_that_verifies(left: Path, runbook: Call) -> None:
    runs = left.parent
    for killed in range(1, 4):
        there = len(list(runs.iterdir()))
        runner = subprocess.Popen(
            [sys.executable, "-m", "runbook", "run", NOTEBOOK], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(lambda there=there: len(list(runs.iterdir())) > there)  # type: ignore[misc]
        runner.kill()
        runner.wait()
        ended = runbook("evidence", "verify")
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count("interrupted: run_") == killed
    assert "what it holds proves nothing" in ended.stdout


def by_hand(left: Path, tmp_path: Path, change: Callable[[list[dict[str, Any]]], None]) -> str:
    """Write a notebook as a person left it: that of a run, its code cells changed."""
    document = json.loads((left / "notebook.ipynb").read_text())
    change([cell for cell in document["cells"] if cell["cell_type"] == "code"])
    document["cells"].append({"cell_type": "markdown", "metadata": {}, "source": "My note: it was the disk."})
    path = tmp_path / f"{NOTEBOOK}.ipynb"
    path.write_text(json.dumps(document))
    return str(path)


def out_of_order(cells: list[dict[str, Any]]) -> None:
    cells[3]["execution_count"], cells[4]["execution_count"] = cells[4]["execution_count"], cells[3]["execution_count"]


def edited(cells: list[dict[str, Any]]) -> None:
    cells[3]["source"] = "run.ask(logs.suspicious_requests, warning=9999)"


def never_run(cells: list[dict[str, Any]]) -> None:
    cells[3]["execution_count"], cells[3]["outputs"] = None, []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda cells: None, ""),
        (out_of_order, "out of order: code cell 5 was run before the one above it"),
        (edited, "changed after it was run: code cell 4; its output is that of another source"),
        (never_run, "never run: code cell 4 of"),
    ],
)
def test_what_was_run_by_hand_is_added_as_such(
    left: Path, tmp_path: Path, runbook: Call, change: Callable[[list[dict[str, Any]]], None], told: str
) -> None:
    ended = runbook("evidence", "add", by_hand(left, tmp_path, change))
    assert ended.returncode == 0, ended.stderr
    assert told in ended.stdout and "told as interactive" in ended.stdout
    run_id = ended.stdout.split(":")[0]
    folder = left.parent / run_id
    assert "My note: it was the disk." in (folder / "notebook.ipynb").read_text()
    record = json.loads((folder / "run.json").read_text())
    assert record["mode"] == "interactive" and record["findings"]
    assert bool(record["remarks"]) == bool(told)
    assert runbook("evidence", "verify").returncode == 0


def test_what_is_no_notebook_is_not_added(own: Path, tmp_path: Path, runbook: Call) -> None:
    (tmp_path / "x.ipynb").write_text("{}")
    for file, why in (("x.ipynb", "it has no list of cells"), ("none.ipynb", "cannot be read: No such file")):
        ended = runbook("evidence", "add", str(tmp_path / file))
        assert ended.returncode == 64 and why in ended.stderr


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        (1, "Expected `object`, got `int`"),
        ({"cell_type": "code"}, "missing required field `source`"),
        ({"cell_type": "code", "source": "x", "outputs": [{"data": ["x"]}]}, "got `array`"),
        ({"cell_type": "code", "source": "x", "execution_count": "7"}, "got `str`"),
        ({"cell_type": "code", "source": "x", "metadata": {"tags": [["x"]]}}, "got `array`"),
    ],
)
def test_cells_of_another_shape_are_refused_with_their_place(cell: Any, why: str, tmp_path: Path) -> None:
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps({"cells": [cell]}))
    with pytest.raises(UsageError, match=f"is no notebook: .*{why}.* at `\\$\\[0\\]"):
        read_notebook(path)


def told(kind: Any, second: int, status: Status) -> dict[str, Any]:
    """Return a code cell that told this at a second of the hour."""
    message = Message(
        kind=kind, run_id="run_20260101T120000Z_api-down_abcdef", check="api.liveness", seconds=1.0,
        asked_at=datetime(2026, 1, 1, 12, 0, second, tzinfo=UTC),
        findings=[Finding(check="api.liveness", object="service", status=status, message="m")],
    )  # fmt: skip
    outputs = [{"output_type": "execute_result", "data": {FINDINGS_MIME: encode(message)}, "metadata": {}}]
    return {"cell_type": "code", "source": "x", "metadata": {}, "execution_count": second, "outputs": outputs}


def test_what_was_asked_again_after_the_summary_counts_wherever_its_cell_stands(own: Path, tmp_path: Path) -> None:
    cells = [told("answer", 50, Status.CRITICAL), told("summary", 40, Status.OK)]
    document, path = {"cells": cells, "metadata": {}}, tmp_path / "x.ipynb"
    path.write_text(json.dumps(document))
    record = add_notebook(path, document, Target(name="shrimp"), own)
    assert (record.notebook, record.status, record.seconds) == ("api-down", "CRITICAL", 10.0)
    assert record.started == "2026-01-01T12:00:40Z" and record.ended == "2026-01-01T12:00:50Z"


def test_a_notebook_of_the_name_of_an_incidents_entry_is_not_added(own: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="incident is no name of a notebook"):
        add_notebook(tmp_path / "incident.ipynb", {"cells": [], "metadata": {}}, Target(name="shrimp"), own)
    assert not own.exists()


def test_pruning_needs_the_token_of_just_its_plan(left: Path, runbook: Call) -> None:
    ended = runbook("evidence", "prune", "--older-than", "30")
    assert ended.returncode == 64 and "nothing to prune" in ended.stderr
    ended = runbook("evidence", "prune", "--older-than", "0")
    assert ended.returncode == 64 and "at least 1" in ended.stderr


def test_a_key_that_others_can_read_seals_nothing_and_the_run_says_so(
    left: Path, tmp_path: Path, run_json: Callable[..., tuple[int, RunsDocument]]
) -> None:
    (tmp_path / "state" / "runbook" / "keys" / "evidence.pem").chmod(0o644)
    status, document = run_json(NOTEBOOK)
    assert status == 70 and "chmod 600" in str(document.runs[0].error)
    assert document.runs[0].findings


def test_a_status_that_there_is_not_is_64(runbook: Call) -> None:
    ended = runbook("evidence", "list", "--status", "bad")
    assert ended.returncode == 64 and "'BAD'" in ended.stderr
    assert runbook("evidence", "list", "--status", "ok").returncode == 0

"""Several notebooks in one call: together, cut short, gone on with, and beside another call."""

import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import OPEN, decoded, processes_of, wait_for

from runbook.evidence.index import LOCK_FILE
from runbook.model import UsageError
from runbook.runner import unfinished
from runbook.runner.unfinished import Entry, Note, Unfinished

Call = Callable[..., subprocess.CompletedProcess[str]]
ASK = "run.ask(host.memory)"


@pytest.fixture
def begun(archive: Path, home: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Begin a call of `run … --json` and return its process; it is ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "runbook", "run", *arguments, "--json"]
        started.append(subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def notebooks(collection: Callable[..., str], seconds: list[float]) -> list[str]:
    return [
        collection(OPEN, f"import time\ntime.sleep({wait})", ASK, name=f"n{number}")
        for number, wait in enumerate(seconds)
    ]


def notes(home: Path) -> list[Path]:
    return list((home / "runbook" / "batches").glob("*"))


def sealed(archive: Path) -> int:
    return len(list(archive.rglob("seal.json")))


# --- together


def test_runs_go_together_and_are_told_in_the_order_they_were_named(
    collection: Callable[..., str], run_json: Callable[..., Any], archive: Path, runbook: Call
) -> None:
    names = notebooks(collection, [1.5, 1.5, 0, 0])
    status, document = run_json(*names, "--jobs", "4")
    assert status == 0 and [record.notebook for record in document.runs] == names
    spans = [(record.started, record.ended) for record in document.runs[:2]]
    assert max(begin for begin, _ in spans) < min(end for _, end in spans), "the two slow ones overlap"
    assert runbook("evidence", "verify").returncode == 0


def test_lines_say_whose_they_are_and_the_table_begins_with_the_worst(
    collection: Callable[..., str], runbook: Call, archive: Path
) -> None:
    good = collection(OPEN, ASK, name="good")
    warned = collection(OPEN, "run.ask(host.memory, warning=0)", name="warned")
    failing = collection(OPEN, ASK, "raise RuntimeError('broken')", name="failing")
    ended = runbook("run", good, warned, failing, "--jobs", "2")
    assert ended.returncode == 70
    lines, table = ended.stdout.split("┏")
    assert "OK         good: host.memory: " in lines and "WARNING    warned: host.memory: " in lines
    assert "failing on sandbox: FAILED after" in lines
    assert table.index("│ failing") < table.index("│ warned") < table.index("│ good")
    assert table.index("FAILED     failing: a cell raised RuntimeError") < table.index("next: ")


@pytest.mark.parametrize("jobs", ["0", "-1", "many"])
def test_a_number_of_jobs_that_is_none_is_64(jobs: str, runbook: Call, archive: Path) -> None:
    ended = runbook("run", "morning-health-check", "--jobs", jobs)
    assert ended.returncode == 64 and "--jobs" in ended.stderr and not archive.exists()


def test_more_jobs_than_runs_are_as_many_as_runs(
    collection: Callable[..., str], run_json: Callable[..., Any], archive: Path
) -> None:
    status, document = run_json(*notebooks(collection, [0, 0]), "--jobs", "500")
    assert status == 0 and len(document.runs) == 2


def test_each_cell_has_a_deadline(collection: Callable[..., str], run_json: Callable[..., Any], archive: Path) -> None:
    (name,) = notebooks(collection, [60])
    status, document = run_json(name, "--cell-deadline", "1")
    assert status == 70 and "a cell took longer than 1 s" in str(document.runs[0].error)
    assert not processes_of(archive)


def test_two_calls_at_once_share_an_archive_and_lose_no_run(
    collection: Callable[..., str], begun: Callable[..., subprocess.Popen[str]], archive: Path, runbook: Call
) -> None:
    names = notebooks(collection, [0] * 4)
    calls = [begun(*names, "--jobs", "2") for _ in range(2)]
    documents = [decoded(call.communicate(timeout=90)[0]) for call in calls]
    ids = [record.run_id for document in documents for record in document.runs]
    assert [call.returncode for call in calls] == [0, 0] and len(set(ids)) == 8
    verified = runbook("evidence", "verify")
    assert verified.returncode == 0 and "8 runs are what was sealed, in 1 unbroken chain" in verified.stdout
    page = (archive / "index.html").read_text()
    assert all(run_id in page for run_id in ids)


# --- cut short


def test_a_batch_whose_runner_was_killed_is_gone_on_with(
    collection: Callable[..., str],
    begun: Callable[..., subprocess.Popen[str]],
    run_json: Callable[..., Any],
    runbook: Call,
    archive: Path,
    home: Path,
) -> None:
    names = notebooks(collection, [0, 0, 60, 0])
    killed = begun(*names, "--jobs", "1")
    wait_for(lambda: len(list(archive.rglob("run.json"))) == 3 and sealed(archive) == 2)
    killed.kill()
    killed.communicate()
    wait_for(lambda: not processes_of(archive))
    done = sorted(path.parent.name for path in archive.rglob("seal.json"))
    collection(OPEN, ASK, name="n2")  # what kept it is mended
    status, document = run_json("--resume")
    assert status == 0 and [record.notebook for record in document.runs] == names
    assert sorted(record.run_id for record in document.runs[:2]) == done, "what was done is told, not done again"
    assert not notes(home)
    again = runbook("run", "--resume")
    assert again.returncode == 64 and "no batch was cut short" in again.stderr
    verified = runbook("evidence", "verify")
    assert verified.returncode == 0 and "1 was interrupted" in verified.stdout


def test_after_ctrl_c_the_rest_is_told_as_not_run_and_can_be_gone_on_with(
    collection: Callable[..., str],
    begun: Callable[..., subprocess.Popen[str]],
    run_json: Callable[..., Any],
    archive: Path,
    home: Path,
) -> None:
    names = notebooks(collection, [0, 60, 60, 0, 0])
    call = begun(*names, "--jobs", "2", "--deadline", "50")
    wait_for(lambda: sealed(archive) == 1 and len(list(archive.rglob("run.json"))) == 3)
    time.sleep(1)
    call.send_signal(signal.SIGINT)
    document = decoded(call.communicate(timeout=20)[0])
    told = [str(record.error) for record in document.runs]
    assert call.returncode == 70 and told[0] == "None"
    assert all("interrupted by SIGINT; it was in code cell 4" in error for error in told[1:3])
    assert told[3:] == ["not run: interrupted by SIGINT"] * 2
    assert not processes_of(archive)
    for name in names[1:3]:
        collection(OPEN, ASK, name=name)
    status, again = run_json("--resume", "--jobs", "3")
    assert status == 0 and [record.status for record in again.runs] == ["OK"] * 5
    assert again.runs[0].run_id == document.runs[0].run_id and not notes(home)


def test_a_batch_that_still_goes_on_is_not_gone_on_with(
    collection: Callable[..., str],
    begun: Callable[..., subprocess.Popen[str]],
    runbook: Call,
    archive: Path,
    home: Path,
) -> None:
    call = begun(*notebooks(collection, [60]))
    wait_for(lambda: list(archive.rglob("run.json")))
    ended = runbook("run", "--resume")
    assert ended.returncode == 64 and "still goes on" in ended.stderr
    call.send_signal(signal.SIGTERM)
    call.communicate(timeout=20)


def a_batch(archive: Path, began: str) -> Unfinished:
    """Begin a batch of one run."""
    entries = [Entry(notebook="n0", target="sandbox", parameters={})]
    note = Note(began=began, archive=str(archive), deadline=None, cell_deadline=None, entries=entries)
    return Unfinished.begin(note)


def test_one_that_goes_on_does_not_hide_one_that_was_cut_short(archive: Path, home: Path) -> None:
    a_batch(archive, "03:00").close()
    goes_on = a_batch(archive, "04:00")
    again = Unfinished.resume(archive)
    assert again.note.began == "03:00"
    with pytest.raises(UsageError, match="still goes on"):
        Unfinished.resume(archive)
    for one in (goes_on, again):
        one.done(0, "run_x")
        one.close()
    assert not notes(home)


def test_one_that_ends_while_it_is_looked_at_is_not_gone_on_with(
    archive: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, locked = a_batch(archive, "03:00"), unfinished._locked

    def a_moment_later(path: Path, **more: Any) -> Any:
        ends.done(0, "run_x")
        ends.close()
        return locked(path, **more)

    monkeypatch.setattr(unfinished, "_locked", a_moment_later)
    with pytest.raises(UsageError, match="no batch was cut short"):
        Unfinished.resume(archive)
    assert not notes(home)


def test_going_on_takes_nothing_that_was_chosen_at_the_beginning(runbook: Call, archive: Path) -> None:
    for more in (["log-review"], ["-p", "a=1"], ["--target", "sandbox"], ["--incident", "I"]):
        ended = runbook("run", "--resume", *more)
        assert ended.returncode == 64 and "--resume goes on with what was begun" in ended.stderr


@pytest.fixture
def cut_short(
    collection: Callable[..., str], begun: Callable[..., subprocess.Popen[str]], archive: Path, home: Path
) -> list[str]:
    """A batch of two notebooks of which the second did not end; it was given a parameter. Returns their names."""
    level = "level: float = 1.0  # a number\n"
    names = [
        collection(OPEN, ASK, name="n0", parameters=level),
        collection(OPEN, "import time\ntime.sleep(60)", name="n1", parameters=level),
    ]
    call = begun(*names, "--jobs", "1", "-p", "level=2.5")
    wait_for(lambda: sealed(archive) == 1 and len(list(archive.rglob("run.json"))) == 2)
    call.kill()
    call.communicate()
    return names


def test_going_on_says_with_what_and_gives_the_same_parameters(
    cut_short: list[str], collection: Callable[..., str], runbook: Call
) -> None:
    collection(OPEN, "assert level == 2.5", name="n1", parameters="level: float = 1.0  # a number\n")
    ended = runbook("run", "--resume")
    assert ended.returncode == 3, "nothing was asked in the second one"
    assert "going on with the batch begun at 20" in ended.stderr and ": 1 of 2 done" in ended.stderr
    assert "│ n0" in ended.stdout and "│ n1" in ended.stdout


@pytest.mark.parametrize("what", ["parameter", "type", "notebook"])
def test_what_a_batch_needs_and_is_gone_is_named_with_the_note(
    what: str, cut_short: list[str], collection: Callable[..., str], runbook: Call, home: Path
) -> None:
    if what == "notebook":
        Path(os.environ["RUNBOOK_NOTEBOOKS"], "1-tests", "n1.ipynb").unlink()
    else:
        collection(OPEN, ASK, name="n1", parameters="" if what == "parameter" else 'level: str = ""  # words\n')
    ended = runbook("run", "--resume")
    (note,) = (path for path in notes(home) if path.suffix == ".json")
    assert ended.returncode == 64 and f"to give this batch up, remove {note}" in ended.stderr
    assert ("unknown notebook 'n1'" if what == "notebook" else "takes no parameter level like 2.5") in ended.stderr


def test_a_note_that_is_damaged_is_passed_over(cut_short: list[str], runbook: Call, home: Path) -> None:
    (note,) = (path for path in notes(home) if path.suffix == ".json")
    note.write_bytes(note.read_bytes()[:-9])
    assert runbook("run", "--resume").returncode == 64


def test_a_secret_in_a_parameter_is_not_noted(
    collection: Callable[..., str], runbook: Call, archive: Path, home: Path
) -> None:
    name = collection(OPEN, ASK, parameters='note: str = ""  # words\n')
    secret = "postgresql://runbook:hunter2-hunter2@db/app"
    ended = runbook("run", name, "-p", f"note={secret}", "--json")
    assert ended.returncode == 0 and "--resume cannot go on with this batch" in ended.stderr
    assert not notes(home)


def test_a_home_that_cannot_be_written_costs_the_note_alone(
    collection: Callable[..., str], runbook: Call, archive: Path, tmp_path: Path
) -> None:
    from securesystemslib.signer import CryptoSigner

    key = tmp_path / "key.pem"
    key.write_bytes(CryptoSigner.generate_ed25519().private_bytes)
    key.chmod(0o600)
    file = tmp_path / "a-file"
    file.touch()
    nowhere = {"XDG_STATE_HOME": f"{file}/state", "XDG_CONFIG_HOME": f"{file}/config", "HOME": f"{file}/home"}
    name = collection(OPEN, ASK)
    ended = runbook("run", name, RUNBOOK_SIGNING_KEY=f"file:{key}", **nowhere)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "--resume could not go on with this batch" in ended.stderr


def test_an_archive_that_goes_away_fails_the_runs_of_that_time_and_no_later_one(
    collection: Callable[..., str], begun: Callable[..., subprocess.Popen[str]], archive: Path, runbook: Call
) -> None:
    call = begun(*notebooks(collection, [2, 0]), "--jobs", "1")
    wait_for(lambda: list(archive.rglob("run.json")))
    shutil.rmtree(archive)
    first, second = decoded(call.communicate(timeout=60)[0]).runs
    assert call.returncode == 70 and [finding.check for finding in first.findings] == ["host.memory"]
    assert first.error == "evidence could not be written: No such file or directory; every cell was run"
    assert second.status == "OK" and Path(second.evidence, "seal.json").exists()


def test_a_mistake_in_the_archive_costs_no_run_its_findings(
    collection: Callable[..., str], run_json: Callable[..., Any], archive: Path
) -> None:
    names = notebooks(collection, [0, 0])
    run_json(*names)
    (archive / "archive.json").write_text("{}")
    status, document = run_json(*names)
    assert status == 70 and [len(record.findings) for record in document.runs] == [1, 1]
    assert all("sealed: archive.json is not as it was written" in str(record.error) for record in document.runs)


def test_an_interrupt_when_all_is_done_changes_nothing(
    collection: Callable[..., str], begun: Callable[..., subprocess.Popen[str]], archive: Path
) -> None:
    names = notebooks(collection, [0, 0])
    begun(*names).communicate(timeout=60)
    with (archive / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        call = begun(*names)
        wait_for(lambda: sealed(archive) == 4)
        time.sleep(0.5)
        call.send_signal(signal.SIGINT)
        time.sleep(0.5)
    out, complaint = call.communicate(timeout=60)
    assert call.returncode == 0 and len(decoded(out).runs) == 2 and "interrupted" not in complaint


def test_a_terminal_that_is_lost_ends_runs_with_their_evidence(
    collection: Callable[..., str], begun: Callable[..., subprocess.Popen[str]], archive: Path
) -> None:
    call = begun(*notebooks(collection, [60]))
    wait_for(lambda: list(archive.rglob("run.json")))
    time.sleep(1)
    call.send_signal(signal.SIGHUP)
    (record,) = decoded(call.communicate(timeout=20)[0]).runs
    assert call.returncode == 70 and "interrupted by SIGHUP" in str(record.error)
    assert Path(record.evidence, "seal.json").exists()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_change_no_verdict(closed: str, collection: Callable[..., str], archive: Path) -> None:
    (name,) = notebooks(collection, [0])
    for arguments, status in ((f"run {name}", 0), ("run no-such-notebook", 64)):
        argv = ["sh", "-c", f'exec "$0" -m runbook {arguments} {closed}', sys.executable]
        assert subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode == status
    assert sealed(archive) == 1


def test_a_folder_that_is_gone_is_no_hindrance(collection: Callable[..., str], archive: Path, tmp_path: Path) -> None:
    (name,) = notebooks(collection, [0])
    gone = tmp_path / "gone"
    gone.mkdir()
    argv = ["sh", "-c", f'cd {gone} && rmdir {gone} && exec "$0" -P -m runbook run {name}', sys.executable]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


# The folder itself belongs to everybody; in a namespace of the test's own nothing can be made in it.
WITHOUT_SHARED_MEMORY = "mount --make-rprivate / && mount -t tmpfs -o ro none /dev/shm && ! touch /dev/shm/x"
CALL = "-m runbook run morning-health-check log-review --json"


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="takes a mount namespace of its own")
def test_a_machine_without_shared_memory_runs_as_any_other(archive: Path) -> None:
    argv = ["unshare", "--mount", "sh", "-c", f'{WITHOUT_SHARED_MEMORY} && exec "$0" {CALL}']
    ended = subprocess.run([*argv, sys.executable], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert [record.status for record in decoded(ended.stdout).runs] == ["OK", "OK"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_ended_at_any_moment_the_archive_verifies_and_nothing_is_left(
    how: signal.Signals,
    collection: Callable[..., str],
    begun: Callable[..., subprocess.Popen[str]],
    archive: Path,
    runbook: Call,
) -> None:
    names = notebooks(collection, [0] * 4)
    begun(*names[:1]).communicate(timeout=60)
    dice = random.Random(11)
    for _ in range(2):
        call = begun(*names, "--jobs", "2")
        time.sleep(dice.uniform(0.1, 2.5))
        call.send_signal(how)
        call.communicate(timeout=30)
        wait_for(lambda: not processes_of(archive), 20)
        verified = runbook("evidence", "verify")
        assert verified.returncode == 0, verified.stderr
    status = runbook("run", "--resume", "--json").returncode
    assert status in (0, 64)

"""What runs leave is sealed and chained, and anything done to it afterwards is found and named."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runbook.evidence import archive as archive_module
from runbook.evidence import chain as chain_module
from runbook.evidence.archive import NotTrusted, archive_id, runs
from runbook.evidence.chain import Chain, head_line
from runbook.evidence.difference import changed_findings
from runbook.evidence.facts import source_of
from runbook.evidence.keys import public_text, signer, trusted_keys
from runbook.evidence.pruning import plan_pruning
from runbook.evidence.pushing import push_archive
from runbook.evidence.seal import SEAL_FILE, opened, sealed
from runbook.evidence.sealing import Ended, seal_run
from runbook.evidence.statement import PAYLOAD_TYPE, Source, Statement, digest
from runbook.evidence.verify import Verified, verify_archive, verify_run
from runbook.model import Finding, RunFailed, Status, UsageError
from runbook.model.layout import DATA_FOLDER, NOTEBOOK_FILE, RECORD_FILE, REPORT_FILE, run_folder
from runbook.model.protocol import RunRecord
from runbook.redaction import Redactor
from runbook.runner.pruning import prune_runs

IDS = [f"run_202611{day:02d}T060000Z_morning-health-check_abcde{day}" for day in (2, 3, 4, 5)]


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("RUNBOOK_SIGNING_KEY", raising=False)


def leave(archive: Path, run_id: str, *, seal: bool = True, **changed: Any) -> Path:
    """Make a run's folder as the runner leaves it, and seal it."""
    folder = run_folder(archive, run_id)
    (folder / DATA_FOLDER).mkdir(parents=True)
    finding = {"check": "redis.reachable", "object": "redis", "status": "OK", "message": f"answers {run_id[-6:]}"}
    record = {
        "notebook": "morning-health-check",
        "target": "sandbox",
        "run_id": run_id,
        "status": "OK",
        "exit": 0,
        "findings": [finding],
        "started": f"2026-11-{run_id[10:12]}T06:00:00Z",
        "ended": f"2026-11-{run_id[10:12]}T06:00:04Z",
        "operator": "anna",
        "incident": "",
        "mode": "headless",
        **changed,
    }
    (folder / RECORD_FILE).write_text(json.dumps(record))
    (folder / NOTEBOOK_FILE).write_text(json.dumps({"cells": [], "metadata": {"run": run_id}}))
    (folder / REPORT_FILE).write_text(f"<p>{run_id}</p>")
    (folder / DATA_FOLDER / "001-redis.memory.parquet").write_bytes(b"PAR1" + run_id.encode())
    if seal:
        seal_run(archive, ended_of(record))
    return folder


def ended_of(record: dict[str, Any], **more: Any) -> Ended:
    source = Source(name="morning-health-check.ipynb", sha256=digest(b"x"), commit=None, dirty=None)
    told = {"parameters": {}, "identity": {}, "clock_offsets": {}, "redactions": {}, **more}
    return Ended(record=record, source=source, **told)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of four sealed runs."""
    place = tmp_path / "evidence"
    for run_id in IDS:
        leave(place, run_id)
    return place


def verified(archive: Path, *heads: str) -> Verified:
    return verify_archive(archive, trusted_keys([]), heads)


def first_wrong(archive: Path, *heads: str) -> str:
    with pytest.raises((NotTrusted, RunFailed)) as told:
        verified(archive, *heads)
    return str(told.value)


def head_of(archive: Path) -> str:
    chain = Chain(archive, archive_id(archive), signer())
    return head_line(archive_id(archive), chain.writer, chain.head())


def test_an_untouched_archive_is_what_was_sealed(archive: Path) -> None:
    found = verified(archive, head_of(archive))
    assert list(found.runs) == IDS and not found.interrupted and not found.pruned
    assert [run.facts.seq for run in found.runs.values()] == [1, 2, 3, 4]


def test_the_key_is_made_once_for_its_user_alone_and_outside_the_archive(archive: Path, tmp_path: Path) -> None:
    key = tmp_path / "state" / "runbook" / "keys" / "evidence.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in b"".join(path.read_bytes() for path in archive.rglob("*") if path.is_file())
    key.chmod(0o640)
    with pytest.raises(RunFailed, match="chmod 600"):
        signer()


def test_a_worker_is_given_its_key_by_reference(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "state" / "runbook" / "keys" / "evidence.pem"
    monkeypatch.setenv("THE_KEY", key.read_text())
    monkeypatch.setenv("RUNBOOK_SIGNING_KEY", "env:THE_KEY")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    leave(archive, "run_20261106T060000Z_log-review_abcdef")
    assert len(verified(archive).runs) == 5
    monkeypatch.setenv("RUNBOOK_SIGNING_KEY", key.read_text())
    with pytest.raises(RunFailed, match="must say where the key is"):
        signer()


def test_the_public_key_alone_verifies(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public = tmp_path / "their.pub"
    public.write_text(public_text(signer().public_key))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(UsageError, match="no public key"):
        trusted_keys([])
    assert len(verify_archive(archive, trusted_keys([str(public)])).runs) == 4


@pytest.mark.parametrize("name", [NOTEBOOK_FILE, RECORD_FILE, REPORT_FILE, f"{DATA_FOLDER}/001-redis.memory.parquet"])
def test_one_flipped_byte_in_any_file_is_named(archive: Path, name: str) -> None:
    path = run_folder(archive, IDS[1]) / name
    content = path.read_bytes()
    for place in range(0, len(content), max(1, len(content) // 25)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert f"{IDS[1]}/{name} is not what was sealed" in first_wrong(archive)
    path.write_bytes(content)
    assert len(verified(archive).runs) == 4


@pytest.mark.parametrize("run_id", [IDS[1], IDS[3]])
def test_one_flipped_byte_anywhere_in_a_seal_is_found(archive: Path, run_id: str) -> None:
    path = run_folder(archive, run_id) / SEAL_FILE
    content = path.read_bytes()
    unnoticed = []
    for place in range(0, len(content), 5):
        for bit in (1, 32):
            path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
            try:
                verified(archive)
            except NotTrusted as told:
                assert run_id in str(told)
            else:
                unnoticed.append(place)
    assert not unnoticed


def test_one_flipped_byte_in_what_stands_beside_the_runs_is_found(archive: Path) -> None:
    (note,) = (archive / "chains").glob("*/head.json")
    for path in (archive / "archive.json", note):
        content = path.read_bytes()
        for place in range(len(content)):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            assert first_wrong(archive)
        path.write_bytes(content)
    assert len(verified(archive).runs) == 4


def swap(archive: Path) -> None:
    one, other = (run_folder(archive, run_id) / REPORT_FILE for run_id in IDS[:2])
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def rename_file(archive: Path) -> None:
    (run_folder(archive, IDS[2]) / REPORT_FILE).rename(run_folder(archive, IDS[2]) / "page.html")


def add_file(archive: Path) -> None:
    (run_folder(archive, IDS[2]) / DATA_FOLDER / "002-more.parquet").write_bytes(b"PAR1")


def remove_file(archive: Path) -> None:
    (run_folder(archive, IDS[2]) / NOTEBOOK_FILE).unlink()


def remove_run(archive: Path) -> None:
    shutil.rmtree(run_folder(archive, IDS[1]))


def remove_first(archive: Path) -> None:
    shutil.rmtree(run_folder(archive, IDS[0]))


def rename_run(archive: Path) -> None:
    run_folder(archive, IDS[3]).rename(run_folder(archive, IDS[3][:-1] + "9"))


def replay(archive: Path) -> None:
    shutil.copytree(run_folder(archive, IDS[0]), run_folder(archive, "run_20261120T060000Z_log-review_abcdef"))


def swap_seals(archive: Path) -> None:
    one, other = (run_folder(archive, run_id) / SEAL_FILE for run_id in IDS[1:3])
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def link_file(archive: Path) -> None:
    path = run_folder(archive, IDS[1]) / NOTEBOOK_FILE
    path.rename(archive.parent / "kept")
    path.symlink_to(archive.parent / "kept")


def link_run(archive: Path) -> None:
    path = run_folder(archive, IDS[1])
    path.rename(archive.parent / "kept")
    path.symlink_to(archive.parent / "kept")


def foreign_folder(archive: Path) -> None:
    (archive / "runs" / "2026-11" / "notes").mkdir()


def other_archive(archive: Path) -> None:
    told = json.loads((archive / "archive.json").read_text())
    (archive / "archive.json").write_text(json.dumps({**told, "id": "arc_another"}) + "\n")


def no_archive_id(archive: Path) -> None:
    (archive / "archive.json").unlink()


def change_envelope(archive: Path, **changed: Any) -> None:
    path = run_folder(archive, IDS[1]) / SEAL_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def other_type(archive: Path) -> None:
    change_envelope(archive, payloadType="application/json")


def no_signature(archive: Path) -> None:
    change_envelope(archive, signatures=[])


def more_in_envelope(archive: Path) -> None:
    change_envelope(archive, note="trust me")


def twice_in_envelope(archive: Path) -> None:
    path = run_folder(archive, IDS[1]) / SEAL_FILE
    path.write_text(path.read_text().replace("{", '{"payloadType": "x", ', 1))


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (swap, "report.html is not what was sealed"),
        (rename_file, "page.html was not there when the run was sealed"),
        (add_file, "002-more.parquet was not there when the run was sealed"),
        (remove_file, "notebook.ipynb was sealed and is not there any more"),
        (remove_run, "run 2 of the chain of"),
        (remove_first, "run 1 of the chain of"),
        (rename_run, f"seals another run, {IDS[3]}: it was copied or renamed"),
        (replay, f"seals another run, {IDS[0]}: it was copied or renamed"),
        (swap_seals, f"seals another run, {IDS[2]}"),
        (link_file, "notebook.ipynb is a symbolic link"),
        (link_run, f"{IDS[1]} is a symbolic link"),
        (foreign_folder, "runs/2026-11/notes is no folder of a run"),
        (other_archive, "was sealed for another archive"),
        (no_archive_id, "archive.json is not there"),
        (other_type, f"says it holds 'application/json', not {PAYLOAD_TYPE}"),
        (no_signature, "carries 0 signatures, not one"),
        (more_in_envelope, "is no sealed envelope"),
        (twice_in_envelope, "holds the key 'payloadType' twice"),
    ],
)
def test_what_was_done_to_an_archive_is_told(archive: Path, harm: Callable[[Path], None], told: str) -> None:
    harm(archive)
    assert told in first_wrong(archive)


def test_a_tail_that_was_cut_off_is_seen_against_a_published_head(archive: Path) -> None:
    published = head_of(archive)
    shutil.rmtree(run_folder(archive, IDS[3]))
    assert "its tail was cut off" in first_wrong(archive)  # its writer's own note is there still
    shutil.rmtree(archive / "chains")
    assert len(verified(archive).runs) == 3
    assert "its tail was cut off" in first_wrong(archive, published)
    leave(archive, "run_20261106T060000Z_log-review_abcdef")
    assert "run 4 of the chain" in first_wrong(archive)  # its writer knew how far it had come


def test_a_head_of_another_history_is_told(archive: Path) -> None:
    published = head_of(archive)
    assert "is not the run whose seal was published" in first_wrong(archive, published[:-4] + "0000")
    assert "a head is one line" in first_wrong(archive, "4 deadbeef")


def resealed(archive: Path, run_id: str, key: Any, **changed: Any) -> None:
    path = run_folder(archive, run_id) / SEAL_FILE
    own = signer().public_key
    statement = opened(path.read_bytes(), {own.keyid: own}, run_id)
    subjects = changed.pop("subjects", statement.subjects)
    for name, value in changed.items():
        setattr(statement.predicate, name, value)
    path.write_bytes(sealed(Statement(subjects, statement.predicate), key))


def test_what_was_sealed_anew_with_another_key_is_not_trusted(archive: Path) -> None:
    from securesystemslib.signer import CryptoSigner

    resealed(archive, IDS[1], CryptoSigner.generate_ed25519(), status="CRITICAL")
    assert "a key that is not trusted here" in first_wrong(archive)


def test_a_signature_under_a_trusted_name_that_is_another_ones_does_not_hold(archive: Path) -> None:
    from securesystemslib.signer import CryptoSigner

    resealed(archive, IDS[1], CryptoSigner.generate_ed25519())
    path = run_folder(archive, IDS[1]) / SEAL_FILE
    told = json.loads(path.read_text())
    told["signatures"][0]["keyid"] = signer().public_key.keyid
    path.write_text(json.dumps(told))
    assert "the signature does not fit what it seals" in first_wrong(archive)


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "data/../../x", "a\\b", "", "data//x", "./x"])
def test_a_seal_cannot_speak_of_files_outside_of_its_run(archive: Path, name: str) -> None:
    resealed(archive, IDS[3], signer(), subjects={name: digest(b"")})
    assert "names a file outside of its run" in first_wrong(archive)


def test_runs_put_in_another_order_by_the_key_itself_are_told(archive: Path) -> None:
    resealed(archive, IDS[1], signer(), seq=3)
    assert "both have place 3" in first_wrong(archive) or "is missing" in first_wrong(archive)
    resealed(archive, IDS[1], signer(), seq=2, status="CRITICAL")
    assert f"{IDS[2]} does not follow on {IDS[1]}" in first_wrong(archive)


def test_a_run_that_was_killed_before_its_seal_is_interrupted_and_the_rest_holds(archive: Path) -> None:
    leave(archive, "run_20261105T070000Z_log-review_abcdef", seal=False)
    leave(archive, "run_20261106T060000Z_log-review_abcdef")
    found = verified(archive)
    assert found.interrupted == ["run_20261105T070000Z_log-review_abcdef"]
    assert len(found.runs) == 5


def test_a_death_between_the_seal_and_the_note_of_it_does_not_break_the_chain(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, calls = Chain._keep, []

    def die(self: Chain, head: Any) -> None:
        calls.append(head)
        if len(calls) == 2:
            raise KeyboardInterrupt
        keep(self, head)

    monkeypatch.setattr(Chain, "_keep", die)
    with pytest.raises(KeyboardInterrupt):
        leave(archive, "run_20261106T060000Z_log-review_abcdef")
    monkeypatch.undo()
    leave_after = "run_20261107T060000Z_log-review_abcdef"
    monkeypatch.setenv("XDG_STATE_HOME", str(archive.parent / "state"))
    leave(archive, leave_after)
    assert verified(archive).runs[leave_after].facts.seq == 6


@pytest.mark.parametrize("lost", ["head.json", "."])
def test_a_chain_whose_note_is_lost_or_damaged_goes_on_where_it_was(archive: Path, lost: str, tmp_path: Path) -> None:
    (folder,) = (archive / "chains").iterdir()
    shutil.rmtree(tmp_path / "state" / "runbook" / "heads")
    shutil.rmtree(folder) if lost == "." else (folder / lost).write_text("{")
    leave(archive, "run_20261106T060000Z_log-review_abcdef")
    assert len(verified(archive).runs) == 5


def test_one_run_is_verified_by_itself(archive: Path) -> None:
    keys = trusted_keys([])
    place = list(runs(archive))[2]
    facts = verify_run(place, archive, keys)
    assert facts is not None and facts.status == "OK"
    (place.folder / REPORT_FILE).write_text("other")
    with pytest.raises(NotTrusted, match="is not what was sealed"):
        verify_run(place, archive, keys)


@pytest.mark.parametrize("fails_at", range(6))
def test_a_disk_that_is_full_at_any_write_of_the_seal_leaves_the_archive_whole(
    archive: Path, fails_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, calls = archive_module.write_whole, []

    def full(path: Path, content: bytes, *, replace: bool = True) -> None:
        calls.append(path)
        if len(calls) > fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        written(path, content, replace=replace)

    for module in (archive_module, chain_module):
        monkeypatch.setattr(module, "write_whole", full)
    late = "run_20261106T060000Z_log-review_abcdef"
    with suppress(OSError):
        leave(archive, late)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_STATE_HOME", str(archive.parent / "state"))
    found = verified(archive)
    assert set(IDS) <= set(found.runs) and (late in found.runs or late in found.interrupted)
    leave(archive, "run_20261107T060000Z_log-review_abcdef")
    assert "run_20261107T060000Z_log-review_abcdef" in verified(archive).runs


SEALS = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_evidence import leave
for number in range(8):
    leave(Path(sys.argv[1]), f"run_20261110T06{number:02d}00Z_{sys.argv[2]}_abcdef")
"""


def test_two_writers_with_one_key_at_once_make_one_unbroken_chain(archive: Path) -> None:
    here = str(Path(__file__).parent)
    started = [
        subprocess.Popen([sys.executable, "-c", SEALS, str(archive), name, here], env=dict(os.environ))
        for name in ("log-review", "log-analysis")
    ]
    assert [process.wait(60) for process in started] == [0, 0]
    assert len(verified(archive).runs) == 4 + 16


def test_pruned_runs_leave_their_seals_and_the_chain_still_verifies(archive: Path) -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    plan = plan_pruning(archive, verified(archive), 16, now)
    assert plan.run_ids == IDS[:2] and plan.token.startswith("pln_") and plan.bytes > 0
    record = prune_runs(archive, plan.run_ids)
    found = verified(archive)
    assert found.pruned == IDS[:2] and found.runs[record.run_id].facts.pruned == IDS[:2]
    assert [path.name for path in run_folder(archive, IDS[0]).iterdir()] == [SEAL_FILE]
    with pytest.raises(UsageError, match="nothing to prune"):
        plan_pruning(archive, found, 16, now)


def test_a_pruning_that_was_cut_short_verifies_and_is_not_taken_for_harm(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runbook.runner.pruning.remove_files", lambda *_: None)
    prune_runs(archive, IDS[:2])
    (run_folder(archive, IDS[0]) / NOTEBOOK_FILE).unlink()
    assert verified(archive).pruned == [IDS[0]]


def test_files_that_nobody_decided_to_prune_are_missed(archive: Path) -> None:
    for path in run_folder(archive, IDS[0]).iterdir():
        if path.name != SEAL_FILE:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "was sealed and is not there any more" in first_wrong(archive)


def test_an_archive_is_pushed_goes_on_where_it_was_and_is_the_same_there(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    place = f"file://{tmp_path}/store/evidence"
    first = push_archive(archive, place)
    assert first.copied > 20 and first.there == 0
    assert len(verified(tmp_path / "store" / "evidence").runs) == 4
    leave(archive, "run_20261106T060000Z_log-review_abcdef")
    leave(archive, "run_20261107T060000Z_log-review_abcdef", seal=False)
    again = push_archive(archive, place)
    assert again.there >= first.copied - 1 and again.copied == 6  # five files and the chain's note
    assert len(verified(tmp_path / "store" / "evidence").runs) == 5


def test_a_store_that_gives_back_something_else_is_told(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    monkeypatch.setattr(MemoryFileSystem, "cat_file", lambda *_, **__: b"other")
    with pytest.raises(RunFailed, match="is not what was copied when it is read back"):
        push_archive(archive, "memory://evidence")
    with pytest.raises(UsageError, match="is no place to push to"):
        push_archive(archive, "evidence")


def test_what_changed_between_two_runs_is_told(archive: Path) -> None:
    def finding(obj: str, status: Status, value: float) -> Finding:
        return Finding(check="host.disk", object=obj, status=status, message=f"{value} % used", value=value, unit="%")

    def record(*findings: Finding) -> RunRecord:
        told = {"notebook": "x", "target": "t", "run_id": "r", "status": "OK", "exit": 0, "error": None}
        return RunRecord(**told, seconds=1.0, evidence="", findings=list(findings))

    before = record(finding("/", Status.OK, 50.0), finding("/a", Status.OK, 1.0), finding("/same", Status.OK, 3.0))
    after = record(finding("/", Status.CRITICAL, 99.0), finding("/b", Status.OK, 1.0), finding("/same", Status.OK, 4.0))
    assert list(changed_findings(before, after)) == [
        "! host.disk: /: OK -> CRITICAL, 99.0 % used",
        "- host.disk: /a: was OK, 1.0 % used",
        "~ host.disk: /same: 3 % -> 4 % (OK)",
        "+ host.disk: /b: OK, 1.0 % used",
    ]


def test_no_digest_is_taken_of_a_notebook_that_holds_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "x.ipynb"
    cell = {"cell_type": "code", "source": ["DSN = 'postgresql://ops:{}@db/shrimp'"], "metadata": {}, "outputs": []}
    told = {}
    for name, password in (("plain", ""), ("known", "Tr0ub4dor&3"), ("by its form", "an0ther-S3cret")):
        text = json.dumps({"cells": [cell]}).replace("{}", password) if password else json.dumps({"cells": []})
        path.write_text(text)
        told[name] = source_of(path, Redactor(["Tr0ub4dor&3"])).sha256, digest(text.encode())
    assert told["plain"][0] == told["plain"][1]
    assert told["known"][0] != told["known"][1] and told["by its form"][0] != told["by its form"][1]

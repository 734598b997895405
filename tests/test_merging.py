"""What a worker sealed is taken into an archive as the next run of its chain, or not at all."""

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runbook.evidence import merging
from runbook.evidence.archive import NotTrusted, archive_id, name_archive, write_whole
from runbook.evidence.chain import Chain
from runbook.evidence.keys import signer, trusted_keys
from runbook.evidence.merging import Packed, forget, merge, pack, worker_heads
from runbook.evidence.sealing import Ended, seal_run
from runbook.evidence.statement import Source
from runbook.evidence.verify import verify_archive
from runbook.model.layout import DATA_FOLDER, RECORD_FILE, run_folder

IDS = [f"run_20261124T08{minute:02}00Z_looks_abcdef" for minute in range(4)]


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("RUNBOOK_SIGNING_KEY", raising=False)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    archive_id(folder)
    return folder


class Worker:
    """A worker's lane, and what it has sealed for an archive."""

    def __init__(self, folder: Path, archive: str, lane: str = "w1") -> None:
        self.folder, self.lane = folder, lane
        name_archive(folder, archive)
        self.writer = Chain(folder, archive, signer(), lane).writer

    def seals(self, run_id: str) -> Packed:
        folder = run_folder(self.folder, run_id)
        (folder / DATA_FOLDER).mkdir(parents=True)
        told = {"notebook": "looks", "target": "berlin", "run_id": run_id, "status": "OK", "exit": 0, "findings": []}
        record = {**told, "started": "", "ended": "", "operator": "anna", "incident": "", "mode": "headless"}
        (folder / RECORD_FILE).write_text(json.dumps(record))
        (folder / DATA_FOLDER / "001-host.memory.parquet").write_bytes(b"PAR1" + run_id.encode())
        source = Source(name="looks.ipynb", sha256="0" * 64)
        of: dict[str, Any] = {"parameters": {}, "identity": {}, "clock_offsets": {}, "redactions": {}}
        seal_run(self.folder, Ended(record=record, source=source, **of), self.lane)
        packed = pack(self.folder, run_id)
        assert packed is not None
        return packed


@pytest.fixture
def worker(archive: Path, tmp_path: Path) -> Worker:
    return Worker(tmp_path / "worker", archive_id(archive))


def test_two_workers_with_one_key_have_a_chain_each_in_one_archive(
    archive: Path, worker: Worker, tmp_path: Path
) -> None:
    other = Worker(tmp_path / "other", archive_id(archive), "w2")
    for each, run_id in ((worker, IDS[0]), (other, IDS[1]), (worker, IDS[2]), (other, IDS[3])):
        merge(archive, each.seals(run_id), each.writer, trusted_keys([]))
        forget(each.folder, run_id)
        assert not run_folder(each.folder, run_id).exists(), "a chain goes on without the runs that have arrived"
    found = verify_archive(archive, trusted_keys([]))
    assert list(found.runs) == IDS and {run.facts.seq for run in found.runs.values()} == {1, 2}
    assert {writer: head.seq for writer, head in worker_heads(archive).items()} == {worker.writer: 2, other.writer: 2}


def changed(packed: Packed) -> Packed:
    return Packed(packed.run_id, packed.files | {RECORD_FILE: packed.files[RECORD_FILE] + b" "})


def added(packed: Packed) -> Packed:
    return Packed(packed.run_id, packed.files | {"../../evil": b"x"})


def cut(packed: Packed) -> Packed:
    return Packed(packed.run_id, {name: content for name, content in packed.files.items() if "data" not in name})


def unsealed(packed: Packed) -> Packed:
    return Packed(packed.run_id, {name: content for name, content in packed.files.items() if name != "seal.json"})


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (changed, "does not hold the files that were sealed"),
        (added, "does not hold the files that were sealed"),
        (cut, "does not hold the files that were sealed"),
        (unsealed, "is no JSON"),
        (lambda packed: Packed(IDS[3], packed.files), "was sealed as"),
        (lambda packed: Packed("../../run", packed.files), "is no new run"),
    ],
)
def test_what_is_not_what_was_sealed_is_not_taken_and_nothing_is_written(
    harm: Callable[[Packed], Packed], told: str, archive: Path, worker: Worker
) -> None:
    before = sorted(archive.rglob("*"))
    with pytest.raises(NotTrusted, match=told):
        merge(archive, harm(worker.seals(IDS[0])), worker.writer, trusted_keys([]))
    assert sorted(archive.rglob("*")) == before


def test_a_run_that_does_not_follow_on_or_comes_twice_is_not_taken(archive: Path, worker: Worker) -> None:
    first, second, third = (worker.seals(run_id) for run_id in IDS[:3])
    merge(archive, first, worker.writer, trusted_keys([]))
    for wrong, told in ((third, "is run 3 of its chain, of which 1 are here"), (first, "is no new run")):
        with pytest.raises(NotTrusted, match=told):
            merge(archive, wrong, worker.writer, trusted_keys([]))
    merge(archive, second, worker.writer, trusted_keys([]))
    merge(archive, third, worker.writer, trusted_keys([]))
    assert len(verify_archive(archive, trusted_keys([])).runs) == 3


def test_nobody_goes_on_with_the_chain_that_this_machine_writes_itself(archive: Path, tmp_path: Path) -> None:
    own = Worker(tmp_path / "own", archive_id(archive), "")
    with pytest.raises(NotTrusted, match="is not the name of a worker's chain"):
        merge(archive, own.seals(IDS[0]), own.writer, trusted_keys([]))


def test_what_was_sealed_for_another_archive_or_with_an_unknown_key_is_not_taken(
    archive: Path, worker: Worker, tmp_path: Path
) -> None:
    stranger = Worker(tmp_path / "stranger", "arc_abcdefghjkmn")
    with pytest.raises(NotTrusted, match="was sealed for another archive"):
        merge(archive, stranger.seals(IDS[0]), stranger.writer, trusted_keys([]))
    with pytest.raises(NotTrusted, match="not trusted here"):
        merge(archive, worker.seals(IDS[1]), worker.writer, {})


def test_a_disk_that_is_full_at_any_write_leaves_an_archive_that_verifies(
    archive: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge(archive, worker.seals(IDS[0]), worker.writer, trusted_keys([]))
    packed, before = worker.seals(IDS[1]), worker_heads(archive)[worker.writer]
    writes = len(packed.files) + 2
    for last in range(writes):
        left = iter(range(last))

        def write(path: Path, content: bytes, left: Any = left, **more: Any) -> None:
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")
            write_whole(path, content, **more)

        monkeypatch.setattr(merging, "write_whole", write)
        with pytest.raises(OSError, match="No space"):
            merge(archive, packed, worker.writer, trusted_keys([]))
        assert len(verify_archive(archive, trusted_keys([])).runs) == (2 if last == writes - 1 else 1)
        assert (worker.writer in worker_heads(archive)) == (last == 0), "a chain that stopped in between is left"
        forget(archive, IDS[1])
        (archive / "chains" / worker.writer / "head.json").write_bytes(msgspec.json.encode(before))

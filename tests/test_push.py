"""The archive in an object store: an S3 interface on loopback, which a push reaches, loses, and goes on with."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from object_store import object_store
from test_evidence import IDS, leave

from runbook.evidence.keys import trusted_keys
from runbook.evidence.pushing import push_archive
from runbook.evidence.verify import verify_archive
from runbook.model import RunFailed

PLACE = "s3://evidence/production"


@pytest.fixture
def store(tools: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start an object store on loopback with one bucket; return its address."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with object_store(tools, tmp_path, monkeypatch, "evidence") as address:
        yield address


@pytest.fixture
def archive(tmp_path: Path, store: str) -> Path:
    for run_id in IDS[:3]:
        leave(tmp_path / "evidence", run_id)
    return tmp_path / "evidence"


def fetched(folder: Path) -> Path:
    import s3fs

    s3fs.S3FileSystem(skip_instance_cache=True).get("evidence/production", str(folder), recursive=True)
    return folder


def test_what_was_pushed_verifies_where_it_is_fetched(archive: Path, tmp_path: Path) -> None:
    told = push_archive(archive, PLACE)
    assert told.copied == 3 * 5 + 2 and told.there == 0
    assert list(verify_archive(fetched(tmp_path / "fetched"), trusted_keys([])).runs) == IDS[:3]
    again = push_archive(archive, PLACE)
    assert again.copied == 0 and again.there == told.copied


def test_a_push_that_was_cut_short_goes_on_and_the_runs_are_not_touched(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    written, calls = s3fs.S3FileSystem.pipe_file, []

    def breaking(self: object, *arguments: object, **more: object) -> object:
        calls.append(arguments)
        if len(calls) == 8:
            raise OSError("the line went dead")
        return written(self, *arguments, **more)

    monkeypatch.setattr(s3fs.S3FileSystem, "pipe_file", breaking)
    with pytest.raises(RunFailed, match="push again to go on from here"):
        push_archive(archive, PLACE)
    told = push_archive(archive, PLACE)
    assert told.there == 7 and told.copied == 10
    assert len(verify_archive(archive, trusted_keys([])).runs) == 3
    shutil.rmtree(tmp_path / "state" / "runbook" / "pushed")
    assert push_archive(archive, PLACE).copied == 17  # without its memory it copies all again, and loses nothing
    assert len(verify_archive(fetched(tmp_path / "fetched"), trusted_keys([])).runs) == 3


def test_a_bucket_that_is_not_there_is_told(archive: Path) -> None:
    with pytest.raises(RunFailed, match=r"s3://nowhere/x/.* could not be copied"):
        push_archive(archive, "s3://nowhere/x")

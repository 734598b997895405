"""The ledger: months of findings, of the runs whose seal holds and of no others."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runbook.evidence.archive import state_folder
from runbook.evidence.keys import trusted_keys
from runbook.evidence.ledger import BROKEN, FOLDER, NOT_REACHED, NOT_SEALED, Ledger, ledger
from runbook.model import Finding, Status
from runbook_sandbox.archived import leave_runs
from runbook_sandbox.place import Place

NOW = datetime.now(UTC).replace(microsecond=0)
COUNT = "SELECT count(*) AS runs, max(value) AS value FROM found"


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("RUNBOOK_SIGNING_KEY", raising=False)


def disk(value: float) -> list[Finding]:
    return [Finding(check="host.disk", object="/", status=Status.OK, message="it is so full", value=value, unit="%")]


def a_month(archive: Path, days: int = 30, **how: bool) -> list[Path]:
    return leave_runs(archive, ((NOW - timedelta(days=days - day), disk(float(day)), {}) for day in range(days)), **how)


def read(archive: Path, days: float = 40, **more: float) -> Ledger:
    return ledger(archive, trusted_keys([]), NOW - timedelta(days=days), **more)


def test_a_month_of_runs_is_asked_with_sql(archive: Path) -> None:
    a_month(archive)
    found = read(archive)
    assert (len(found.runs), found.left_out) == (30, {})
    assert found.ask(COUNT).to_dict("records") == [{"runs": 30, "value": 29.0}]
    assert found.ask('SELECT count(*) AS n FROM found WHERE "check" = $name', {"name": "host.disk"})["n"].tolist() == [
        30
    ]


def test_only_the_runs_of_the_time_that_is_asked_for_count(archive: Path) -> None:
    a_month(archive)
    assert len(read(archive).runs) == 30
    week = read(archive, days=7.5)
    assert len(week.runs) == 7 and week.ask(COUNT)["runs"].tolist() == [7]


def test_a_run_that_is_not_what_was_sealed_is_left_out_and_said(archive: Path) -> None:
    first, second, *_ = a_month(archive, 4)
    assert len(read(archive).runs) == 4
    # Both after they were read: what is remembered of a run holds as long as nobody touched it.
    record = first / "run.json"
    record.write_text(record.read_text().replace('"value": 0.0', '"value": 9.0'))
    os.utime(record, (0, 0))
    (second / "seal.json").unlink()
    found = read(archive)
    assert found.left_out == {first.name: BROKEN, second.name: NOT_SEALED}
    assert "content was changed" in found.why[first.name]
    assert found.ask(COUNT).to_dict("records") == [{"runs": 2, "value": 3.0}]


def test_runs_whose_key_is_not_trusted_any_more_do_not_count(archive: Path) -> None:
    a_month(archive, 3)
    assert len(read(archive).runs) == 3
    found = ledger(archive, {}, NOW - timedelta(days=40))
    assert not found.runs and set(found.left_out.values()) == {"unknown key"}


def test_what_was_read_once_is_not_read_again(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_month(archive, 5)
    read(archive)
    leave_runs(archive, [(NOW, disk(50.0), {})])

    def only_the_new(place: object, *_: object) -> object:
        raise AssertionError(place)

    monkeypatch.setattr("runbook.evidence.ledger.sealed_content", only_the_new)
    with pytest.raises(AssertionError, match=f"{NOW:%Y%m%dT%H%M%SZ}"):
        read(archive)


def test_what_there_is_no_time_for_is_left_out_and_comes_the_next_time(archive: Path) -> None:
    a_month(archive, 3)
    found = read(archive, seconds=-1)
    assert not found.runs and set(found.left_out.values()) == {NOT_REACHED}
    assert found.ask(COUNT).empty
    assert len(read(archive).runs) == 3


def test_a_damaged_ledger_is_made_anew(archive: Path, tmp_path: Path) -> None:
    a_month(archive, 3)
    (kept,) = [read(archive).path]
    assert kept is not None and kept.parent == tmp_path / "state" / "runbook" / FOLDER
    kept.write_bytes(b"PAR1 no more")
    assert read(archive).ask(COUNT)["runs"].tolist() == [3]


def test_an_archive_without_runs_has_none(archive: Path) -> None:
    assert ledger(archive, {}, NOW - timedelta(days=40)).runs == []


def test_a_run_that_was_sealed_here_is_noted_then_and_one_touched_since_is_verified_all_the_same(archive: Path) -> None:
    first, second, *_ = a_month(archive, 5, noted=True)
    record = first / "run.json"
    record.write_text(record.read_text().replace('"value": 0.0', '"value": 9.0'))
    (noted,) = (Path(os.environ["XDG_STATE_HOME"]) / "runbook" / FOLDER).glob("*.noted")
    with noted.open("ab") as file:
        file.write(b'[{"run_id": "cut sho')
    found = read(archive, seconds=0.0)  # there is no time to verify any
    assert len(found.runs) == 4 and found.left_out == {first.name: NOT_REACHED} and second.name in found.runs
    assert not noted.exists() and len(read(archive).runs) == 4 and read(archive).left_out == {first.name: BROKEN}


def test_every_headless_run_is_noted_with_what_the_service_told_of_itself(
    archive: Path, run_json: Callable[..., Any], collection: Callable[..., str], sandbox: Place
) -> None:
    opened = 'from runbook import open_run\nrun = open_run("probe", target=target, needs=["api"])\nrun'
    run_json(collection(opened), "--target", sandbox.name)
    what = "SELECT DISTINCT notebook, service_version FROM found"
    noted = ledger(archive, trusted_keys([]), NOW - timedelta(days=1), 0.0)
    assert len(noted.runs) == 1
    told = noted.ask(what).to_dict("records")
    assert told == [{"notebook": "probe", "service_version": "1.0.0"}]
    # Read from its seal it tells the same.
    for path in (state_folder() / FOLDER).iterdir():
        path.unlink()
    assert read(archive).ask(what).to_dict("records") == told

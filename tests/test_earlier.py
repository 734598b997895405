"""What a run says of the last one: only of one whose seal holds, on the same target, and of what somebody must see."""

import itertools
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runbook.earlier import since_last
from runbook.evidence.keys import keys_folder
from runbook.evidence.sealing import Ended, seal_run
from runbook.evidence.statement import Source, digest
from runbook.model import CouldNotFindOut, Finding, Status
from runbook.model.layout import NOTEBOOK_FILE, RECORD_FILE, REPORT_FILE, run_folder

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
Leave = Callable[..., Path]
NOTEBOOK = "security-audit"


@pytest.fixture
def leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Leave]:
    """Leave a sealed run with these findings (object and status), so many days ago, in an archive of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("RUNBOOK_EVIDENCE", str(tmp_path / "evidence"))
    monkeypatch.delenv("RUNBOOK_SIGNING_KEY", raising=False)
    made = map("".join, itertools.product("abcdefghjk", repeat=2))

    def left(*found: tuple[str, str], days: float = 30, seal: bool = True, **changed: Any) -> Path:
        at = datetime.now(UTC) - timedelta(days=days)
        run_id = f"run_{at:%Y%m%dT%H%M%SZ}_{NOTEBOOK}_aaaa{next(made)}"
        record = {
            "notebook": NOTEBOOK,
            "target": "sandbox",
            "run_id": run_id,
            "status": "OK",
            "exit": 0,
            "error": None,
            "seconds": 1.0,
            "evidence": "",
            "findings": [{"check": "api.cors", "object": o, "status": s, "message": f"it is {s}"} for o, s in found],
            "started": f"{at:%Y-%m-%dT%H:%M:%SZ}",
            "ended": f"{at:%Y-%m-%dT%H:%M:%SZ}",
            "operator": "anna",
            "incident": "",
            "mode": "headless",
            **changed,
        }
        folder = run_folder(tmp_path / "evidence", run_id)
        folder.mkdir(parents=True)
        (folder / RECORD_FILE).write_text(json.dumps(record))
        (folder / NOTEBOOK_FILE).write_text("{}")
        (folder / REPORT_FILE).write_text("<p>")
        if seal:
            source = Source(name=f"{NOTEBOOK}.ipynb", sha256=digest(b"x"), commit=None, dirty=None)
            told: dict[str, Any] = {"parameters": {}, "identity": {}, "clock_offsets": {}, "redactions": {}}
            seal_run(tmp_path / "evidence", Ended(record=record, source=source, **told))
        return folder

    yield left


def told(*now: tuple[str, str], days: float = 0, target: str = "sandbox") -> dict[str, Finding]:
    """Return what is found on these findings, by object."""
    asking: Any = SimpleNamespace(target=SimpleNamespace(name=target))
    findings = [Finding(check="api.cors", object=o, status=Status(s), message=f"it is {s}") for o, s in now]
    frame = since_last.probe(asking, findings=findings, notebook=NOTEBOOK, days=days)
    return {finding.object: finding for finding in since_last.check(frame)}


def test_the_first_run_has_nothing_to_be_compared_with(leave: Leave) -> None:
    (found,) = told(("a", "CRITICAL")).values()
    assert found.status is OK and found.value == "none"


def test_what_is_new_or_worse_is_told_apart_from_what_is_better_or_gone(leave: Leave) -> None:
    leave(("a", "OK"), ("b", "WARNING"), ("c", "CRITICAL"), ("d", "WARNING"), ("e", "OK"), ("f", "WARNING"))
    now = [("a", "WARNING"), ("b", "CRITICAL"), ("c", "WARNING"), ("e", "OK"), ("f", "WARNING"), ("g", "UNKNOWN")]
    found = told(*now, ("h", "OK"))
    worse, better = found["new or worse"], found["better or gone"]
    assert (worse.status, worse.value, better.status, better.value) == (WARNING, 3, OK, 2)
    for text in ("worse: api.cors, a (OK → WARNING)", "worse: api.cors, b (WARNING → CRITICAL)", "g (UNKNOWN)"):
        assert text in worse.message
    assert "better: api.cors, c (CRITICAL → WARNING)" in better.message and "gone: api.cors, d" in better.message


def test_nothing_changed_is_told_with_the_run_it_was_compared_with(leave: Leave) -> None:
    folder = leave(("a", "OK"), ("b", "WARNING"))
    (found,) = told(("a", "OK"), ("b", "WARNING")).values()
    assert found.status is OK and folder.name in found.message and "2 findings are as before" in found.message


def test_a_run_that_was_changed_is_told_and_the_one_before_it_is_used(leave: Leave) -> None:
    older = leave(("a", "OK"), days=60)
    changed = leave(("a", "CRITICAL"), days=30)
    record = changed / RECORD_FILE
    record.write_text(record.read_text().replace("CRITICAL", "WARNING"))
    found = told(("a", "OK"))
    assert found[changed.name].status is CRITICAL and "is not what was sealed" in found[changed.name].message
    assert older.name in found["earlier run"].message


def test_a_run_sealed_by_a_key_that_is_not_trusted_is_told_and_not_used(leave: Leave) -> None:
    folder = leave(("a", "OK"))
    for path in keys_folder().iterdir():
        path.unlink()
    found = told(("a", "CRITICAL"))
    assert found[folder.name].status is WARNING and found["earlier run"].value == "none"


def test_runs_of_another_target_cut_short_failed_or_by_hand_are_not_compared_with(leave: Leave) -> None:
    leave(("a", "CRITICAL"), days=9, target="other")
    leave(("a", "CRITICAL"), days=8, seal=False)
    leave(("a", "CRITICAL"), days=7, error="a cell raised")
    leave(("a", "CRITICAL"), days=6, mode="interactive")
    (found,) = told(("a", "OK")).values()
    assert found.status is OK and found.value == "none"


def test_many_newer_runs_of_other_targets_hide_none_of_this_one(leave: Leave) -> None:
    own = leave(("a", "OK"), days=2)
    for number in range(40):
        leave(("a", "CRITICAL"), days=1 - number / 100, target=f"other-{number}", seal=False)
    assert own.name in told(("a", "OK"))["earlier run"].message


def test_the_run_to_compare_with_can_be_asked_to_be_some_days_old(leave: Leave) -> None:
    older, _ = leave(("a", "OK"), days=31), leave(("a", "CRITICAL"), days=1)
    assert older.name in told(("a", "CRITICAL"), days=28)["new or worse"].message
    assert "earlier run" in told(("a", "CRITICAL"))


def test_an_archive_with_something_strange_in_it_is_not_read(leave: Leave, tmp_path: Path) -> None:
    folder = leave(("a", "OK"))
    (folder.parent / "strange").mkdir()
    with pytest.raises(CouldNotFindOut, match="something was put there"):
        told(("a", "OK"))


def test_what_is_not_looked_at_any_more_is_not_better(leave: Leave) -> None:
    leave(("a", "CRITICAL"), ("b", "CRITICAL"), ("c", "OK"))
    found = told(("a", "UNKNOWN"), ("b", "SKIPPED"), ("c", "CRITICAL"))
    assert "better or gone" not in found and found["new or worse"].value == 3
    assert found["new or worse"].message.index(", c (") < found["new or worse"].message.index(", b ("), (
        "the worst first"
    )

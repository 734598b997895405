"""Incidents: opened, noted and closed in sealed records that nobody can change unseen; runs belong to them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from runbook.cli.incident import moment
from runbook.evidence import archive as archive_module
from runbook.evidence.archive import NotTrusted
from runbook.evidence.incidents import (
    Incident,
    add_note,
    all_incidents,
    close_incident,
    find,
    load,
    open_incident,
    to_attach,
)
from runbook.evidence.index import check_index, rebuild_index
from runbook.evidence.keys import trusted_keys
from runbook.evidence.pruning import plan_pruning
from runbook.evidence.standing import runs_of
from runbook.evidence.verify import verify_archive
from runbook.model import RunFailed, UsageError
from runbook.model.incident import is_incident_id
from runbook.redaction import Redactor
from runbook.session import open_run

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("RUNBOOK_SIGNING_KEY", raising=False)


def opened(title: str = "API answers 500", **more: Any) -> Incident:
    told = {"author": "anna", "redactor": Redactor(()), "targets": ["sandbox"], **more}
    return open_incident(title, "P1", **told)


def noted(incident: Incident, text: str, **more: Any) -> Incident:
    return add_note(incident, text, author="ben", redactor=Redactor(()), **more)


def closed(incident: Incident, text: str = "") -> Incident:
    return close_incident(incident, text, author="anna", redactor=Redactor(()))


def verified(archive: Path) -> int:
    return len(verify_archive(archive, trusted_keys([])).runs)


def test_an_incident_tells_its_state_from_its_entries(archive: Path) -> None:
    incident = opened(began="2026-11-25T10:00:00Z")
    assert is_incident_id(incident.id) and incident.is_open and incident.closed == ""
    assert (incident.title, incident.severity, incident.owner) == ("API answers 500", "P1", "anna")
    incident = noted(incident, "it is the database", severity="P0", owner="ben")
    assert (incident.severity, incident.owner, incident.began) == ("P0", "ben", "2026-11-25T10:00:00Z")
    incident = closed(incident, "the pool was enlarged")
    assert not incident.is_open and incident.closed and incident.resolution == "the pool was enlarged"
    assert [note.entry.kind for note in load(incident.id).notes] == ["opened", "note", "closed"]
    assert verified(archive) == 3


def test_what_is_noted_is_sealed_and_a_changed_word_is_found(archive: Path) -> None:
    incident = noted(opened(), "nobody was hurt")
    path = incident.notes[-1].place.folder / "incident.json"
    path.write_text(path.read_text().replace("nobody", "somebody"))
    with pytest.raises(NotTrusted, match=r"incident.json is not what was sealed"):
        verified(archive)


def test_a_note_that_was_taken_away_is_missed(archive: Path) -> None:
    incident = noted(noted(opened(), "one"), "two")
    folder = incident.notes[1].place.folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with pytest.raises(NotTrusted, match="is missing"):
        verified(archive)


def test_an_entry_that_was_never_sealed_does_not_count(archive: Path) -> None:
    incident = closed(opened())
    (incident.notes[-1].place.folder / "seal.json").unlink()
    assert load(incident.id).is_open


def test_secrets_are_scrubbed_before_anything_is_written(archive: Path) -> None:
    secret = "s3cr3t-of-the-target"
    redactor = Redactor([secret])
    incident = opened(f"login with {secret} fails", redactor=redactor, owner=f"x {secret}")
    add_note(incident, f"tried {secret}, and password=hunter2hunter2", author="ben", redactor=redactor)
    rebuild_index(archive)
    content = b"".join(path.read_bytes() for path in archive.rglob("*") if path.is_file())
    assert secret.encode() not in content and b"hunter2" not in content and b"redacted" in content


def test_a_full_disk_leaves_nothing_that_counts(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    incident = opened()
    real = os.fsync

    def full(at: int) -> Callable[[int], None]:
        left = iter(range(at))

        def fsync(fd: int) -> None:
            if next(left, None) is None:
                raise OSError(28, "No space left on device")
            real(fd)

        return fsync

    for at in range(6):
        monkeypatch.setattr(archive_module.os, "fsync", full(at))
        with pytest.raises(RunFailed, match="No space left on device"):
            closed(incident)
        monkeypatch.setattr(archive_module.os, "fsync", real)
        assert load(incident.id).is_open
    assert verified(archive) == 1
    closed(incident)
    assert verified(archive) == 2


def test_a_writer_that_dies_at_any_point_leaves_an_archive_that_verifies(archive: Path) -> None:
    incident = opened()
    script = """
import os, sys
from runbook.evidence import archive, incidents
from runbook.redaction import Redactor
from runbook.session import open_run
real, left = os.fsync, int(sys.argv[2])
def fsync(fd):
    global left
    left -= 1
    if left < 0: os._exit(9)
    real(fd)
os.fsync = fsync
incidents.add_note(incidents.load(sys.argv[1]), "x", author="a", redactor=Redactor(()))
"""
    ends = []
    for at in range(0, 14, 2):
        ends.append(subprocess.run([sys.executable, "-c", script, incident.id, str(at)]).returncode)
        found = verify_archive(archive, trusted_keys([]))
        assert len(load(incident.id).notes) == len(found.runs)
    assert ends[0] == 9 and ends[-1] == 0


def test_of_two_that_close_it_at_once_one_is_refused(archive: Path) -> None:
    incident = opened()
    with ThreadPoolExecutor(4) as pool:
        ends = [future.exception() for future in [pool.submit(closed, incident) for _ in range(4)]]
    assert sorted(type(end).__name__ for end in ends) == ["NoneType", "UsageError", "UsageError", "UsageError"]


def test_writers_at_once_lose_nothing(archive: Path) -> None:
    incident = opened()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: noted(incident, f"note {number}"), range(24)))
    assert sorted(note.entry.text for note in load(incident.id).notes[1:]) == sorted(f"note {n}" for n in range(24))
    assert verified(archive) == 25


def test_the_open_one_is_meant_only_where_there_is_exactly_one(archive: Path) -> None:
    with pytest.raises(UsageError, match="no incident is open"):
        find("open")
    first = opened()
    assert find("open").id == find("").id == find(first.id[-6:]).id == first.id
    second = opened("the queue grows")
    with pytest.raises(UsageError, match=f"2 incidents are open: say which one: .*{first.id}"):
        find("open")
    closed(first)
    assert find("open").id == second.id
    with pytest.raises(UsageError, match="there is no incident 'inc_20200101_aaaaaa'"):
        find("inc_20200101_aaaaaa")


def test_a_closed_incident_takes_runs_only_where_that_is_said(archive: Path) -> None:
    incident = closed(opened())
    with pytest.raises(UsageError, match=r"was closed at .* --after-close"):
        to_attach(incident.id)
    assert to_attach(incident.id, after_close=True).id == incident.id


@pytest.mark.parametrize(
    ("title", "told"), [("", "needs a title"), (" \n ", "needs a title"), ("x" * 201, "201 letters")]
)
def test_a_title_that_is_none_is_refused(archive: Path, title: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        opened(title)
    assert all_incidents() == []


def test_texts_that_no_terminal_should_obey_are_kept_and_shown_harmless(archive: Path) -> None:
    incident = opened("<script>alert(1)</script>\x1b[2J\n\udcff")
    noted(incident, "<img src=x onerror=alert(1)>\n\u202eright to left\u2028x\x00")
    rebuild_index(archive)
    for page in (archive / "index.html", archive / incident.page):
        text = page.read_text()
        assert "<script>alert" not in text and "<img" not in text and "\u202e" not in text and "\x1b" not in text
    assert "U+202E" in (archive / incident.page).read_text()


def test_times_are_read_as_people_write_them() -> None:
    assert moment("") == ""
    assert moment("2020-01-02T14:30") == "2020-01-02T14:30:00Z"
    assert moment("2020-01-02T14:30+02:00") == "2020-01-02T12:30:00Z"
    assert moment("00:00").endswith("T00:00:00Z")
    for wrong in ("yesterday", "25:00", "2020-13-01"):
        with pytest.raises(UsageError, match="is no time"):
            moment(wrong)
    with pytest.raises(UsageError, match="has not come yet"):
        moment("2999-01-01")


def test_entries_are_not_pruned(archive: Path) -> None:
    from datetime import UTC, datetime, timedelta

    closed(opened())
    verified_ = verify_archive(archive, trusted_keys([]))
    with pytest.raises(UsageError, match="nothing to prune"):
        plan_pruning(archive, verified_, 1, datetime.now(UTC) + timedelta(days=400))


def test_the_index_and_the_incidents_page_link_to_one_another_and_to_the_runs(
    archive: Path, runbook: Call, collection: Callable[..., str]
) -> None:
    name = collection("1", parameters='incident: str = ""  # the incident\n')
    incident = opened("API <b>down</b>")
    ended = runbook("run", name, "--incident", "open", "--json")
    run = json.loads(ended.stdout)["runs"][0]
    other = json.loads(runbook("run", name, "--json").stdout)["runs"][0]
    assert [found.place.run_id for found in runs_of(incident)] == [run["run_id"]]
    assert run["incident"] == incident.id and other["incident"] == ""
    index, page = (archive / "index.html").read_text(), (archive / incident.page).read_text()
    assert f'href="{incident.page}"' in index and "API &lt;b&gt;down&lt;/b&gt;" in index
    assert f'href="../runs/{run["run_id"][4:8]}-{run["run_id"][8:10]}/{run["run_id"]}/report.html"' in page
    report = (Path(run["evidence"]) / "report.html").read_text()
    assert f'href="../../../{incident.page}"' in report and 'href="../index.html"' in page
    before = page
    closed(incident)
    rebuild_index(archive)
    assert (archive / incident.page).read_text() != before
    check_index(archive)
    (archive / incident.page).write_text("changed")
    with pytest.raises(NotTrusted, match=rf"{incident.page} is not as it was written"):
        check_index(archive)
    rebuild_index(archive)
    check_index(archive)


def test_a_run_for_an_incident_that_is_not_there_or_closed_is_not_begun(
    archive: Path, runbook: Call, collection: Callable[..., str]
) -> None:
    name = collection("1", parameters='incident: str = ""  # the incident\n')
    incident = closed(opened())
    for arguments in (
        ("--incident", "INC-7"),
        ("--incident", "inc_20261125_abcdef"),
        ("--incident", "open"),
        ("--incident", incident.id),
        ("-p", f"incident={incident.id}"),
        ("-p", "incident=no-such"),
        ("--incident", incident.id, "-p", "incident=other", "--after-close"),
    ):
        ended = runbook("run", name, *arguments)
        assert ended.returncode == 64, (arguments, ended)
    assert runs_of(incident) == []
    assert runbook("run", name, "--incident", incident.id, "--after-close").returncode == 3
    assert len(runs_of(incident)) == 1


def test_old_evidence_with_any_text_for_its_incident_stays_readable(
    archive: Path, runbook: Call, collection: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_evidence import leave

    leave(
        archive,
        "run_20261102T060000Z_morning-health-check_abcdea",
        incident="INC-7 <b>",
        error=None,
        seconds=1.0,
        evidence="",
    )
    listed = runbook("evidence", "list", "--incident", "inc-7 <b>")
    assert "INC-7 <b>" in listed.stdout
    assert "INC-7 &lt;b&gt;" in rebuild_index(archive).read_text()


def test_an_incident_is_worked_with_by_command(archive: Path, runbook: Call) -> None:
    ended = runbook("incident", "open", "API answers 500", "--severity", "p1", "--target", "sandbox")
    name = ended.stdout.strip()
    assert ended.returncode == 0 and is_incident_id(name) and "response: 30 minutes" in ended.stderr
    assert runbook("incident", "note", "open", "users call", "--at", "2026-01-01T10:00").returncode == 0
    assert "P1" in runbook("incident", "list", "--open").stdout
    assert runbook("incident", "close", "--resolution", "pool 20 -> 50").returncode == 0
    shown = runbook("incident", "show", name)
    assert shown.returncode == 0 and "users call" in shown.stdout and "3 records are what was sealed" in shown.stdout
    again = runbook("incident", "close", name)
    assert again.returncode == 64 and "was closed already" in again.stderr
    assert "3 entries of incidents are" in runbook("evidence", "verify").stdout
    listed = runbook("evidence", "list", "--incident", name).stdout
    assert "users call" in listed and listed.count(name) == 3
    for wrong in (
        ("open", "x"),
        ("open", "x", "--severity", "P9"),
        ("open", "x", "--severity", "P1", "--target", "no-such"),
        ("note", "", "x"),
        ("note", name),
        ("note", name, "x", "--at", "soon"),
        ("show", "inc_20261125_abcdef"),
    ):
        ended = runbook("incident", *wrong)
        assert ended.returncode == 64 and "Traceback" not in ended.stderr, (wrong, ended)


def test_a_broken_seal_is_shown_as_broken(archive: Path, runbook: Call) -> None:
    incident = noted(opened(), "first")
    path = incident.notes[1].place.folder / "incident.json"
    path.write_text(path.read_text().replace("first", "other"))
    shown = runbook("incident", "show", incident.id)
    assert shown.returncode == 1 and "BROKEN" in shown.stdout and "incident.json is not what was sealed" in shown.stdout


def test_a_notebook_that_is_run_without_the_command_is_held_to_the_archives_incidents_too(archive: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no incident 'inc_20260101_abcdef'.*incident list"):
        open_run("api-down", target="sandbox", needs=[], incident="inc_20260101_abcdef")
    incident = opened()
    run = open_run("api-down", target="sandbox", needs=[], incident="open")
    assert run.incident == incident.id
    run.close()


def test_a_notebook_run_by_hand_is_attached(
    archive: Path, runbook: Call, collection: Callable[..., str], tmp_path: Path
) -> None:
    name = collection("1", parameters='incident: str = ""  # the incident\n')
    done = Path(json.loads(runbook("run", name, "--json").stdout)["runs"][0]["evidence"]) / "notebook.ipynb"
    incident = opened()
    added = runbook("evidence", "add", str(done), "--incident", "open")
    assert added.returncode == 0, added.stderr
    (run,) = runs_of(incident)
    assert run.record is not None and run.record.mode == "interactive"
    assert runbook("evidence", "add", str(done), "--incident", "no-such").returncode == 64
    named = tmp_path / "named.ipynb"
    named.write_text(done.read_text().replace('incident: str = \\"\\"', f'incident: str = \\"{incident.id}\\"'))
    assert runbook("evidence", "add", str(named)).returncode == 0
    assert len(runs_of(incident)) == 2
    closed(incident)
    late = runbook("evidence", "add", str(named))
    assert late.returncode == 0 and f"it names an incident, {incident.id}, and belongs to none" in late.stdout
    assert runbook("evidence", "add", str(named), "--incident", incident.id, "--after-close").returncode == 0
    assert len(runs_of(incident)) == 3

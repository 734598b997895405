"""The list of all runs: complete, incremental, and not to be fooled by what lies in the archive."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hostile import Browser, canary, find_browser, payloads, ran, without_policy

from runbook.evidence import index
from runbook.evidence.index import rebuild_index
from runbook.model import Finding, Status
from runbook.model.layout import run_folder
from runbook.model.protocol import RunRecord


def put(archive: Path, minute: int, **changed: Any) -> Path:
    """Put a run into the archive and return its folder."""
    run_id = f"run_20261124T08{minute % 60:02}{minute // 60:02}Z_morning-health-check_abcdef"
    facts: dict[str, Any] = {
        "notebook": "morning-health-check",
        "target": "production",
        "status": "OK",
        "exit": 0,
        "error": None,
        "seconds": 4.2,
        "evidence": "",
        "findings": [],
        "started": "2026-11-24T08:00:00Z",
        "ended": "2026-11-24T08:00:04Z",
        "operator": "ines",
    }
    folder = run_folder(archive, run_id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_bytes(msgspec.json.encode(RunRecord(**{**facts, "run_id": run_id, **changed})))
    (folder / "report.html").write_text("page")
    return folder


def rows(archive: Path) -> list[str]:
    return re.findall(r'<tr id="(run_[^"]*)"', rebuild_index(archive).read_text())


def test_the_newest_run_stands_first_and_links_to_its_page(tmp_path: Path) -> None:
    first, last = put(tmp_path, 1), put(tmp_path, 2)
    assert rows(tmp_path) == [last.name, first.name]
    links = re.findall(r'href="(runs/[^"]*)"', (tmp_path / "index.html").read_text())
    assert links and all((tmp_path / link).is_file() for link in links)


def test_an_empty_archive_has_an_index_too(tmp_path: Path) -> None:
    assert "No run is in this archive yet" in rebuild_index(tmp_path).read_text()


def test_only_new_and_changed_runs_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, changed = put(tmp_path, 1), put(tmp_path, 2)
    rebuild_index(tmp_path)
    opened: list[str] = []
    real = os.open

    def watch(path: Any, *arguments: Any, **named: Any) -> int:
        if Path(path).name == "run.json":
            opened.append(Path(path).parent.name)
        return real(path, *arguments, **named)

    monkeypatch.setattr(index.os, "open", watch)
    put(tmp_path, 2, status="CRITICAL")
    added = put(tmp_path, 3)
    assert rows(tmp_path) == [added.name, changed.name, kept.name]
    assert opened == [changed.name, added.name]
    assert "CRITICAL" in (tmp_path / "index.html").read_text()


def test_a_removed_run_leaves_the_index(tmp_path: Path) -> None:
    gone, kept = put(tmp_path, 1), put(tmp_path, 2)
    rebuild_index(tmp_path)
    for file in gone.iterdir():
        file.unlink()
    gone.rmdir()
    assert rows(tmp_path) == [kept.name]


def test_a_damaged_or_foreign_memory_is_made_again(tmp_path: Path) -> None:
    run = put(tmp_path, 1)
    rebuild_index(tmp_path)
    for damaged in (b"", b"{", b'{"schema":1,"runs":{"../x":{}}}', b'{"schema":99,"runs":{}}', b"\xff" * 9):
        (tmp_path / "index.json").write_bytes(damaged)
        assert rows(tmp_path) == [run.name]


def test_interrupted_and_pruned_runs_are_shown_as_such(tmp_path: Path) -> None:
    put(tmp_path, 1, ended="", status="FAILED", error="the run did not end")
    pruned = put(tmp_path, 2)
    (pruned / "run.json").unlink()
    (pruned / "seal.json").write_text("{}")
    page = rebuild_index(tmp_path).read_text()
    assert "DID NOT END" in page and "only its seal was kept" in page


def test_what_is_no_run_is_named_and_never_fatal(tmp_path: Path) -> None:
    run, damaged, other = put(tmp_path, 1), put(tmp_path, 2), put(tmp_path, 3)
    empty, pipe, link = put(tmp_path, 4), put(tmp_path, 5), put(tmp_path, 6)
    (damaged / "run.json").write_text('{"notebook": ')
    (other / "run.json").write_bytes((run / "run.json").read_bytes())
    for folder in (empty, pipe, link):
        (folder / "run.json").unlink()
    os.mkfifo(pipe / "run.json")
    (link / "run.json").symlink_to("/etc/hostname")
    (run.parent / "<img src=x onerror=alert(1)>").mkdir()
    (run.parent / "run_20261124T080900Z_elsewhere_abcdef").symlink_to(run)
    (tmp_path / "runs" / "note.txt").write_text("x")
    assert rows(tmp_path) == [run.name]
    page = (tmp_path / "index.html").read_text()
    assert "8 not shown" in page and "<img" not in page
    for name in (damaged.name, other.name, empty.name, pipe.name, link.name, "note.txt", "elsewhere"):
        assert name in page


def test_writers_at_once_leave_a_whole_index_with_every_run(tmp_path: Path) -> None:
    for minute in range(40):
        put(tmp_path, minute)
    call = "import sys, pathlib; from runbook.evidence.index import rebuild_index as r; p = pathlib.Path(sys.argv[1])\n"
    writers = [
        subprocess.Popen([sys.executable, "-c", f"{call}for _ in range(5): r(p)", str(tmp_path)]) for _ in range(3)
    ]
    for minute in range(40, 60):
        put(tmp_path, minute)
        page = rebuild_index(tmp_path).read_text()
        assert page.rstrip().endswith("</html>")
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len(re.findall(r'<tr id="run_', (tmp_path / "index.html").read_text())) == 60
    assert len(json.loads((tmp_path / "index.json").read_bytes())["runs"]) == 60
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "index.html", "index.json", ".index.lock"}


def test_a_notebook_on_a_target_shows_its_last_thirty_verdicts(tmp_path: Path) -> None:
    for minute in range(35):
        put(tmp_path, minute, status="CRITICAL" if minute == 34 else "OK")
    page = rebuild_index(tmp_path).read_text()
    spark = re.search(r"<svg.*?</svg>", page, re.DOTALL)
    assert spark and spark[0].count("<rect") == 30 and "30 runs, oldest first: OK" in spark[0]
    assert re.findall(r'rect class="(\w+)"', spark[0])[-1] == "CRITICAL"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return find_browser(tmp_path_factory.mktemp("browser"))


def test_the_filter_of_the_page_hides_what_does_not_fit(browser: Browser, tmp_path: Path) -> None:
    for minute in range(3):
        put(tmp_path, minute, target="staging" if minute else "production")
    page = rebuild_index(tmp_path)
    assert "3 of 3 runs" in browser.dom(page)
    # The page's own script, as it stands in the page, driven as a person's choice drives it.
    choose = (
        "<script>const s=document.getElementById('target');s.value='staging';"
        "s.dispatchEvent(new Event('input',{bubbles:true}));"
        "document.body.dataset.two=document.getElementById('shown').textContent;"
        "document.getElementById('text').value='INES T0801';"
        "s.dispatchEvent(new Event('input',{bubbles:true}))</script></body>"
    )
    driven = without_policy(page.read_bytes()).replace(b"</body>", choose.encode())
    (tmp_path / "driven.html").write_bytes(driven)
    dom = browser.dom(tmp_path / "driven.html")
    assert 'data-two="2 of 3 runs"' in dom and ">1 of 3 runs<" in dom
    assert len(re.findall(r'<tr id="run_[^>]* hidden=""', dom)) == 2


@pytest.mark.parametrize("layers", ["escaping and policy", "escaping alone"])
def test_no_payload_in_a_record_runs_in_the_index(browser: Browser, tmp_path: Path, layers: str) -> None:
    with canary() as bird:
        texts = payloads(bird.address)
        for minute, text in enumerate(texts):
            wrong = Finding(object=text, status=Status.CRITICAL, message=text)
            named = dict.fromkeys(("target", "notebook", "incident", "operator", "status"), text)
            put(tmp_path, minute, **named, findings=[wrong])
        page = rebuild_index(tmp_path)
        if layers == "escaping alone":
            page.write_bytes(without_policy(page.read_bytes()))
        dom = browser.dom(page)
    assert not ran(dom) and bird.asked == []
    assert f"{len(texts)} of {len(texts)} runs" in dom  # the page's own script does run, and sees every row
    assert dom.count("<script") == 1

"""An incident on a real sandbox of containers, from the first sign to the post-mortem."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine import Engine
from test_post_mortem import shown

from runbook.evidence.incidents import load
from runbook.evidence.standing import runs_of
from runbook_sandbox import faults, stack
from runbook_sandbox.place import Place


@pytest.fixture(scope="module")
def contained(docker_host: Engine) -> Iterator[Place]:
    place = stack.up("contained", docker=True, watched=False)
    try:
        yield place
    finally:
        stack.down(place)


@pytest.mark.slow
def test_a_stranger_can_tell_what_happened_when_how_bad_and_what_helped(
    contained: Place,
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    runbook: Callable[..., Any],
    run_json: Callable[..., Any],
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def run(notebook: str, *more: str) -> Any:
        return run_json(notebook, "--target", "contained", *more)[1].runs[0]

    run("morning-health-check")
    title = ("API answers nothing", "--severity", "P0", "--target", "contained", "--owner", "anna")
    incident = runbook("incident", "open", *title).stdout.strip()
    faults.break_sandbox(contained, "api-down")
    runbook("incident", "note", "open", "two annotators called: 502 <b>bad gateway</b>")
    assert run("morning-health-check", "--incident", "open").status == "CRITICAL"
    run("log-review", "--incident", "open")
    (plan,) = (plan for plan in run("api-down", "--incident", "open").plans if plan.token)
    # What carries a plan out belongs to the incident that the plan was made for.
    assert run("api-down", "--confirm", plan.token).status == "OK"
    by_hand = tmp_path / "log-analysis.ipynb"
    shutil.copy(Path(run("log-analysis").evidence) / "notebook.ipynb", by_hand)
    assert runbook("evidence", "add", str(by_hand), "--incident", "open").returncode == 0
    run("morning-health-check", "--incident", "open")
    assert runbook("incident", "close", "--resolution", "its container was started again").returncode == 0

    assert len(runs_of(load(incident))) == 6
    kept = shown((archive / load(incident).page).read_text())
    assert "plan: start contained-shrimp-api, which is exited: verified" in kept and "incident show" in kept
    ended = runbook("incident", "report", incident)
    assert ended.returncode == 0, ended
    page = shown(Path(ended.stdout.splitlines()[0]).read_text())
    for told in (
        "API answers nothing",
        "its container was started again",
        "each of the 10 records that this page rests on is what was sealed",
        "worst error share 100% at",
        "refuses connections",
        "it helped : start contained-shrimp-api, which is exited",
        "by hand: docker start",
        "until it was well again",
        "502 &lt;b&gt;bad gateway&lt;/b&gt;",
        ", by hand",
    ):
        assert told in page, told
    if shutil.which("chromium"):
        assert Path(ended.stdout.splitlines()[1]).read_bytes().startswith(b"%PDF")

    record = runs_of(load(incident))[0].place.folder / "run.json"
    record.write_text(record.read_text().replace("CRITICAL", "OK"))
    ended = runbook("incident", "report", incident, "--no-pdf")
    assert ended.returncode == 1 and f"{record.parent.name}/run.json is not what was sealed" in ended.stderr
    assert "Not all of this can be trusted" in shown(Path(ended.stdout.splitlines()[0]).read_text())

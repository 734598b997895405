"""Notifications: who is told when a verdict changes, and that no receiver can change how a run ends."""

import json
import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from receiver import SECRET_PATH, Hook, serve
from running import OPEN, text_of

from runbook.model import Finding, RunFailed, Status, UsageError
from runbook.model.layout import new_run_id, run_folder
from runbook.model.protocol import INTERRUPTED, RunRecord
from runbook.runner.notifying import CHANGES_TOLD, notify
from runbook.runner.textfile import write_textfile
from runbook.target import Target, load_target
from runbook.transport import webhook

OK, WARNING, CRITICAL, UNKNOWN, FAILED = "OK", "WARNING", "CRITICAL", "UNKNOWN", "FAILED"
EXIT = {OK: 0, WARNING: 1, CRITICAL: 2, UNKNOWN: 3, FAILED: 70}
HERE = '[host]\nwhere = "here"\n'
BEGAN = datetime(2026, 3, 1, 6, 0, 0, tzinfo=UTC)


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    told = Hook()
    server = serve(told)
    monkeypatch.setenv("RB_NOTIFY", told.url)
    monkeypatch.setattr(webhook, "RETRY_SECONDS", 0.0)
    yield told
    told.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def target(profile: Callable[..., str]) -> Callable[..., Target]:
    """Make a target with these lines in its section, beside the webhook."""

    def make(lines: str = "", more: str = "", name: str = "hooked") -> Target:
        text = f'{HERE}{more}[notifications]\nwebhook = "env:RB_NOTIFY"\ntimeout = 2\n{lines}\n'
        return load_target(profile(text, name))

    return make


class Runs:
    """Runs that were archived one after the other, each a day later."""

    def __init__(self, archive: Path) -> None:
        self.archive, self.at = archive, BEGAN

    def add(self, status: str, target: str = "hooked", notebook: str = "probe", **other: Any) -> RunRecord:
        self.at += timedelta(days=1)
        run_id = new_run_id(notebook, self.at)
        folder = run_folder(self.archive, run_id)
        folder.mkdir(parents=True)
        told = {
            "notebook": notebook,
            "target": target,
            "run_id": run_id,
            "status": status,
            "exit": EXIT[status],
            "error": "the kernel died" if status == FAILED else None,
            "seconds": 1.0,
            "evidence": str(folder),
            "findings": [] if status in (OK, FAILED) else [finding(Status(status))],
            "started": f"{self.at:%Y-%m-%dT%H:%M:%SZ}",
            "ended": f"{self.at:%Y-%m-%dT%H:%M:%SZ}",
        }
        record = RunRecord(**(told | other))
        (folder / "run.json").write_bytes(msgspec.json.encode(record))
        return record


def finding(status: Status, message: str = "97 % is used", **other: Any) -> Finding:
    told = {"check": "redis.memory", "object": "redis", "next": "open redis-memory"} | other
    return Finding(status=status, message=message, **told)


@pytest.fixture
def runs(archive: Path) -> Runs:
    return Runs(archive)


def told_of(runs: Runs, record: RunRecord | list[RunRecord], *targets: Target) -> list[str]:
    """Notify of records and return what was told of those that could not be told."""
    said: list[str] = []
    records = record if isinstance(record, list) else [record]
    notify(runs.archive, records, {target.name: target for target in targets}, said.append)
    return said


# --- what is told


@pytest.mark.parametrize(
    ("was", "now", "how"),
    [
        (OK, WARNING, "worse"), (WARNING, UNKNOWN, "worse"), (UNKNOWN, CRITICAL, "worse"), (CRITICAL, FAILED, "worse"),
        (FAILED, CRITICAL, "better"), (CRITICAL, UNKNOWN, "better"), (UNKNOWN, WARNING, "better"),
        (WARNING, OK, "better"),
    ],
)  # fmt: skip
def test_a_verdict_that_got_worse_or_better_is_told(
    was: str, now: str, how: str, runs: Runs, hook: Hook, target: Callable[..., Target]
) -> None:
    runs.add(was)
    assert told_of(runs, runs.add(now), target()) == []
    sign = "🚨" if how == "worse" else "✅"
    assert hook.text().startswith(f"{sign} probe on hooked got {how}: {was} → {now}\n")


@pytest.mark.parametrize("status", list(EXIT))
def test_the_same_verdict_is_not_told(status: str, runs: Runs, hook: Hook, target: Callable[..., Target]) -> None:
    runs.add(status)
    assert told_of(runs, runs.add(status), target()) == [] and hook.bodies == []


def test_a_first_run_has_nothing_to_be_compared_with(runs: Runs, hook: Hook, target: Callable[..., Target]) -> None:
    runs.add(OK, notebook="other")
    runs.add(OK, target="elsewhere")
    assert told_of(runs, runs.add(CRITICAL), target()) == [] and hook.bodies == []


def test_slack_is_told_what_is_wrong_what_to_do_and_where_the_evidence_is(
    runs: Runs, hook: Hook, target: Callable[..., Target]
) -> None:
    runs.add(OK)
    bad = [finding(Status.WARNING), finding(Status.CRITICAL, "<!channel> & it\nis gone", object="api")]
    record = runs.add(CRITICAL, findings=bad)
    told_of(runs, record, target())
    assert hook.text().splitlines()[1:] == [
        "redis.memory: api: &lt;!channel&gt; &amp; it is gone (and 1 more)",
        "Next: open redis-memory",
        f"Evidence: runbook evidence show {record.run_id}",
    ]
    assert set(json.loads(hook.bodies[0])) == {"text"}


def test_a_generic_receiver_is_told_each_fact_by_its_name(
    runs: Runs, hook: Hook, target: Callable[..., Target]
) -> None:
    runs.add(WARNING)
    served = '[communication]\nevidence_url = "https://runbook.company.com/"\n'
    record = runs.add(CRITICAL, incident="inc_1")
    told_of(runs, record, target('kind = "generic"', more=served))
    body = json.loads(hook.bodies[0])
    page = f"https://runbook.company.com/runs/2026-03/{record.run_id}/report.html"
    assert body["schema"] == 1 and body["more"] == 0 and f"Evidence: {page}" in body["text"]
    assert body["changes"] == [
        {
            "notebook": "probe", "target": "hooked", "change": "worse", "was": WARNING, "now": CRITICAL, "error": None,
            "worst": {
                "check": "redis.memory", "object": "redis", "message": "97 % is used", "next": "open redis-memory",
            },
            "bad": 1, "ended": record.ended, "run_id": record.run_id, "incident": "inc_1", "evidence": page,
        }
    ]  # fmt: skip


def test_a_run_that_failed_is_told_with_its_reason(runs: Runs, hook: Hook, target: Callable[..., Target]) -> None:
    runs.add(OK)
    told_of(runs, runs.add(FAILED), target())
    assert "OK → FAILED\nthe kernel died\nEvidence" in hook.text()


@pytest.mark.parametrize(
    ("status", "other"),
    [
        (CRITICAL, {"mode": "interactive"}),
        (FAILED, {"error": f"{INTERRUPTED}SIGINT; no cell had been run"}),
        (FAILED, {"error": "the run did not end", "ended": ""}),
    ],
    ids=["interactive", "interrupted", "killed"],
)
def test_what_says_nothing_of_the_target_is_neither_told_nor_compared_with(
    status: str,
    other: dict[str, Any],
    runs: Runs,
    hook: Hook,
    target: Callable[..., Target],
    tmp_path: Path,
) -> None:
    runs.add(OK)
    textfile = tmp_path / "runbook.prom"
    one = target(f'textfile = "{textfile}"')
    assert told_of(runs, runs.add(status, **other), one) == []
    assert hook.bodies == [] and not textfile.exists()
    told_of(runs, runs.add(OK), one)
    assert hook.bodies == [], "the one before the last still counts"


def test_the_newest_run_before_this_one_counts_over_the_end_of_a_month(
    runs: Runs, hook: Hook, target: Callable[..., Target]
) -> None:
    runs.at = datetime(2026, 3, 29, tzinfo=UTC)
    runs.add(OK)
    runs.add(CRITICAL)
    record = runs.add(WARNING)
    runs.add(OK)  # another call's, which has ended meanwhile
    told_of(runs, record, target())
    assert "CRITICAL → WARNING" in hook.text()


def test_what_lies_damaged_in_the_archive_is_passed_over(runs: Runs, hook: Hook, target: Callable[..., Target]) -> None:
    runs.add(OK)
    for content in (b"", b"[" * 100_000, b'{"run_id": 1}', b"\xff"):
        Path(runs.add(WARNING).evidence, "run.json").write_bytes(content)
    (runs.archive / "runs" / "strange").write_text("no folder")
    told_of(runs, runs.add(CRITICAL), target())
    assert "OK → CRITICAL" in hook.text()


def test_a_large_archive_is_not_looked_through_for_ever_and_that_is_told(
    runs: Runs, hook: Hook, target: Callable[..., Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runbook.evidence.verdicts.RECORDS_READ", 3)
    runs.add(OK)
    for _ in range(3):
        runs.add(OK, target="elsewhere")
    (said,) = told_of(runs, runs.add(CRITICAL), target())
    assert "is none to compare some of these with" in said and hook.bodies == []


def test_a_receiver_of_several_targets_hears_once_and_of_the_worst_first(
    runs: Runs, hook: Hook, target: Callable[..., Target]
) -> None:
    targets = [target(name=name) for name in ("first", "second")]
    for name in ("first", "second"):
        runs.add(WARNING, target=name)
    records = [runs.add(OK, target="first"), runs.add(CRITICAL, target="second")]
    assert told_of(runs, records, *targets) == [] and len(hook.bodies) == 1
    text = hook.text()
    assert text.index("probe on second got worse") < text.index("probe on first got better")


def test_a_message_stays_bounded_however_much_has_changed(
    runs: Runs, hook: Hook, target: Callable[..., Target]
) -> None:
    names = [f"n{number}" for number in range(CHANGES_TOLD + 30)]
    for name in names:
        runs.add(OK, notebook=name)
    long = [finding(Status.CRITICAL, "x y " * 5_000)]
    told_of(runs, [runs.add(CRITICAL, notebook=name, findings=long) for name in names], target('kind = "generic"'))
    body = json.loads(hook.bodies[0])
    assert len(body["changes"]) == CHANGES_TOLD and body["more"] == 30 and body["text"].endswith("and 30 more")
    assert len(hook.bodies[0]) < 40_000


def test_no_secret_leaves_with_a_notification(
    runs: Runs, hook: Hook, target: Callable[..., Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RB_REDIS", "planted-S3cret-word")
    runs.add(OK)
    message = f"redis said: planted-S3cret-word; {'x ' * 140}planted-S3cret-word {hook.url}"
    record = runs.add(CRITICAL, findings=[finding(Status.CRITICAL, message)])
    redis = '[redis]\nurl = "redis://127.0.0.1:1"\npassword = "env:RB_REDIS"\n'
    told_of(runs, record, target('kind = "generic"', more=redis))
    sent = hook.bodies[0].decode()
    assert "redis said: " in sent and "planted" not in sent and SECRET_PATH not in sent


# --- receivers that do not take it


@pytest.mark.parametrize(
    ("answers", "says", "asked"),
    [
        ([500], "answered 500, and 500 when it was tried once more", 2),
        ([503, 200], "", 2),
        ([404], "answered 404", 1),
        ([(429, b"too_many_requests", {})], "answered 429 (too_many_requests)", 1),
        ([(302, b"", {"location": "http://127.0.0.1:1/elsewhere"})], "redirects to 127.0.0.1 (302), which is not", 1),
        (["break"], "took the connection, then: it broke off", 1),
        (["hang"], "no answer within 0.3 s", 1),
        (["drip"], "no answer within 0.3 s", 1),
    ],
)
def test_a_receiver_that_does_not_take_it_is_told_and_never_raises(
    answers: list[Any], says: str, asked: int, runs: Runs, hook: Hook, profile: Callable[..., str]
) -> None:
    hook.answers = answers
    runs.add(OK)
    one = load_target(profile(f'{HERE}[notifications]\nwebhook = "env:RB_NOTIFY"\ntimeout = 0.3'))
    said = told_of(runs, runs.add(CRITICAL, target="other"), one)
    assert said == [] and hook.bodies == [], "it never ran on this one"
    said = told_of(runs, runs.add(OK, target="other"), one)
    assert len(hook.bodies) == asked and len(said) == (1 if says else 0)
    assert says in "".join(said) and "planted" not in "".join(said) and SECRET_PATH not in "".join(said)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://127.0.0.1:9/planted", "nothing listens there"),
        ("http://no-such-host.invalid/planted", "its name cannot be resolved"),
        ("ftp://planted", "no address of HTTP"),
        ("http://[planted", "no address of HTTP"),
        (None, "RB_NOTIFY"),
    ],
)
def test_a_receiver_that_is_not_there_is_told(
    address: str | None, says: str, runs: Runs, target: Callable[..., Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    if address is not None:
        monkeypatch.setenv("RB_NOTIFY", address)
    runs.add(OK)
    (said,) = told_of(runs, runs.add(CRITICAL), target())
    assert says in said and "planted" not in said


def test_of_several_receivers_one_that_hangs_takes_nothing_from_the_others(
    runs: Runs, hook: Hook, profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = Hook(answers=["hang"])
    server = serve(silent)
    monkeypatch.setenv("RB_SILENT", silent.url)
    targets = [
        load_target(profile(f'{HERE}[notifications]\ntimeout = 0.3\nwebhook = "env:{variable}"', name))
        for name, variable in (("a", "RB_SILENT"), ("b", "RB_NOTIFY"))
    ]
    for name in ("a", "b"):
        runs.add(OK, target=name)
    said = told_of(runs, [runs.add(CRITICAL, target=name) for name in ("a", "b")], *targets)
    silent.released.set()
    server.shutdown()
    server.server_close()
    assert len(said) == 1 and "no answer within 0.3 s" in said[0] and "probe on b got worse" in hook.text()


# --- the textfile


def samples(path: Path) -> dict[tuple[str, str, str], float]:
    """Return what Prometheus' own parser reads in a textfile."""
    families = list(text_string_to_metric_families(path.read_text()))
    assert all(family.type == "gauge" and family.documentation for family in families)
    return {
        (sample.name, sample.labels["notebook"], sample.labels["target"]): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def textfile(tmp_path: Path) -> Path:
    return tmp_path / "runbook.prom"


@pytest.fixture
def watched(textfile: Path, profile: Callable[..., str]) -> Target:
    return load_target(profile(f'{HERE}[notifications]\ntextfile = "{textfile}"', "hooked"))


@pytest.mark.parametrize("status", list(EXIT))
def test_the_textfile_tells_the_last_verdict_as_the_exit_status_does(
    status: str, runs: Runs, watched: Target, textfile: Path
) -> None:
    assert told_of(runs, runs.add(status), watched) == []
    assert samples(textfile)["runbook_status", "probe", "hooked"] == EXIT[status]


def test_the_last_success_stays_while_the_verdict_is_bad(runs: Runs, watched: Target, textfile: Path) -> None:
    success = "runbook_last_success_timestamp_seconds", "probe", "hooked"
    well = runs.add(OK)
    told_of(runs, runs.add(CRITICAL), watched)
    at = datetime.fromisoformat(well.ended).timestamp()
    assert samples(textfile)[success] == at, "the archive knows it, although it was before the textfile"
    told_of(runs, runs.add(WARNING), watched)
    assert samples(textfile)[success] == at
    again = runs.add(OK)
    told_of(runs, again, watched)
    assert samples(textfile)[success] == datetime.fromisoformat(again.ended).timestamp()


def test_what_never_was_well_has_no_last_success_and_not_0(runs: Runs, watched: Target, textfile: Path) -> None:
    told_of(runs, runs.add(UNKNOWN), watched)
    assert [name for name, _, _ in samples(textfile)] == ["runbook_status"]


def test_others_read_the_textfile_and_nothing_else_is_left_that_they_would_read(
    runs: Runs, watched: Target, textfile: Path
) -> None:
    before = os.umask(0o077)
    told_of(runs, runs.add(OK), watched)
    os.umask(before)
    assert stat.S_IMODE(textfile.stat().st_mode) == 0o644
    assert list(textfile.parent.glob("*.prom")) == [textfile] and not list(textfile.parent.glob(".*.new"))


def test_several_at_once_lose_no_line_and_a_reader_always_finds_a_whole_file(textfile: Path) -> None:
    write_textfile(textfile, {("n0", "t"): 0}, {})
    writers = [
        threading.Thread(target=write_textfile, args=(textfile, {(f"n{number}", "t"): 1}, {("n", f"{number}"): 7}))
        for number in range(12)
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert samples(textfile)
    assert len(samples(textfile)) == 24


def test_names_with_any_sign_stay_labels(textfile: Path) -> None:
    names = ['a"b', "a\\b", "a\nb", 'a",target="x', "ä→{}"]
    for name in names:
        write_textfile(textfile, {(name, "t"): 2}, {})
    assert {notebook for _, notebook, _ in samples(textfile)} == set(names)


@pytest.mark.parametrize("content", ["node_load1 3\n", "root:x:0:0:root:/root:/bin/bash\n", "runbook_status 1\n"])
def test_a_file_that_holds_what_no_run_has_written_is_left_as_it_is(
    content: str, runs: Runs, watched: Target, textfile: Path
) -> None:
    textfile.write_text(content)
    (said,) = told_of(runs, runs.add(OK), watched)
    assert "has not written" in said and textfile.read_text() == content


def test_a_textfile_that_cannot_be_written_is_told(runs: Runs, textfile: Path, watched: Target) -> None:
    textfile.symlink_to("/etc/passwd")
    assert "was not written" in told_of(runs, runs.add(OK), watched)[0] and textfile.is_symlink()
    textfile.unlink()
    os.mkfifo(textfile)
    assert f"{textfile} is no file" in told_of(runs, runs.add(OK), watched)[0]
    with pytest.raises(OSError, match="No such file"):
        write_textfile(textfile.parent / "none" / "runbook.prom", {}, {})


def test_a_textfile_that_another_process_keeps_costs_a_bound(textfile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr("runbook.runner.textfile.LOCK_SECONDS", 0.1)
    with (textfile.parent / f".{textfile.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RunFailed, match="another process has kept"):
            write_textfile(textfile, {}, {})


# --- the profile


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("", "name a webhook or a textfile"),
        ('webhook = "https://hooks.slack.com/services/T0/B0/planted4567"', "reference"),
        ('webhook = "env:A"\nkind = "json"', "'slack' or 'generic'"),
        ('webhook = "env:A"\nurl = "env:B"', "url"),
        ('webhook = "env:A"\ntimeout = 0', "greater than 0"),
        ('webhook = "env:A"\ntimeout = 11', "less than or equal to 10"),
        ('webhook = "env:A"\ntimeout = nan', "timeout"),
        ('textfile = "runbook.prom"', "absolute"),
        ('textfile = "/var/../runbook.prom"', "absolute"),
        ('textfile = "/var/runbook.txt"', ".prom"),
    ],
)
def test_a_section_that_is_wrong_is_refused(lines: str, says: str, profile: Callable[..., str]) -> None:
    with pytest.raises(UsageError) as refused:
        load_target(profile(f"[notifications]\n{lines}"))
    assert says in str(refused.value) and "planted" not in str(refused.value)


# --- the command

Call = Callable[..., subprocess.CompletedProcess[str]]


def test_the_command_tells_a_change_once_and_nothing_of_what_a_person_ran(
    collection: Callable[..., str],
    runbook: Call,
    profile: Callable[..., str],
    hook: Hook,
    archive: Path,
    textfile: Path,
) -> None:
    text = f'{HERE}[notifications]\nwebhook = "env:RB_NOTIFY"\ntextfile = "{textfile}"'
    name = profile(text, "hooked")
    statuses = []
    for limit in ("", ", warning=0"):
        notebook = collection(OPEN, f"run.ask(host.memory{limit})")
        ended = runbook("run", notebook, "--target", name, "--json")
        statuses.append(ended.returncode)
        assert ended.stderr == ""
    assert statuses == [0, 1] and len(hook.bodies) == 1
    assert "probe on hooked got worse: OK → WARNING\nhost.memory: " in hook.text()
    assert samples(textfile)["runbook_status", "probe", "hooked"] == 1
    first = min(archive.rglob("notebook.ipynb"))
    assert runbook("evidence", "add", str(first)).returncode == 0
    assert len(hook.bodies) == 1
    assert "planted" not in text_of(archive)


def test_a_receiver_that_fails_changes_no_exit_status_and_is_told_on_stderr(
    collection: Callable[..., str], runbook: Call, profile: Callable[..., str], hook: Hook, runs: Runs, textfile: Path
) -> None:
    hook.answers = [500]
    textfile.write_text("foreign 1\n")
    text = f'{HERE}[notifications]\nwebhook = "env:RB_NOTIFY"\ntextfile = "{textfile}"'
    name = profile(text, "hooked")
    runs.add(CRITICAL)
    ended = runbook("run", collection(OPEN, "run.ask(host.memory)"), "--target", name, "--json")
    assert ended.returncode == 0 and json.loads(ended.stdout)["runs"][0]["status"] == OK
    told = ended.stderr.splitlines()
    assert len(told) == 2 and all(line.startswith("runbook: ") for line in told), told
    assert "holds what the runbook has not written" in ended.stderr and "answered 500, and 500" in ended.stderr
    assert "planted" not in ended.stderr

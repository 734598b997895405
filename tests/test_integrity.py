"""Files that are to be as they were: read on real trees, compared with a sealed baseline, a commit and an image."""

import os
import shutil
import signal
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from engine import Engine
from hostile import payloads
from running import only, text_of, wait_for

from runbook import integrity
from runbook.evidence.archive import ARCHIVE_FILE, NotTrusted, RunPlace, state_folder
from runbook.evidence.baselines import newest_baseline
from runbook.evidence.keys import keys_folder, trusted_keys
from runbook.evidence.pruning import plan_pruning
from runbook.evidence.seal import SEAL_FILE
from runbook.evidence.verify import verify_archive
from runbook.integrity.comparing import compare
from runbook.integrity.listing import Listing, as_lines, from_lines, root_digest
from runbook.integrity.names import left_out, may_be_secret, shown
from runbook.integrity.walk import Wanted, walk
from runbook.model import Finding, Status, UsageError
from runbook.model.layout import BASELINE_FILE, LISTING_FILE
from runbook.model.plan import PlanState
from runbook.plans.token import token_of
from runbook.session import Run, open_run
from runbook.target import load_target

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
SECRET = "hunter2-of-the-tests"
GIT = {
    **{f"GIT_{role}_{what}": "tests" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


class Deployment:
    """A tree, a place of jobs, and a target that names them, with an archive of its own."""

    def __init__(self, folder: Path, profile: Callable[..., str]) -> None:
        self.tree, self.jobs = folder / "tree", folder / "jobs"
        for path, content in {
            "main.py": "print('serves')\n", "api/auth.py": "ALGORITHM = 'HS256'\n", "start.sh": "#!/bin/sh\n",
            ".env": f"PASSWORD={SECRET}\n",
        }.items():  # fmt: skip
            (self.tree / path).parent.mkdir(parents=True, exist_ok=True)
            (self.tree / path).write_text(content)
        for path in (self.tree, self.tree / "api"):
            path.chmod(0o755)
        self.jobs.mkdir()
        (self.jobs / "backup").write_text("15 2 * * * shrimp pg_dump\n")
        for path in (*self.tree.rglob("*"), *self.jobs.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.suffix == ".sh" else 0o644)
        self._profile = profile
        self.runs: list[Run] = []
        self.named()

    def named(self, *, more: str = "", where: str = "here", before: str = "") -> None:
        """Write the profile, with more for its tree, and what else comes before."""
        tree = f'[[integrity.trees]]\npath = "{self.tree}"\n{more}'
        units = f'[integrity]\nunits = ["{self.jobs}"]\n'
        self._profile(f'{before}[host]\nwhere = "{where}"\nname = "machine"\n\n{units}\n{tree}\n', name="deployed")

    def run(self) -> Run:
        """Open a run on it."""
        self.runs.append(open_run("file-integrity", target="deployed", needs=["host"]))
        return self.runs[-1]

    def ask(self, question: Any, **arguments: Any) -> list[Finding]:
        """Ask a question in a run of its own."""
        return list(self.run().ask(question, **arguments).findings)

    def proposed(self) -> tuple[Run, Any]:
        """Plan a baseline of it as it is now."""
        run = self.run()
        verify = [integrity.baseline, integrity.differences, integrity.units]
        return run, run.propose(integrity.record_baseline, verify=verify)

    def declared_good(self) -> RunPlace:
        """Record a baseline of it as it is now, by plan and token, and return where it lies."""
        run, shown_plan = self.proposed()
        assert shown_plan.plans, shown_plan.reason
        done = run.apply(shown_plan, token_of(shown_plan.plans[0].plan)).plans[0]
        assert done.state is PlanState.VERIFIED, done.told
        kept = newest_baseline("deployed")
        assert kept is not None and kept.run_id in done.told[0]
        (folder,) = Path(os.environ["RUNBOOK_EVIDENCE"]).glob(f"runs/*/{kept.run_id}")
        return RunPlace(kept.run_id, folder)


@pytest.fixture
def deployment(
    tmp_path: Path, archive: Path, profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Deployment]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = Deployment(tmp_path / "opt", profile)
    yield made
    for run in made.runs:
        run.close()


def by_object(findings: list[Finding], top: Path) -> dict[str, Finding]:
    return {finding.object.removeprefix(f"{top}/"): finding for finding in findings}


def statuses(findings: list[Finding]) -> set[Status]:
    return {finding.status for finding in findings}


# --- what differs from the baseline


def test_a_changed_an_added_and_a_set_uid_file_are_found_by_name_the_worst_first(deployment: Deployment) -> None:
    deployment.declared_good()
    assert statuses(deployment.ask(integrity.differences)) == {OK}
    (deployment.tree / "main.py").write_text("print('other')\n")
    (deployment.tree / "api" / "door.py").write_text("import socket\n")
    (deployment.tree / "start.sh").chmod(0o4755)
    found = deployment.ask(integrity.differences)
    assert [finding.object.removeprefix(f"{deployment.tree}/") for finding in found] == [
        "start.sh", "main.py", "api/door.py",
    ]  # fmt: skip
    assert statuses(found) == {CRITICAL}
    told = by_object(found, deployment.tree)
    assert "set-uid now" in told["start.sh"].message and "were 0755 and are 4755" in told["start.sh"].message
    assert "its content was changed" in told["main.py"].message and "it was added" in told["api/door.py"].message
    assert "P0" in told["main.py"].next


def test_what_is_gone_or_belongs_to_others_is_a_warning_and_what_all_can_write_is_critical(
    deployment: Deployment,
) -> None:
    (deployment.tree / "current").symlink_to("api")
    deployment.declared_good()
    (deployment.tree / "main.py").unlink()
    (deployment.tree / "start.sh").chmod(0o700)
    (deployment.tree / "api").chmod(0o777)
    (deployment.tree / "current").unlink()
    (deployment.tree / "current").symlink_to("/etc")
    (deployment.tree / "api" / "auth.py").unlink()
    os.mkfifo(deployment.tree / "api" / "auth.py", 0o644)
    told = by_object(deployment.ask(integrity.differences), deployment.tree)
    assert {name: finding.status for name, finding in told.items()} == {
        "api": CRITICAL, "api/auth.py": CRITICAL, "current": CRITICAL, "main.py": WARNING, "start.sh": WARNING,
    }  # fmt: skip
    assert "everybody can write it" in told["api"].message
    assert told["api/auth.py"].message == "it was a file and is a named pipe"
    assert told["current"].message == "it leads to /etc, outside of the tree; it led to api"


def test_a_file_of_the_same_size_and_time_with_another_content_is_found(deployment: Deployment) -> None:
    deployment.declared_good()
    path = deployment.tree / "main.py"
    before = path.stat()
    path.write_text(path.read_text().replace("serves", "steals"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    (found,) = deployment.ask(integrity.differences)
    assert found.status is CRITICAL and "of the same size" in found.message


def test_a_new_job_is_found_among_the_jobs_and_not_among_the_trees(deployment: Deployment) -> None:
    deployment.declared_good()
    (deployment.jobs / "warmer").write_text("* * * * * root /tmp/x\n")
    (found,) = deployment.ask(integrity.units)
    assert found.status is CRITICAL and found.object == f"{deployment.jobs}/warmer"
    assert statuses(deployment.ask(integrity.differences)) == {OK}


def test_a_folder_that_came_whole_is_one_finding_and_a_set_uid_file_in_it_another(deployment: Deployment) -> None:
    deployment.declared_good()
    for number in range(40):
        (deployment.tree / "new" / f"m{number}.py").parent.mkdir(exist_ok=True)
        (deployment.tree / "new" / f"m{number}.py").touch(mode=0o644)
    (deployment.tree / "new").chmod(0o755)
    (deployment.tree / "new" / "root").touch()
    (deployment.tree / "new" / "root").chmod(0o6755)
    first, second = deployment.ask(integrity.differences)
    assert first.object.endswith("/new/root") and "set-uid and set-gid" in first.message
    assert second.object.endswith("/new") and "with 41 more below it" in second.message


def test_more_than_anybody_reads_is_counted(deployment: Deployment) -> None:
    for number in range(700):
        (deployment.tree / f"m{number:03}.py").touch(mode=0o644)
    deployment.declared_good()
    for number in range(700):
        (deployment.tree / f"m{number:03}.py").write_text("x")
    found = deployment.ask(integrity.differences)
    assert len(found) == 11 and found[-1].object == "other files" and found[-1].status is CRITICAL
    assert "690 more differ, 500 are listed" in found[-1].message


def test_without_a_baseline_nobody_can_tell_and_set_uid_files_are_found_all_the_same(deployment: Deployment) -> None:
    (deployment.tree / "start.sh").chmod(0o2755)
    (found,) = deployment.ask(integrity.baseline)
    assert found.status is UNKNOWN and "nobody has recorded a baseline" in found.message and "plan" in found.next
    assert statuses(deployment.ask(integrity.differences)) == {UNKNOWN}
    (found,) = deployment.ask(integrity.privileged)
    assert found.status is CRITICAL and "set-gid" in found.message and found.object.endswith("start.sh")


def test_a_set_uid_file_in_what_the_profile_excludes_is_found_and_an_open_one_is_a_warning(
    deployment: Deployment,
) -> None:
    deployment.named(more='exclude = ["data", "*.log"]\n')
    hidden = deployment.tree / "data" / "deep" / "sh"
    hidden.parent.mkdir(parents=True)
    hidden.write_text("#!/bin/sh\n")
    (deployment.tree / "open.log").write_text("")
    for path in (hidden, hidden.parent, hidden.parent.parent, deployment.tree / "open.log"):
        path.chmod(0o755)
    (well,) = deployment.ask(integrity.privileged)
    assert well.status is OK and "nor of 4 that the profile excludes" in well.message
    hidden.chmod(0o4755)
    (deployment.tree / "open.log").chmod(0o666)
    told = by_object(deployment.ask(integrity.privileged), deployment.tree)
    assert told["data/deep/sh"].status is CRITICAL and "it has set-uid" in told["data/deep/sh"].message
    assert told["open.log"].status is WARNING and "the profile excludes it" in told["open.log"].message


def test_a_target_elsewhere_and_one_without_trees_are_unknown(
    deployment: Deployment, profile: Callable[..., str]
) -> None:
    deployment.declared_good()
    deployment.named(where="elsewhere")
    (found,) = deployment.ask(integrity.differences)
    assert found.status is UNKNOWN and "does not live on this machine" in found.message
    profile('[host]\nwhere = "here"\n', name="deployed")
    for question in (integrity.baseline, integrity.differences, integrity.privileged, integrity.commit):
        (found,) = deployment.ask(question)
        assert found.status is UNKNOWN, question.name
    assert "[[integrity.trees]]" in found.message


def test_a_tree_that_the_baseline_does_not_have_is_unknown_and_one_that_is_gone_too(deployment: Deployment) -> None:
    deployment.declared_good()
    other = deployment.tree.parent / "other"
    deployment.named(more=f'[[integrity.trees]]\npath = "{other}"\n')
    told = {finding.object: finding for finding in deployment.ask(integrity.differences)}
    assert told[str(other)].status is UNKNOWN
    shutil.rmtree(deployment.tree)
    deployment.named()
    told = {finding.object: finding for finding in deployment.ask(integrity.differences)}
    assert told[str(deployment.tree)].status is UNKNOWN and "there is nothing" in told[str(deployment.tree)].message
    _, shown_plan = deployment.proposed()
    assert not shown_plan.plans and "there is nothing where the profile names a tree" in shown_plan.reason


# --- the baseline itself


@pytest.mark.parametrize("file", [LISTING_FILE, BASELINE_FILE, SEAL_FILE])
def test_a_tampered_baseline_is_critical_and_nothing_is_compared_with_it(deployment: Deployment, file: str) -> None:
    place = deployment.declared_good()
    (deployment.tree / "main.py").write_text("print('other')\n")
    if file == LISTING_FILE:  # as if main.py had always been so
        forged = walk([Wanted(str(deployment.tree)), Wanted(str(deployment.jobs))], 20)
        (place.folder / file).write_bytes(as_lines(forged.entries.values()))
    else:
        content = (place.folder / file).read_bytes()
        (place.folder / file).write_bytes(content.replace(b"a", b"b", 1))
    (found,) = deployment.ask(integrity.baseline)
    assert found.status is CRITICAL and found.object == place.run_id and "broken" in found.message
    (found,) = deployment.ask(integrity.differences)
    assert found.status is UNKNOWN and "is not used: broken" in found.message
    _, shown_plan = deployment.proposed()
    assert any("find out why before you replace it" in line for line in shown_plan.plans[0].plan.blast_radius)


def test_a_baseline_sealed_by_a_stranger_is_critical_until_the_key_is_trusted(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.declared_good()
    public = (keys_folder() / "evidence.pub").read_text()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "mine"))
    trusted = deployment.ask(integrity.baseline)
    assert statuses(trusted) == {CRITICAL} and "unknown key" in trusted[0].message
    keys_folder().mkdir(parents=True)
    (keys_folder() / "colleague.pub").write_text(public)
    assert statuses(deployment.ask(integrity.baseline)) == {OK}


@pytest.mark.parametrize("taken", ["record", "seal"])
def test_a_baseline_that_was_taken_away_so_that_an_older_one_counts_is_critical(
    deployment: Deployment, taken: str
) -> None:
    deployment.declared_good()
    (deployment.tree / "main.py").write_text("print('mended')\n")
    newest = deployment.declared_good()
    if taken == "record":
        shutil.rmtree(newest.folder)
    else:
        (newest.folder / SEAL_FILE).unlink()
    (found,) = deployment.ask(integrity.baseline)
    assert found.status is CRITICAL and found.object == newest.run_id, found.message
    assert statuses(deployment.ask(integrity.differences)) == {UNKNOWN}


def test_a_baseline_of_another_archive_or_target_does_not_count(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: Path
) -> None:
    place = deployment.declared_good()
    other = tmp_path / "other-archive"
    monkeypatch.setenv("RUNBOOK_EVIDENCE", str(other))
    shutil.copytree(place.folder, other / place.folder.relative_to(archive))
    (other / ARCHIVE_FILE).write_bytes((archive / ARCHIVE_FILE).read_bytes().replace(b"arc_", b"arc_x", 1))
    (found,) = deployment.ask(integrity.baseline)
    assert found.status is CRITICAL and "it was copied here" in found.message
    assert newest_baseline("another", archive) is None


def test_one_that_was_cut_short_is_told_and_the_one_before_counts(deployment: Deployment) -> None:
    place = deployment.declared_good()
    later = f"{datetime.now(UTC) + timedelta(seconds=2):%Y%m%dT%H%M%SZ}"
    left = place.folder.with_name(f"run_{later}_baseline_abcdef")
    left.mkdir()
    (left / BASELINE_FILE).write_bytes((place.folder / BASELINE_FILE).read_bytes())
    told = {finding.object: finding for finding in deployment.ask(integrity.baseline)}
    assert told["baseline"].status is OK and told["cut short"].status is WARNING
    assert statuses(deployment.ask(integrity.differences)) == {OK}


def test_an_old_baseline_is_a_warning(deployment: Deployment) -> None:
    deployment.declared_good()
    frame = deployment.run().ask(integrity.baseline).frame
    assert statuses(integrity.baseline.check(frame)) == {OK}
    frame["days"] = 181.0
    (found,) = integrity.baseline.check(frame)
    assert found.status is WARNING and "181 days ago" in found.message
    frame["days"] = -2.0
    (found,) = integrity.baseline.check(frame)
    assert found.status is WARNING and "a clock is wrong" in found.message


def test_the_plan_names_what_is_declared_good_and_is_refused_when_that_moves(deployment: Deployment) -> None:
    deployment.declared_good()
    _, nothing = deployment.proposed()
    assert not nothing.plans and "nothing differs from the newest baseline" in nothing.reason
    (deployment.tree / "main.py").write_text("print('deployed')\n")
    run, shown_plan = deployment.proposed()
    plan = shown_plan.plans[0].plan
    assert f"declared good: {deployment.tree}/main.py: changed" in plan.blast_radius
    assert not plan.of_target and plan.irreversible
    (deployment.tree / "api" / "door.py").write_text("import socket\n")
    refused = run.apply(shown_plan, token_of(plan))
    assert "the plan is stale: root was" in refused.reason
    assert statuses(deployment.ask(integrity.differences)) == {CRITICAL}


def test_an_archive_that_cannot_be_written_fails_the_plan_and_leaves_nothing(
    deployment: Deployment, archive: Path
) -> None:
    run, shown_plan = deployment.proposed()
    archive.mkdir(exist_ok=True)
    (archive / "runs").write_text("no folder")
    done = run.apply(shown_plan, token_of(shown_plan.plans[0].plan)).plans[0]
    assert done.state is PlanState.FAILED and any("was not written to the archive" in line for line in done.told)
    (archive / "runs").unlink()
    assert newest_baseline("deployed") is None


def test_the_archive_verifies_lists_and_keeps_baselines(
    deployment: Deployment, archive: Path, runbook: Callable[..., Any]
) -> None:
    former = deployment.declared_good()
    (deployment.tree / "main.py").write_text("print('mended')\n")
    newest = deployment.declared_good()
    state = {"RUNBOOK_EVIDENCE": str(archive), "XDG_STATE_HOME": str(state_folder().parent)}
    told = runbook("evidence", "list", "--notebook", "baseline", **state).stdout
    assert former.run_id in told and newest.run_id in told
    plan = plan_pruning(archive, verify_archive(archive, trusted_keys([])), 1, datetime.now(UTC) + timedelta(days=9))
    assert plan.run_ids == [former.run_id]
    assert "2 baselines are" in runbook("evidence", "verify", **state).stdout
    (newest.folder / LISTING_FILE).write_bytes(b"")
    with pytest.raises(NotTrusted, match=LISTING_FILE):
        verify_archive(archive, trusted_keys([]))


# --- secrets


def test_no_digest_and_no_content_of_a_secret_is_kept_or_told(
    deployment: Deployment, archive: Path, tmp_path: Path
) -> None:
    named = deployment.tree / "conf" / "db"  # nothing in its name says what it holds
    named.parent.mkdir(mode=0o755)
    named.write_text("of-the-profile-7731")
    reference = f'[redis]\nurl = "redis://localhost:6379/0"\npassword = "file:{named}"\n\n'
    deployment.named(before=reference)
    place = deployment.declared_good()
    entries = from_lines((place.folder / LISTING_FILE).read_bytes())
    secret = {path for (_, path), entry in entries.items() if entry.secret}
    assert secret == {".env", "conf/db"}
    assert not [path for (_, path), entry in entries.items() if entry.secret and entry.sha256]
    before = (deployment.tree / ".env").stat()
    (deployment.tree / ".env").write_text(f"PASSWORD={SECRET[::-1]}\n")
    os.utime(deployment.tree / ".env", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    (found,) = deployment.ask(integrity.differences)
    assert found.status is CRITICAL and found.object.endswith("/.env")
    text = text_of(archive) + text_of(tmp_path / "state") + str(found)
    assert SECRET not in text and SECRET[::-1] not in text and "of-the-profile-7731" not in text


def test_a_secret_written_to_with_its_time_put_back_is_found_by_the_time_that_nobody_can_put_back(
    deployment: Deployment,
) -> None:
    deployment.declared_good()
    path = deployment.tree / ".env"
    before = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    (found,) = deployment.ask(integrity.differences)
    assert found.status is CRITICAL and "may have been written, and the time put back" in found.message


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        (".env", True), ("conf/.env.production", True), ("tls/api.key", True), ("id_ed25519", True),
        ("secrets/anything.txt", True), ("a/.ssh/config", True), ("SERVER.PEM", True), ("credentials.json", True),
        ("secrets.py", False), ("password_reset.py", False), ("keys.py", False), ("environment.yml", False),
        ("credentials.py", False), ("secrets/loader.py", False), ("api/private/handlers.py", False),
    ],
)  # fmt: skip
def test_files_that_may_hold_a_secret_are_known_by_their_path(path: str, secret: bool) -> None:
    assert may_be_secret(path) is secret


# --- bad input


def test_hostile_names_are_told_apart_on_one_line(deployment: Deployment) -> None:
    deployment.declared_good()
    names = [b"a\nb.py", b"a\\nb.py", b"\xff\xfe.py", b"\xe2\x80\xaeyp.x.py", "\u0430pi.py".encode(), b"; rm -rf $HOME"]
    names += [text.encode().replace(b"/", b"_")[:200] for text in payloads("127.0.0.1:9")][:40]
    for name in {name for name in names if name and b"\0" not in name and name not in (b".", b"..")}:
        fd = os.open(os.fsencode(deployment.tree) + b"/" + name, os.O_CREAT | os.O_WRONLY, 0o644)
        os.close(fd)
    run = deployment.run()
    answer = run.ask(integrity.differences, most=1000)
    places = [finding.object for finding in answer.findings]
    assert len(places) == len(set(places)) and all(place.isprintable() for place in places)
    told = {place.removeprefix(f"{deployment.tree}/") for place in places}
    assert {r"a\u000ab.py", r"a\\nb.py", r"\xff\xfe.py", r"\u202eyp.x.py", "; rm -rf $HOME"} <= told
    look_alike = by_object(list(answer.findings), deployment.tree)["\u0430pi.py"]
    assert "letters that are not ASCII" in look_alike.message
    html = answer._repr_mimebundle_()["text/html"]
    assert "<script" not in html and "<img" not in html


def test_no_two_names_are_told_alike() -> None:
    names = ["a", "a\n", r"a\n", "a\\", "a\u202e", "\udcff", r"\xff", "é", "a\x1b[31m"]
    assert len({shown(name) for name in names}) == len(names)
    assert all(shown(name).isprintable() for name in names)


def test_links_are_not_followed_loops_end_and_pipes_are_not_opened(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    (tree / "a" / "b").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.py").write_text("x")
    (tree / "a" / "b" / "up").symlink_to("../..")
    (tree / "self").symlink_to("self")
    (tree / "out").symlink_to(outside)
    (tree / "out.py").symlink_to("../outside/secret.py")
    os.mkfifo(tree / "pipe")
    found = walk([Wanted(str(tree))], 20)
    kinds = {path: entry.kind for (_, path), entry in found.entries.items()}
    assert kinds == {
        "": "folder", "a": "folder", "a/b": "folder", "a/b/up": "link", "self": "link", "out": "link", "out.py": "link",
        "pipe": "named pipe",
    }  # fmt: skip
    assert {path for (_, path), entry in found.entries.items() if entry.outside} == {"out", "out.py"}


def test_the_top_may_be_a_link_and_where_it_leads_is_part_of_the_baseline(deployment: Deployment) -> None:
    releases = deployment.tree.parent / "releases"
    deployment.tree.rename(releases)
    shutil.copytree(releases, releases.with_name("next"))
    deployment.tree.symlink_to(releases)
    deployment.declared_good()
    deployment.tree.unlink()
    deployment.tree.symlink_to(releases.with_name("next"))
    worst = deployment.ask(integrity.differences)[0]
    assert worst.status is CRITICAL and worst.object == str(deployment.tree)
    assert f"it leads to {releases.with_name('next')}; it led to {releases}" in worst.message


def test_a_tree_inside_of_another_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "tree" / "part").mkdir(parents=True)
    (tmp_path / "tree" / "part" / "f").write_text("x")
    trees = [Wanted(str(tmp_path / "tree")), Wanted(str(tmp_path / "tree" / "part"))]
    assert {entry.tree for (_, path), entry in walk(trees, 20).entries.items() if path.endswith("f")} == {
        tree.path for tree in trees
    }


def test_files_that_vanish_while_they_are_read_are_no_failure(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for folder in range(15):
        (tree / f"d{folder}").mkdir(parents=True)
        for number in range(100):
            (tree / f"d{folder}" / f"f{number}").write_bytes(b"x" * 3000)
    gone = threading.Event()

    def take_away() -> None:
        for folder in sorted(tree.iterdir(), reverse=True):
            shutil.rmtree(folder, ignore_errors=True)
        gone.set()

    before = walk([Wanted(str(tree))], 20)
    thread = threading.Thread(target=take_away)
    thread.start()
    while not gone.is_set():
        found = walk([Wanted(str(tree))], 20)
        assert not found.partial and not found.unread
        differences = compare(before.entries, found, [str(tree)]).differences
        removed = {one.place for one in differences if one.kinds == ("removed",)}
        assert not removed & set(found.vanished)
    thread.join()


def test_a_folder_that_is_exchanged_for_a_link_is_not_followed(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    for folder in (tree / "sub", outside):
        folder.mkdir(parents=True)
    (tree / "sub" / "inner").write_text("inside")
    (outside / "inner").write_text("outside")
    from runbook.integrity.worker import read_files

    about = (tree / "sub").stat()
    (tree / "sub").rename(tree / "moved")
    (tree / "sub").symlink_to(outside)
    assert read_files(str(tree / "sub"), (about.st_dev, about.st_ino), ["inner"])[0][1] == 0
    (tree / "sub").unlink()
    outside.rename(tree / "sub")
    assert read_files(str(tree / "sub"), (about.st_dev, about.st_ino), ["inner"])[0][1] == 0


def test_what_cannot_be_read_is_unknown_and_counted(deployment: Deployment) -> None:
    if os.geteuid() == 0:  # root can read every file but those that nobody can
        deployment.jobs = Path("/proc/self/mem")
        deployment.named()
    else:
        (deployment.jobs / "backup").chmod(0)
    run, shown_plan = deployment.proposed()
    assert any("1 thing could not be read" in line for line in shown_plan.plans[0].plan.blast_radius)
    done = run.apply(shown_plan, token_of(shown_plan.plans[0].plan)).plans[0]
    assert done.state is PlanState.APPLIED  # whether it helped is not known of what cannot be read
    told = {finding.object: finding for finding in deployment.ask(integrity.units)}
    assert told["unreadable"].status is UNKNOWN and "1 of them could not be read" in told["unreadable"].message
    assert "1 could not be read" in deployment.ask(integrity.baseline)[0].message


def test_what_takes_too_long_is_told_as_a_part_and_makes_no_baseline(deployment: Deployment) -> None:
    deployment.declared_good()
    with (deployment.tree / "huge").open("wb") as file:
        file.truncate(1 << 42)  # sparse: reading it would take an hour
    (deployment.tree / "huge").chmod(0o644)
    began = time.monotonic()
    found = walk([Wanted(str(deployment.tree))], 0.5, workers=1)
    assert "after 0.5 s" in found.partial and time.monotonic() - began < 10
    before = from_lines(newest_baseline("deployed").listing)  # type: ignore[union-attr]
    assert not [one for one in compare(before, found, found.trees).differences if "removed" in one.kinds]


def test_a_worker_that_dies_is_told(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 42)
    found: list[Listing] = []
    thread = threading.Thread(target=lambda: found.append(walk([Wanted(str(tmp_path))], 60, workers=1)))
    thread.start()
    own = psutil.Process()

    def workers() -> list[psutil.Process]:
        return [child for child in own.children() if any("worker.py" in part for part in child.cmdline())]

    wait_for(workers)
    workers()[0].send_signal(signal.SIGKILL)
    thread.join(20)
    assert "was ended by somebody" in found[0].partial


def test_workers_tell_the_same_as_one_process(tmp_path: Path) -> None:
    for number in range(900):
        path = tmp_path / f"d{number % 7}" / f"f{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(number * 7))
    (tmp_path / "big").write_bytes(os.urandom(3 << 20))
    alone, together = walk([Wanted(str(tmp_path))], 60), walk([Wanted(str(tmp_path))], 60, workers=2)
    assert alone.entries == together.entries and alone.files == 901
    assert root_digest(alone.entries.values()) == root_digest(together.entries.values())
    told = subprocess.run(["sha256sum", str(tmp_path / "big")], capture_output=True, text=True, check=True).stdout
    assert alone.entries[str(tmp_path), "big"].sha256 == told.split()[0]
    assert from_lines(as_lines(alone.entries.values())).keys() == alone.entries.keys()


def test_what_is_excluded_is_left_out_by_name_or_by_path() -> None:
    is_left_out = left_out(["__pycache__", "*.log", "/data", "docs/*.html"])
    assert is_left_out("__pycache__", "a/b/__pycache__") and is_left_out("x.log", "a/x.log")
    assert is_left_out("data", "data") and not is_left_out("data", "api/data")
    assert is_left_out("a.html", "docs/a.html") and not is_left_out("a.html", "a.html")


def test_a_profile_with_a_relative_tree_is_refused(profile: Callable[..., str]) -> None:
    with pytest.raises(UsageError, match="absolute path"):
        load_target(profile('[[integrity.trees]]\npath = "opt/shrimp"\n'))
    with pytest.raises(UsageError, match="commit"):
        load_target(profile('[[integrity.trees]]\npath = "/opt/shrimp"\ncommit = "--output=/etc/passwd"\n'))


# --- the commit


@pytest.fixture
def committed(deployment: Deployment) -> Path:
    """The tree as the commit of a repository beside it, whose configuration would start a program."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    repository = deployment.tree.parent / "repository.git"
    (deployment.tree / "current").symlink_to("api")
    git(repository, deployment.tree, "init", "--quiet", "--bare", "--template=", str(repository))
    git(repository, deployment.tree, "add", "--", "main.py", "api", "start.sh", "current")
    git(repository, deployment.tree, "commit", "--quiet", "--no-gpg-sign", "-m", "all")
    git(repository, deployment.tree, "tag", "v1")
    started = deployment.tree.parent / "started"
    program = deployment.tree.parent / "program"
    program.write_text(f"#!/bin/sh\ntouch {started}\n")
    program.chmod(0o755)
    with (repository / "config").open("a") as file:
        file.write(f"[core]\n\tfsmonitor = {program}\n\tpager = {program}\n[alias]\n\tls-tree = !{program}\n")
    deployment.named(more=f'checkout = "{repository}"\ncommit = "v1"\n')
    return repository


def git(repository: Path, tree: Path, *arguments: str) -> str:
    at = [] if arguments[0] == "init" else [f"--git-dir={repository}", f"--work-tree={tree}"]
    argv = ["git", *at, *arguments]
    return subprocess.run(
        argv, check=True, capture_output=True, text=True, cwd=tree, env={**os.environ, **GIT}
    ).stdout.strip()


def test_what_is_not_as_committed_is_found_by_name_and_nothing_of_the_repository_is_started(
    deployment: Deployment, committed: Path
) -> None:
    (well,) = deployment.ask(integrity.commit)
    assert well.status is OK and "4 files as committed" in well.message and "(v1)" in well.message
    (deployment.tree / "main.py").write_text("print('other')\n")
    (deployment.tree / "api" / "door.py").write_text("import socket\n")
    (deployment.tree / "api" / "auth.py").unlink()
    (deployment.tree / "start.sh").chmod(0o644)
    (deployment.tree / "current").unlink()
    (deployment.tree / "current").symlink_to("/etc")
    told = by_object(deployment.ask(integrity.commit), deployment.tree)
    assert {name: finding.status for name, finding in told.items()} == {
        "main.py": CRITICAL, "api/door.py": CRITICAL, "current": CRITICAL, "api/auth.py": WARNING, "start.sh": WARNING,
    }  # fmt: skip
    assert "was committed so that it can" in told["start.sh"].message
    assert not (deployment.tree.parent / "started").exists()


def test_a_folder_of_the_commit_that_became_a_link_is_told_with_where_it_leads(
    deployment: Deployment, committed: Path
) -> None:
    (deployment.tree / "api").rename(deployment.tree.parent / "elsewhere")
    (deployment.tree / "api").symlink_to("../elsewhere")
    told = by_object(deployment.ask(integrity.commit), deployment.tree)
    assert told["api"].status is CRITICAL
    assert told["api"].message.startswith("it is a link to ../elsewhere, and was committed as a folder")


def test_a_repository_that_was_tampered_with_is_found_out(deployment: Deployment, committed: Path) -> None:
    oid = git(committed, deployment.tree, "rev-parse", "v1:main.py")
    path = committed / "objects" / oid[:2] / oid[2:]
    (deployment.tree / "main.py").write_text("print('steals')\n")
    content = (deployment.tree / "main.py").read_bytes()
    path.chmod(0o644)
    path.write_bytes(zlib.compress(b"blob %d\0" % len(content) + content))
    found = deployment.ask(integrity.commit)
    assert statuses(found) <= {CRITICAL, UNKNOWN}, [finding.message for finding in found]


def test_without_git_or_the_commit_it_is_unknown_and_a_repository_inside_the_tree_is_told(
    deployment: Deployment, committed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if os.geteuid() == 0:  # one of another user is no danger here, since nothing of it is run
        for path in (committed, *committed.rglob("*")):
            os.chown(path, 65534, 65534)
        assert statuses(deployment.ask(integrity.commit)) == {OK}
    deployment.named(more=f'checkout = "{committed}"\ncommit = "v2"\n')
    (found,) = deployment.ask(integrity.commit)
    assert found.status is UNKNOWN and "git cannot tell of" in found.message
    committed.rename(deployment.tree / ".git")
    deployment.named(more=f'checkout = "{deployment.tree}"\ncommit = "v1"\n')
    (found,) = deployment.ask(integrity.commit)
    assert found.status is OK and "lies in the tree itself" in found.message
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = deployment.ask(integrity.commit)
    assert found.status is UNKNOWN and "git is not installed" in found.message
    deployment.named()
    (found,) = deployment.ask(integrity.commit)
    assert found.status is UNKNOWN and "names no repository" in found.message


# --- containers


def test_a_changed_an_added_and_a_removed_file_of_a_real_container_are_found(
    deployment: Deployment, docker_host: Engine
) -> None:
    script = "until cat /go 2>/dev/null; do /bin/busybox sleep 0.1; done; /bin/busybox sleep 600"
    docker_host.image("integrity", **{"app/main.py": b"print('serves')\n", "app/old.py": b"x", "etc/conf": b"x"})
    for name in ("shrimp-good", "shrimp-bad"):
        docker_host.run(name, "integrity", "/bin/sh", "-c", script)
    try:
        names = '[containers]\napi = "shrimp-bad"\nredis = "shrimp-good"\npostgres = "shrimp-none"\n\n'
        deployment.named(before=names)
        told = {finding.object: finding for finding in deployment.ask(integrity.containers)}
        assert told["shrimp-bad"].status is OK and "no baseline recorded" in told["shrimp-bad"].message
        assert told["shrimp-none"].status is UNKNOWN
        deployment.declared_good()
        bad = docker_host.client.containers.get("shrimp-bad")
        for command in (
            "echo 1 >> /app/main.py", "echo 1 > /app/door.py", "/bin/busybox rm /app/old.py", "echo 1 > /tmp/x",
            "/bin/busybox mkdir -p /opt/kit/sub; echo 1 > /opt/kit/sub/tool", "echo 1 > /run/pid",
        ):  # fmt: skip
            assert bad.exec_run(["/bin/sh", "-c", command]).exit_code == 0
        told = {finding.object: finding for finding in deployment.ask(integrity.containers)}
        assert {name: finding.status for name, finding in told.items()} == {
            "shrimp-bad: /app/main.py": CRITICAL, "shrimp-bad: /app/door.py": CRITICAL, "shrimp-bad: /opt": CRITICAL,
            "shrimp-bad: /app/old.py": WARNING, "shrimp-good": OK, "shrimp-none": UNKNOWN,
        }  # fmt: skip
        assert "was changed since" in told["shrimp-bad: /app/main.py"].message
        assert "with 3 more below it" in told["shrimp-bad: /opt"].message
        assert "the one that the baseline recorded" in told["shrimp-good"].message
        docker_host.client.containers.get("shrimp-good").remove(force=True)
        docker_host.image("integrity", **{"app/main.py": b"print('another')\n"})
        docker_host.run("shrimp-good", "integrity", "/bin/sh", "-c", script)
        told = {finding.object: finding for finding in deployment.ask(integrity.containers)}
        assert told["shrimp-good: image"].status is CRITICAL
        assert "the baseline recorded another image" in told["shrimp-good: image"].message
        deployment.named(before=names.replace("[integrity]", ""), more="")
    finally:
        for name in ("shrimp-good", "shrimp-bad"):
            docker_host.client.containers.get(name).remove(force=True)


# --- the notebook


def test_the_notebook_tells_them_headless_and_leaves_no_secret(
    deployment: Deployment, archive: Path, run_json: Callable[..., Any]
) -> None:
    deployment.declared_good()
    (deployment.tree / "main.py").write_text("print('other')\n")
    (deployment.tree / "start.sh").chmod(0o4755)
    status, document = run_json("file-integrity", "--target", "deployed")
    told = {finding.object for finding in only(document).findings if finding.status is CRITICAL}
    assert status == 2 and {f"{deployment.tree}/main.py", f"{deployment.tree}/start.sh"} <= told
    (plan,) = only(document).plans
    assert plan.state is PlanState.PLANNED and f"{deployment.tree}/main.py: changed" in str(plan.plan.blast_radius)
    assert SECRET not in text_of(archive) and plan.token not in text_of(archive)

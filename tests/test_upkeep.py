"""What piles up: images on a real engine, old logs, tables that are due, packages; cleaned by one plan."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from carrying import carried_out, opening
from cluster import Cluster
from engine import Engine

from runbook import advisories, earlier, upkeep
from runbook.connections.images import images_and_their_use, repository
from runbook.model import Finding, Status
from runbook.model.plan import PlanState
from runbook.plans.token import token_of
from runbook.session import open_run
from runbook.upkeep.pending_packages import _INSTALLS

OK, WARNING, UNKNOWN, SKIPPED = Status.OK, Status.WARNING, Status.UNKNOWN, Status.SKIPPED
OLD = 40 * 86_400


# --- which images are needed


def image(number: int, *names: str, digests: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"Id": f"sha256:{number:064x}", "Created": 1000 - number, "RepoTags": list(names), "Size": 10,
            "RepoDigests": list(digests)}  # fmt: skip


def made_from(number: int, name: str) -> dict[str, Any]:
    return {"Id": "c" * 64, "ImageID": f"sha256:{number:064x}", "Names": [f"/{name}"]}


def test_what_runs_what_it_would_go_back_to_and_the_newest_few_are_kept() -> None:
    known = [image(n, f"registry.example:5000/shrimp/api:{n}") for n in range(1, 9)]
    told = images_and_their_use(known, [made_from(5, "api")], keep=2)
    why = {int(one.names[0].rpartition(":")[2]): one.kept for one in told}
    assert why[5] == "api is made from it" and why[6] == "what api would go back to"
    assert why[1] == why[2] == "among the newest 2 of registry.example:5000/shrimp/api"
    assert [number for number, kept in why.items() if not kept] == [3, 4, 7, 8]


def test_an_image_that_has_lost_its_name_is_known_by_its_digest() -> None:
    known = [image(1, "shrimp/api:latest"), image(2, digests=("shrimp/api@sha256:ab",)), image(3)]
    told = images_and_their_use(known, [made_from(1, "api")], keep=1)
    assert [one.kept for one in told] == ["api is made from it", "what api would go back to", ""]
    assert repository("registry:5000/a/b") == "registry:5000/a/b" and repository("a:1@sha256:x") == "a"


@pytest.fixture
def there(docker_host: Engine) -> Iterator[Engine]:
    """The shared engine, without a trace of the test afterwards."""
    api = docker_host.client
    before = {one.id for one in api.images.list(all=True)}
    yield docker_host
    for container in api.containers.list(all=True):
        if container.name.startswith("kept-"):
            container.remove(force=True)
    for one in api.images.list(all=True):
        if one.id not in before:
            api.images.remove(one.id, force=True)


def tagged(engine: Engine, *versions: int) -> dict[int, str]:
    """Make images of one repository, the first the oldest; return the id of each."""
    ids = {}
    for version in versions:
        engine.image("tests/kept", **{"a": str(version).encode() * 10})
        one = engine.client.images.get("tests/kept:latest")
        one.tag("tests/kept", f"v{version}")
        ids[version] = one.id
        time.sleep(1.05)  # the engine tells the second in which one was made
    return ids


def test_the_plan_removes_what_nobody_needs_and_never_what_runs_or_a_rollback_needs(
    there: Engine, profile: Callable[..., str], tmp_path: Path
) -> None:
    ids = tagged(there, 1, 2, 3, 4, 5)
    there.run("kept-api", "tests/kept:v3", "sh", "-c", "sleep 300")
    log = _old(tmp_path / "logs" / "api_20260101.log")
    _old(tmp_path / "logs" / "api_20260102.log")
    target = profile(f'[containers]\napi = "kept-api"\n[logs]\napi = ["{tmp_path}/logs/*.log"]\n', "cleaned")
    run = open_run("weekly-maintenance", target=target, needs=["containers", "logs"])
    given = {"keep": 1, "days": 30.0}
    shown = run.propose(upkeep.clean, verify=[upkeep.unused_images], **given)
    plan = shown.plans[0].plan
    images = [step.arguments["id"] for step in plan.steps if step.act == "image"]
    assert {ids[4], ids[1]} <= set(images) and not {ids[2], ids[3], ids[5]} & set(images)
    assert [step.arguments["path"] for step in plan.steps if step.act == "file"] == [str(log)]
    assert any("tables could not be looked at" in reach for reach in plan.blast_radius)
    token = token_of(plan)
    done = run.apply(run.propose(upkeep.clean, verify=[upkeep.unused_images], confirm=token, **given), token).plans[0]
    run.close()
    left = {one.id for one in there.client.images.list(all=True)}
    assert done.state is PlanState.VERIFIED, done.told
    assert {ids[2], ids[3], ids[5]} <= left and not {ids[1], ids[4]} & left and not log.exists()
    assert there.client.containers.get("kept-api").status == "running"


def test_an_image_that_came_into_use_makes_the_plan_stale_and_the_engine_refuses_its_removal(
    there: Engine, profile: Callable[..., str]
) -> None:
    ids = tagged(there, 1, 2, 3)
    target = profile('[containers]\napi = "kept-api"\n', "stale")
    run = open_run("weekly-maintenance", target=target, needs=["containers"])
    shown = run.propose(upkeep.clean, verify=[upkeep.unused_images], keep=1)
    (step,) = [one for one in shown.plans[0].plan.steps if one.arguments["id"] == ids[1]]
    there.run("kept-late", "tests/kept:v1", "sh", "-c", "sleep 300")
    token = token_of(shown.plans[0].plan)
    done = run.apply(run.propose(upkeep.clean, verify=[upkeep.unused_images], confirm=token, keep=1), token)
    assert "the plan is stale" in done.reason
    with pytest.raises(Exception, match="refused"):
        upkeep.clean.acts["image"].do(run._dependencies, step.arguments)
    of_3 = there.client.images.get(ids[3])
    of_3.tag("tests/kept", "v2")  # what was built anew under the name of an old one
    moved = {"id": ids[2], "names": ["tests/kept:v2"]}
    assert upkeep.clean.acts["image"].do(run._dependencies, moved).startswith("kept: tests/kept:v2")
    run.close()
    assert "tests/kept:v2" in there.client.images.get(ids[3]).tags
    assert ids[1] in {one.id for one in there.client.images.list(all=True)}


# --- old logs


def _old(path: Path, seconds: float = OLD) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("2026-01-01 12:00:00 INFO it was\n")
    os.utime(path, (time.time() - seconds, time.time() - seconds))
    return path


@pytest.fixture
def logs(profile: Callable[..., str], tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Open a run on the logs of the test."""
    runs = []

    def opened() -> Any:
        target = profile(f'[logs]\napi = ["{tmp_path}/logs/api*"]\n', "logged")
        runs.append(open_run("weekly-maintenance", target=target, needs=["logs"]))
        return runs[-1]

    yield opened
    for run in runs:
        run.close()


def test_old_files_may_go_but_not_the_newest_one_that_is_open_or_a_link(
    logs: Callable[[], Any], tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    gone, opened = _old(folder / "api_1.log"), _old(folder / "api_2.log")
    elsewhere = _old(tmp_path / "elsewhere.log")
    (folder / "api_3.log").symlink_to(elsewhere)
    os.utime(folder / "api_3.log", (0, 0), follow_symlinks=False)
    _old(folder / "api_9.log", OLD - 3600)
    with opened.open():
        frame: pd.DataFrame = logs().ask(upkeep.old_logs).frame
    kept = {Path(row["file"]).name: row["kept"] for row in frame.to_dict("records")}
    assert kept.pop("api_1.log") == "" and gone.exists()
    assert (
        f"process {os.getpid()} has it open" in kept["api_2.log"] and kept["api_9.log"] == "it is the newest of its log"
    )
    assert kept["api_3.log"] == "it is a link"


def test_a_file_that_is_written_again_is_kept_by_the_plan(logs: Callable[[], Any], tmp_path: Path) -> None:
    odd = _old(tmp_path / "logs" / "api <b>x\n.log")
    _old(tmp_path / "logs" / "api_9.log", OLD - 3600)
    run = logs()
    shown = run.propose(upkeep.clean, verify=[upkeep.old_logs])
    (step,) = shown.plans[0].plan.steps
    assert step.arguments["path"] == str(odd) and "api <b>" not in shown._repr_mimebundle_()["text/html"]
    odd.write_text("again\n")
    assert upkeep.clean.acts["file"].do(run._dependencies, step.arguments).startswith("kept: it was written since")
    assert odd.exists()
    token = token_of(shown.plans[0].plan)
    assert (
        "the plan is stale"
        in run.apply(run.propose(upkeep.clean, verify=[upkeep.old_logs], confirm=token), token).reason
    )


def test_of_very_many_old_files_a_plan_takes_some_and_leaves_the_rest_to_the_next(
    logs: Callable[[], Any], tmp_path: Path
) -> None:
    for day in range(45):
        _old(tmp_path / "logs" / f"api_{day:02d}.log")
    _old(tmp_path / "logs" / "api_99.log", OLD - 3600)
    done = carried_out(logs(), upkeep.clean, [])
    assert done.state is PlanState.VERIFIED, done.told
    assert "5 more files are left for the next plan" in done.plan.blast_radius
    assert len(list((tmp_path / "logs").iterdir())) == 6
    assert carried_out(logs(), upkeep.clean, []).state is PlanState.VERIFIED
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["api_99.log"]


def test_logs_that_are_no_files_here_or_cannot_be_opened_are_not_taken_for_young_ones(
    logs: Callable[[], Any], profile: Callable[..., str], tmp_path: Path
) -> None:
    (found,) = logs().ask(upkeep.old_logs).findings
    assert found.status is Status.UNKNOWN and "no file fits" in found.message
    for text, status in (('"container:api"', Status.UNKNOWN), (f'"container:api", "{tmp_path}/logs/*"', Status.OK)):
        _old(tmp_path / "logs" / "api_99.log", OLD - 3600)
        with opening("weekly-maintenance", profile(f"[logs]\napi = [{text}]\n", "inside"), ["logs"]) as opened:
            (found,) = opened().ask(upkeep.old_logs).findings
        assert found.status is status and "not looked at: container:api" in found.message, found.message
    os.mkfifo(tmp_path / "logs" / "api_0.log")
    os.utime(tmp_path / "logs" / "api_0.log", (0, 0))
    assert logs().ask(upkeep.old_logs).frame["kept"].iloc[0] != ""


@pytest.mark.parametrize("given", [{"days": 0.0}, {"days": -1.0}, {"keep": -1}])
def test_nothing_is_planned_by_numbers_that_would_take_what_is_needed(
    logs: Callable[[], Any], given: dict[str, float]
) -> None:
    reason = logs().propose(upkeep.clean, verify=[], **given).reason
    assert "days >= 1, keep >= 0" in reason


# --- tables


def test_a_table_that_autovacuum_did_not_come_to_is_vacuumed_by_the_plan(
    postgres_of_all: Cluster, profile: Callable[..., str]
) -> None:
    postgres_of_all.execute("CREATE DATABASE piled")
    try:
        postgres_of_all.execute(
            "CREATE TABLE heap (n integer) WITH (autovacuum_enabled = off)",
            "INSERT INTO heap SELECT generate_series(1, 5000)",
            "DELETE FROM heap WHERE n > 1000",
            "SELECT pg_stat_force_next_flush()",
            database="piled",
        )
        run = open_run(
            "weekly-maintenance", target=profile(postgres_of_all.profile(database="piled"), "piled"), needs=["postgres"]
        )
        found = run.ask(upkeep.due_tables).findings[0]
        assert found.status is WARNING and "public.heap has 4,000 dead rows of 5,000" in found.message
        shown = run.propose(upkeep.clean, verify=[upkeep.due_tables])
        assert [step.shown for step in shown.plans[0].plan.steps] == ['VACUUM (ANALYZE) "public"."heap"']
        token = token_of(shown.plans[0].plan)
        done = run.apply(run.propose(upkeep.clean, verify=[upkeep.due_tables], confirm=token), token).plans[0]
        assert done.state is PlanState.VERIFIED and done.helped.answer == "helped", done.told
        run.close()
    finally:
        postgres_of_all.execute("DROP DATABASE piled")


# --- packages


SIMULATED = """Reading package lists...
Inst libssl3 [3.0.11-1] (3.0.15-1~deb12u1 Debian-Security:12/stable-security [amd64])
Inst tzdata [2024a] (2024b Debian:12.8/stable [all]) []
Inst brand-new (1.0 Debian:12.8/stable [all])
Conf libssl3 (3.0.15-1~deb12u1 Debian-Security:12/stable-security [amd64])
"""


def test_security_updates_are_told_apart_and_old_lists_say_nothing() -> None:
    rows = [(name, old, new, "security" in of.lower()) for name, old, new, of in _INSTALLS.findall(SIMULATED)]
    assert [row[0] for row in rows] == ["libssl3", "tzdata", "brand-new"] and [row[3] for row in rows] == [
        True,
        False,
        False,
    ]
    frame = pd.DataFrame(rows, columns=["package", "installed", "new", "security"])
    for part, days, restart, wanted in (
        (frame, 1.0, False, [WARNING]), (frame[1:], 1.0, False, [OK]), (frame[1:], 9.0, False, [UNKNOWN]),
        (frame[:0], 1.0, True, [OK, WARNING]),
    ):  # fmt: skip
        taken = part.copy()
        taken.attrs = {"listed_days": days, "restart": restart}
        assert [one.status for one in upkeep.pending_packages.check(taken)] == wanted


def asked(profile: Callable[..., str], text: str, question: Any, **arguments: Any) -> list[Finding]:
    run = open_run("monthly-maintenance", target=profile(text, "monthly"), needs=["host"])
    findings = list(run.ask(question, **arguments).findings)
    run.close()
    return findings


def test_this_machines_own_packages_are_simulated_or_it_says_why_not(profile: Callable[..., str]) -> None:
    found = asked(profile, '[host]\nwhere = "here"\n', upkeep.pending_packages)
    assert found[0].object in ("packages", "the run itself", "monthly") and found[0].message
    share = (
        '[host]\nwhere = "here"\n[host.share]\nfolder = "/tmp"\ndisk_bytes = 1\nfiles = 1\nmemory_bytes = 1\ncpus = 1\n'
    )
    assert asked(profile, share, upkeep.pending_packages)[0].status is SKIPPED


def test_an_index_that_does_not_answer_is_unknown_although_pip_lists_nothing_and_ends_well(
    profile: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "site-packages" / "six-1.15.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: six\nVersion: 1.15.0\n")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    text = f'[advisories]\nenvironments = ["{info.parent}"]\n'
    (found,) = asked(profile, text, advisories.outdated)
    assert found.status is UNKNOWN and ("told nothing of its 1 package" in found.message or "pip" in found.message)


def test_a_report_that_never_ran_is_a_warning_and_one_that_ran_tells_what_it_said(
    profile: Callable[..., str], run_json: Any, archive: Path
) -> None:
    run_json("daily-security-checks", "-p", "hours=1")
    names = ["daily-security-checks", "security-audit"]
    run = open_run("monthly-maintenance", target="sandbox", needs=["host"])
    frame = earlier.last_runs.probe(run._dependencies, notebooks=names)
    run.close()
    ran, never = earlier.last_runs.check(frame)
    assert ran.status is OK and ran.message.startswith("OK ") and never.status is WARNING
    frame["ended"] -= pd.Timedelta(days=40)
    assert earlier.last_runs.check(frame)[0].status is WARNING

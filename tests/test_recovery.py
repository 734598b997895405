"""A complete recovery on the practice stack: a dropped database back to a verified service, and killed anywhere."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from carrying import carried_out, opening
from cluster import Cluster

from runbook import api, backups, postgres, recovery
from runbook.connections.restoring import name_beside, names_beside
from runbook.model import ChangeFailed, Status
from runbook.model.plan import PlanState
from runbook.plans.place import journal
from runbook.plans.progress import record_of
from runbook.plans.token import token_of
from runbook.recovery.cluster import Database, Standing
from runbook.runner.run import as_it_stands
from runbook_sandbox import backups as made_backups
from runbook_sandbox import faults, postgres_server, processes, stack
from runbook_sandbox.place import Place

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
NEEDS = ["api", "application database", "postgres", "redis", "restoring database"]
STEPS = (
    (recovery.stop_service, []),
    (recovery.preserve, []),
    (backups.restore, [backups.restored]),
    (recovery.swap, [postgres.reachable]),
    (recovery.start_service, [api.readiness, api.user_request]),
)


@pytest.fixture(scope="module")
def lost() -> Iterator[Place]:
    """A practice stack with backups; its target is `lost`."""
    place = stack.up("lost", watched=False, recorded=True)
    yield place
    stack.down(place)


@pytest.fixture
def opened() -> Iterator[Callable[..., Any]]:
    with opening("system-recovery", "lost", NEEDS) as open_:
        yield open_


def stands(run: Any) -> dict[str, Any]:
    return {finding.object: finding for finding in run.ask(recovery.position).findings}


def answer_of(place: Place) -> int:
    port = place.read("state.json")["ports"]["api"]
    return httpx.get(f"http://127.0.0.1:{port}/documents?limit=1", timeout=5, trust_env=False).status_code


@pytest.mark.slow
def test_a_dropped_database_goes_back_to_a_verified_service_past_a_backup_that_was_cut(
    lost: Place, opened: Callable[..., Any]
) -> None:
    faults.break_sandbox(lost, "backup-cut")
    faults.break_sandbox(lost, "database-dropped")
    told = stands(opened())
    assert told["database"].status is CRITICAL and told["service"].status is OK
    assert "the cluster has put_aside_by_a_fault: was it renamed?" in told["database"].message
    for change, verify in STEPS:
        done = carried_out(opened(), change, verify, wanted=True)
        assert done.state is PlanState.VERIFIED, (change.name, done.told)
        if change is backups.restore:
            assert any("does not verify" in reach for reach in done.plan.blast_radius)
    told = stands(opened())
    assert (
        told["service"].status is told["database"].status is OK
        and "restored from database-" in told["database"].message
    )
    with postgres_server.superuser(lost, "postgres") as connection:
        asking = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'shrimp_annotation'"
        assert connection.execute(asking).fetchone() == ("shrimp_user",)
    again = opened().propose(backups.restore, wanted=True, verify=[]).reason
    assert "already: it was restored, and swapped in" in again
    copies = {path.name.rpartition("_")[2] for path in (lost.folder / "preserved").glob("*/*")}
    assert answer_of(lost) == 200 and copies == {"redis", "deployed"}
    assert set(faults.heal(lost)) == {"backup-cut", "database-dropped"} and answer_of(lost) == 200


def migrating(lost: Place, profile: Callable[..., str], statement: str) -> str:
    """Return a target like the stack's own, whose service is migrated by a statement."""
    text = Path(lost.read("state.json")["target"]).read_text()
    ports, socket = lost.read("state.json")["ports"], lost.folder / "postgres"
    psql = Path(lost.read("state.json")["postgres_bin"]) / "psql"
    given = f'"{psql}", "-h", "{socket}", "-p", "{ports["postgres"]}", "-U", "postgres", "-v", "ON_ERROR_STOP=1"'
    migrate = f'[recovery]\nmigrate = [{given}, "-d", "{{database}}", "-c", "{statement}"]\n'
    return profile(text.replace("[recovery]\n", migrate), "lost")


DIES = """
import os, sys
from runbook import backups, recovery
from runbook.model.change import Act
from runbook.session import open_run
name, token, when, number = sys.argv[1:5]
change = {one.name: one for one in (*recovery.changes, *backups.changes)}[name]
done = {"acts": 0}
def dying(act):
    def do(asking, arguments):
        done["acts"] += 1
        if when == "before" and done["acts"] == int(number):
            os.kill(os.getpid(), 9)
        told = act.do(asking, arguments)
        if when == "after" and done["acts"] == int(number):
            os.kill(os.getpid(), 9)
        return told
    return Act(do, act.happened)
change.acts.update({key: dying(act) for key, act in list(change.acts.items())})
run = open_run("system-recovery", target="lost", needs=["api", "postgres", "restoring database"])
run.apply(run.propose(change, wanted=True, verify=[], confirm=token), token)
"""


@pytest.mark.slow
def test_killed_in_the_middle_of_each_step_it_is_gone_on_with_by_the_same_token(
    lost: Place, opened: Callable[..., Any], profile: Callable[..., str]
) -> None:
    shutil.rmtree(lost.folder / "preserved", ignore_errors=True)
    migrating(lost, profile, "CREATE TABLE IF NOT EXISTS added (n int)")
    faults.break_sandbox(lost, "database-dropped")
    try:
        for change, when, number in (
            (recovery.stop_service, "after", 1), (recovery.preserve, "before", 2), (backups.restore, "after", 1),
            (recovery.migrate, "after", 1), (recovery.swap, "after", 1),
            (recovery.start_service, "before", 1),
        ):  # fmt: skip
            run = opened()
            plan = run.propose(change, wanted=True, verify=[]).plans[0].plan
            argv = [sys.executable, "-c", DIES, change.name, token_of(plan), when, str(number)]
            died = subprocess.run(argv, capture_output=True, text=True)
            assert died.returncode == -9 and journal(plan)[-1].event == "intent", died.stderr
            stands_so = as_it_stands(record_of(plan, []))  # as its run had shown it, before it ended in the middle
            assert stands_so.state is PlanState.UNKNOWN and "the run ended in the middle" in stands_so.told[0]
            token = token_of(plan)
            again = run.propose(change, wanted=True, verify=[], confirm=token)
            done = run.apply(again, token).plans[0]
            assert done.state is PlanState.VERIFIED, (change.name, done.told)
        assert answer_of(lost) == 200
    finally:
        faults.heal(lost)


@pytest.mark.slow
def test_the_swap_waits_for_the_service_to_be_stopped_keeps_the_former_and_is_undone(
    lost: Place, opened: Callable[..., Any]
) -> None:
    run = opened()
    assert "no restored database waits" in run.propose(recovery.swap, wanted=True, verify=[]).reason
    assert carried_out(run, backups.restore, [backups.restored], wanted=True).state is PlanState.VERIFIED
    assert "the service still answers" in run.propose(recovery.swap, wanted=True, verify=[]).reason
    assert stands(run)["restored"].status is WARNING
    carried_out(opened(), recovery.stop_service, [], wanted=True)
    assert "waits for the swap" in opened().propose(recovery.start_service, wanted=True, verify=[]).reason
    with postgres_server.superuser(lost) as connection:  # a session of somebody is no obstacle
        swapped = carried_out(opened(), recovery.swap, [postgres.reachable], wanted=True)
        with pytest.raises(Exception, match=r"terminat|closed"):
            connection.execute("SELECT 1")
    assert swapped.state is PlanState.VERIFIED, swapped.told
    (kept,) = [name for name in stands(opened()) if name.startswith("kept ")]
    former = kept.removeprefix("kept ")
    assert "there is no former database none" in opened().propose(recovery.bring_back, back="none", verify=[]).reason
    back = carried_out(opened(), recovery.bring_back, [postgres.reachable], back=former)
    assert back.state is PlanState.VERIFIED, back.told
    (kept,) = [name for name in stands(opened()) if name.startswith("kept ")]
    assert kept.removeprefix("kept ") != former
    former = kept.removeprefix("kept ")
    assert (
        "there is no former database"
        in opened().propose(recovery.drop_kept, drop="shrimp_annotation", verify=[]).reason
    )
    dropped = carried_out(opened(), recovery.drop_kept, [], drop=former)
    assert dropped.state is PlanState.VERIFIED, dropped.told
    assert former not in str(stands(opened()))
    assert carried_out(opened(), recovery.start_service, [api.readiness], wanted=True).state is PlanState.VERIFIED


def test_what_is_put_aside_gets_a_name_that_nobody_has_and_keeps_its_time_however_long_the_database_s_own_is() -> None:
    long = "shrimp_annotation_of_the_north_sea_expedition_2026_with_é"
    for name in ("shrimp", long):
        now = datetime.now(UTC)
        taken = [name_beside(name, "before", now + timedelta(seconds=more)) for more in range(3)]
        kept = tuple(Database(one, 0, 0, True, "") for one in taken)
        aside = Standing(name, None, (), kept).aside
        assert aside not in taken and aside.startswith(names_beside(name, "before")) and len(aside.encode()) <= 63
        assert datetime.strptime(aside[-15:], "%Y%m%d_%H%M%S").replace(tzinfo=UTC) > now


def test_a_migration_is_done_to_the_restored_database_and_one_that_fails_leaves_the_service_s_own_alone(
    lost: Place, opened: Callable[..., Any], profile: Callable[..., str], tmp_path: Path
) -> None:
    made_backups.make_anew(lost, "shrimp_annotation")
    for statement, state in (
        ("SELECT no_such_function()", PlanState.FAILED),
        ("CREATE TABLE added (n int)", PlanState.VERIFIED),
    ):
        name = migrating(lost, profile, statement)
        run = opened(name)
        if not [one for one in stands(run) if one == "restored"]:
            carried_out(run, backups.restore, [backups.restored], wanted=True)
        done = carried_out(run, recovery.migrate, [], wanted=True)
        assert done.state is state, done.told
        assert ("ended with" in str(done.told)) is (state is PlanState.FAILED), done.told
    with postgres_server.superuser(lost) as connection:
        assert connection.execute("SELECT to_regclass('added')").fetchone() == (None,)
    with postgres_server.superuser(lost, "postgres") as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE '%\\_restored\\_%'").fetchall()
        for (name,) in rows:
            connection.execute(f'DROP DATABASE "{name}"')


def test_headless_the_notebook_says_what_is_next_and_its_token_does_it(
    lost: Place, runbook: Callable[..., Any], run_json: Any, archive: Path
) -> None:
    faults.break_sandbox(lost, "database-dropped")
    try:
        status, document = run_json("system-recovery", "--target", "lost", "-p", "recover=true")
        planned = {plan.plan.change: plan.plan for plan in document.runs[0].plans}
        assert status == 2 and {"recovery.stop_service", "backups.restore"} <= set(planned)
        assert "recovery.swap" not in planned
        token = token_of(planned["recovery.stop_service"])
        _, document = run_json("system-recovery", "--target", "lost", "-p", "recover=true", "--confirm", token)
        (done,) = [plan for plan in document.runs[0].plans if plan.plan.change == "recovery.stop_service"]
        assert done.journal[-1].event == "ended" and not processes.of_part(lost, "api")
    finally:
        faults.heal(lost)


def test_what_is_preserved_keeps_its_owners_and_links_and_one_that_cannot_be_copied_is_told(
    profile: Callable[..., str], opened: Callable[..., Any], tmp_path: Path
) -> None:
    data, kept = tmp_path / "it's data", tmp_path / "kept"
    (data / "sub").mkdir(parents=True)
    kept.mkdir()
    (data / "sub" / "dump.rdb").write_text("REDIS")
    (data / "link").symlink_to("nowhere")
    if os.geteuid() == 0:
        for path in (data, data / "sub", data / "sub" / "dump.rdb"):
            os.chown(path, 1234, 1234)
    name = profile(f'[recovery]\nfolders = ["{data}"]\npreserve = "{kept}"\n', "kept")
    done = carried_out(opened(name, []), recovery.preserve, [], wanted=True)
    assert done.state is PlanState.VERIFIED, done.told
    (copy,) = kept.glob("*/*/copy")
    for path in (".", "sub", "sub/dump.rdb"):
        assert (copy / path).stat().st_uid == (data / path).stat().st_uid
        assert (copy / path).stat().st_mtime == (data / path).stat().st_mtime
    assert (copy / "link").is_symlink() and (copy / "sub" / "dump.rdb").read_text() == "REDIS"
    run = opened(name, [])
    missing = {"path": str(tmp_path / "missing"), "aim": str(kept / "missing")}
    with pytest.raises(ChangeFailed, match="could not be copied whole"):
        recovery.preserve.acts["copy"].do(run._dependencies, missing)
    assert not (kept / "missing" / "complete").exists()


def test_without_a_way_to_restore_it_says_what_the_profile_lacks(
    postgres_of_all: Cluster, profile: Callable[..., str], opened: Callable[..., Any]
) -> None:
    run = opened(profile(postgres_of_all.profile(), "bare"), ["postgres"])
    (found,) = run.ask(recovery.position).findings
    assert found.status is UNKNOWN and "names no restore_dsn" in found.message

"""Replication on real clusters: a standby made and removed by plan, one that does not follow, slots, archive, WAL."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from cluster import Cluster, cluster, free_port, readable_binaries
from running import only, text_of, wait_for

from runbook import open_run, postgres
from runbook.connections import programs
from runbook.model import ChangeFailed, CouldNotFindOut, Finding, Question, Status, UsageError
from runbook.model.plan import PlanState
from runbook.plans.token import token_of
from runbook.session import Run
from runbook_sandbox import postgres_server
from runbook_sandbox.servers import all_postgres, version

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
NEEDS = ["postgres", "application database", "standby database"]
CONTEXT = (
    postgres.server_state, postgres.replication, postgres.replication_slots, postgres.archiving, postgres.wal,
    postgres.checkpoints, postgres.database_activity,
)  # fmt: skip
SEVERAL_MIB = "INSERT INTO rows SELECT repeat(md5(i::text), 30) FROM generate_series(1, 20000) AS i"


@pytest.fixture
def ask(profile: Callable[..., str]) -> Iterator[Callable[..., list[Finding]]]:
    """Ask a question of a cluster, as a role, with what else its profile says."""
    runs: list[Run] = []

    def asked(
        question: Question, server: Cluster, user: str = "postgres", *, more: str = "", **arguments: Any
    ) -> list[Finding]:
        runs.append(open_run("test", target=profile(server.profile(user, more=more), name="mine"), needs=NEEDS))
        return list(runs[-1].ask(question, **arguments).findings)

    yield asked
    for run in runs:
        run.close()


def named(findings: list[Finding], name: str) -> Finding:
    (found,) = [finding for finding in findings if finding.object == name]
    return found


def worst(findings: list[Finding]) -> Finding:
    order = [CRITICAL, UNKNOWN, WARNING, OK]
    return min(findings, key=lambda finding: order.index(finding.status))


_MAKES_ROLES = (
    "CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher; CREATE ROLE nobody LOGIN",
    "CREATE ROLE operator LOGIN REPLICATION; CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'of-replicator'",
    "CREATE TABLE rows (text text)",
)


@pytest.fixture(scope="module")
def primary() -> Iterator[Cluster]:
    """A primary of the newest installed server, which archives, and whose roles may do what a plan needs."""
    with cluster(archive_mode="on", archive_command="true") as made:
        made.execute(*_MAKES_ROLES)
        yield made


@pytest.fixture(scope="module", params=all_postgres(), ids=lambda folder: f"PostgreSQL {version(folder)[0]}")
def each_primary(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A primary of each version; one that lets nobody in over TCP without a password."""
    with cluster(request.param) as made:
        made.execute(*_MAKES_ROLES)
        hba = made.data / "pg_hba.conf"
        hba.write_text(
            "local all all trust\nhost replication replicator 127.0.0.1/32 scram-sha-256\n"
            "host all watcher 127.0.0.1/32 trust\n"
        )
        made.execute("SELECT pg_reload_conf()")
        yield made


@contextmanager
def place_of_standby(server: Cluster) -> Iterator[Path]:
    """Give a folder that the server's own user may make a standby in."""
    folder = server.folder / f"place-{free_port()}"
    folder.mkdir(mode=0o755)
    user = postgres_server.server_user()
    if user is not None:
        os.chown(folder, user, user)
    try:
        yield folder
    finally:
        for lock in folder.glob("*/postmaster.pid"):
            server._call("pg_ctl", "-D", lock.parent, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def place(primary: Cluster) -> Iterator[Path]:
    with place_of_standby(primary) as folder:
        yield folder
    primary.execute(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'for_second'"
    )


def described(
    server: Cluster, folder: Path, *, binaries: Path | None = None, port: int = 0, more: str = "", **other: Any
) -> str:
    """Return the profile of a target whose standby is to be made in a folder."""
    keys = {
        "data": str(folder / "data"),
        "binaries": str(binaries or server.binaries),
        "port": port or free_port(),
        "primary_dsn": f"host=127.0.0.1 port={server.port} user=replicator dbname=postgres",
        "primary_password": "env:OF_REPLICATOR",
        "name": "second",
        "slot": "for_second",
        **other,
    }
    watcher, operator = (f'operator_dsn = "{server.dsn(role)}"' for role in ("watcher", "operator"))
    text = server.profile("watcher", more=more).replace(watcher, operator)
    lines = "".join(f"{key} = {value if isinstance(value, int) else repr(value)}\n" for key, value in keys.items())
    return f"{text}\n[standby]\n{lines}"


@pytest.fixture
def planned(
    profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., tuple[Run, Any]]]:
    """Propose a change of the standby of a target, and give the run and what is shown."""
    monkeypatch.setenv("OF_REPLICATOR", "of-replicator")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    runs: list[Run] = []

    def propose(text: str, change: Any = postgres.standby, **more: Any) -> tuple[Run, Any]:
        run = open_run("read-replica", target=profile(text, name="mine"), needs=NEEDS)
        runs.append(run)
        checks = {"verify": [postgres.replication_slots, postgres.standby_state], **more}
        return run, run.propose(change, **checks)

    yield propose
    for run in runs:
        run.close()


def carried_out(run: Run, shown: Any) -> Any:
    assert shown.plans, shown.reason
    return run.apply(shown, token_of(shown.plans[0].plan)).plans[0]


def slots_of(server: Cluster) -> list[Any]:
    """Return the slots that the plans of these tests make."""
    return server.execute("SELECT slot_name FROM pg_replication_slots WHERE slot_name = 'for_second'")


def reason(shown: Any) -> str:
    assert not shown.plans
    return str(shown.reason)


# --- a standby, made and removed


def test_a_standby_is_made_by_its_plan_reads_a_row_just_written_and_is_removed_with_its_slot(
    each_primary: Cluster, planned: Callable[..., Any], ask: Callable[..., Any]
) -> None:
    with place_of_standby(each_primary) as place:
        text = described(each_primary, place)
        run, shown = planned(text)
        plan = shown.plans[0].plan
        assert [step.act for step in plan.steps] == ["slot", "copy", "settings", "start", "row"]
        assert plan.steps[0].shown == "SELECT pg_create_physical_replication_slot('for_second', true)"
        assert "pg_basebackup" in plan.steps[1].shown and "-S for_second" in plan.steps[1].shown
        assert "of-replicator" not in str(plan), "a password stands in no command"
        assert not (place / "data").exists(), "a plan changes nothing"

        done = carried_out(run, shown)
        assert done.state is PlanState.VERIFIED, done.told
        (told,) = [line for line in done.told if line.startswith("step 5")]
        assert "written on the primary, was read on the standby" in told
        assert each_primary.execute("SELECT count(*) FROM pg_largeobject_metadata") == [(0,)], "the row is gone again"
        assert "of-replicator" not in str(done) and "of-replicator" not in text_of(Path(os.environ["XDG_STATE_HOME"]))
        (seen,) = ask(postgres.replication, each_primary, "watcher", more='standbys = ["second"]')
        assert seen.status is OK and seen.object == "standby second" and "streaming" in seen.message
        assert (place / "data").stat().st_mode & 0o077 == 0

        _, shown = planned(text)
        assert "there is one already" in reason(shown) and not shown.findings, "one that is well is no warning"
        _, shown = planned(text, postgres.standby_removal, wanted=False)
        assert "its removal is not asked for" in reason(shown) and not shown.findings

        run, shown = planned(text, postgres.standby_removal, wanted=True)
        done = carried_out(run, shown)
        assert done.state is PlanState.VERIFIED, done.told
        assert not slots_of(each_primary)
        assert not (place / "data").exists() and len(list(place.glob("data.removed-*"))) == 1
        assert "is made anew" in shown.plans[0].plan.irreversible


def test_what_a_plan_did_is_undone_by_its_inverse(
    primary: Cluster, place: Path, planned: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["runbook.postgres.standby"], "ROW_SECONDS", 0.5)
    # Nothing can be read from it, so that its last step fails when the standby stands already.
    text = described(primary, place, read_dsn=f"host=127.0.0.1 port={free_port()} user=watcher dbname=postgres")
    run, shown = planned(text)
    offered = run.apply(shown, token_of(shown.plans[0].plan))
    failed, inverse = offered.plans
    assert failed.state is PlanState.FAILED and "was not read on the standby" in failed.told[-1]
    assert [step.act for step in inverse.plan.steps] == ["stop", "drop", "aside"]
    done = run.apply(replace(offered, plans=[inverse]), token_of(inverse.plan)).plans[0]
    assert done.state is PlanState.VERIFIED, done.told
    assert not slots_of(primary) and not (place / "data").exists()


def test_a_plan_whose_copy_was_cut_short_is_gone_on_with(
    primary: Cluster, place: Path, planned: Callable[..., Any]
) -> None:
    def dies(asking: Any, arguments: Any) -> str:
        raise CouldNotFindOut("killed")

    whole, text = postgres.standby, described(primary, place)
    run, shown = planned(text)
    cut = replace(whole, acts={**whole.acts, "copy": replace(whole.acts["copy"], do=dies)})
    token = token_of(shown.plans[0].plan)
    half = run.apply(replace(shown, change=cut), token).plans[0]
    assert half.state is PlanState.UNKNOWN and slots_of(primary)
    done = run.apply(shown, token).plans[0]
    assert done.state is PlanState.VERIFIED and "step 2: it did not happen" in done.told, done.told
    assert carried_out(*planned(text, postgres.standby_removal, wanted=True)).state is PlanState.VERIFIED


def test_a_standby_of_a_primary_that_keeps_its_configuration_elsewhere_gets_one(
    primary: Cluster, place: Path, planned: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_WATCHER", "of-watcher")
    primary.execute("ALTER ROLE watcher PASSWORD 'of-watcher'")
    copy = postgres.standby.acts["copy"]

    def as_on_debian(asking: Any, arguments: Any) -> str:
        told = copy.do(asking, arguments)
        for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf"):
            (place / "data" / name).unlink()
        return told

    port = free_port()
    dsn = f"host=127.0.0.1 port={port} user=watcher dbname=postgres"
    text = described(primary, place, port=port, read_dsn=dsn, read_password="env:OF_WATCHER")
    run, shown = planned(text)
    acts = {**postgres.standby.acts, "copy": replace(copy, do=as_on_debian)}
    done = carried_out(run, replace(shown, change=replace(postgres.standby, acts=acts)))
    assert done.state is PlanState.VERIFIED, done.told
    assert any("made as well, since the primary keeps them elsewhere: postgresql.conf" in told for told in done.told)
    assert carried_out(*planned(text, postgres.standby_removal, wanted=True)).state is PlanState.VERIFIED


def test_a_standby_that_a_run_has_made_outlives_it(
    primary: Cluster, place: Path, profile: Callable[..., str], run_json: Callable[..., Any], runbook: Any,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("OF_REPLICATOR", "of-replicator")
    monkeypatch.setenv("RUNBOOK_EVIDENCE", str(tmp_path / "evidence"))
    target = profile(described(primary, place), name="mine")
    status, document = run_json("read-replica", "--target", target)
    (plan,) = only(document).plans
    assert plan.token, only(document)
    assert status == 0, [finding.message for finding in only(document).findings if finding.bad]
    status, document = run_json("read-replica", "--target", target, "--confirm", plan.token)
    assert status == 0, (only(document).error, [f.message for f in only(document).findings if f.bad])
    assert (place / "data" / "postmaster.pid").exists()
    (state,) = [f for f in only(document).findings if f.check == "postgres.standby_state"]
    assert state.status is OK and "receiver streaming" in state.message
    seen = primary.execute("SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'")
    assert ("second",) in seen, "it still runs"
    status, document = run_json("read-replica", "--target", target)
    assert status == 0 and not only(document).plans, "a healthy one is exit 0, and no token lies about that removes it"
    assert ("postgres.replication", "standby second") in {(f.check, f.object) for f in only(document).findings}
    status, document = run_json("read-replica", "--target", target, "-p", "remove=True")
    (plan,) = only(document).plans
    assert status == 0 and plan.summary.startswith("remove the standby in ")
    # After it, what is told is how it is then.
    status, document = run_json("read-replica", "--target", target, "-p", "remove=True", "--confirm", plan.token)
    after = {(f.check, f.object): f.message for f in only(document).findings}
    assert status == 0 and ("postgres.replication", "standby second") not in after, after
    assert "not made" in after["postgres.standby_state", "standby second"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data": "/nowhere/at/all"}, "would belong to root"),
        ({"primary_dsn": "host=127.0.0.1 port=1 user=replicator dbname=postgres"}, "could not connect to its primary"),
        ({"primary_password": "env:NOT_SET"}, "NOT_SET is not set"),
        ({"binaries": "/nowhere"}, "its binaries has none"),
    ],
)
def test_a_standby_is_not_planned_where_something_stands_against_it(
    change: dict[str, str], says: str, primary: Cluster, place: Path, planned: Callable[..., Any]
) -> None:
    if "root" in says and os.geteuid() != 0:
        pytest.skip("only root can do what would end as root")
    _, shown = planned(described(primary, place, **change))
    assert says in reason(shown)


def test_a_taken_port_a_folder_in_use_and_a_slot_of_that_name_are_told_together(
    primary: Cluster, place: Path, planned: Callable[..., Any]
) -> None:
    (place / "data").mkdir()
    (place / "data" / "thesis.txt").write_text("not to be lost")
    primary.execute("SELECT pg_create_physical_replication_slot('for_second', true)")
    _, shown = planned(described(primary, place, port=primary.port))
    for says in ("is not empty, and holds no standby", f"port {primary.port} is taken", "a slot of this name already"):
        assert says in reason(shown)


def test_too_little_room_is_told_in_bytes(
    primary: Cluster, place: Path, planned: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runbook.postgres.standby_facts._free", lambda data: 1 << 20)
    _, shown = planned(described(primary, place))
    assert "has 1.0 MiB left, and 1.0 GiB are needed" in reason(shown)


def test_a_standby_of_another_version_than_its_primary_is_not_planned(
    primary: Cluster, place: Path, planned: Callable[..., Any]
) -> None:
    others = [folder for folder in all_postgres() if version(folder)[0] != version(primary.binaries)[0]]
    if not others:
        pytest.skip("only one version of PostgreSQL is here")
    other = readable_binaries(others[0], primary.folder)
    _, shown = planned(described(primary, place, binaries=other))
    told, ours, its = reason(shown), version(primary.binaries)[0], version(others[0])[0]
    assert f"which is PostgreSQL {ours}, and those of its binaries are of {its}" in told


def test_a_cluster_that_is_no_standby_is_never_removed(
    primary: Cluster, place: Path, planned: Callable[..., Any]
) -> None:
    _, shown = planned(described(primary, place, data=str(primary.data)), postgres.standby_removal, wanted=True)
    assert "holds a cluster that is no standby, or was promoted: it is not touched" in reason(shown)
    _, shown = planned(described(primary, place), postgres.standby_removal, wanted=True)
    assert "there is no standby to remove" in reason(shown)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data": "replica"}, "absolute path"),
        ({"data": "/srv/../etc"}, "absolute path"),
        ({"slot": "It is mine"}, "slot"),
        ({"primary_dsn": "postgresql://replicator:hunter2@127.0.0.1/postgres"}, "a password stands in this address"),
        ({"primary_password": "hunter2"}, "a secret stands here itself"),
        ({"unknown": "key"}, "unknown"),
    ],
)
def test_a_profile_with_a_mistake_in_its_standby_is_refused_without_repeating_secrets(
    change: dict[str, str], says: str, primary: Cluster, place: Path, planned: Callable[..., Any]
) -> None:
    with pytest.raises(UsageError) as refused:
        planned(described(primary, place, **change))
    assert says in str(refused.value) and "hunter2" not in str(refused.value)


# --- a standby that does not follow


@pytest.fixture(scope="module")
def pair(primary: Cluster) -> Iterator[Cluster]:
    """A standby of the primary, named third, with a slot of its own."""
    with place_of_standby(primary) as folder:
        made = Cluster(primary.binaries, folder, free_port())
        primary.execute("SELECT pg_create_physical_replication_slot('for_third', true)")
        address = f"host={primary.folder} port={primary.port} user=replicator application_name=third"
        made._call("pg_basebackup", "-d", address, "-D", made.data, "-R", "-S", "for_third", "-c", "fast", "--no-sync")
        with (made.data / "postgresql.auto.conf").open("a") as conf:
            conf.write(f"port = {made.port}\nunix_socket_directories = '{folder}'\narchive_mode = off\n")
            conf.write("wal_retrieve_retry_interval = '200ms'\nwal_receiver_timeout = '1min'\n")
        made.start()
        yield made
        primary.execute("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")


@pytest.fixture
def following(primary: Cluster, pair: Cluster) -> Iterator[Cluster]:
    """The pair, well again after the test."""
    yield pair
    primary.execute("ALTER ROLE replicator LOGIN")
    pair.execute("SELECT pg_wal_replay_resume()") if pair.execute("SELECT pg_is_wal_replay_paused()")[0][0] else None
    wait_for(lambda: caught_up(primary))


def caught_up(primary: Cluster) -> bool:
    behind = "SELECT 1 FROM pg_stat_replication WHERE application_name = 'third' AND replay_lsn >= pg_current_wal_lsn()"
    return primary.execute(behind) == [(1,)]


def standby_of(primary: Cluster, pair: Cluster) -> str:
    """Return the [standby] of a profile that this pair is."""
    return (
        f'[standby]\ndata = "{pair.data}"\nbinaries = "{pair.binaries}"\nport = {pair.port}\n'
        f'primary_dsn = "{primary.dsn("replicator")}"\nname = "third"\nslot = "for_third"\n'
    )


def lose_the_receiver(primary: Cluster) -> None:
    """Let the receiver not come back: its role may not log in any more."""
    primary.execute(
        "ALTER ROLE replicator NOLOGIN",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE application_name = 'third'",
    )
    wait_for(
        lambda: primary.execute("SELECT active FROM pg_replication_slots WHERE slot_name = 'for_third'") == [(False,)]
    )


def test_a_pair_that_is_well_gives_nothing_but_ok(
    primary: Cluster, following: Cluster, ask: Callable[..., Any]
) -> None:
    wait_for(lambda: caught_up(primary))
    for question in (postgres.replication, postgres.replication_slots, postgres.standby_state):
        found = ask(question, primary, "watcher", more=f'standbys = ["third"]\n{standby_of(primary, following)}')
        assert {finding.status for finding in found} == {OK}, found
    assert "receiver streaming, 0 B behind" in found[0].message
    (seen,) = [f for f in ask(postgres.replication, following, "watcher") if f.object == "this server"]
    assert seen.status is OK and "receiver streaming" in seen.message


def test_a_replica_whose_receiver_died_is_named_with_bytes_where_the_time_formula_says_nothing(
    primary: Cluster, following: Cluster, ask: Callable[..., Any]
) -> None:
    wait_for(lambda: caught_up(primary))
    lose_the_receiver(primary)
    primary.execute(SEVERAL_MIB)
    usual = """SELECT CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
               ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END"""
    assert following.execute(usual) == [(0,)], "as so many monitors ask"
    more = f'standbys = ["third"]\n{standby_of(primary, following)}'

    (found,) = ask(postgres.standby_state, primary, "watcher", more=more)
    assert (found.status, found.object) == (CRITICAL, "standby third")
    assert "its receiver is gone: nothing arrives; " in found.message and "MiB behind" in found.message
    assert (found.value, found.threshold, found.unit) == ("gone", "streaming", "")
    assert "asked as it would: PostgreSQL at " in found.message
    assert "refused the log-in of role replicator" in found.message
    (alone,) = ask(postgres.replication, primary, "watcher", more=standby_of(primary, following))
    assert (alone.status, alone.object) == (CRITICAL, "standby third"), "its slot is there: it is expected"

    found = named(ask(postgres.replication, primary, "watcher", more=more), "standby third")
    assert found.status is CRITICAL and "is expected by the profile and not connected" in found.message
    (found,) = ask(postgres.replication_slots, primary, "watcher")
    assert (found.status, found.object) == (WARNING, "slot for_third")
    assert "is used by nobody" in found.message and "holds " in found.message and "MiB of WAL" in found.message
    seen = named(ask(postgres.replication, following, "watcher"), "this server")
    assert seen.status is CRITICAL and "what the primary wrote since cannot be seen from here" in seen.message


def test_the_notebook_names_a_replica_whose_receiver_died(
    primary: Cluster, following: Cluster, profile: Callable[..., str], run_json: Callable[..., Any]
) -> None:
    wait_for(lambda: caught_up(primary))
    lose_the_receiver(primary)
    primary.execute(SEVERAL_MIB)
    target = profile(primary.profile("watcher", more=f'standbys = ["third"]\n{standby_of(primary, following)}'))
    status, document = run_json("read-replica", "--target", target)
    bad = {finding.object: finding.message for finding in only(document).findings if finding.bad}
    assert status == 2 and "its receiver is gone" in bad["standby third"] and "holds" in bad["slot for_third"]


def test_a_standby_that_answers_is_there_although_its_folder_is_not_ours_to_read(
    primary: Cluster, following: Cluster, place: Path, planned: Callable[..., Any]
) -> None:
    _, shown = planned(described(primary, place, port=following.port))
    assert f"a standby of this cluster on port {following.port}, which answers" in reason(shown) and not shown.findings
    _, shown = planned(described(primary, place, port=primary.port))
    assert f"port {primary.port} is taken" in reason(shown), "the primary itself is no standby"


def test_a_paused_replay_is_told(primary: Cluster, following: Cluster, ask: Callable[..., Any]) -> None:
    wait_for(lambda: caught_up(primary))
    following.execute("SELECT pg_wal_replay_pause()")
    wait_for(lambda: following.execute("SELECT pg_get_wal_replay_pause_state()") == [("paused",)])
    primary.execute(SEVERAL_MIB)
    (found,) = ask(postgres.standby_state, primary, "watcher", more=standby_of(primary, following))
    assert (found.status, found.value) == (WARNING, "paused") and "MiB behind" in found.message
    behind = named(ask(postgres.replication, primary, "watcher", warning_mib=1), "standby third")
    assert behind.status is WARNING and "replayed" in behind.message and (behind.unit, behind.threshold) == ("MiB", 1)


def test_a_standby_that_is_stopped_is_told_with_what_its_slot_holds(
    primary: Cluster, following: Cluster, ask: Callable[..., Any]
) -> None:
    following.stop()
    primary.execute(SEVERAL_MIB)
    try:
        (found,) = ask(postgres.standby_state, primary, "watcher", more=standby_of(primary, following))
    finally:
        following.start()
    assert found.status is CRITICAL and "does not answer" in found.message and "MiB of WAL" in found.message
    start = f"{following.binaries / 'pg_ctl'} -D {following.data} -w -t 120 -l {following.data}/standby.log start"
    assert f"{start}; the plan that removes it (runbook run read-replica --target mine -p remove=true)" in found.next


def test_another_cluster_on_the_standbys_port_is_told(
    primary: Cluster, following: Cluster, each_primary: Cluster, ask: Callable[..., Any]
) -> None:
    text = standby_of(primary, following) + f'read_dsn = "{each_primary.dsn("watcher")}"\n'
    (found,) = ask(postgres.standby_state, primary, "watcher", more=text)
    assert (found.status, found.value) == (CRITICAL, "another cluster")


def test_commits_that_wait_for_a_synchronous_standby_are_critical(
    primary: Cluster, following: Cluster, ask: Callable[..., Any]
) -> None:
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'nowhere'", "SELECT pg_reload_conf()")
    try:
        wait_for(lambda: primary.execute("SHOW synchronous_standby_names") == [("nowhere",)])
        found = named(ask(postgres.replication, primary, "watcher"), "synchronous standbys")
    finally:
        with primary.connect(options="-c synchronous_commit=local") as admin:
            admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
            admin.execute("SELECT pg_reload_conf()")
    assert found.status is CRITICAL and "every commit waits" in found.message


# --- programs


def test_a_program_that_does_not_end_is_ended_with_what_it_has_started(primary: Cluster) -> None:
    owner = programs.owner_of(primary.data)
    marked = f"sleep {300 + os.getpid()}"
    with pytest.raises(CouldNotFindOut, match=r"sh did not end within 0\.3 s, and was ended"):
        programs.call(["sh", "-c", f"{marked} & {marked}"], owner, 0.3)
    wait_for(lambda: marked not in [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])])


def test_a_program_is_called_as_the_folders_owner_and_sees_nothing_of_our_environment(
    primary: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_REPLICATOR", "of-replicator")
    owner = programs.owner_of(primary.data / "not" / "there" / "yet")
    assert programs.required(["id", "-u"], owner, 5).strip() == str(primary.data.stat().st_uid)
    seen = programs.required(["env"], owner, 5, secrets={"PGPASSWORD": "x"}).splitlines()
    assert {line.split("=")[0] for line in seen} == {"PATH", "LC_ALL", "PGPASSWORD"}
    with pytest.raises(ChangeFailed, match=r"no-such-program cannot be called as .*: No such file"):
        programs.required(["no-such-program"], owner, 5)
    with pytest.raises(ChangeFailed, match=r"ls ended with 2: .*No such file"):
        programs.required(["ls", "/no/such/place"], owner, 5)


# --- slots


@pytest.fixture
def slots(primary: Cluster) -> Iterator[Cluster]:
    yield primary
    primary.execute(
        "ALTER SYSTEM RESET max_slot_wal_keep_size", "SELECT pg_reload_conf()",
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'test\\_%'",
    )  # fmt: skip


def test_a_slot_that_nobody_uses_is_told_with_the_wal_that_it_holds(slots: Cluster, ask: Callable[..., Any]) -> None:
    slots.execute("SELECT pg_create_physical_replication_slot('test_left', true)")
    slots.execute("SELECT pg_create_physical_replication_slot('test_never_used')")
    slots.execute(SEVERAL_MIB)
    found = ask(postgres.replication_slots, slots, "nobody")
    left = named(found, "slot test_left")
    assert (left.status, left.threshold, left.unit) == (WARNING, "in use", "") and "MiB for nobody" in left.value
    assert "is used by nobody" in left.message
    assert not [f for f in found if f.object == "slot test_never_used"], "it holds nothing"
    more = named(ask(postgres.replication_slots, slots, "nobody", warning_mib=1, critical_mib=5), "slot test_left")
    assert more.status is CRITICAL
    first, _, statement = left.next.rpartition("; only if it never comes back: ")
    assert first == "bring its standby back (runbook run read-replica --target mine)" and more.next == left.next
    assert statement == "SELECT pg_drop_replication_slot('test_left')"
    slots.execute(statement)
    assert not slots.execute("SELECT 1 FROM pg_replication_slots WHERE slot_name = 'test_left'")


def test_an_unused_slot_is_told_by_each_version_and_since_when_by_those_that_know(
    each_postgres: Cluster, ask: Callable[..., Any]
) -> None:
    each_postgres.execute("SELECT pg_create_physical_replication_slot('test_unused', true)")
    try:
        found = named(ask(postgres.replication_slots, each_postgres), "slot test_unused")
    finally:
        each_postgres.execute("SELECT pg_drop_replication_slot('test_unused')")
    assert found.status is WARNING
    knows = version(each_postgres.binaries)[0] >= 17
    assert ("used by nobody since 20" in found.message) is knows


def test_a_slot_that_lost_its_wal_is_critical(slots: Cluster, ask: Callable[..., Any]) -> None:
    slots.execute("SELECT pg_create_physical_replication_slot('test_lost', true)")
    slots.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'", "SELECT pg_reload_conf()")
    status = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'test_lost'"
    for _ in range(6):
        slots.execute("CREATE TABLE IF NOT EXISTS more (i int); INSERT INTO more VALUES (1)", "SELECT pg_switch_wal()")
    seen = named(ask(postgres.replication_slots, slots, "watcher"), "slot test_lost")
    assert seen.status is CRITICAL
    if seen.value == "unreserved":  # it can still be saved
        assert seen.next.startswith("hurry: let its standby catch up before the next checkpoint")
        assert "pg_drop_replication_slot" not in seen.next
    # Who follows is to go on following.
    wait_for(lambda: not slots.execute("SELECT 1 FROM pg_stat_replication WHERE flush_lsn < pg_current_wal_lsn()"))
    slots.execute("CHECKPOINT")
    wait_for(lambda: slots.execute(status) == [("lost",)])
    found = named(ask(postgres.replication_slots, slots, "watcher"), "slot test_lost")
    assert found.next.startswith("SELECT pg_drop_replication_slot('test_lost')  -- ")
    assert (found.status, found.value) == (CRITICAL, "lost") and "its standby cannot go on" in found.message


def slot_rows(*rows: dict[str, Any]) -> pd.DataFrame:
    """Return what the probe of slots gives for these."""
    usual = {
        "slot": "s", "kind": "physical", "database": None, "active": False, "active_pid": None, "holds": True,
        "held_bytes": 2.0 * 1024**2, "wal_status": "reserved", "safe_bytes": None, "conflicting": False,
        "synced": False, "inactive_since": None, "invalidation_reason": None,
    }  # fmt: skip
    return pd.DataFrame([{**usual, **row} for row in rows]).astype({"active_pid": "float64"})


def test_a_slot_that_can_still_be_saved_is_not_to_be_dropped() -> None:
    saved, logical = {"active": True, "active_pid": 7.0, "wal_status": "unreserved"}, {"kind": "logical", "slot": "l"}
    for row, reader in ((saved, "standby"), ({**saved, **logical}, "subscriber")):
        (found,) = postgres.replication_slots.check(slot_rows(row))
        assert (found.status, found.value) == (CRITICAL, "unreserved")
        assert f"let its {reader} catch up" in found.next and "SELECT pg_reload_conf()" in found.next
        assert "pg_drop_replication_slot" not in found.next and found.next.endswith("only once it is lost")
    (unused,) = postgres.replication_slots.check(slot_rows(logical))
    assert unused.next.startswith("bring its subscriber back; only if") and unused.next.endswith("_slot('l')")
    many = postgres.replication_slots.check(slot_rows(*({"slot": f"s{n}"} for n in range(11))))
    assert many[-1].message == "1 more slot is not well"


# --- archive, WAL, the server itself


def test_an_archive_command_that_fails_is_critical_and_says_with_which_file(
    primary: Cluster, ask: Callable[..., Any]
) -> None:
    primary.execute("SELECT pg_switch_wal()")
    wait_for(lambda: primary.execute("SELECT archived_count > 0 FROM pg_stat_archiver") == [(True,)])
    assert {f.status for f in ask(postgres.archiving, primary, "watcher")} == {OK}
    primary.execute("ALTER SYSTEM SET archive_command = 'false'", "SELECT pg_reload_conf()")
    primary.execute("INSERT INTO rows VALUES ('x')", "SELECT pg_switch_wal()")
    wait_for(lambda: primary.execute("SELECT failed_count > 0 FROM pg_stat_archiver") == [(True,)])
    found = ask(postgres.archiving, primary, "watcher", warning=0)
    failing = named(found, "archiving")
    assert failing.status is CRITICAL and " with 0000000" in failing.message
    assert failing.value >= 1 and (failing.threshold, failing.unit) == (0, "failures")
    waiting = named(found, "files that wait")
    assert waiting.status is WARNING and "how long archive_command takes" in waiting.next
    blind = named(ask(postgres.archiving, primary, "nobody"), "files that wait")
    assert blind.status is UNKNOWN and 'GRANT pg_monitor TO "nobody"' in blind.message
    primary.execute("ALTER SYSTEM RESET archive_command", "SELECT pg_reload_conf()")
    primary.execute("SELECT pg_switch_wal()")
    wait_for(lambda: primary.execute("SELECT last_archived_time > last_failed_time FROM pg_stat_archiver") == [(True,)])
    after = named(ask(postgres.archiving, primary, "watcher"), "archiving")
    assert after.status is WARNING and "after it" in after.message


def test_an_archive_without_a_way_to_it_is_critical(primary: Cluster, ask: Callable[..., Any]) -> None:
    primary.execute("ALTER SYSTEM SET archive_command = ''", "SELECT pg_reload_conf()")
    try:
        wait_for(lambda: primary.execute("SHOW archive_command") == [("",)])
        found = named(ask(postgres.archiving, primary, "watcher"), "archiving")
    finally:
        primary.execute("ALTER SYSTEM RESET archive_command", "SELECT pg_reload_conf()")
    assert found.status is CRITICAL and "all WAL is kept" in found.message


def test_wal_that_is_more_than_its_limits_names_what_holds_it(slots: Cluster, ask: Callable[..., Any]) -> None:
    slots.execute("SELECT pg_create_physical_replication_slot('test_holds', true)")
    slots.execute("ALTER SYSTEM SET max_wal_size = '32MB'", "SELECT pg_reload_conf()")
    try:
        for _ in range(4):
            slots.execute(SEVERAL_MIB)
        (found,) = ask(postgres.wal, slots, "watcher", warning=1)
    finally:
        slots.execute("ALTER SYSTEM RESET max_wal_size", "SELECT pg_reload_conf()")
    assert found.status in (WARNING, CRITICAL) and found.object == "pg_wal" and "slot test_holds holds" in found.message


def test_settings_that_wait_for_a_restart_are_named(primary: Cluster, ask: Callable[..., Any]) -> None:
    primary.execute("ALTER SYSTEM SET max_connections = 41", "SELECT pg_reload_conf()")
    try:
        wait_for(lambda: primary.execute("SELECT count(*) FROM pg_settings WHERE pending_restart") == [(1,)])
        found = named(ask(postgres.server_state, primary, "watcher"), "settings")
    finally:
        primary.execute("ALTER SYSTEM RESET max_connections", "SELECT pg_reload_conf()")
    assert found.status is WARNING and found.message.endswith("until a restart: max_connections")


def test_checkpoints_that_were_asked_for_are_a_warning_once_there_are_enough(
    primary: Cluster, ask: Callable[..., Any]
) -> None:
    for _ in range(12):
        primary.execute("CHECKPOINT")
    wait_for(lambda: ask(postgres.checkpoints, primary, "nobody")[0].status is WARNING)
    (found,) = ask(postgres.checkpoints, primary, "nobody", least=1000)
    assert found.status is OK and "were asked for" in found.message


def test_every_question_is_answered_by_each_version_to_a_role_that_may_only_monitor(
    each_postgres: Cluster, ask: Callable[..., Any]
) -> None:
    each_postgres.execute("DROP ROLE IF EXISTS watcher", "CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher")
    for question in CONTEXT:
        found = ask(question, each_postgres, "watcher")
        allowed = {OK, WARNING} if question is postgres.server_state else {OK}
        assert {finding.status for finding in found} <= allowed, found


def test_a_role_with_nothing_is_told_the_grant_where_it_sees_too_little(
    each_postgres: Cluster, ask: Callable[..., Any]
) -> None:
    each_postgres.execute("DROP ROLE IF EXISTS nobody", "CREATE ROLE nobody LOGIN")
    for question in (postgres.replication, postgres.wal):
        (found,) = ask(question, each_postgres, "nobody")
        assert found.status is UNKNOWN and "GRANT pg_monitor TO" in found.message
    for question in (postgres.replication_slots, postgres.checkpoints, postgres.database_activity, postgres.archiving):
        assert {f.status for f in ask(question, each_postgres, "nobody")} == {OK}, question.name

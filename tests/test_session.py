"""A run in the kernel: what it opens, whom it waits for, which limits hold, what it shows and what it leaves."""

import hashlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from runbook import api, clock, host, open_run, postgres, queue, redis
from runbook.connections import KINDS, ApiConnection, PostgresConnection, RedisConnection
from runbook.kernels.questions import all_questions
from runbook.model import CouldNotFindOut, DoesNotApply, Finding, Question, Status, UsageError
from runbook.model.protocol import FINDINGS_MIME, decode
from runbook.model.text import to_run
from runbook.redaction.redactor import MARK
from runbook.session import Run
from runbook.session.display import ShownAnswer
from runbook_sandbox import postgres_server, target_file
from runbook_sandbox.place import PARTS, Place

OK, WARNING, CRITICAL, UNKNOWN, SKIPPED = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN, Status.SKIPPED
SECRET = "correct-horse&battery"
TODAY = datetime.now(UTC).date()


@pytest.fixture
def opened(sandbox: Place, profile: Callable[..., str]) -> Iterator[Callable[..., Run]]:
    """Open runs on the sandbox with more in its profile, or on a profile of one's own; closed after the test."""
    runs: list[Run] = []

    def open_(*needs: str, more: str = "", text: str | None = None) -> Run:
        own = text if text is not None else Path(sandbox.read("state.json")["target"]).read_text()
        target = profile(f"{own}\n{more}\n")
        runs.append(open_run("a-notebook", target=target, needs=list(needs)))
        return runs[-1]

    yield open_
    for run in runs:
        run.close()


@pytest.fixture
def silent() -> Iterator[Callable[[], int]]:
    """Ports that take connections and never say a word."""
    held: list[socket.socket] = []

    def listen() -> int:
        listening = socket.create_server(("127.0.0.1", 0), backlog=16)
        held.append(listening)
        port: int = listening.getsockname()[1]
        return port

    yield listen
    for listening in held:
        listening.close()


class Moody(ThreadingHTTPServer):
    """A service that answers only while it is told to; ``asked`` counts the requests that came."""

    daemon_threads = False

    def __init__(self) -> None:
        self.asked = 0
        self.answering, self.stopped = False, threading.Event()
        super().__init__(("127.0.0.1", 0), Moods)


class Moods(BaseHTTPRequestHandler):
    server: Moody

    def do_GET(self) -> None:
        self.server.asked += 1
        if not self.server.answering:
            self.server.stopped.wait()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status": "healthy"}')

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def moody() -> Iterator[Moody]:
    server = Moody()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.stopped.set()
    server.shutdown()
    server.server_close()


def only(answer: ShownAnswer) -> Finding:
    (finding,) = answer.findings
    return finding


def asking(
    probe: Callable[..., pd.DataFrame], check: Callable[..., list[Finding]] | None = None, **more: Any
) -> Question:
    """Return a question of these tests."""
    well = [Finding(object="thing", status=OK, message="well")]
    return Question(name="test.thing", title="Is it well?", probe=probe, check=check or (lambda _: well),
                    source="look", **more)  # fmt: skip


# --- dependencies


def test_two_dependencies_that_hang_cost_one_deadline(silent: Callable[[], int], opened: Callable[..., Run]) -> None:
    text = f"""
        [api]
        url = "http://127.0.0.1:{silent()}"
        [redis]
        url = "redis://127.0.0.1:{silent()}/0"
        [deadlines]
        connect = 1.0
    """
    began = time.monotonic()
    run = opened("api", "redis", text=text)
    took = time.monotonic() - began
    assert 0.9 < took < 1.6
    answers = [run.ask(api.liveness), run.ask(redis.reachable), run.ask(queue.size), run.ask(redis.memory)]
    assert [answer.verdict for answer in answers] == [CRITICAL, CRITICAL, UNKNOWN, UNKNOWN]
    assert all("no answer within 1 s" in only(answer).message for answer in answers)
    assert max(answer.seconds for answer in answers) < 0.5
    assert run._repr_mimebundle_()["text/plain"].count("NOT OPEN") == 2


def test_one_that_hangs_does_not_keep_the_others_from_being_asked(
    silent: Callable[[], int], sandbox: Place, opened: Callable[..., Run]
) -> None:
    text = Path(sandbox.read("state.json")["target"]).read_text()
    text = re.sub(r'url = "http://127.0.0.1:\d+"', f'url = "http://127.0.0.1:{silent()}"', text)
    run = opened("api", "redis", "postgres", "application database", "host", text=f"{text}\n[deadlines]\nconnect = 0.5")
    well = (redis.reachable, postgres.reachable, postgres.connection_slots, host.disk, clock.offsets)
    assert [run.ask(question).verdict for question in well] == [OK] * 5
    assert run.ask(api.liveness).verdict is CRITICAL


def test_a_dead_dependency_is_remembered_and_tried_again_by_the_open_cell(
    moody: Moody, opened: Callable[..., Run]
) -> None:
    text = f'[api]\nurl = "http://127.0.0.1:{moody.server_address[1]}"\n[deadlines]\nconnect = 0.5'
    run = opened("api", text=text)
    moody.answering = True
    assert [run.ask(question).verdict for question in (api.liveness, api.user_request)] == [CRITICAL, UNKNOWN]
    assert moody.asked == 1, "in this run it is not asked again"
    again = opened("api", text=text)
    assert again.ask(api.liveness).verdict is OK and again.run_id != run.run_id


def test_opening_again_ends_the_former_run_and_its_sessions(sandbox: Place, opened: Callable[..., Run]) -> None:
    opened("postgres", "application database")
    opened("postgres")
    with postgres_server.superuser(sandbox) as admin:
        sessions = b"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'runbook a-notebook'"
        end = time.monotonic() + 5
        while (seen := admin.execute(sessions).fetchone()) != (1,) and time.monotonic() < end:
            time.sleep(0.02)
    assert seen == (1,)


def test_what_was_not_foreseen_is_opened_when_asked(opened: Callable[..., Run]) -> None:
    run = opened()
    assert [run.ask(question).verdict for question in (redis.reachable, postgres.connection_slots)] == [OK, OK]


def test_an_unknown_need_is_refused_with_those_there_are(sandbox: Place) -> None:
    with pytest.raises(UsageError, match="unknown needs: postgre; there are: api, postgres,"):
        open_run("a-notebook", needs=["postgre"], target=sandbox.name)


def test_a_target_that_configures_nothing_is_unknown_in_everything_and_raises_nothing(
    opened: Callable[..., Run],
) -> None:
    run = opened(*KINDS, text="")
    of_no_target = (
        "assessment.", "communication.", "happened.", "postmortem.", "reports.archived", "reports.measured"
    )  # fmt: skip
    asked = [question for question in all_questions() if not question.name.startswith(of_no_target)]
    answers = {question.name: run.ask(question) for question in asked}
    # A cluster is asked only where the profile names one: none is needed.
    of_cluster = {name for name in answers if name.startswith("kubernetes.")} | {"certificates.secret"}
    assert {only(answers[name]).status for name in of_cluster} == {SKIPPED}
    assert {answer.verdict for name, answer in answers.items() if name not in of_cluster} == {UNKNOWN}
    for name, part in (("api.liveness", "[api]"), ("redis.reachable", "[redis]"), ("postgres.reachable", "[postgres]")):
        assert f"has no {part}" in only(answers[name]).message
    summary = run.summary()
    assert summary.verdict is UNKNOWN and {one.check for one in summary.findings} == set(answers)


# --- limits


def test_a_profiles_threshold_holds_and_a_keyword_goes_before_it(opened: Callable[..., Run]) -> None:
    run = opened("postgres", more='[thresholds."postgres.connection_slots"]\nwarning = 0.5')
    profiled, asked = run.ask(postgres.connection_slots), run.ask(postgres.connection_slots, warning=0.1, critical=0.2)
    assert (only(profiled).status, only(profiled).threshold) == (WARNING, 0.5)
    assert (only(asked).status, only(asked).threshold) == (CRITICAL, 0.2)
    assert run.findings.verdict is CRITICAL and len(run.findings) == 1, "asked again, the last answer counts"


def test_what_probe_and_check_both_take_reaches_both(opened: Callable[..., Run]) -> None:
    def check(frame: pd.DataFrame, *, hours: float = 24) -> list[Finding]:
        return [Finding(object="thing", status=OK, message=f"looked {frame['hours'].iloc[0]:g}, judged {hours:g}")]

    question = asking(lambda asking, *, hours=24.0: pd.DataFrame([{"hours": hours}]), check)
    assert only(opened().ask(question, hours=48)).message == "looked 48, judged 48"
    profiled = opened(more='[thresholds."test.thing"]\nhours = 72')
    assert only(profiled.ask(question)).message == "looked 72, judged 72"


def test_an_unknown_threshold_in_a_profile_is_refused_with_those_there_are(opened: Callable[..., Run]) -> None:
    run = opened(more='[thresholds."redis.memory"]\nwarn = 5')
    with pytest.raises(UsageError, match=r"redis\.memory has no threshold warn; it has warning, critical"):
        run.ask(redis.memory)


def test_an_unknown_keyword_is_refused_and_not_dropped(opened: Callable[..., Run]) -> None:
    with pytest.raises((UsageError, TypeError), match="wrning"):
        opened("redis").ask(redis.memory, wrning=5)


# --- accepted, or not applicable


def acknowledged(until: Any, obj: str = "slots") -> str:
    return f"""
        [thresholds."postgres.connection_slots"]
        critical = 0.1
        warning = 0.1
        [[acknowledge]]
        check = "postgres.connection_slots"
        object = "{obj}"
        reason = "OPS-1: known"
        until = {until}
    """


@pytest.mark.parametrize("obj", ["slots", "*"])
def test_an_acknowledged_finding_is_shown_and_not_counted(obj: str, opened: Callable[..., Run]) -> None:
    run = opened("postgres", "redis", more=acknowledged(TODAY, obj))
    found = only(run.ask(postgres.connection_slots))
    run.ask(redis.reachable)
    assert found.status is CRITICAL and found.acknowledged is not None and not found.bad
    summary = run.summary()
    assert summary.verdict is OK
    text = summary._repr_mimebundle_()["text/plain"]
    assert "OPS-1: known" in text and "1 acknowledged" in text and "slots" in text
    assert "OPS-1: known" in summary._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize(("until", "obj"), [(TODAY - timedelta(days=1), "*"), (TODAY, "other")])
def test_an_acknowledged_finding_is_back_after_its_day_and_holds_for_its_object_only(
    until: Any, obj: str, opened: Callable[..., Run]
) -> None:
    run = opened("postgres", more=acknowledged(until, obj))
    assert only(run.ask(postgres.connection_slots)).acknowledged is None
    assert run.summary().verdict is CRITICAL


def test_a_finding_that_is_well_is_not_acknowledged(opened: Callable[..., Run]) -> None:
    text = acknowledged(TODAY).replace("0.1", "99")
    assert only(opened("postgres", more=text).ask(postgres.connection_slots)).acknowledged is None


def test_what_does_not_apply_is_skipped_with_the_reason_and_not_asked(opened: Callable[..., Run]) -> None:
    run = opened(more='[[not_applicable]]\ncheck = "test.thing"\nreason = "there is no thing here"')
    asked: list[bool] = []
    skipped = run.ask(asking(lambda _: asked.append(True) or pd.DataFrame()))
    assert only(skipped).status is SKIPPED and only(skipped).message == "there is no thing here" and not asked
    assert skipped.verdict is SKIPPED and run.summary().verdict is UNKNOWN, "nothing was found out"


def test_a_probe_tells_itself_what_does_not_apply_or_could_not_be_found_out(opened: Callable[..., Run]) -> None:
    def raises(error: Exception) -> Callable[..., pd.DataFrame]:
        def probe(_: Any) -> pd.DataFrame:
            raise error

        return probe

    run = opened()
    assert only(run.ask(asking(raises(DoesNotApply("no replicas"))))).status is SKIPPED
    unknown = only(run.ask(asking(raises(CouldNotFindOut("no right")), next="ask for it")))
    assert (unknown.status, unknown.next) == (UNKNOWN, "") and "no right" in unknown.message
    assert len(run.findings) == 1


def test_what_to_do_next_names_the_target_and_no_other_brace_is_touched(opened: Callable[..., Run]) -> None:
    run = opened()
    command = to_run("a-notebook", table='own."{target} {api}"')
    assert command == "runbook run a-notebook --target {target} -p 'table=own.\"{target} {api}\"'"
    found = Finding(object="{target}", status=WARNING, message="{api}", next=command)
    told = only(run.ask(asking(lambda _: pd.DataFrame(), lambda _: [found])))
    assert told.next == f"runbook run a-notebook --target {run.target.name} -p 'table=own.\"{{target}} {{api}}\"'"
    assert (told.object, told.message) == ("{target}", "{api}")
    after = only(run.ask(asking(lambda _: pd.DataFrame(), lambda _: [Finding(object="x", status=WARNING, message="m")],
                                next=to_run("other"))))  # fmt: skip
    assert after.next == f"runbook run other --target {run.target.name}"


def test_a_next_step_does_not_lead_to_the_notebook_that_runs_unless_with_parameters(opened: Callable[..., Run]) -> None:
    run = opened()

    def told(after: str) -> str:
        found = Finding(object="x", status=WARNING, message="m", next=after)
        return only(run.ask(asking(lambda _: pd.DataFrame(), lambda _: [found]))).next

    assert told(f"see who waits: {to_run(run.notebook)}, then wait") == "see who waits: in this notebook, then wait"
    again, longer = to_run(run.notebook, older=8), to_run(f"{run.notebook}-more")
    assert told(again).startswith(f"runbook run {run.notebook} --target") and told(again).endswith("-p older=8")
    assert told(longer) == f"runbook run {run.notebook}-more --target {run.target.name}"


# --- deadlines


def test_a_probe_beyond_its_deadline_is_unknown_and_its_dependency_is_not_asked_again(
    opened: Callable[..., Run],
) -> None:
    def sleep(asking: Any) -> pd.DataFrame:
        asking.connection(RedisConnection)
        time.sleep(1.2)
        return pd.DataFrame([{"a": 1}])

    run = opened("redis", "postgres")
    slow = run.ask(asking(sleep, deadline=0.3, needs=(RedisConnection,)))
    assert only(slow).status is UNKNOWN and "no answer within 0.3 s" in only(slow).message
    assert only(slow).object == "redis" and 0.3 <= slow.seconds < 0.6
    for question in (redis.memory, redis.persistence, redis.reachable):
        after = run.ask(question)
        assert after.seconds < 0.5 and only(after).status is not OK
        assert (
            "redis kept silent: no answer within 0.3 s to test.thing; not asked again in this run"
            in only(after).message
        )
    assert run.ask(postgres.connection_slots).verdict is OK, "another dependency is not concerned"


def test_a_thread_that_waits_for_the_server_is_woken_when_its_time_is_up(opened: Callable[..., Run]) -> None:
    ended = threading.Event()

    def sleep(asking: Any) -> pd.DataFrame:
        try:
            return asking.connection(PostgresConnection).rows("SELECT pg_sleep(4)")
        finally:
            ended.set()

    run = opened("postgres")
    assert run.ask(asking(sleep, deadline=0.3, needs=(PostgresConnection,))).verdict is UNKNOWN
    assert ended.wait(1), "its thread does not wait on"


def test_a_profiles_deadline_for_questions_goes_before_the_questions_own(opened: Callable[..., Run]) -> None:
    run = opened(more="[deadlines]\nquestion = 0.2")
    answer = run.ask(asking(lambda _: time.sleep(0.6) or pd.DataFrame(), deadline=30))
    assert only(answer).message == "no answer within 0.2 s" and only(answer).object == "the run itself"


# --- secrets


def in_the_open(value: Any) -> bool:
    return SECRET in str(value) or "correct-horse&amp;battery" in str(value)


@pytest.fixture
def secretive(opened: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run on a target that has a secret."""
    monkeypatch.setenv("OTHER_SECRET", SECRET)
    return opened("api", text='[api]\nurl = "http://127.0.0.1:9"\ntoken = "env:OTHER_SECRET"')


def tell(frame: pd.DataFrame) -> list[Finding]:
    """Judge by repeating what came, as a check does."""
    told = [
        Finding(object=f"{row}", status=CRITICAL, message=f"it says {row}", value=str(row["text"]),
                threshold=str(row["text"]), source=f"ask {row}", next=f"then {row}")
        for row in frame.to_dict("records")
    ]  # fmt: skip
    return [*told, Finding(object="columns", status=WARNING, message=", ".join(map(str, frame.columns)))]


def test_a_secret_in_a_frame_reaches_no_output(secretive: Run) -> None:
    nested = {"deep": [{SECRET: f"token={SECRET}"}]}
    frame = pd.DataFrame([{"text": f"<{SECRET}>", "nested": nested, SECRET: SECRET.encode()}])
    answer = secretive.ask(asking(lambda _: frame.copy(), tell))
    shown = [answer, secretive, secretive.summary()]
    bundles = [thing._repr_mimebundle_() for thing in shown]
    assert not in_the_open(answer.frame.to_dict("records"))
    assert not [kind for bundle in bundles for kind, content in bundle.items() if in_the_open(content)]
    assert all("redacted" in bundles[0][kind] for kind in ("text/plain", "text/html"))


@pytest.mark.parametrize("field", ["object", "message", "value", "threshold", "source", "next"])
def test_a_secret_in_a_finding_reaches_no_output(field: str, secretive: Run) -> None:
    plain = {"object": "thing", "message": "something is wrong"}
    found = Finding(**{**plain, field: f"see {SECRET}!"}, status=CRITICAL)
    answer = secretive.ask(asking(lambda _: pd.DataFrame(), lambda _: [found]))
    for shown in (answer, secretive.summary()):
        assert not [kind for kind, content in shown._repr_mimebundle_().items() if in_the_open(content)]


def test_a_secret_in_a_reason_or_an_incident_reaches_no_output(
    profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_SECRET", SECRET)
    target = profile('[api]\nurl = "http://127.0.0.1:9"\ntoken = "env:OTHER_SECRET"')
    with pytest.raises(UsageError, match="there is no incident") as refused:
        open_run("a-notebook", target=target, needs=["api"], incident=f"inc {SECRET}")
    assert not in_the_open(str(refused.value))
    run = open_run("a-notebook", target=target, needs=["api"])

    def probe(_: Any) -> pd.DataFrame:
        raise CouldNotFindOut(f"refused: Bearer {SECRET}")

    bundles = [thing._repr_mimebundle_() for thing in (run.ask(asking(probe)), run, run.summary())]
    assert MARK in bundles[0]["text/plain"] and not in_the_open(bundles)


# --- what an answer shows and keeps


def test_an_answer_shows_its_verdict_and_carries_its_findings_to_the_runner(opened: Callable[..., Run]) -> None:
    run = opened("redis")
    answer = run.ask(redis.memory)
    bundle = answer._repr_mimebundle_()
    message = decode(bundle[FINDINGS_MIME])
    assert bundle["text/plain"].startswith("OK: How close is Redis to its memory limit?\n")
    assert (message.kind, message.check, message.run_id) == ("answer", "redis.memory", run.run_id)
    assert [(f.check, f.object, f.status) for f in message.findings] == [("redis.memory", "memory", OK)]
    assert message.findings[0].source.startswith("redis-cli -u redis://127.0.0.1:") and message.data is None
    summary = decode(run.summary()._repr_mimebundle_()[FINDINGS_MIME])
    assert summary.kind == "summary" and summary.findings == message.findings


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("RUNBOOK_SPOOL", str(folder))
    return folder


def test_the_spool_holds_the_scrubbed_frame_under_its_digest(secretive: Run, spool: Path) -> None:
    rows = [{"text": SECRET, "n": 1, "at": datetime.now(UTC)}, {"text": "plain", "n": 2, "at": None}]
    answer = secretive.ask(asking(lambda _: pd.DataFrame(rows), lambda _: []))
    assert answer.data is not None and answer.frame is not None
    kept = spool / answer.data.file
    assert kept.name.endswith("-test.thing.parquet") and [kept] == list(spool.iterdir())
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == answer.data.sha256
    assert SECRET.encode() not in kept.read_bytes()
    frame = pd.read_parquet(kept)
    assert (answer.data.rows, answer.data.columns) == (2, ["text", "n", "at"])
    assert frame["text"].tolist() == [MARK, "plain"] and frame["n"].tolist() == [1, 2]
    assert decode(answer._repr_mimebundle_()[FINDINGS_MIME]).data == answer.data


def test_each_answer_is_kept_in_a_file_of_its_own(opened: Callable[..., Run], spool: Path) -> None:
    run = opened("redis")
    answers = [run.ask(redis.memory), run.ask(redis.memory), run.ask(redis.persistence)]
    assert len({answer.data.file for answer in answers if answer.data}) == 3 == len(list(spool.iterdir()))


@pytest.mark.parametrize(
    "column",
    [[1, "two", None], [{"a": 1}, ["b"], "c"], [10**30, "x", 2], [b"raw", "text", 1.5], [{}, {}, {}],
     [10**400, [10**30], {"a": 10**30}]],
)  # fmt: skip
def test_a_column_of_mixed_or_nested_values_is_kept_as_well(
    column: list[Any], opened: Callable[..., Run], spool: Path
) -> None:
    answer = opened().ask(asking(lambda _: pd.DataFrame({"column": pd.Series(column, dtype=object)})))
    assert answer.data is not None and len(pd.read_parquet(spool / answer.data.file)) == 3


def test_an_answer_is_worth_more_than_its_copy(
    opened: Callable[..., Run], spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_SPOOL", str(spool / "gone"))
    answer = opened("redis").ask(redis.memory)
    assert answer.verdict is OK and answer.data is None


# --- the host


def test_a_target_that_lives_elsewhere_is_unknown_and_says_so(opened: Callable[..., Run]) -> None:
    run = opened("host", text='[host]\nwhere = "elsewhere"')
    for question in host.questions:
        found = only(run.ask(question))
        assert found.status is UNKNOWN and "does not live on this machine (profile: host.where)" in found.message


def test_a_path_that_does_not_exist_costs_its_own_row_only(opened: Callable[..., Run], tmp_path: Path) -> None:
    text = f'[host]\nwhere = "here"\nname = "node"\npaths = ["{tmp_path}", "{tmp_path / "gone"}"]'
    found = {f.object: f for f in opened("host", text=text).ask(host.disk, warning=100, critical=100).findings}
    assert found[f"node {tmp_path} space"].status is OK
    gone = found[f"node {tmp_path / 'gone'}"]
    assert gone.status is UNKNOWN and "No such file or directory" in gone.message


def test_a_whole_machine_is_judged_by_its_own_size(opened: Callable[..., Run]) -> None:
    run = opened("host", text='[host]\nwhere = "here"')
    memory, load = run.ask(host.memory).frame, run.ask(host.load).frame
    assert memory is not None and load is not None
    assert memory["total"].tolist() == [psutil.virtual_memory().total]
    assert load["cpus"].tolist() == [psutil.cpu_count()] and load["busy"].isna().all()
    assert memory["host"].tolist() == [socket.gethostname()]
    assert "the whole machine" in run._repr_mimebundle_()["text/plain"]


def test_a_share_is_judged_by_what_lies_and_works_in_it(opened: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_bytes(bytes(90_000))
    text = f"""
        [host]
        where = "here"
        name = "part"
        [host.share]
        folder = "{tmp_path / "data"}"
        disk_bytes = 100000
        files = 1000
        memory_bytes = 1000000
        cpus = 2
    """
    run = opened("host", text=text)
    found = {f.object: f for f in run.ask(host.disk).findings}
    assert found["part its share space"].status is CRITICAL and found["part its share inodes"].status is OK
    memory, load = run.ask(host.memory).frame, run.ask(host.load).frame
    assert memory is not None and load is not None
    assert memory.iloc[0].tolist() == ["part", 0, 1_000_000], "no process works in it"
    assert (load["cpus"].tolist(), load["busy"].tolist()) == ([2.0], [0.0])
    assert "a share of the machine" in run._repr_mimebundle_()["text/plain"]


def test_the_sandboxs_share_counts_its_own_processes(sandbox: Place, opened: Callable[..., Run]) -> None:
    memory = opened("host").ask(host.memory).frame
    assert memory is not None
    assert 20 << 20 < memory["used"].iloc[0] < target_file.MEMORY_BYTES == memory["total"].iloc[0]


def test_an_open_run_proves_what_it_looks_at(sandbox: Place, opened: Callable[..., Run]) -> None:
    run = opened(*(kind for kind in KINDS if kind != "containers"))
    shown = run._repr_mimebundle_()["text/plain"]
    ports = sandbox.read("state.json")["ports"]
    assert run.run_id in shown and all(f"127.0.0.1:{ports[part]}" in shown for part in PARTS)
    with postgres_server.superuser(sandbox) as admin:
        (system,) = admin.execute("SELECT system_identifier FROM pg_control_system()").fetchone() or ("",)
    assert f"system {system}" in shown and "clock +0.0 s" in shown and "role runbook" in shown
    assert isinstance(run._dependencies.connection(ApiConnection), ApiConnection)


@pytest.mark.parametrize("where", ["probe", "check"])
def test_a_mistake_in_one_question_is_told_and_costs_no_other_answer(where: str, opened: Callable[..., Run]) -> None:
    def wrong(*_: Any, **__: Any) -> Any:
        raise KeyError("no_such_column")

    run = opened("host")
    broken = asking(wrong) if where == "probe" else asking(lambda _: pd.DataFrame([{"a": 1}]), check=wrong)
    told = only(run.ask(broken))
    assert told.status is Status.UNKNOWN
    assert "KeyError: 'no_such_column'" in told.message and "a mistake in the runbook" in told.message
    assert run.ask(host.memory).verdict is Status.OK


def test_a_keyword_that_a_question_does_not_take_is_refused_with_those_it_takes(opened: Callable[..., Run]) -> None:
    with pytest.raises(UsageError, match="takes no warnign; its thresholds: warning, critical"):
        opened("host").ask(host.memory, warnign=1)


def test_a_threshold_that_is_no_number_is_refused_since_nothing_would_ever_pass_it(
    opened: Callable[..., Run],
) -> None:
    with pytest.raises(UsageError, match=r"host\.memory: critical is no number"):
        opened("host").ask(host.memory, critical=float("nan"))


def test_containers_of_an_engine_that_is_not_there_are_told_as_not_open(
    tmp_path: Path, profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    run = open_run("test", target=profile('[containers]\napi = "shrimp-api"\n'), needs=["containers"])
    shown = run._repr_mimebundle_()["text/plain"]
    assert "NOT OPEN: the Docker engine at unix://" in shown and "No such file or directory" in shown
